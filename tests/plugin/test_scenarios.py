"""Scenarios of lab files as tests of their own."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import SCENARIOS, Project, verdicts

ALL = {"good": "PASSED", "rows[port=80]": "FAILED", "rows[port=81]": "PASSED", "torn": "FAILED"}


def kinds(result: pytest.RunResult) -> dict[str, str]:
    return {name: verdict.split()[0] for name, verdict in verdicts(result).items()}


@pytest.mark.engine("namespaces", "fake")
def test_a_lab_file_on_the_command_line(project: Project) -> None:
    project.lab(SCENARIOS)
    result = project.run("lab.yaml", "--junitxml=junit.xml")
    assert kinds(result) == ALL
    found = verdicts(result)
    assert found["torn"].startswith("FAILED lab.LabUnknown: UNKNOWN: torn")
    assert "lab.LabFailure: FAIL: rows[port=80]" in found["rows[port=80]"]
    result.stdout.fnmatch_lines(
        [
            "FAIL: rows[[]port=80]: Of two ports one: line 19: ECONNREFUSED",
            "lab.yaml:14",
            "line 20: expect: {connection: alice.call, client: ESTABLISHED}: unknown",
            "  why: * not reached*",
            "  web: listen :80 as door *",
            "  alice: connect web:81 as call * fail: ECONNREFUSED*",
            "UNKNOWN: torn",
            "*2 rows are alice -> web:80",
            "*seen: * alice * ESTABLISHED <=> web *:80 ESTABLISHED *",
        ]
    )
    assert "runtest" not in result.stdout.str()
    junit = (project.folder / "junit.xml").read_text()
    assert 'errors="1" failures="1"' in junit
    assert '<error message="lab.LabUnknown: UNKNOWN: torn' in junit
    assert '<failure message="lab.LabFailure: FAIL: rows[port=80]' in junit


@pytest.mark.engine("fake")
def test_one_of_them(project: Project) -> None:
    project.lab(SCENARIOS)
    one = project.run("lab.yaml::rows[port=81]")
    assert kinds(one) == {"rows[port=81]": "PASSED"}
    assert kinds(project.run("lab.yaml", "-k", "good")) == {"good": "PASSED"}


@pytest.mark.engine("fake")
def test_only_files_that_are_named_are_run(project: Project) -> None:
    project.lab(SCENARIOS, "labs/one/lab.yaml")
    project.lab(SCENARIOS, "strangers/lab.yaml")
    project.tests("def test_plain(): pass", "tests/test_plain.py")
    assert kinds(project.run()) == {"test_plain": "PASSED"}
    project.ini(lab_scenarios="labs/*/lab.yaml")
    assert kinds(project.run()) == {"test_plain": "PASSED", **ALL}
    assert kinds(project.run("strangers")) == {}
    project.ini(lab_scenarios="labs/*/lab.yaml", testpaths="tests")
    assert kinds(project.run()) == {"test_plain": "PASSED", **ALL}
    assert kinds(project.run("tests")) == {"test_plain": "PASSED"}
    project.ini(lab_scenarios="labs/two/lab.yaml")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*lab_scenarios: there is no lab file labs/two/lab.yaml*"])


@pytest.mark.engine("fake")
def test_a_file_with_mistakes_is_a_collection_error(project: Project) -> None:
    project.lab(SCENARIOS.replace("connect web:81", "conect web:81"))
    result = project.run("lab.yaml")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*/lab.yaml:19:17: there is no verb `conect`; did you mean `connect`?"])


@pytest.mark.engine("fake")
def test_infrastructure_that_fails_is_an_error(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{project.folder}/nowhere")
    project.lab(SCENARIOS)
    result = project.run("lab.yaml::good", "--lab-engine", "docker", "--junitxml=junit.xml")
    what = "orchestrator.errors.EngineUnavailable: the engine docker does not work here"
    assert verdicts(result)["good"].startswith(f"ERROR {what}")
    result.assert_outcomes(errors=1)
    assert f'<error message="{what}' in (project.folder / "junit.xml").read_text()
