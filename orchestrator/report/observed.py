"""What was observed of a scenario, taken from its record and its recording: how long it took, who closed,
what clients saw, what logs said, what is left. Pure.

It is what was so at its last expectation: that programs are ended after that is not part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from orchestrator.join.timeline import timeline
from orchestrator.model.events import EndHistory, History, Timeline
from orchestrator.model.recording import CallMade, Recording
from orchestrator.model.runs import Elapsed, ExpectationRecord, ScenarioRecord, StepRecord
from orchestrator.report import log_lines, run_timeline

_STATUS = re.compile(r"^HTTP/[0-9.]+ ([0-9]{3})", re.MULTILINE)
_RUN = re.compile(r"""[^\s:]+: (?:run |\{run: ["'\[]*)([^\s"',]+)""")
_INODE = ".inode"


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What came in on a descriptor of an agent. `ended`: by the end of the stream (EOF), or what a call on it
    has failed with, in their order; `statuses`: of HTTP responses."""

    host: str
    name: str
    size: int = 0
    statuses: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A program of a step that came to its end."""

    host: str
    name: str
    exit: str
    output: str


class Timed(msgspec.Struct, frozen=True, kw_only=True):
    """How long after a step what happened to a connection."""

    subject: str
    took: Elapsed


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `configured`: by directive what files say of it that steps have written. `history`: of the
    connection that its expectations are about first; None: `why` not. `orphans`: by side the state that an
    end without a process was in. `heard`, `programs`: in the order of the steps. `lines`: of error logs
    first, whose times are less exact than others'. `followed`: logs were read at all."""

    configured: dict[str, tuple[str, ...]] = {}
    times: tuple[Timed, ...] = ()
    timeline: Timeline | None = None
    history: History | None = None
    why: str = ""
    orphans: dict[str, str] = {}
    heard: tuple[Heard, ...] = ()
    programs: tuple[Program, ...] = ()
    lines: tuple[str, ...] = ()
    followed: bool = False


def observed(record: ScenarioRecord, recording: Recording | str | None) -> Observed:
    """Of one scenario. A recording that is a text is why there is none."""
    without = Observed(
        configured={name: found for name in record.about.directive if (found := _configured(record, name))},
        times=tuple(
            Timed(subject=one.subject, took=one.elapsed)
            for one in record.expectations
            if one.elapsed is not None and one.verdict == "pass"
        ),
        programs=tuple(_programs(record.steps)),
    )
    if not isinstance(recording, Recording):
        return msgspec.structs.replace(without, why=recording or "it was not recorded")
    return _with_recording(without, record, recording)


def _configured(record: ScenarioRecord, directive: str) -> tuple[str, ...]:
    """What the written files say of it, as nginx's are written: `NAME VALUES;`."""
    pattern = re.compile(rf"(?<![\w$]){re.escape(directive)}\s+([^;{{}}]*);")
    found = (one for step in record.steps for one in pattern.findall(step.content))
    return tuple(dict.fromkeys(" ".join(one.split()) for one in found))


def _with_recording(without: Observed, record: ScenarioRecord, recording: Recording) -> Observed:
    first = _first(record)
    short = until(recording, _last(record))
    joined = run_timeline.stirred(timeline(short))
    subject, history = _connection(record, joined, first)
    return msgspec.structs.replace(
        without,
        timeline=joined,
        history=history,
        why="" if history else "no TCP connection of it was recorded",
        orphans=dict(_orphans(record, subject)),
        heard=tuple(_heard(record, [one for one in short.calls if one.t >= first])),
        lines=tuple(sorted(_lines(short, first), key=lambda line: not log_lines.complaint(line))),
        followed=any(one.source == "log" for one in recording.said),
    )


def _first(record: ScenarioRecord) -> float:
    """When all was set up. What the setup left running is recorded where it ended."""
    ends = [one.began + one.duration for one in record.steps if one.part == "setup"]
    ends += [one.began + one.duration for one in record.expectations if one.part == "setup"]
    return max(ends, default=record.began)


def _last(record: ScenarioRecord) -> float:
    """When the last expectation was judged, or a step had ended that was waited for."""
    ends = [one.began + one.duration for one in record.expectations if one.part == "steps"]
    ends += [
        one.began + one.duration
        for one in record.steps
        if one.part == "steps" and not one.text.rstrip().endswith("&")
    ]
    return max(ends, default=record.began + record.duration)


def until(recording: Recording, end: float) -> Recording:
    """What was recorded until then, with lines of logs as a page has them: those, too, that may have come
    before it, by the stamps in them."""
    said = (
        msgspec.structs.replace(one, text=log_lines.undated(one.text)) if one.source == "log" else one
        for one in recording.said
        if one.t - (one.error if one.source == "log" else 0.0) <= end
    )
    return msgspec.structs.replace(
        recording,
        length=min(recording.length, end),
        segments=tuple(one for one in recording.segments if one.t <= end),
        calls=tuple(one for one in recording.calls if one.t + one.duration <= end),
        changes=tuple(one for one in recording.changes if one.t <= end),
        sightings=tuple(one for one in recording.sightings if one.ended <= end),
        looks=tuple(one for one in recording.looks if one.ended <= end),
        said=tuple(one for one in said if one.source != "log" or not log_lines.is_calm(one.text)),
        watches=tuple(
            msgspec.structs.replace(one, ended=min(one.ended, end))
            for one in recording.watches
            if one.began <= end
        ),
        losses=tuple(one for one in recording.losses if one.began <= end),
    )


# Which connection.


def _connection(record: ScenarioRecord, joined: Timeline, first: float) -> tuple[str, History | None]:
    """The first that a time was measured of, else whose end is told, else that any expectation names, else
    that there was after the setup."""
    about = [one for one in record.expectations if one.part == "steps" and one.kind == "connection"]
    for one in sorted(about, key=_matters):
        found = run_timeline.chosen(one.subject, joined.histories)
        if found:
            return one.subject, max(found, key=lambda history: (_spoken(history), -history.began))
    return "", next((one for one in joined.histories if one.began >= first and one.crossings), None)


def _matters(one: ExpectationRecord) -> int:
    if one.elapsed:
        return 0
    return 1 if {"first to close", "closed by"} & set(one.checks) else 2


def _spoken(history: History) -> bool:
    return bool(history.crossings)


def _orphans(record: ScenarioRecord, subject: str) -> Iterator[tuple[str, str]]:
    """Ends of it that an expectation has seen to belong to no process any more (proc(5): inode 0)."""
    for one in record.expectations:
        if one.verdict != "pass" or one.subject != subject:
            continue
        for side in ("client", "server"):
            if one.checks.get(side + _INODE) == "0" and side in one.checks:
                yield side, one.checks[side]


def last_state(end: EndHistory | None) -> str:
    """What it is in at the end; nothing where no socket is left."""
    state = end.states[-1] if end is not None and end.states else "CLOSE"
    return "" if state == "CLOSE" else state


# What was heard and said.


def _heard(record: ScenarioRecord, calls: Sequence[CallMade]) -> Iterator[Heard]:
    names = dict.fromkeys((one.host, one.name) for one in calls if one.verb in ("connect", "accept"))
    for host, name in names:
        if name is None:
            continue
        mine = [one for one in calls if (one.host, one.name) == (host, name)]
        yield Heard(
            host=host,
            name=name,
            size=sum(_size(one) for one in mine if one.verb == "recv"),
            statuses=tuple(_statuses(record.steps, host, name)),
            ended=tuple(dict.fromkeys(_endings(record.steps, mine, host, name))),
        )


def _size(call: CallMade) -> int:
    return call.result if isinstance(call.result, int) and not isinstance(call.result, bool) else 0


def _results(steps: Sequence[StepRecord], host: str, name: str) -> Iterator[tuple[str, bool]]:
    """What calls on a descriptor have received, and whether that was the end."""
    for step in steps:
        owner = step.host or step.text.removeprefix("wait: ").partition(".")[0]
        for call in step.calls if owner == host and step.part == "steps" else ():
            if call.name == name:
                yield call.text, bool(call.eof)


def _statuses(steps: Sequence[StepRecord], host: str, name: str) -> Iterator[str]:
    for words, _ in _results(steps, host, name):
        yield from _STATUS.findall(words)


def _endings(steps: Sequence[StepRecord], calls: Sequence[CallMade], host: str, name: str) -> Iterator[str]:
    if any(ended for _, ended in _results(steps, host, name)):
        yield "EOF"
    for call in calls:
        if call.errno:
            yield f"{call.verb}: {call.errno}"


def _programs(steps: Sequence[StepRecord]) -> Iterator[Program]:
    for step in steps:
        found = _RUN.match(step.text)
        if found and step.part == "steps" and isinstance(step.result, int) and step.host:
            name = found.group(1)
            yield Program(host=step.host, name=name, exit=str(step.result), output=step.output)


def _lines(recording: Recording, first: float) -> Iterator[str]:
    """Of logs, from the first step on, as far as can be told by the stamps in them."""
    for one in recording.said:
        if one.source == "log" and one.t + one.error >= first:
            yield one.text
