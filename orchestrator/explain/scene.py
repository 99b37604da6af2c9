"""A timeline seen with the configurations of the nginxes in it: which connections are theirs, from which
side, and which of them go together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from orchestrator.explain import configuration, parsing
from orchestrator.explain import logs as logging
from orchestrator.explain.configuration import Configuration, Location, Pass, Server
from orchestrator.explain.judging import Words
from orchestrator.explain.logs import SLACK, AccessLine, ErrorLine, Logs
from orchestrator.explain.traffic import Traffic, traffic
from orchestrator.model.events import History, Timeline
from orchestrator.model.nginx import NginxSeen

PASSED_ON = 0.08  # seconds in which a request that came in goes on to an upstream


class Nginx(msgspec.Struct, frozen=True, kw_only=True):
    """One, with what it was told and what it has said."""

    host: str
    configuration: Configuration
    logs: Logs


class Down(msgspec.Struct, frozen=True, kw_only=True):
    """A connection that a client made to an nginx."""

    history: History
    nginx: Nginx
    servers: tuple[Server, ...]
    traffic: Traffic

    @property
    def stream(self) -> bool:
        """Whether it is passed on as bytes."""
        return self.servers[0].family == "stream"

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken on it, as far as the configuration says."""
        return any(one.secure for one in self.servers)


class Up(msgspec.Struct, frozen=True, kw_only=True):
    """A connection that an nginx made to an upstream. `ways`: by which it may have come to that."""

    history: History
    nginx: Nginx
    ways: tuple[tuple[Server, Location, Pass], ...]
    traffic: Traffic


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """All of them."""

    timeline: Timeline
    nginxes: tuple[Nginx, ...]
    downs: tuple[Down, ...]
    ups: tuple[Up, ...]

    @property
    def theirs(self) -> tuple[Down | Up, ...]:
        """Every connection of an nginx."""
        return (*self.downs, *self.ups)

    def others(self, down: Down) -> list[Down]:
        """Other clients' connections to the same nginx; not what was left of those before."""
        return [
            one for one in self.downs if one is not down and one.nginx is down.nginx and one.history.crossings
        ]

    def beside(self, down: Down, up: Up) -> bool:
        """Whether a request that came in on the one may go on by the other."""
        return _beside(down, up)

    def ups_of(self, down: Down) -> list[Up]:
        """Those that something which came in on it has gone on by."""
        pieces = [one.t for burst in down.traffic.bursts if burst.who == "far" for one in burst.pieces]
        if down.stream and down.traffic.accepted is not None:
            pieces.append(down.traffic.accepted)
        return [one for one in self.ups if _beside(down, one) and _passed(pieces, one.traffic)]

    def downs_of(self, up: Up) -> list[Down]:
        """Those that it may have been made for."""
        return [one for one in self.downs if any(each is up for each in self.ups_of(one))]


def _beside(down: Down, up: Up) -> bool:
    if down.nginx is not up.nginx or up.history.ended < down.history.began:
        return False
    return bool({id(server) for server, _, _ in up.ways} & {id(one) for one in down.servers})


def _passed(pieces: list[float], traffic: Traffic) -> bool:
    begun = [traffic.opened] if traffic.opened is not None else []
    begun += [one.began for one in traffic.bursts if one.who == "near"]
    return any(0 <= one - t <= PASSED_ON for one in begun for t in pieces)


def scene(timeline: Timeline) -> Scene:
    """Raises UsageError without crossplane. A configuration that cannot be read is passed over, and known of
    by `problems`."""
    recording = timeline.recording
    plan = recording.plan
    resolved = dict(plan.names) if plan is not None else {}
    nginxes = tuple(_nginx(one, recording.began, resolved) for one in recording.nginxes)
    downs: list[Down] = []
    ups: list[Up] = []
    for history in timeline.histories:
        downs += _downs(history, nginxes, recording.began)
        ups += _ups(history, nginxes, recording.began)
    return Scene(timeline=timeline, nginxes=nginxes, downs=tuple(downs), ups=tuple(ups))


def _nginx(seen: NginxSeen, began: float, resolved: Mapping[str, tuple[str, ...]]) -> Nginx:
    parsed = parsing.parse(seen)
    read = configuration.read(seen, parsed, resolved)
    return Nginx(host=seen.host, configuration=read, logs=logging.read(seen, parsed.statements, began))


def _of_host(host: str | None, nginxes: Iterable[Nginx], at: float) -> list[Nginx]:
    """Those of a host; of several that were there one after the other, the one of this time."""
    found = [one for one in nginxes if one.host == host]
    before = [one for one in found if one.configuration.seen.at <= at]
    return before[-1:] or found[:1]


def _downs(history: History, nginxes: Iterable[Nginx], began: float) -> Iterator[Down]:
    end = history.server
    if end is None or end.host is None:
        return
    for nginx in _of_host(end.host, nginxes, began + history.ended):
        servers = nginx.configuration.at(end.address, end.port)
        if servers:
            spoken = any(one.secure for one in servers) or _http2(servers)
            yield Down(
                history=history,
                nginx=nginx,
                servers=servers,
                traffic=traffic(history, "server", farewells=spoken),
            )


