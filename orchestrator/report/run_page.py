"""A run as a page of Markdown: a table of all that it has observed, and of each scenario what that was and
the ladder of its connection. Pure.

Two runs give pages that differ in what was measured only: scenarios stand in the order of the file, ports
that a kernel has chosen are numbered, and logs are without times.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import msgspec

from orchestrator.model.events import EndHistory, History, Timeline
from orchestrator.model.recording import Recording
from orchestrator.model.runs import Elapsed, RunRecord, ScenarioRecord
from orchestrator.report import ladder_text, log_lines, run_timeline
from orchestrator.report.harmless import harmless
from orchestrator.report.markdown import Anchors, block, code, link, table, text
from orchestrator.report.observed import Heard, Observed, Program, last_state, observed

COLUMNS = 100  # of ladders
FIRST_PORT = 40001  # what stands for the first port that a kernel has chosen
_CHOSEN = re.compile(
    r"(?<=[0-9\]]:)(?:3[3-9][0-9]{3}|32[89][0-9]{2}|327[7-9][0-9]|3276[89]|[45][0-9]{4}|60[0-9]{3})\b"
)
# 32768 to 60999: net.ipv4.ip_local_port_range unless set, ip(7)
MOST_LINES = 12  # of logs
HEADS = (
    "Directive",
    "Scenario",
    "Set",
    "Observed",
    "Covers",
    "Closed first",
    "Client saw",
    "`$status`",
    "`$bytes_sent`",
    "Error log",
    "Left",
)
LEGEND = """\
*Set*: as it stands in the configuration. *Observed*: from wire to wire, from the step that is named until the
end of the connection (or what else the scenario waits for) was seen. *Covers*: `whole`, bytes do not renew
the limit; `gap`, it is between two operations; `idle`, it is on rest; as the scenario shows, or the variant
that is linked. *Closed first*: whose FIN or RST was first. *Client saw*: status, bytes, and how it ended
(`EOF`, an errno; neither: it was kept). `$status`, `$bytes_sent`, *Error log*: of all requests of the
scenario; `?`: it has not read logs. *Left*: sockets at the last expectation; an orphan is one that no process
has."""
NOTHING = "–"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A scenario on the page."""

    record: ScenarioRecord
    seen: Observed
    anchor: str
    title: str  # of its section: its name, with the row where there are several


def markdown(record: RunRecord, found: Mapping[str, Recording | str]) -> str:
    """The page."""
    entries = _entries(record, found)
    lines = [*_head(record, entries), *_overview(entries), *_differences(entries)]
    family = None
    for one in entries:
        if (its := _family(one.record, record)) != family:
            family = its
            lines += [f"## {text(family)}", ""]
        lines += _numbered(_section(one, entries))
    return "\n".join(lines).rstrip("\n") + "\n"


def _entries(record: RunRecord, found: Mapping[str, Recording | str]) -> list[Entry]:
    """Anchors are numbered in the order of the page, which has its own headings first."""
    anchors = Anchors()
    for heading in (record.lab, _ALL, *([_OTHERWISE] if any(map(_differs, record.scenarios)) else [])):
        anchors.of(heading)
    scenarios = _performances(record)
    names = [one.name for one in scenarios]
    entries, family = [], None
    for one in scenarios:
        if (its := _family(one, record)) != family:
            family = its
            anchors.of(family)
        title = one.name if names.count(one.name) == 1 else one.label
        seen = observed(one, found.get(one.recording) if one.recording else None)
        entries.append(Entry(record=one, seen=seen, anchor=anchors.of(title), title=title))
    return entries


def _performances(record: RunRecord) -> list[ScenarioRecord]:
    """Of what was performed several times the first that has passed, else the first."""
    found: dict[str, ScenarioRecord] = {}
    for one in record.scenarios:
        before = found.setdefault(one.label, one)
        if before.verdict != "pass" and one.verdict == "pass":
            found[one.label] = one
    return list(found.values())


def _family(one: ScenarioRecord, record: RunRecord) -> str:
    """What stands in one file."""
    return f"{PurePosixPath(one.file).stem}.yaml" if one.file else f"{record.lab}, in its own file"


# Of the whole run.

_ALL = "All of them"
_OTHERWISE = "Where the documentation says otherwise"


def _head(record: RunRecord, entries: Sequence[Entry]) -> Iterator[str]:
    yield f"# {text(record.lab)}"
    yield ""
    count = len(entries)
    many = f"{count} scenario{'s' * (count != 1)}"
    yield f"Made by `lab report --markdown` from a run of {many}; not to be edited."
    times = len(record.scenarios)
    if times != count:
        passes = sum(one.verdict == "pass" for one in record.scenarios)
        yield f"There were {times} performances, and {passes} passed; of each the first that did is shown."
    passed = sum(one.record.verdict == "pass" for one in entries)
    if passed != count:
        yield f"**{count - passed} of them did not pass**, and what is said of these is no result."
    yield ""
    yield from table(
        ("Where it ran", ""),
        [("engine", text(record.engine)), *((text(k), text(v)) for k, v in record.environment.items())],
    )
    yield ""


