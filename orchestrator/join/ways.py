"""Which routers have translated a connection on its way, by the packets that passed them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.model.events import Crossing, History
from orchestrator.model.recording import Segment
from orchestrator.model.rows import Translation, Via, endpoint

_ON_THE_WAY = 2.0  # seconds that a segment is looked for at routers


def via(
    history: History, segments: Iterable[Segment], translations: Sequence[Translation]
) -> tuple[Via, ...]:
    """Each router that gave it other addresses, with those, from the client to the server. Where no router's
    packets were seen, what their conntrack said."""
    one = translated(history)
    if one is None or one.sent is None or one.received is None:
        return ()
    sent, came = one.sent, one.received
    ends = {sent.host, came.host}
    passed = [
        each
        for each in segments
        if each.outgoing
        and each.host not in ends
        and (each.seq, each.flags, each.length) == (sent.seq, sent.flags, sent.length)
        and sent.t - _ON_THE_WAY <= each.t <= came.t + _ON_THE_WAY
    ]
    found, last = [], (sent.source, sent.target)
    for each in sorted(passed, key=lambda each: each.t):
        if (each.source, each.target) != last:
            last = each.source, each.target
            found.append(Via(host=each.host, client=endpoint(*each.source), server=endpoint(*each.target)))
    if last == (came.source, came.target):
        return tuple(found)
    return tuple(
        Via(host=each.host, client=endpoint(*each.new_client), server=endpoint(*each.new_server))
        for each in translations
        if (each.new_client, each.new_server) == (came.source, came.target)
    )[:1]


def translated(history: History) -> Crossing | None:
    """The first segment of the client that came with other addresses than it left with."""
    for one in history.crossings:
        if one.sender == "client" and one.sent is not None and one.received is not None:
            sent, came = one.sent, one.received
            return one if (sent.source, sent.target) != (came.source, came.target) else None
    return None
