"""What is said below a ladder: why a state is not known, where sources disagree, who closed, what may be
missing. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from orchestrator.join.ways import translated
from orchestrator.model.events import UNKNOWN, Crossing, EndHistory, History, Side, Span
from orchestrator.model.recording import ACK
from orchestrator.model.rows import Via, endpoint
from orchestrator.report.harmless import harmless
from orchestrator.report.ladder_words import name, seconds

MOST = 12  # remarks on states
_MARKS = {
    "again": "again: retransmitted; its bytes, its SYN or its FIN had been sent before",
    "lost": "an arrow that ends at a cross was sent, and never came where somebody watched",
    "unseen": "an arrow with a ? was seen at one end only: nobody watched the other,"
    " what was seen there is lost, or it was still on its way",
    "behind": "arrows come to an interface; what an impairment (cut, link) holds or drops behind it,"
    " comes to its socket later or not at all",
    "slanted": "an arrow in two pieces is one segment, when it left and when it came",
}


class Notes:
    """Remarks on the states of one history, numbered in the order in which they are met."""

    def __init__(self, history: History, via: Sequence[Via] = ()) -> None:
        self._history, self._via = history, via
        self._remarks: list[str] = []

    def mark(self, side: Side, end: EndHistory | None, span: Span) -> str:
        """`[1]`, where there is something to be said of a state."""
        what = _remark(span)
        if not what:
            return ""
        said = f"{name(end)}: {what}" if end and end.host else f"{side}: {what}"
        if said not in self._remarks:
            self._remarks.append(said)
        return f"[{self._remarks.index(said) + 1}]"

    def lines(self, kinds: Collection[str]) -> Iterator[str]:
        """All that is to be said; `kinds` of arrows that need a word."""
        history = self._history
        for number, said in enumerate(self._remarks[:MOST], 1):
            yield harmless(f"[{number}] {said}")
        if len(self._remarks) > MOST:
            yield f"… {len(self._remarks) - MOST} remarks more"
        yield from (f"closed: {line}" for line in _closing(history))
        yield from _again(history)
        yield from _translated(history, self._via)
        if any(counted_from_nothing(one, history) for one in history.crossings):
            yield "numbers: as they stand in the header where the SYN was not seen"
        yield from (harmless(f"may be missing: {one}") for one in history.doubts[:MOST])
        yield from (text for kind, text in _MARKS.items() if kind in kinds)


def counted_from_nothing(one: Crossing, history: History) -> bool:
    """Whether a number of a segment stands as it is, since where its direction began was not seen."""
    own, other = history.isn_client, history.isn_server
    if one.sender == "server":
        own, other = other, own
    return own is None or (other is None and bool(one.segment.flags & ACK))


def _remark(span: Span) -> str:
    if span.state == UNKNOWN:
        return f"not known: {span.why or 'nothing that was seen tells'}"
    others = " and ".join(f"{one.source} says {one.state}" for one in span.otherwise)
    if others:
        return f"{span.source} says {span.state}, {others}" + (f" ({span.why})" if span.why else "")
    return span.why


def _closing(history: History) -> Iterator[str]:
    """Who closed first and by what."""
    closing = history.closing
    if not closing.known:
        yield harmless(f"not known{f': {closing.why}' if closing.why else ''}")
    elif closing.first is not None and closing.by == "timeout":
        end = history.client if closing.first == "client" else history.server
        yield harmless(f"by timeout of {name(end)}")
    elif closing.first is not None:
        end = history.client if closing.first == "client" else history.server
        first = f"{name(end)} first" if end and end.host else f"the {closing.first} first"
        by = f", by {closing.by}" if closing.by else ""
        yield harmless(f"{first}{by}{f' ({closing.why})' if closing.why else ''}")
    elif closing.by is not None:
        yield harmless(f"by {closing.by}{f' ({closing.why})' if closing.why else ''}")


def _again(history: History) -> Iterator[str]:
    for side, end in (("client", history.client), ("server", history.server)):
        if end is not None and end.host is not None and end.retransmits is None:
            yield harmless(f"retransmits of {name(end) or side}: not known")


def _translated(history: History, via: Sequence[Via]) -> Iterator[str]:
    """Who gave it other addresses on the way, and which."""
    one = translated(history)
    if via:
        yield from (harmless(f"via {each.host} {each.client} -> {each.server}") for each in via)
    elif one is not None and one.sent is not None and one.received is not None:
        left, came = one.sent, one.received
        yield harmless(
            f"translated on the way: {endpoint(*left.source)} -> {endpoint(*left.target)} is "
            f"{endpoint(*came.source)} -> {endpoint(*came.target)} at {name(history.server)}"
        )


def lasted(history: History) -> str:
    """How long it was there."""
    return seconds(history.ended - history.began)
