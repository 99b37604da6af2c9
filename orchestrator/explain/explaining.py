"""A connection explained: which side ended it, what may have made it, and what its responses waited for.
Pure, but that a configuration is parsed by crossplane."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import msgspec

from orchestrator.explain import downstream, streams, upstream
from orchestrator.explain.downstream import Told
from orchestrator.explain.ideas import ANY, Idea, Sign, Since, timer
from orchestrator.explain.judging import Moment, Words, decision, judged
from orchestrator.explain.others import kept_alive, of_far, others
from orchestrator.explain.scene import Down, Scene, Up, accesses, words_of, words_of_up
from orchestrator.explain.traffic import Burst, Ending, traffic
from orchestrator.join.closing import TOGETHER
from orchestrator.model.events import EndHistory, History
from orchestrator.model.explanations import THE_END, Cause, Decision, Explanation
from orchestrator.model.rows import endpoint

SAME = 0.03  # seconds in which one round of events ends both connections of a request
WAITED = 0.05  # seconds from which on a response is one that was waited for
LOCK_LOOKS = 0.5  # seconds between looks at a lock of the cache (ngx_http_file_cache_lock)
UNSURE = 0.1  # seconds: a moment that is less well known is looked for in the logs
LATE_SIGN = "its socket was gone already when something came for it; when it went was not seen"


def explain(scene: Scene, history: History) -> Explanation:
    """Of one connection."""
    downs = [one for one in scene.downs if one.history is history]
    ups = [one for one in scene.ups if one.history is history]
    if not downs and not ups:
        return _nobodys(history, scene)
    if downs and ups and history.closing.first == "client":
        downs = []
    one: Down | Up = downs[0] if downs else ups[0]
    role = (
        f"a client's connection to {one.nginx.host}"
        if isinstance(one, Down)
        else f"{one.nginx.host}'s connection to an upstream"
    )
    made = of_down(one, scene) if isinstance(one, Down) else [end_of_up(one, scene)]
    return Explanation(
        connection=history.id,
        pair=_pair(history),
        client=endpoint(*history.client_address),
        server=endpoint(*history.server_address),
        nginx=one.nginx.host,
        role=role,
        decisions=tuple(made),
        notes=(*one.nginx.configuration.problems, *history.doubts),
    )


def _pair(one: History) -> str:
    return f"{_host(one.client)} -> {_host(one.server)}:{one.server_address[1]}"


def _host(end: EndHistory | None) -> str:
    return "?" if end is None else end.host or "outside"


def _nobodys(history: History, scene: Scene) -> Explanation:
    why = (
        "neither end is an nginx whose configuration is known"
        if scene.nginxes
        else "no nginx was seen in this lab when it was recorded"
    )
    closing = history.closing
    how = f"the {closing.first} closed it first, by {closing.by}" if closing.first else closing.why
    end = Decision(what=THE_END, at=closing.at, error=closing.error, how=how, certainty="unknown", why=why)
    return Explanation(
        connection=history.id,
        pair=_pair(history),
        client=endpoint(*history.client_address),
        server=endpoint(*history.server_address),
        decisions=(end,),
        notes=history.doubts,
    )


# The end.


def moment_of(end: Ending) -> Moment:
    """Of nginx's side."""
    return Moment(end.t, end.error, end.by, end.late)


def far_first(one: Down | Up) -> bool | None:
    """Whether the other side ended it. None: neither has, or both at the same time."""
    near, far = one.traffic.near_end, one.traffic.far_end
    if near is None and far is None:
        return None
    if near is None or far is None:
        return far is not None
    if one.history.closing.why == TOGETHER and abs(near.t - far.t) < 0.002:
        return None
    return far.t < near.t


def doubt_of(history: History, scene: Scene, near: str) -> str:
    """Why nothing follows from what was not seen: segments were lost there, or nobody watched."""
    end = history.server if near == "server" else history.client
    for loss in scene.timeline.losses:
        if loss.source == "packet" and loss.host in (None, end.host if end else None):
            return "packets of that time were lost, so what it counts from may not have been seen"
    return ""


def _far_decision(one: Down | Up, scene: Scene) -> Decision:
    who = "the client" if isinstance(one, Down) else "the upstream"
    far = one.traffic.far_end
    assert far is not None
    moment = Moment(far.t, far.error, far.by)
    causes = judged(moment, [of_far(who, one)], _no_words())
    return decision(THE_END, moment, f"{who} closed it first, by {far.by}", causes)


