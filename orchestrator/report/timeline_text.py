"""A timeline as lines of text: a line for each connection, then what happened to them in order. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from orchestrator.join.apart import UNMEASURED
from orchestrator.model.events import UNKNOWN, EndHistory, Event, History, Timeline
from orchestrator.model.recording import Loss, MachineClock
from orchestrator.report import ladder_words as words
from orchestrator.report.arrows import UNICODE, Glyphs, plain
from orchestrator.report.harmless import harmless, width
from orchestrator.report.ladder_folds import bundled
from orchestrator.report.layout import PLAIN, Cell, Style, Table, paint
from orchestrator.report.moments import Bundle, Moment, Word
from orchestrator.report.rungs import moments

MOST_CONNECTIONS = 40  # lines, one each
MOST_MOMENTS = 200  # lines
MOST_LOSSES = 8
_TIME = 10
_HEADS = ("#", "CONNECTION", "AT", "LASTED", "CLIENT", "SERVER", "CLOSED", "SENT", "RECEIVED", "AGAIN", "")
_DOUBT = "may be incomplete"


def heading(timeline: Timeline) -> str:
    """One line about the whole."""
    count, events = len(timeline.histories), len(timeline.events)
    connections = f"{count:,} connection{'' if count == 1 else 's'}"
    lasted = words.seconds(timeline.recording.length)
    return f"timeline: {connections}, {events:,} event{'' if events == 1 else 's'} in {lasted}"


def losses(timeline: Timeline) -> Iterator[str]:
    """What was not seen, or is not certain."""
    for one in timeline.losses[:MOST_LOSSES]:
        yield f"lost: {_loss(one)}"
    if len(timeline.losses) > MOST_LOSSES:
        yield f"lost: {len(timeline.losses) - MOST_LOSSES} times more"
    yield from (harmless(f"clock: {one}") for one in timeline.recording.clock[:MOST_LOSSES])
    yield from (harmless(_clock(one)) for one in timeline.recording.clocks[:MOST_LOSSES] if one.error)


def _clock(one: MachineClock) -> str:
    """What of the order of its events and another machine's is certain."""
    why = f" ({one.why})" if one.why else ""
    if one.error >= UNMEASURED:
        return f"clock: that of {one.machine} is not known{why}: what is there is in no order with others"
    return f"clock: that of {one.machine} is known to ±{words.seconds(one.error)}{why}"


def _loss(one: Loss) -> str:
    count = "an unknown number of" if one.count is None else f"{one.count:,}"
    whose = f" of {one.host}" if one.host else ""
    kind = f"{one.source} records" if one.source in ("tracepoint", "snapshot", "log") else f"{one.source}s"
    when = f"between {one.began:.3f} and {one.ended:.3f} s"
    return harmless(f"{count} {kind}{whose} ({one.stage}), {when}; what depends on them is unknown")


def connections(
    histories: Sequence[History], style: Style = PLAIN, glyphs: Glyphs = UNICODE
) -> Iterator[str]:
    """A line each, the first MOST_CONNECTIONS."""
    if not histories:
        return
    rows = [_row(number, one) for number, one in enumerate(histories[:MOST_CONNECTIONS], 1)]
    table = Table(_HEADS, [[Cell(plain(cell.text, glyphs), cell.color) for cell in row] for row in rows])
    yield from table.render(style).splitlines()
    if len(histories) > MOST_CONNECTIONS:
        yield plain(f"… {len(histories) - MOST_CONNECTIONS:,} connections more", glyphs)


def _row(number: int, one: History) -> list[Cell]:
    client, server = one.client, one.server
    who = f"{words.name(client)}:{one.client_address[1]} -> {words.name(server)}:{one.server_address[1]}"
    again = [end.retransmits for end in (client, server) if end is not None and end.host is not None]
    told: list[int] = [count for count in again if count is not None]
    return [
        Cell(f"#{number}", "dim"),
        Cell(who, "bold"),
        Cell(f"{one.began:.3f} s"),
        Cell(words.seconds(one.ended - one.began)),
        _last(client),
        _last(server),
        Cell(_closed(one)),
        Cell(_bytes(one, "client")),
        Cell(_bytes(one, "server")),
        Cell("?" if None in again else str(total) if (total := sum(told)) else ""),
        Cell(_DOUBT if one.doubts else "", "yellow"),
    ]


