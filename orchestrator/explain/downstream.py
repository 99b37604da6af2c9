"""What may have ended a connection that a client made to nginx's HTTP servers, and what a response waited
for.

Where a limit counts from was observed (docs/nginx-explained.md), and is in the sources: ngx_http_request.c,
ngx_http_request_body.c, ngx_http_write_filter_module.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.explain.asked import Asked, asked
from orchestrator.explain.configuration import Location, Value, chosen, once
from orchestrator.explain.ideas import ANY, FIN, LAZY, RST, SILENT, Idea, Sign, Since, other, timer
from orchestrator.explain.judging import Moment
from orchestrator.explain.logs import AccessLine
from orchestrator.explain.scene import Down, Scene, accesses
from orchestrator.explain.traffic import Burst, Traffic

AT_ONCE = 0.04  # seconds after a response in which what it closes is closed
DEFERRED = 3.0  # seconds: until a SYN+ACK was sent again, which the kernel then takes as an answer
CLOSED_444 = "its configuration says to close without an answer (444)"
CONTINUE = 25  # bytes of "HTTP/1.1 100 Continue"
_TIMED_OUT = "client timed out"
_HEADER = ("waiting for request", "reading client request line", "reading client request headers",
           "SSL handshaking", "reading PROXY protocol", "HTTP/2")  # fmt: skip


class Told:
    """What is known of the requests on a connection, by all sources."""

    def __init__(self, down: Down, scene: Scene, until: float) -> None:
        self.asked: Asked = asked(down.history, until)
        self.accesses: list[AccessLine] = accesses(down, scene)
        path = self.asked.path
        if path is None and self.accesses:
            path = self.accesses[-1].path
        self.path = path
        status = self.accesses[-1].status if self.accesses else ""
        self.body = self.asked.body is True or (self.asked.body is None and status.startswith(("4", "5")))
        self.places = places(down, path)


def places(down: Down, path: str | None) -> list[Location]:
    """Where the request may have been dealt with; without a path, anywhere."""
    if path is None:
        return [place for server in down.servers for place in server.locations]
    return [place for server in down.servers for place in chosen(server, path)]


def values(places: Iterable[Location], name: str) -> Iterator[tuple[Value, str]]:
    """Each that is in force in one of them, once."""
    return once((place.value(name), place.said) for place in places)


def ideas(down: Down, moment: Moment, told: Told, *, passed_on: bool) -> Iterator[Idea]:
    """For the end. `passed_on`: a request was with an upstream until then."""
    traffic = down.traffic
    manners = manners_of(told.places)
    waiting, answered = traffic.waiting, traffic.answered
    if not passed_on:
        yield from _header(down, traffic, told, manners)
    if waiting is not None:
        yield from _body(waiting, told, manners, down, passed_on=passed_on)
    if answered is not None:
        continued = answered.length == CONTINUE
        if continued or down.secure:
            yield from _body(_before(traffic, answered), told, manners, down, passed_on=passed_on)
        if not passed_on and not continued:
            yield from _idle(down, answered, told, moment)
    if not passed_on:
        yield from lingering(traffic, told)
    yield from _without_answer(told, waiting)
    yield from sending(traffic, told, manners)


def manners_of(places: Iterable[Location]) -> frozenset[str]:
    """How a request that was begun is ended by a timer: reset_timedout_connection makes it an RST."""
    on = {place.value("reset_timedout_connection").text == "on" for place in places}
    return RST if on == {True} else RST | FIN if True in on else FIN


def _before(traffic: Traffic, burst: Burst) -> Burst:
    """What the client sent last."""
    far = [one for one in traffic.bursts if one.who == "far"]
    return far[-1] if far else burst


def _header(down: Down, traffic: Traffic, told: Told, manners: frozenset[str]) -> Iterator[Idea]:
    """Whole: from accept, of a later request from its first byte. The first bytes of TLS are no request."""
    first = traffic.exchanges == 0
    since: list[Since] = []
    if traffic.accepted is not None and (first or down.secure):
        since.append(_accepted(down, traffic.accepted))
    if traffic.waiting is not None and not first:
        since.append(Since(t=traffic.waiting.began, words="since the first byte of the request"))
    if down.secure and traffic.bursts:
        since += [Since(t=one.ended, words="since the handshake's last bytes") for one in traffic.bursts[:4]]
    if not since:
        return
    against: tuple[str, ...] = ()
    because: tuple[str, ...] = ()
    if told.asked.headers and traffic.waiting is not None:
        against = ("the client's own steps have sent the headers whole",)
    elif told.asked.headers is False and traffic.waiting is not None:
        because = ("the client's own steps show that the headers were not finished",)
    begun = bool(traffic.bursts) and not (down.secure and traffic.exchanges < 2)
    sign = Sign(level="info", words=_TIMED_OUT, actions=_HEADER)
    for server in down.servers:
        yield timer(
            server.value("client_header_timeout"),
            f"server {server.where}",
            tuple(since),
            manners if begun else FIN | (manners if traffic.bursts else FIN),
            sign,
            against=against,
            because=because,
        )


def _accepted(down: Down, at: float) -> Since:
    """With TCP_DEFER_ACCEPT the kernel keeps a silent connection to itself for a while (tcp(7))."""
    options = {option for one in down.servers for listen in one.listens for option in listen.options}
    if "deferred" in options:
        return Since(t=at, until=at + DEFERRED, words="since it was accepted, which the kernel deferred")
    return Since(t=at, words="since it was accepted")


def _body(
    burst: Burst, told: Told, manners: frozenset[str], down: Down, *, passed_on: bool
) -> Iterator[Idea]:
    """A gap: from the last read; a renewal that would move it by less than LAZY is left out. It is not in the
    error log at any level (ngx_http_read_client_request_body_handler)."""
    against: tuple[str, ...] = ()
    if told.asked.headers is False:
        against = ("the client's own steps show that the headers were not finished",)
    if passed_on and not _unbuffered(told.places):
        against = ("the request had been passed on, whole",)
    last = told.accesses[-1] if told.accesses else None
    because = (f"logged with 408: {last.text}",) if last is not None and last.status == "408" else ()
    for value, scope in values(told.places, "client_body_timeout"):
        yield timer(value, scope, (_gap(burst),), manners, against=against, because=because)


def _unbuffered(places: Iterable[Location]) -> bool:
    return any(
        place.value(f"{kind}_request_buffering").text == "off"
        for place in places
        for kind in ("proxy", "fastcgi", "uwsgi", "scgi")
    )


def _gap(burst: Burst) -> Since:
    renewed = burst.pieces[0].t
    for one in burst.pieces[1:]:
        if one.t - renewed >= LAZY:
            renewed = one.t
    return Since(t=renewed, until=burst.ended, words="since the last bytes that came")


def _without_answer(told: Told, waiting: Burst | None) -> Iterator[Idea]:
    """`return 444`: nginx closes, and says nothing."""
    if waiting is not None and told.accesses and told.accesses[-1].status == "444":
        yield other(CLOSED_444, f"logged: {told.accesses[-1].text}")


def _idle(down: Down, answered: Burst, told: Told, moment: Moment) -> Iterator[Idea]:
    """Behind a response."""
    since: tuple[Since, ...] = (Since(t=answered.ended, words="since the end of the response"),)
    if down.secure and down.traffic.exchanges < 2:
        since = (*since, Since(t=answered.began, words="since the end of the handshake"))
    at_once = moment.t - answered.ended <= AT_ONCE
    for value, scope in values(told.places, "keepalive_timeout"):
        if value.seconds:
            yield timer(value, scope, since, FIN)
        elif at_once:
            yield _limit(value, scope, "nothing is kept: it is 0")
    if at_once:
        yield from _limits(down, told, moment)


def _limit(value: Value, scope: str, why: str) -> Idea:
    return Idea(name=value.name, kind="limit", value=value, scope=scope, manners=ANY, because=(why,))


def _limits(down: Down, told: Told, moment: Moment) -> Iterator[Idea]:
    """Closed with the response: what nginx counts, or what the request or the response says."""
    traffic = down.traffic
    for value, scope in values(told.places, "keepalive_requests"):
        if value.text.isdigit() and traffic.exchanges >= int(value.text):
            yield _limit(value, scope, f"it was answered {traffic.exchanges} times, as often as is allowed")
    for value, scope in values(told.places, "keepalive_time"):
        if value.seconds is not None and traffic.accepted is not None:
            age = moment.t - traffic.accepted
            if age >= value.seconds - 0.01:
                yield _limit(value, scope, f"the connection was {age:.3f} s old when it was answered")
    status = told.accesses[-1].status if told.accesses else ""
    if told.asked.closing:
        yield _word("the request said Connection: close", "the client's own steps say so")
    elif status in ("400", "408", "413", "414", "494", "495", "496", "497"):
        yield _word(f"the response was an error that closes ({status})", f"logged: {told.accesses[-1].text}")


def _word(name: str, because: str) -> Idea:
    return Idea(name=name, kind="other", manners=ANY, because=(because,))


def sending(traffic: Traffic, told: Told, manners: frozenset[str]) -> Iterator[Idea]:
    """Between two writable events. Its FIN waits behind the bytes that nobody takes."""
    if traffic.stuck is None or not any(one.who == "near" for one in traffic.bursts):
        return
    since = (stuck(traffic.stuck, "since the client has taken nothing more"),)
    sign = Sign(level="info", words=_TIMED_OUT, actions=("sending", "writing"))
    for value, scope in values(told.places, "send_timeout"):
        yield timer(value, scope, since, manners | SILENT, sign)


def lingering(traffic: Traffic, told: Told) -> Iterator[Idea]:
    """Behind a response that ends a connection, where more may come of its request: nginx reads and throws
    away, so that no RST overtakes the response, and closes then."""
    answers = [one for one in traffic.bursts if one.who == "near"]
    if not answers:
        return
    answered, last = answers[-1].ended, traffic.bursts[-1].ended
    places = [place for place in told.places if place.value("lingering_close").text != "off"]
    always = any(place.value("lingering_close").text == "always" for place in places)
    against: tuple[str, ...] = ()
    if not always and not told.body:
        against = ("nothing says that a body was on its way",)
    for value, scope in values(places, "lingering_timeout"):
        since = Since(t=last, words="since the last bytes that it threw away")
        yield timer(value, scope, (since,), FIN | RST, against=against)
    for value, scope in values(places, "lingering_time"):
        since = Since(
            t=answered - 1, until=answered, words="since the response, in whole seconds of the clock"
        )
        yield timer(value, scope, (since,), FIN | RST, late=0.5, against=against)


def stuck(since: tuple[float, float], words: str) -> Since:
    """From when nothing more was taken of what was sent."""
    return Since(t=since[0], until=since[1], words=words)