def _no_words() -> Words:
    return Words((), False, False, lambda _: False)


def _open(one: Down | Up) -> Decision:
    closing = one.history.closing
    how = closing.why or "neither end had closed it when this was recorded"
    return Decision(what=THE_END, at=None, how=how, certainty="open" if closing.known else "unknown", why=how)


def of_down(down: Down, scene: Scene) -> list[Decision]:
    """What its responses waited for, its end, and what was behind that."""
    until = down.traffic.near_end.t if down.traffic.near_end else down.history.ended
    told = Told(down, scene, until + 0.001)
    found = [*_held(down, scene, told), *_responses(down, scene, told)]
    first = far_first(down)
    if first:
        return [*found, _far_decision(down, scene)]
    near = down.traffic.near_end
    if near is None or near.late or near.error > UNSURE:
        near = _logged_end(down, scene) or near
        down = msgspec.structs.replace(down, traffic=traffic(down.history, "server", ended=near))
    if near is None:
        return [*found, _open(down)]
    found.append(end_of_down(down, scene, told, near))
    return [*found, *_behind(down, told, near)]


def _behind(down: Down, told: Told, near: Ending) -> Iterator[Decision]:
    """How long nginx read on behind its FIN: a request is logged when that is over."""
    written = [one for one in told.accesses if one.error < UNSURE and one.t > near.t + WAITED]
    if near.by == "FIN" and written and not down.stream:
        moment = Moment(written[-1].t, written[-1].error, "FIN")
        causes = judged(moment, downstream.lingering(down.traffic, told), _no_words())
        if any(not one.against for one in causes):
            how = f"its request was logged, {moment.t - near.t:.3f} s behind its FIN"
            yield decision("how long it read on", moment, how, causes)


def _logged_end(down: Down, scene: Scene) -> Ending | None:
    """By the logs, where nothing went out: behind bytes that nobody takes a FIN waits, too."""
    found = [one for one in words_of(down, scene, None).lines if "timed out" in one.text]
    if not found or not any(one.who == "near" for one in down.traffic.bursts):
        return None
    written = [one for one in accesses(down, scene) if one.error < 0.1 and found[-1].about(one.t)]
    exact = written[-1] if written else found[-1]
    return Ending(t=exact.t, error=exact.error, by="silently")


def end_of_down(down: Down, scene: Scene, told: Told, near: Ending) -> Decision:
    """nginx's side ended first, or both at once."""
    moment = moment_of(near)
    ups = scene.ups_of(down)
    words = words_of(down, scene, moment.t, moment.error)
    if down.stream:
        ideas = list(streams.ideas(down, moment, ups))
    else:
        ideas = list(downstream.ideas(down, moment, told, passed_on=_with_upstream(down, ups, moment)))
    listening = down.nginx.configuration.listen(*_local(down))
    ideas += kept_alive(listening.options if listening else (), down.traffic, moment)
    ideas += others(down.nginx, moment, down.history, down.traffic, scene)
    if down.traffic.far_end is not None and far_first(down) is None:
        ideas.append(msgspec.structs.replace(of_far("the client", down), proven=False))
    causes = judged(moment, ideas, words)
    if not down.stream:
        causes = _with(causes, _of_upstreams(ups, scene, moment))
    doubt = LATE_SIGN if moment.late else doubt_of(down.history, scene, "server")
    return decision(THE_END, moment, f"nginx closed it first, {_by(moment)}", causes, doubt=doubt)


def _by(moment: Moment) -> str:
    return "and sent nothing" if moment.by == "silently" else f"by {moment.by}"


def _local(down: Down) -> tuple[str, int]:
    end = down.history.server
    assert end is not None
    return end.address, end.port


def _with_upstream(down: Down, ups: Sequence[Up], moment: Moment) -> bool:
    """Whether a request was with an upstream until then: its connection had no whole response before."""
    return any(
        one.traffic.opened is not None
        and one.traffic.opened <= moment.t
        and (one.traffic.near_end is None or one.traffic.near_end.t >= moment.t - SAME)
        and (one.traffic.far_end is None or one.traffic.far_end.t >= moment.t - SAME)
        and not _cached(one)
        for one in ups
    )


def _cached(up: Up) -> bool:
    """Whether it may be idle in a cache."""
    groups = [up.nginx.configuration.upstream(one.target) for _, _, one in up.ways]
    return any(group is not None and group.cached for group in groups) and up.traffic.waiting is not None