def _overview(entries: Sequence[Entry]) -> Iterator[str]:
    yield f"## {_ALL}"
    yield ""
    yield LEGEND
    yield ""
    yield from table(HEADS, (_row(one, entries) for one in entries))
    yield ""


def _differs(one: ScenarioRecord) -> bool:
    return bool(one.about.differs)


def _differences(entries: Sequence[Entry]) -> Iterator[str]:
    found = [one for one in entries if _differs(one.record)]
    if not found:
        return
    yield f"## {_OTHERWISE}"
    yield ""
    for one in found:
        about = one.record.about
        said = about.documented or next(iter(_documented(one.record, entries)), "")
        documented = f"documented: “{text(said)}” " if said else ""
        where = f"{link(one.title, one.anchor)} ({_directives(one.record)})"
        yield f"- {where}: {documented}Observed: {text(about.differs.rstrip('.'))}."
    yield ""


def _documented(record: ScenarioRecord, entries: Sequence[Entry]) -> Iterator[str]:
    """Of the scenario that it varies."""
    for one in entries:
        if one.record.name == record.about.variant_of and one.record.about.documented:
            yield one.record.about.documented


# A row of the table.


def _row(one: Entry, entries: Sequence[Entry]) -> list[str]:
    record, seen = one.record, one.seen
    failed = "" if record.verdict == "pass" else f" **{record.verdict}**"
    title = f": {text(record.title)}" if record.title else ""
    none = NOTHING if seen.followed else "?"
    answered = [each for line in seen.lines if (each := log_lines.answered(line))]
    complaints = dict.fromkeys(filter(None, map(log_lines.complaint, seen.lines)))
    return [
        _directives(record),
        f"{link(one.title, one.anchor)}{title}{failed}",
        _set(one) or NOTHING,
        _times(seen) or NOTHING,
        _covers(one, entries) or NOTHING,
        _closed(seen) or NOTHING,
        _saw(seen) or NOTHING,
        "<br>".join(_counted([each.status for each in answered])) or none,
        "<br>".join(_counted([each.sent for each in answered])) or none,
        "<br>".join(text(each) for each in complaints) or none,
        _left(seen),
    ]


def _directives(record: ScenarioRecord) -> str:
    return ", ".join(map(code, record.about.directive)) or NOTHING


def _set(one: Entry) -> str:
    """As it stands in the configuration; where that is nowhere, what the row gives."""
    found = one.seen.configured
    if not found:
        return ", ".join(text(f"{key} = {value}") for key, value in one.record.row.items())
    if len(one.record.about.directive) == 1:
        return "<br>".join(map(code, *found.values()))
    return "<br>".join(code(f"{name} {value}") for name, values in found.items() for value in values)


def _counted(values: Sequence[str]) -> Iterator[str]:
    """Each, with how often it comes one after the other: `200 ×3`."""
    for value, same in itertools.groupby(values):
        count = len(list(same))
        yield f"{text(value)} ×{count}" if count > 1 else text(value)


def _times(seen: Observed) -> str:
    """Those that differ: two ends of one wait are told once."""
    told: list[Elapsed] = []
    for one in seen.times:
        if not any(one.took.step == each.step and abs(one.took.low - each.low) < ALIKE for each in told):
            told.append(one.took)
    return "<br>".join(f"{_took(each)} after {code(each.step)}" for each in told)


def _took(time: Elapsed) -> str:
    """As exactly as it is known, at least to a tenth of a millisecond."""
    if time.high is None:
        return f"{time.low:.4f} s and more"
    low, high = (max(0.0, each) for each in (time.low, time.high))
    if high - low > LEAST_TOLD:
        return f"{low:.3f} s to {high:.3f} s"
    middle = (low + high) / 2
    return f"{middle:.4f} s" if middle >= IN_MS else f"{middle * 1000:.2f} ms"


LEAST_TOLD = 0.001  # seconds of doubt that are said
ALIKE = 0.01  # seconds, by which two times after one step differ at least
IN_MS = 0.1  # seconds, below which a time is given in milliseconds


def _covers(one: Entry, entries: Sequence[Entry]) -> str:
    """As it shows itself, or else its variants do; only by a scenario that has passed."""
    if one.record.about.covers and one.record.verdict == "pass":
        return one.record.about.covers
    found: dict[str, Entry] = {}
    for other in _variants(one, entries):
        same = other.record.about.directive[:1] == one.record.about.directive[:1]
        if same and other.record.about.covers and other.record.verdict == "pass":
            found.setdefault(other.record.about.covers, other)
    return "<br>".join(f"{covers} ({link(other.title, other.anchor)})" for covers, other in found.items())


def _variants(one: Entry, entries: Sequence[Entry]) -> list[Entry]:
    return [other for other in entries if other.record.about.variant_of == one.record.name]


