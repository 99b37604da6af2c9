"""Which lab a test gets: by markers, options and ini values; and what is said where none can be had."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import LAB, Project, verdicts

pytestmark = pytest.mark.engine("fake")
NAMED = """
def test_which(lab):
    assert {condition}
"""


def test_the_ini_value_and_the_option_name_a_file_and_a_marker_goes_before(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in ("a", "b", "c"):
        project.lab(file=f"{one}/lab.yaml", text=LAB.replace("web", one))
    project.ini(lab_file="a/lab.yaml")
    project.tests(NAMED.format(condition="lab.hosts[0] == os.environ['WHICH']"), "tests/test_it.py")
    project.tests(
        "@pytest.mark.lab('../c')" + NAMED.format(condition="lab.hosts[0] == 'c'"), "tests/test_c.py"
    )
    project.tests(
        "@pytest.mark.lab('c/lab.yaml')" + NAMED.format(condition="lab.hosts[0] == 'c'"), "test_c2.py"
    )
    monkeypatch.setenv("WHICH", "a")
    project.run().assert_outcomes(passed=3)
    monkeypatch.setenv("WHICH", "b")
    project.run("--lab-file", "b/lab.yaml").assert_outcomes(passed=3)


def test_the_closest_marker_says_what_it_says_and_leaves_the_rest_to_others(project: Project) -> None:
    project.tests(
        """
        @pytest.mark.lab("lab.yaml")
        class TestMany:
            def test_shared(self, lab):
                assert lab.name.endswith("-main")

            @pytest.mark.lab(fresh=True)
            def test_fresh(self, lab):
                assert not lab.name.endswith("-main")
        """.replace("\n        ", "\n")
    )
    project.run().assert_outcomes(passed=2)


def test_what_cannot_be_had_is_an_error_and_says_why(project: Project) -> None:
    project.tests(
        """
def test_no_file(lab): pass

@pytest.mark.lab("nowhere.yaml")
def test_not_there(lab): pass

@pytest.mark.lab("lab.yaml", color="red")
def test_argument(lab): pass

@pytest.mark.lab("wrong.yaml")
def test_wrong(lab): pass

@pytest.mark.lab("open.yaml")
def test_internet(lab): pass
"""
    )
    project.lab(
        file="wrong.yaml",
        text="name: {name}\nnetworks: {{n: {{}}}}\nhosts: {{web: {{role: sever, networks: [n]}}}}\n",
    )
    project.lab(file="open.yaml", text=LAB.replace("/24", "/24, internet: true"))
    result = project.run()
    found = verdicts(result)
    assert {name: verdict.split()[0] for name, verdict in found.items()} == dict.fromkeys(
        ("test_no_file", "test_not_there", "test_argument", "test_wrong", "test_internet"), "ERROR"
    )
    for words in (
        "no lab file is named for this test",
        "there is no lab file nowhere.yaml in",
        "the marker `lab` has no color",
        "wrong.yaml:3:21: `role`: `sever` is no role; did you mean `server`?",
        "lets hosts on n reach the internet",
    ):
        result.stdout.fnmatch_lines([f"*{words.replace('[', '[[]')}*"])
    assert "labs.py" not in result.stdout.str(), "the way through the plugin is of no use to anyone"


def test_an_engine_that_is_none_is_an_error(project: Project) -> None:
    project.tests('@pytest.mark.lab("lab.yaml")\ndef test_it(lab): pass')
    result = project.run("--lab-engine", "podman")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*there is no engine 'podman'*"])


def test_the_plugin_costs_a_run_without_labs_nothing_heavy(project: Project) -> None:
    project.tests(
        """
def test_it():
    import sys
    heavy = [one for one in ("msgspec", "docker", "numpy", "yaml", "click") if one in sys.modules]
    assert heavy == []
"""
    )
    project.run(apart=True).assert_outcomes(passed=1)
    assert not (project.folder / "state").exists()