def _of_upstreams(ups: Sequence[Up], scene: Scene, moment: Moment) -> list[Cause]:
    """What ended, at the same moment, the connection that the request had gone on by."""
    found: list[Cause] = []
    for up in ups:
        near, far = up.traffic.near_end, up.traffic.far_end
        if near is not None and abs(near.t - moment.t) <= SAME and not far_first(up):
            found += [_beside(one, up) for one in end_of_up(up, scene, alone=True).causes if _of_its_own(one)]
        elif far is not None and -0.005 <= moment.t - far.t <= SAME:
            said = f"the {far.by} of {_place(up)} came at {far.t:.3f} s"
            found.append(Cause(name=streams.UPSTREAM_CLOSED, kind="other", because=(said,)))
    return found


def _of_its_own(one: Cause) -> bool:
    return one.name not in (upstream.CLIENT_GONE, upstream.DONE)


def _beside(one: Cause, up: Up) -> Cause:
    said = f"its connection to {_place(up)} was ended at the same moment"
    return msgspec.structs.replace(one, because=(said, *one.because))


def _place(up: Up) -> str:
    return endpoint(*up.history.server_address)


def _with(causes: list[Cause], more: list[Cause]) -> list[Cause]:
    """What is proven of either makes the others not it."""
    found = [*causes, *more]
    if not any(one.proven for one in more):
        return found
    first = next(one for one in more if one.proven)
    return [
        msgspec.structs.replace(one, against=(f"the evidence names {first.name}",))
        if not one.proven and not one.against
        else one
        for one in found
    ]


# Upstreams.


def end_of_up(up: Up, scene: Scene, *, alone: bool = False, at: float | None = None) -> Decision:
    """`alone`: without what ended its client's connection, which asks back. `at`: when it must have ended,
    where that itself was not seen."""
    first = far_first(up)
    near = up.traffic.near_end
    if first and at is None:
        return _far_decision(up, scene)
    if near is None and at is None:
        return _open(up)
    moment = moment_of(near) if near is not None else Moment(at or 0.0, 0.02, "silently")
    downs = scene.downs_of(up)
    ideas: list[Idea] = []
    ways, of_streams = _ways(up, downs, scene), _of_streams(up, downs)
    if of_streams:
        ideas = list(streams.ideas(up, moment, [one for one in downs if one.stream]))
    if ways:
        mine = [one for one in downs if not one.stream]
        ideas += upstream.ideas(up, moment, ways, mine)
        ideas += () if alone else _of_clients(mine, scene, moment)
    ideas += others(up.nginx, moment, up.history, up.traffic, scene)
    causes = judged(moment, ideas, words_of_up(up, moment.t, moment.error))
    doubt = LATE_SIGN if moment.late else doubt_of(up.history, scene, "client")
    return decision(THE_END, moment, f"nginx closed it first, {_by(moment)}", causes, doubt=doubt)


def _of_clients(downs: Sequence[Down], scene: Scene, moment: Moment) -> Iterator[Idea]:
    """What ended the client's connection at the same moment may have ended this one with it."""
    for down in downs:
        end = down.traffic.near_end
        if end is not None and abs(end.t - moment.t) <= SAME:
            yield from downstream.sending(down.traffic, Told(down, scene, end.t), ANY)


def _of_streams(up: Up, downs: Sequence[Down]) -> bool:
    """Whether it may have been made for a stream: where its clients are known, as they are."""
    if downs:
        return any(one.stream for one in downs)
    return any(server.family == "stream" for server, _, _ in up.ways)


def _ways(up: Up, downs: Sequence[Down], scene: Scene) -> list[upstream.Way]:
    """Those of the locations that its clients have asked for; all, where that is not known."""
    mine = [one for one in downs if not one.stream]
    if downs and not mine:
        return []
    told = [place for down in mine for place in Told(down, scene, down.history.ended).places]
    places = {id(place) for place in told if place.passes}
    of_http = [way for way in up.ways if way[0].family == "http"]
    return [way for way in of_http if id(way[1]) in places] or of_http


# Responses.


def _responses(down: Down, scene: Scene, told: Told) -> Iterator[Decision]:
    """Those that were waited for, and then came because something was given up."""
    if down.stream:
        return
    bursts = down.traffic.bursts
    for number, (asked, answer) in enumerate(itertools.pairwise(bursts), 1):
        waited = answer.began - asked.ended
        if (asked.who, answer.who) == ("far", "near") and waited > WAITED:
            made = _response(down, scene, told, (asked, answer))
            if made is not None:
                what = (
                    f"the response at {answer.began:.3f} s, {waited:.3f} s behind request {(number + 1) // 2}"
                )
                yield msgspec.structs.replace(made, what=what)