def _http2(servers: Iterable[Server]) -> bool:
    return any("http2" in listen.options for one in servers for listen in one.listens)


def _ups(history: History, nginxes: Iterable[Nginx], began: float) -> Iterator[Up]:
    client = history.client
    if client is None or client.host is None:
        return
    address, port = history.server_address
    for nginx in _of_host(client.host, nginxes, began + history.ended):
        ways = tuple(
            (server, location, one)
            for server in nginx.configuration.servers
            for location in server.locations
            for one in location.passes
            if any(
                peer[0] in (None, address) and peer[1] in (None, port)
                for peer in nginx.configuration.peers(one)
            )
        )
        if ways:
            secure = any(one.secure for _, _, one in ways)
            yield Up(
                history=history,
                nginx=nginx,
                ways=ways,
                traffic=traffic(history, "client", farewells=secure),
            )


# What the logs say of a connection.


def number_of(down: Down) -> int | None:
    """nginx's own number of it, where a log gives it beside the client's port."""
    port = str(down.history.client_address[1])
    for one in down.nginx.logs.accesses:
        fields = one.fields
        if fields.get("remote_port") == port and fields.get("connection", "").isdigit() and _at(down, one.t):
            return int(fields["connection"])
    return None


def _at(down: Down, t: float, error: float = 0.0) -> bool:
    return down.history.began - error - SLACK <= t <= down.history.ended + error + SLACK


def client_addresses(down: Down, scene: Scene) -> set[str]:
    """As nginx knows the client, also behind a router that translates."""
    found = {down.history.client_address[0]}
    for one in scene.timeline.recording.translations:
        if one.client == down.history.client_address:
            found.add(one.new_client[0])
    return found


def accesses(down: Down, scene: Scene) -> list[AccessLine]:
    """Lines of its requests. Without a port in them, those of its client, where it had no other connection
    at that time; without an address, where nobody had."""
    return [
        one
        for one in down.nginx.logs.accesses
        if _at(down, one.t, one.error) and _of_client(one, down, scene)
    ]


def _of_client(line: AccessLine, down: Down, scene: Scene) -> bool:
    fields = line.fields
    if "remote_port" in fields:
        return fields["remote_port"] == str(down.history.client_address[1])
    mine = client_addresses(down, scene)
    others = [one for one in scene.others(down) if _open(one, line.t, line.error + 0.02)]
    if "remote_addr" in fields:
        others = [one for one in others if client_addresses(one, scene) & mine]
        return fields["remote_addr"] in mine and not others
    return not others


def _open(one: Down, t: float, error: float) -> bool:
    """Whether a request of it may have been logged then; not behind its end."""
    ends = [end.t for end in (one.traffic.near_end, one.traffic.far_end) if end is not None]
    return one.history.began - error <= t <= max(ends, default=one.history.ended) + error


def _overlap(one: History, other: History) -> bool:
    return one.began <= other.ended + 1.0 and other.began <= one.ended + 1.0


def words_of(down: Down, scene: Scene, t: float | None, error: float = 0.0) -> Words:
    """Lines of the error log that may be of this connection at that moment; None: at any of it."""
    mine = client_addresses(down, scene)
    number = number_of(down)
    near = [
        one
        for one in down.nginx.logs.errors
        if one.client in mine and (_at(down, one.t, one.error) if t is None else one.about(t, error))
    ]
    if number is not None:
        near = [one for one in near if one.number in (None, number)]
    others = [
        one for one in scene.others(down) if client_addresses(one, scene) & mine and _may_end(one, down, t)
    ]
    sure = number is not None or not others
    return Words(near, sure, down.nginx.logs.errors_whole, lambda level: logged(down.servers, level))


def _may_end(one: Down, down: Down, t: float | None) -> bool:
    """Whether a line of that second may be of this other connection."""
    if t is None:
        return _overlap(one.history, down.history)
    near = one.traffic.near_end
    return one.history.began <= t <= one.history.ended + 1 and (near is None or abs(near.t - t) <= 1.2)


def words_of_up(up: Up, t: float, error: float = 0.0) -> Words:
    """Those that name its upstream. nginx numbers by the client's connection, so two at the same time to
    the same upstream are not told apart."""
    address, port = up.history.server_address
    place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    near = [one for one in up.nginx.logs.errors if _names(one, place) and one.about(t, error)]
    numbers = {one.number for one in near}
    servers = [server for server, _, _ in up.ways]
    return Words(near, len(numbers) <= 1, up.nginx.logs.errors_whole, lambda level: logged(servers, level))


def _names(line: ErrorLine, place: str) -> bool:
    return line.upstream.split("://")[-1].split("/")[0] == place


def logged(servers: Iterable[Server], level: str) -> bool:
    """Whether all of them would have written it, wherever a request has come to."""
    return all(configuration.logs_at(place, level) for one in servers for place in one.locations)
