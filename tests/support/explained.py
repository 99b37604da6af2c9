"""How right an explanation is: what a scenario is about against what is blamed, over all of a run; and the
table of that which stands in docs/nginx-explained.md."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from orchestrator import kept
from orchestrator.explain.explaining import explain
from orchestrator.explain.scene import scene
from orchestrator.join.timeline import timeline
from orchestrator.model.events import History, Timeline
from orchestrator.model.explanations import Explanation
from orchestrator.model.recording import Recording
from orchestrator.model.runs import ScenarioRecord
from orchestrator.report import run_timeline
from tests.support.nginx_cases import Case, Variant

# exact: this and nothing else is named. among: it is one of several. unknown: nothing is named, and that is
# said. wrong: something is named, and not this. blamed: it was no time limit, and one was named. other: of a
# pack's scenario, that no directive ended it, but the other side, nobody yet, or what is named.
Result = Literal["exact", "among", "other", "unknown", "wrong", "blamed"]


@dataclass(frozen=True)
class Outcome:
    """Of one scenario."""

    scenario: str
    wanted: str
    named: tuple[str, ...]
    result: Result


def of_case(case: Case, variant: Variant, recording: Recording) -> Outcome:
    """One of ours, whose connection is known."""
    joined = timeline(recording)
    found = run_timeline.chosen(variant.filled(case.connection), joined.histories)
    assert found, f"{case.name}: no connection {case.connection}"
    made = explain(scene(joined), found[-1])
    return Outcome(case.name, case.cause or "nothing", _named(made), _result(case, made))


def _named(made: Explanation) -> tuple[str, ...]:
    if made.directives:
        return made.directives
    end = made.end
    if end is None or not end.causes:
        return (end.certainty if end else "unknown",)
    return tuple(dict.fromkeys(one.name for one in end.causes))


def _result(case: Case, made: Explanation) -> Result:
    if case.directive:
        if made.directives == (case.cause,):
            return "exact"
        return "among" if case.cause in made.directives else "wrong" if made.directives else "unknown"
    if made.directives:
        return "blamed"
    end = made.end
    assert end is not None
    if not case.cause:
        return "exact" if end.certainty == "open" else "wrong"
    names = [one.name for one in end.causes]
    if any(case.cause in name for name in names):
        return "exact" if len(names) == 1 else "among"
    return "wrong" if names else "unknown"


# Packs of others.


def of_run(folder: Path, other: Mapping[str, Recording] = MappingProxyType({})) -> list[Outcome]:
    """Each scenario of a kept run that says which directives it is about. `other`: what is explained instead
    of its own recording, by scenario; its connections are those of the same times."""
    record = kept.read(folder)
    files = kept.read_recordings(folder, record)
    found: list[Outcome] = []
    for one in record.scenarios:
        recording = files.get(one.recording)
        wanted = _about(one)
        if isinstance(recording, Recording) and wanted:
            joined = timeline(recording)
            began = {history.began for history in concerned(one, joined)}
            joined = timeline(other[one.label]) if one.label in other else joined
            mine = [history for history in joined.histories if history.began in began]
            found.append(_outcome(one.label, wanted, joined, mine))
    return found


# Scenarios of labs/nginx-timeouts that are about something else than what ends their connection: what happens
# behind the end, or which upstream is tried next. so_keepalive is a parameter of `listen`.
ENDED_BY = {
    **dict.fromkeys(("lingering-always-read", "lingering-on-nothing-more"), "keepalive_timeout"),
    **dict.fromkeys(("lingering-on", "lingering-off"), "keepalive_timeout"),
    **dict.fromkeys(("proxy-next-upstream-tries", "proxy-next-upstream-answers"), "proxy_connect_timeout"),
    "proxy-next-upstream-timeout": "proxy_connect_timeout",
    **dict.fromkeys(("so-keepalive-cut", "so-keepalive-power-off"), "so_keepalive"),
}


def _about(one: ScenarioRecord) -> tuple[str, ...]:
    directive = ENDED_BY.get(one.name) or one.about.directive
    return (directive,) if isinstance(directive, str) and directive else tuple(directive or ())


def _outcome(label: str, wanted: tuple[str, ...], joined: Timeline, mine: Sequence[History]) -> Outcome:
    seen = scene(joined)
    made = [explain(seen, history) for history in mine]
    named = [name for one in made for name in one.directives]
    blamed = tuple(dict.fromkeys(named))
    if not blamed:
        blamed = tuple(dict.fromkeys(name for one in made for name in _named(one)))
        result: Result = "unknown" if not blamed or "unknown" in blamed else "other"
    elif set(blamed) <= set(wanted):
        result = "exact"
    else:
        result = "among" if set(blamed) & set(wanted) else "wrong"
    return Outcome(label, ", ".join(wanted), blamed, result)


_CONNECTION = re.compile(r"""connection: (?:"([^"]+)"|'([^']+)'|([^,}]+))""")


def concerned(one: ScenarioRecord, joined: Timeline) -> list[History]:
    """The connections that its expectations are about: of those the ones whose end they ask for, if any."""
    texts = [expectation.text for expectation in one.expectations]
    ends = [text for text in texts if "first to close" in text] or texts
    names = dict.fromkeys("".join(groups) for text in ends for groups in _CONNECTION.findall(text))
    stirred = run_timeline.stirred(joined).histories
    found = [history for name in names for history in run_timeline.chosen(name, stirred)[-1:]]
    return found or [one for one in stirred if not _of_one_host(one)]


def _of_one_host(one: History) -> bool:
    """As those by which a scenario sees that its nginx is ready."""
    return one.client is not None and one.server is not None and one.client.host == one.server.host


# The table.


def summary(outcomes: Iterable[Outcome]) -> Counter[Result]:
    """How many of each."""
    return Counter(one.result for one in outcomes)


def matrix(columns: Mapping[str, Sequence[Outcome]]) -> list[str]:
    """A line for each scenario, a column for each variant: what was named, in bold where it is not exactly
    what it should be."""
    rows: dict[str, dict[str, Outcome]] = {}
    for column, outcomes in columns.items():
        for one in outcomes:
            rows.setdefault(one.scenario, {})[column] = one
    lines = [f"| scenario | is | {' | '.join(columns)} |", f"|---|---|{'---|' * len(columns)}"]
    for name, cells in rows.items():
        wanted = next(iter(cells.values())).wanted
        texts = [_cell(cells.get(column)) for column in columns]
        lines.append(f"| {name} | {wanted} | {' | '.join(texts)} |")
    return lines


def _cell(one: Outcome | None) -> str:
    if one is None:
        return ""
    return "✓" if one.result == "exact" else f"**{one.result}**: {', '.join(one.named)}"