def _last(end: EndHistory | None) -> Cell:
    """The state that it was in last."""
    if end is None or not end.spans:
        return Cell("-", "dim")
    state = end.spans[-1].state
    return Cell("?", "yellow") if state == UNKNOWN else Cell(state)


def _closed(one: History) -> str:
    closing = one.closing
    if not closing.known:
        return "?"
    return " ".join(part for part in (closing.first, closing.by) if part)


def _bytes(one: History, sender: str) -> str:
    """How many bytes of payload were seen to leave, or else to come, without those sent again."""
    total = sum(each.segment.length for each in one.crossings if each.sender == sender and not each.again)
    return f"{total:,} B" if total else ""


def happened(timeline: Timeline, style: Style = PLAIN, glyphs: Glyphs = UNICODE) -> Iterator[str]:
    """What happened, in order, each with the number of its connection: the first MOST_MOMENTS."""
    shown = timeline.histories[:MOST_MOMENTS]  # each has a moment at least, and they are in order
    streams = [_moments(number, one) for number, one in enumerate(shown, 1)]
    streams.append(_beside(timeline.events))
    merged = list(heapq.merge(*streams, key=lambda one: one[0].t))
    if not merged:
        return
    clock = words.Clock(0.0, timeline.recording.length)
    yield paint(clock.unit.rjust(_TIME), "dim", style)
    for moment, number, history in merged[:MOST_MOMENTS]:
        text = plain(_line(moment, history), glyphs)
        who = paint(f"#{number}".ljust(4) if number else "    ", "dim", style)
        room = None if style.width is None else max(40, style.width - _TIME - 6)
        if room is not None and width(text) > room:
            text = plain(words.cut(text, room), glyphs)
        yield f"{clock.of(moment.t).rjust(_TIME)} {who} {text}".rstrip()
    if len(merged) > MOST_MOMENTS or len(shown) < len(timeline.histories):
        yield plain("… and so on", glyphs)


Placed = tuple[Moment, int, History | None]


def _moments(number: int, history: History) -> list[Placed]:
    return [(one, number, history) for one in bundled(moments(history))]


def _beside(events: Sequence[Event]) -> list[Placed]:
    """What is of no connection: calls, notes, impairments, logs, ends of programs."""
    found: list[Placed] = []
    for event in events:
        if event.connection is not None or event.source in ("packet", "snapshot", "tracepoint"):
            continue
        said = f"{event.host} {words.called(event)}" if event.source == "call" else words.said(event)
        found.append((Moment(event.t, "across", across=harmless(said)), 0, None))
    return found


def _line(moment: Moment, history: History | None) -> str:
    """`alice SYN_SENT  SYN seq 0 -> web SYN_RECV`."""
    if moment.across or history is None:
        return moment.across
    client, server = (harmless(words.name(end)) for end in (history.client, history.server))
    left, right = _beside_line(moment.left), _beside_line(moment.right)
    if moment.flight is None:
        return "  ".join(f"{who} {said}" for who, said in ((client, left), (server, right)) if said)
    sender, receiver = (client, left), (server, right)
    if moment.flight.sender == "server":
        sender, receiver = receiver, sender
    label = words.arrow(moment.flight, history)
    lost = not isinstance(moment.flight, Bundle) and moment.flight.crossing.missing
    start = " ".join(part for part in sender if part)
    end = "lost" if lost else " ".join(part for part in receiver if part)
    arrow = {"whole": "→", "leaves": "→ …", "comes": "… →"}[moment.part]
    return f"{start}  {label} {arrow} {end}"


def _beside_line(found: Sequence[Word]) -> str:
    return ", ".join(one.text for one in found)
