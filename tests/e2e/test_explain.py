"""`lab explain`: what has ended a connection of a real nginx, and what has not, whatever hosts, ports and
values are; of a run that was kept and of a running lab. Without steps that are recorded, too."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from orchestrator import kept
from orchestrator.engines.base import Engine
from orchestrator.model.recording import Recording
from tests.support.cli import Commands
from tests.support.explained import Outcome, of_case, summary
from tests.support.nginx_cases import Case, Variant, variants

pytestmark = pytest.mark.engine("namespaces", "docker")
MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")  # Debian's; docker's image has none


class Ran(NamedTuple):
    """A lab that runs, how it was written, and what was recorded of each scenario."""

    lab: Commands
    variant: Variant
    run: Path
    recordings: dict[str, Recording]


@pytest.fixture(scope="module", params=("plain", "hardest"))
def ran(
    request: pytest.FixtureRequest, engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ran]:
    """All scenarios of it. The hardest way to write it is tried on one engine: it is about `explain`, which
    knows of no engine."""
    if request.param == "hardest" and engine.name != "namespaces":
        pytest.skip("once is enough")
    if engine.name == "namespaces" and shutil.which("nginx", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("nginx is not installed here, and hosts of namespaces have the computer's programs")
    stream = engine.name == "namespaces" and MODULE.exists()
    variant = dataclasses.replace(variants()[request.param], stream=stream)
    lab = Commands(tmp_path_factory.mktemp("explain"), engine.name)
    for name, text in variant.files().items():
        lab.write(text, name)
    lab.up()
    try:
        done = lab.run("run", "--json", "run.json")
        assert done.code in (0, 1, 4), done
        (run,) = kept_runs(lab)
        record = kept.read(run)
        found = kept.read_recordings(run, record)
        recordings = {one.label: found[one.recording] for one in record.scenarios}
        yield Ran(lab, variant, run, {k: v for k, v in recordings.items() if isinstance(v, Recording)})
    finally:
        lab.good("down")


def kept_runs(lab: Commands) -> list[Path]:
    """Folders of its runs."""
    return sorted((lab.folder / "state" / "lab" / "runs" / lab.name).iterdir())


def outcomes(ran: Ran) -> list[Outcome]:
    """Of all cases."""
    return [of_case(one, ran.variant, ran.recordings[one.name]) for one in ran.variant.cases()]


def test_what_ended_it_is_named_and_nothing_else(ran: Ran) -> None:
    """On impostors no time limit. Without rights there are no tracepoints, and then only the log can say that
    a socket was gone without a word."""
    wrong = [one for one in outcomes(ran) if one.result != "exact" and not excused(one, ran)]
    assert not wrong, f"{wrong} of {summary(outcomes(ran))}"


def excused(one: Outcome, ran: Ran) -> bool:
    """Nothing that says it was there to be seen, and it says that."""
    watches = ran.recordings[one.scenario].watches
    traced = any(watch.source == "tracepoint" and watch.began < watch.ended for watch in watches)
    silent = one.scenario in ("send", "kernel-gave-up") and ran.variant.level == "error"
    return one.result == "unknown" and silent and not traced


def test_by_less_evidence_no_more_is_said(ran: Ran) -> None:
    """Without steps, logs, tracepoints and tables, as of clients that are no agents: what is named may be
    less certain, and is never something else."""
    wrong = []
    for case in ran.variant.cases():
        whole = ran.recordings[case.name]
        silent = tuple(msgspec.structs.replace(one, logs=()) for one in whole.nginxes)
        poor = msgspec.structs.replace(whole, calls=(), changes=(), sightings=(), looks=(), nginxes=silent)
        made = of_case(dataclasses.replace(case, connection=_pair(case)), ran.variant, poor)
        if made.result in ("wrong", "blamed"):
            wrong.append(made)
    assert not wrong


def _pair(case: Case) -> str:
    """The connection by its ends: descriptors are steps'."""
    target = next(word for word in case.steps.split() if word.startswith("<web>:"))
    return case.connection if "->" in case.connection else f"<alice> -> {target}"


def test_a_run_that_was_kept_is_explained(ran: Ran) -> None:
    name = ran.variant.names["alice"]
    said = ran.lab.good("explain", "--run", str(ran.run), "idle", f"{name}.call").out
    assert "keepalive_timeout" in said
    assert "/etc/nginx/nginx.conf:" in said
    document = ran.lab.good("explain", "--run", str(ran.run), "idle", f"{name}.call", "--json").json
    (one,) = document["explanations"]
    assert one["directives"] == ["keepalive_timeout"]
    assert one["decisions"][-1]["causes"][0]["where"].startswith("/etc/nginx/nginx.conf:")


def test_a_running_lab_is_explained(ran: Ran) -> None:
    """By what its daemon has kept and by what nginx has written."""
    names, ports = ran.variant.names, ran.variant.ports
    wanted = f"{names['alice']} -> {names['web']}:{ports['resets']}"
    said = ran.lab.good("explain", wanted).out
    assert "client_header_timeout" in said
    assert "by RST" in said
    brief = ran.lab.good("explain").out
    assert "keepalive_timeout" in brief
    assert "the client closed it" in brief
    gone = ran.lab.run("explain", "nobody -> nowhere:1")
    assert (gone.code, gone.out) == (2, "")
    assert "no connection nobody -> nowhere:1 is known" in gone.err


def test_a_lab_without_an_nginx_says_so(ran: Ran) -> None:
    """What was recorded of it is there, and nothing follows."""
    (ran.lab.folder / "bare").mkdir(exist_ok=True)
    whole = ran.recordings["idle"]
    bare = msgspec.structs.replace(whole, nginxes=())
    case = next(one for one in ran.variant.cases() if one.name == "idle")
    assert of_case(case, ran.variant, bare).result == "unknown"