def _closed(seen: Observed) -> str:
    """Who, and by what."""
    if seen.history is None:
        return ""
    closing = seen.history.closing
    if not closing.known and closing.first is None:
        return f"not known: {text(closing.why)}"
    if closing.first is None:
        return text(closing.by or "nobody")
    return f"{text(_host(_end(seen.history, closing.first)))}, {text(closing.by or closing.why)}"


def _end(history: History, side: str) -> EndHistory | None:
    return history.client if side == "client" else history.server


def _host(end: EndHistory | None) -> str:
    return "?" if end is None else end.host or "outside"


def _saw(seen: Observed) -> str:
    """Who connected first, else the first program."""
    if seen.heard:
        return _heard(seen.heard[0])
    return next((_program(one) for one in seen.programs), "")


def _heard(one: Heard) -> str:
    parts = [*one.statuses, f"{one.size:,} byte{'s' * (one.size != 1)}", *one.ended]
    return text(", ".join(parts))


def _program(one: Program) -> str:
    return f"{code(one.name)}: exit {text(one.exit)}"


def _left(seen: Observed) -> str:
    """What is left of either end, and what was an orphan before."""
    if seen.history is None:
        return NOTHING
    said = []
    for side in ("client", "server"):
        end = _end(seen.history, side)
        states = [f"orphan in {seen.orphans[side]}"] if side in seen.orphans else []
        last = last_state(end)
        states += [last] if last and f"orphan in {last}" not in states else []
        if states:
            said.append(text(f"{_host(end)}: {', then '.join(states)}"))
    return "<br>".join(said) or "nothing"


# A section.


def _section(one: Entry, entries: Sequence[Entry]) -> Iterator[str]:
    record, seen = one.record, one.seen
    yield f"### {text(one.title)}"
    yield ""
    if record.title:
        yield text(f"{record.title.rstrip('.')}.")
        yield ""
    if record.verdict != "pass":
        why = record.problem or record.why
        yield f"**{record.verdict}**{f': {text(why)}' if why else ''}"
        yield ""
    for name, value in _facts(one, entries):
        if value:
            yield f"- {name}: {value}"
    yield from _said(seen)
    yield ""
    if seen.history is not None and seen.timeline is not None:
        yield from block(_ladder(seen.history, seen.timeline))
    else:
        yield f"No ladder: {text(seen.why)}."
    yield ""


def _facts(one: Entry, entries: Sequence[Entry]) -> Iterator[tuple[str, str]]:
    record, seen = one.record, one.seen
    about = record.about
    links = {each.record.name: link(each.title, each.anchor) for each in entries}
    texts = {f"{step.host}.{name}": step.text for step in record.steps for name in _names(step.text)}
    yield "Directive", ", ".join(map(code, about.directive))
    yield "Variant of", links.get(about.variant_of, text(about.variant_of))
    yield "Variants", ", ".join(link(each.title, each.anchor) for each in _variants(one, entries))
    yield "Documented", f"“{text(about.documented)}”" if about.documented else ""
    yield "**Observed otherwise**", text(about.differs)
    yield "Set", _set(one)
    for time in seen.times:
        after = code(texts.get(time.took.step, time.took.step))
        wanted = code(time.took.wanted.partition(" ")[2])
        yield f"Observed of {code(time.subject)}", f"{_took(time.took)} after {after}; expected {wanted}"
    yield "Covers", _covers(one, entries)
    yield "Closed first", _closed(seen)
    for heard in seen.heard:
        yield f"{code(f'{heard.host}.{heard.name}')} received", _heard(heard)
    for program in seen.programs:
        said = program.output.strip().splitlines()
        last = f": {code(said[-1])}" if said else ""
        yield f"{code(program.name)} at {text(program.host)}", f"exit {text(program.exit)}{last}"
    for side in ("client", "server"):
        end = _end(seen.history, side) if seen.history else None
        if end is not None and end.states:
            yield f"States of {text(_host(end))}", code(" -> ".join(end.states))
    yield "Left", _left(seen) if seen.history else ""


def _names(words: str) -> list[str]:
    """What a step calls itself or what it opens."""
    return re.findall(r"\bas:? ([\w.-]+)", words)


def _said(seen: Observed) -> Iterator[str]:
    lines = list(dict.fromkeys(seen.lines))
    if lines:
        yield "- Logged:"
    for line in lines[:MOST_LINES]:
        yield f"  - {code(line)}"
    if len(lines) > MOST_LINES:
        yield f"  - {len(lines) - MOST_LINES} lines more"


def _ladder(history: History, timeline: Timeline) -> Iterator[str]:
    """As text. Logs stand beside it: many have seconds as their times."""
    laid = run_timeline.laid_out(history, timeline, COLUMNS, logs=False)
    return map(harmless, ladder_text.lines(msgspec.structs.replace(laid, began="")))


def _numbered(lines: Iterable[str]) -> Iterator[str]:
    """Ports that a kernel has chosen, by their range, get numbers in the order in which they come."""
    found: dict[str, str] = {}
    for line in lines:
        yield _CHOSEN.sub(lambda port: found.setdefault(port.group(), str(FIRST_PORT + len(found))), line)