def _held(down: Down, scene: Scene, told: Told) -> Iterator[Decision]:
    """Requests that went on to an upstream late, since another one was filling the cache."""
    bursts = down.traffic.bursts
    for place, asked in enumerate(bursts):
        until = bursts[place + 1].began if place + 1 < len(bursts) else down.history.ended
        for up in scene.ups if asked.who == "far" else ():
            opened = up.traffic.opened
            if opened is None or not asked.ended + WAITED < opened < until or not scene.beside(down, up):
                continue
            since = (Since(t=asked.ended, words="since the request"),)
            ideas = [
                timer(value, scope, since, ANY, late=LOCK_LOOKS)
                for value, scope in downstream.values(told.places, "proxy_cache_lock_timeout")
                if any(one.value("proxy_cache_lock").text == "on" for one in told.places)
            ]
            causes = judged(Moment(opened, 0.001, "FIN"), ideas, _no_words())
            if any(not one.against for one in causes):
                how = f"it went on to {_place(up)} {opened - asked.ended:.3f} s behind it"
                yield decision("a request", Moment(opened, 0.001, "FIN"), how, causes)


def _response(down: Down, scene: Scene, told: Told, pair: tuple[Burst, Burst]) -> Decision | None:
    asked, answer = pair
    ups = scene.ups_of(down)
    tries = [one for one in ups if _tried(one, asked, answer)]
    moment = Moment(answer.began, 0.001, "FIN")
    if tries:
        causes: list[Cause] = []
        for one in tries:
            at = answer.began if one.traffic.near_end is None else None
            causes += [_beside(each, one) for each in end_of_up(one, scene, alone=True, at=at).causes]
        causes = [one for one in causes if _of_its_own(one)]
        causes += _next_upstream(told, tries, moment, asked)
        if not causes:
            return None
        return decision("", moment, f"when nginx gave up {_tries(tries)}", causes)
    if any(_busy(one, asked, answer) for one in ups):
        return None
    causes = judged(moment, _without(told, asked), words_of(down, scene, moment.t, moment.error))
    fitting = [one for one in causes if not one.against]
    return decision("", moment, "no upstream was asked", causes) if fitting else None


def _tries(tries: Sequence[Up]) -> str:
    return "its try" if len(tries) == 1 else f"{len(tries)} tries"


def _tried(up: Up, asked: Burst, answer: Burst) -> bool:
    """nginx has given this one up while the client waited: itself, without the other's FIN."""
    near, opened = up.traffic.near_end, up.traffic.opened
    if opened is None or not (asked.began - 0.005 <= (up.traffic.last("near") or opened) <= answer.began):
        return False
    if near is None:
        return up.traffic.accepted is None and up.traffic.far_end is None
    return not far_first(up) and asked.began <= near.t <= answer.began + SAME and not _answered(up, answer)


def _answered(up: Up, answer: Burst) -> bool:
    """Whether the response is the upstream's own."""
    heard = up.traffic.last("far")
    return heard is not None and abs(answer.began - heard) <= SAME


def _busy(up: Up, asked: Burst, answer: Burst) -> bool:
    times = [piece.t for burst in up.traffic.bursts for piece in burst.pieces]
    return any(asked.began <= t <= answer.began for t in times)


def _next_upstream(told: Told, tries: Sequence[Up], moment: Moment, asked: Burst) -> Iterator[Cause]:
    """It ends no try, but allows no further one."""
    ways = [way for one in tries for way in one.ways if not told.places or way[1] in told.places]
    for value, scope in upstream.values(ways, "next_upstream_timeout"):
        if value.seconds and moment.t - asked.ended >= value.seconds - 0.015:
            said = f"{moment.t - asked.ended:.3f} s had passed, so no further one was asked"
            yield Cause(
                name=value.name,
                kind="limit",
                value=value.text,
                where=value.where,
                scope=scope,
                because=(said,),
            )


def _without(told: Told, asked: Burst) -> Iterator[Idea]:
    """What is waited for before an upstream is asked."""
    since = (Since(t=asked.ended, words="since the request"),)
    sign = Sign(level="error", words="could not be resolved (110")
    for value, scope in downstream.values(told.places, "resolver_timeout"):
        if value.where != "nginx's default" or any(place.value("resolver").text for place in told.places):
            yield timer(value, scope, since, ANY, sign)
