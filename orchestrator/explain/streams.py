"""What may have ended a connection of nginx's stream servers, on either side: ngx_stream_proxy_module.c,
ngx_stream_core_module.c, ngx_stream_ssl_module.c."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from orchestrator.explain.configuration import Server, Value, once
from orchestrator.explain.ideas import ANY, FIN, LAZY, RST, SILENT, Idea, Sign, Since, other, timer
from orchestrator.explain.judging import Moment
from orchestrator.explain.scene import Down, Up
from orchestrator.explain.traffic import Traffic

AT_ONCE = 0.04
UPSTREAM_CLOSED = "its upstream closed"
CLIENT_CLOSED = "its client closed"


def ideas(one: Down | Up, moment: Moment, beside: Sequence[Down | Up]) -> Iterator[Idea]:
    """`beside`: the other side of the same session."""
    servers = servers_of(one)
    yield from _proxying(one, beside, servers)
    yield from _connecting(one, beside, servers)
    if isinstance(one, Down):
        yield from _beginning(one, servers)
    for other_side in beside:
        far = other_side.traffic.far_end
        if far is not None and -0.005 <= moment.t - far.t <= AT_ONCE:
            name = UPSTREAM_CLOSED if isinstance(one, Down) else CLIENT_CLOSED
            yield other(name, f"its {far.by} came at {far.t:.3f} s")


def servers_of(one: Down | Up) -> list[Server]:
    """Where its directives are."""
    if isinstance(one, Down):
        return list(one.servers)
    found = {id(server): server for server, _, _ in one.ways if server.family == "stream"}
    return list(found.values())


def _values(servers: Iterable[Server], name: str) -> Iterator[tuple[Value, str]]:
    return once((server.value(name), f"server {server.where}") for server in servers)


def _proxying(one: Down | Up, beside: Sequence[Down | Up], servers: list[Server]) -> Iterator[Idea]:
    """What goes either way begins it anew."""
    if isinstance(one, Down) and not beside:
        return
    sides = [one.traffic, *(each.traffic for each in beside)]
    moments = sorted(t for traffic in sides for t in _moments(traffic))
    if not moments:
        return
    renewed = moments[0]
    for t in moments[1:]:
        if t - renewed >= LAZY:
            renewed = t
    since = (Since(t=renewed, until=moments[-1], words="since bytes went either way"),)
    sign = Sign(level="info", words="timed out", actions=("proxying connection", "proxying and"))
    for value, scope in _values(servers, "proxy_timeout"):
        yield timer(value, scope, since, FIN | RST | SILENT, sign)


def _moments(traffic: Traffic) -> Iterator[float]:
    if traffic.accepted is not None:
        yield traffic.accepted
    for burst in traffic.bursts:
        yield from (piece.t for piece in burst.pieces)


def _connecting(one: Down | Up, beside: Sequence[Down | Up], servers: list[Server]) -> Iterator[Idea]:
    tries = [one] if isinstance(one, Up) else [each for each in beside if isinstance(each, Up)]
    since = tuple(
        Since(t=each.traffic.opened, words="since the SYN to the upstream")
        for each in tries
        if each.traffic.accepted is None and each.traffic.opened is not None
    )
    if since:
        sign = Sign(level="error", words="upstream timed out", actions=("connecting to upstream",))
        for value, scope in _values(servers, "proxy_connect_timeout"):
            yield timer(value, scope, since, ANY, sign)


def _beginning(down: Down, servers: list[Server]) -> Iterator[Idea]:
    """Before anything is passed on."""
    if down.traffic.accepted is None:
        return
    since = (Since(t=down.traffic.accepted, words="since it was accepted"),)
    options = {option for server in servers for listen in server.listens for option in listen.options}
    if any(server.value("ssl_preread").text == "on" for server in servers):
        for value, scope in _values(servers, "preread_timeout"):
            yield timer(value, scope, since, FIN | RST)
    if "ssl" in options:
        for value, scope in _values(servers, "ssl_handshake_timeout"):
            yield timer(value, scope, since, FIN | RST)
    if "proxy_protocol" in options:
        for value, scope in _values(servers, "proxy_protocol_timeout"):
            yield timer(value, scope, since, FIN | RST)
