"""A run as a page: a run of four scenarios on namespaces (nginx 1.22.1), as it was kept."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec
import pytest

from orchestrator import kept
from orchestrator.join import recordings
from orchestrator.model.recording import Recording
from orchestrator.model.runs import RunRecord
from orchestrator.report.markdown import Anchors
from orchestrator.report.observed import observed
from orchestrator.report.run_page import markdown

GOLDEN = Path(__file__).parents[2] / "golden"
RUN = GOLDEN / "runs" / "nginx-timeouts"


@cache
def run() -> RunRecord:
    """Its document."""
    return kept.read(RUN)


@cache
def found() -> Mapping[str, Recording | str]:
    """Its recordings."""
    return kept.read_recordings(RUN, run())


def test_the_page_is_as_it_was_agreed() -> None:
    path = GOLDEN / "report" / "run.md"
    page = markdown(run(), found())
    if os.environ.get("LAB_GOLDEN") == "write":
        path.write_text(page, encoding="utf-8")
    assert page == path.read_text(encoding="utf-8")


def test_every_link_leads_to_a_heading() -> None:
    page = re.sub(r"^```.*?^```$", "", markdown(run(), found()), flags=re.MULTILINE | re.DOTALL)
    anchors = Anchors()
    headings = {anchors.of(one.replace("\\", "")) for one in re.findall(r"^#+ (.*)$", page, re.MULTILINE)}
    links = set(re.findall(r"\]\(#(.*?)\)", page))
    assert {"client-header-silent", "proxy-read-header-dribbled"} <= links <= headings


def test_ports_and_processes_of_another_run_make_no_other_page() -> None:
    """What a kernel or nginx numbers as it comes is not measured."""
    others: dict[str, Recording | str] = {}
    lines = 0
    for name in found():
        text = (RUN / name).read_text()
        ports = set(re.findall(r'"10\.20\.[12]\.1",([34567]\d{4})\b', text))
        assert ports
        for port in ports:
            text = re.sub(rf"\b{port}\b", str(32768 + (int(port) - 32000) % 28232), text)
        text, count = re.subn(r"\b(\d+)#\1: \*(\d+)", r"7\1#7\1: *9\2", text)
        lines += count
        others[name] = recordings.decode(text.encode())
    assert lines
    assert markdown(run(), others) == markdown(run(), found())


def test_what_was_not_recorded_is_said() -> None:
    page = markdown(run(), {})
    assert page.count("No ladder: it was not recorded.") == len(run().scenarios)
    assert "2.0008 s after" in page  # the record has it


def test_a_scenario_that_did_not_pass_is_no_result() -> None:
    first, *others = run().scenarios
    failed = msgspec.structs.replace(first, verdict="fail", why="line 31: too *late*")
    page = markdown(msgspec.structs.replace(run(), scenarios=(failed, *others)), found())
    assert "**1 of them did not pass**" in page
    assert "says nothing **fail** |" in page
    assert "**fail**: line 31: too \\*late\\*" in page


def test_a_variant_that_did_not_pass_shows_nothing() -> None:
    first, variant, *others = run().scenarios
    assert variant.about.covers == "whole"
    failed = msgspec.structs.replace(variant, verdict="unknown")
    page = markdown(msgspec.structs.replace(run(), scenarios=(first, failed, *others)), found())
    assert "whole ([" in markdown(run(), found())
    assert "whole ([" not in page


def test_several_rows_of_one_scenario_have_sections_of_their_own() -> None:
    first = run().scenarios[0]
    twice = msgspec.structs.replace(run(), scenarios=(first, msgspec.structs.replace(first, label="x[y]")))
    page = markdown(twice, found())
    assert re.findall(r"^### (.*)$", page, re.MULTILINE) == ["client-header-silent\\[plain\\]", "x\\[y\\]"]
    assert "(#client-header-silentplain)" in page
    assert "(#xy)" in page


def test_of_several_performances_the_first_that_passed_is_shown() -> None:
    first, *others = run().scenarios
    failed = msgspec.structs.replace(first, verdict="unknown")
    again = msgspec.structs.replace(run(), scenarios=(failed, *others, first, first))
    page, once = markdown(again, found()), markdown(run(), found())
    count = len(again.scenarios)
    said = f"There were {count} performances, and {count - 1} passed; of each the first that did is shown."
    assert page.replace(f"{said}\n", "") == once


def test_error_logs_stand_before_access_logs_whatever_their_times() -> None:
    record = next(one for one in run().scenarios if one.name == "proxy-read-header-dribbled")
    lines = observed(record, found()[record.recording]).lines
    assert [line.partition(" ")[0] for line in lines] == ["[error]", "status=504"]


def test_an_empty_run() -> None:
    page = markdown(RunRecord(lab="l", engine="fake", verdict="unknown"), {})
    assert page.startswith("# l\n")
    assert "a run of 0 scenarios" in page


def test_what_is_left_is_what_was_so_at_the_last_expectation() -> None:
    """The client's connection is kept by nginx, which is ended after that."""
    record = next(one for one in run().scenarios if one.name == "proxy-read-header-dribbled")
    seen = observed(record, found()[record.recording])
    assert seen.timeline is not None
    client = next(one for one in seen.timeline.histories if one.client and "call" in one.client.names)
    assert client.closing.first is None
    assert seen.history is not None
    assert (seen.history.closing.first, seen.history.closing.by) == ("client", "FIN")


@pytest.mark.parametrize("path", ["-", "page.md"])
def test_the_command_writes_it(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from orchestrator.cli.report import command

    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(command, [str(RUN), "--markdown", path])
    assert result.exit_code == 0, result.output
    written = result.output if path == "-" else (tmp_path / path).read_text(encoding="utf-8")
    assert written == markdown(run(), found())
