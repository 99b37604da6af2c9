"""What may have ended a connection that nginx made to an upstream of its HTTP servers: ngx_http_upstream.c,
ngx_http_upstream_keepalive_module.c. The directives of all that pass requests on are named alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.explain.configuration import Location, Pass, Server, Upstream, Value, once
from orchestrator.explain.downstream import AT_ONCE, stuck
from orchestrator.explain.ideas import ANY, FIN, LAZY, RST, SILENT, Idea, Sign, Since, other, timer
from orchestrator.explain.judging import Moment
from orchestrator.explain.scene import Down, Up
from orchestrator.explain.traffic import Piece

_TIMED_OUT = "upstream timed out"
_HEARD = ("reading response header", "reading upstream", "upgraded", "reading response")
CLIENT_GONE = "its client was gone"
DONE = "the response was complete, and the connection is not kept"
Way = tuple[Server, Location, Pass]


def ideas(up: Up, moment: Moment, ways: Iterable[Way], downs: Iterable[Down]) -> Iterator[Idea]:
    """For its end. `ways`: by which requests may have come to it; `downs`: those that it may be for."""
    ways = list(ways)
    yield from _connecting(up, ways)
    if up.traffic.accepted is not None:
        yield from _reading(up, ways)
        yield from _sending(up, ways)
        yield from _kept(up, ways, moment)
    yield from client_gone(moment, downs, ways)


def values(ways: Iterable[Way], suffix: str) -> Iterator[tuple[Value, str]]:
    """Each that is in force by one of these ways, once."""
    return once(
        (location.value(f"{one.kind}_{suffix}"), f"{location.said}, {one.kind}_pass {one.target}")
        for _, location, one in ways
    )


def _connecting(up: Up, ways: list[Way]) -> Iterator[Idea]:
    """Whole, each try; with TLS also the handshake."""
    traffic = up.traffic
    since: list[Since] = []
    sign = Sign(level="error", words=_TIMED_OUT, actions=("connecting to upstream", "SSL handshaking"))
    if traffic.accepted is None and traffic.opened is not None:
        since.append(Since(t=traffic.opened, words="since the SYN"))
    elif traffic.accepted is not None and any(one.secure for _, _, one in ways) and len(traffic.bursts) < 4:
        since.append(Since(t=traffic.accepted, words="since the handshake of TLS began"))
    if since:
        for value, scope in values(ways, "connect_timeout"):
            yield timer(value, scope, tuple(since), SILENT | FIN | RST, sign)


def _reading(up: Up, ways: list[Way]) -> Iterator[Idea]:
    """Whole for the header: from the request; a gap for what follows. In a tunnel what goes either way
    begins it anew."""
    traffic = up.traffic
    since: list[Since] = []
    sent, heard = traffic.last("near"), traffic.last("far")
    if sent is not None:
        since.append(Since(t=sent, words="since the request was sent"))
    if heard is not None and (sent is None or heard > sent):
        renewed = _renewed([piece for one in traffic.bursts for piece in one.pieces if one.who == "far"])
        since.append(Since(t=renewed, until=heard, words="since the last bytes of the response"))
    sign = Sign(level="info" if _tunnels(ways) else "error", words=_TIMED_OUT, actions=_HEARD)
    for value, scope in values(ways, "read_timeout"):
        yield timer(value, scope, tuple(since), FIN | RST, sign)


def _tunnels(ways: Iterable[Way]) -> bool:
    """Whether `Upgrade` is passed on: what ends a tunnel is logged at info, not at error."""
    return any(
        one.name.endswith("_set_header") and one.args[:1] and one.args[0].lower() == "upgrade"
        for _, location, _ in ways
        for block in location.chain
        for one in block
    )


def _renewed(pieces: list[Piece]) -> float:
    renewed = pieces[0].t
    for one in pieces[1:]:
        if one.t - renewed >= LAZY:
            renewed = one.t
    return renewed


def _sending(up: Up, ways: list[Way]) -> Iterator[Idea]:
    if up.traffic.stuck is None:
        return
    since = (stuck(up.traffic.stuck, "since the upstream has taken nothing more"),)
    sign = Sign(level="error", words=_TIMED_OUT, actions=("sending request to upstream", "upgraded"))
    for value, scope in values(ways, "send_timeout"):
        yield timer(value, scope, since, SILENT | FIN | RST, sign)


def _groups(up: Up, ways: Iterable[Way]) -> Iterator[Upstream]:
    met: set[str] = set()
    for _, _, one in ways:
        group = up.nginx.configuration.upstream(one.target)
        if group is not None and group.name not in met:
            met.add(group.name)
            yield group


def _kept(up: Up, ways: list[Way], moment: Moment) -> Iterator[Idea]:
    """Behind a response: a connection that is kept, and when it no longer is."""
    traffic = up.traffic
    heard = traffic.last("far")
    if heard is None or traffic.waiting is None:
        return
    at_once = moment.t - heard <= AT_ONCE
    cached = False
    for group in _groups(up, ways):
        if not group.cached:
            continue
        cached = True
        scope = f"upstream {group.name}"
        value = group.value("keepalive_timeout")
        yield timer(value, scope, tuple(_resting(up, ways, value)), FIN)
        if at_once:
            yield from _limits(up, group, scope, moment)
    if at_once and not cached:
        yield other(DONE, f"its last bytes came at {heard:.3f} s", proven=False)
    elif at_once:
        yield other(DONE, "the response, or the request, said Connection: close", proven=False)


def _resting(up: Up, ways: list[Way], value: Value) -> Iterator[Since]:
    """From the end of the response. The timer of reading is still set then, and is left as it is where it
    would move by less than LAZY."""
    heard, sent = up.traffic.last("far"), up.traffic.last("near")
    assert heard is not None
    yield Since(t=heard, words="since the end of the response")
    for reading, _ in values(ways, "read_timeout"):
        if sent is None or reading.seconds is None or value.seconds is None:
            continue
        for began in (sent, heard):
            due = began + reading.seconds
            if abs(due - heard - value.seconds) < LAZY:
                words = f"since the end of the response, at the moment that {reading.name} was set to"
                yield Since(t=due - value.seconds, words=words)


def _limits(up: Up, group: Upstream, scope: str, moment: Moment) -> Iterator[Idea]:
    count = sum(1 for one in up.traffic.bursts if one.who == "far")
    requests, age = group.value("keepalive_requests"), group.value("keepalive_time")
    if requests.text.isdigit() and count >= int(requests.text):
        because = (f"it has served {count} requests, as many as are allowed",)
        yield Idea(
            name=requests.name, kind="limit", value=requests, scope=scope, manners=ANY, because=because
        )
    if age.seconds is not None and up.traffic.opened is not None:
        old = moment.t - up.traffic.opened
        if old >= age.seconds - 0.01:
            because = (f"it was {old:.3f} s old when the response was complete",)
            yield Idea(name=age.name, kind="limit", value=age, scope=scope, manners=ANY, because=because)


def client_gone(moment: Moment, downs: Iterable[Down], ways: Iterable[Way]) -> Iterator[Idea]:
    """Whose client goes away, goes itself, but where proxy_ignore_client_abort is on."""
    ignored = {value.text for value, _ in values(ways, "ignore_client_abort")} == {"on"}
    for down in downs:
        far = down.traffic.far_end
        if far is not None and not ignored and -0.005 <= moment.t - far.t <= AT_ONCE:
            yield other(CLIENT_GONE, f"the {far.by} of its client came at {far.t:.3f} s")
