"""What ends connections and is no time limit of nginx's: the other side, a program's end, a reload, the
kernel, something between."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from orchestrator.explain.ideas import ANY, LATE, RST, Idea, Since, other
from orchestrator.explain.judging import Moment
from orchestrator.explain.scene import Down, Nginx, Scene, Up
from orchestrator.explain.traffic import Traffic
from orchestrator.join.closing import NOBODY
from orchestrator.model.events import History
from orchestrator.model.recording import Said

TOGETHER = 0.015  # seconds, beyond what the clocks may be off
AROUND = 0.25  # seconds around the end of a program in which its connections end
KILLED = "its process was ended"
SHUTTING = "nginx was told to stop or to reload"
GAVE_UP = "the kernel gave up: nothing of what it sent was acknowledged"
BETWEEN = "something between both ends reset it"
# Not nginx's own words for its timers, but the kernel's ETIMEDOUT (tcp(7)) on a call.
_TIMED_OUT = re.compile(r"(prematurely closed connection|failed) \(110: ")
_PROGRAMS = re.compile(r"\b(nginx|kill|pkill|killall)\b")
_DIED = re.compile(r"worker process \d+ exited on signal|exited with fatal code|shutting down|gracefully|"
                   r"\bexiting\b|signal process started|reconfiguring")  # fmt: skip


def others(nginx: Nginx, moment: Moment, history: History, traffic: Traffic, scene: Scene) -> Iterator[Idea]:
    """Only those that something speaks for."""
    for idea in _killed(nginx, moment, scene):
        if traffic.farewell is None:
            yield idea
        else:
            said = "it said good-bye before, as a program does that is not ended by others"
            yield msgspec.structs.replace(idea, against=(*idea.against, said))
    yield from _told(nginx, moment)
    if history.closing.why == NOBODY:
        yield other(BETWEEN, history.closing.why)
    end = traffic.near_end
    client = history.client_address[0]
    for one in nginx.logs.errors if traffic.again and not traffic.probes else ():
        if one.about(moment.t) and _TIMED_OUT.search(one.text) and one.client == client:
            yield other(GAVE_UP, f"the error log says: {one.said}")
    if end is not None and end.given_up and traffic.far_end is None and traffic.accepted is not None:
        tries = sum(1 for t in traffic.again if t < moment.t)
        if tries or traffic.stuck is not None:
            yield other(GAVE_UP, f"it was sent again {tries} times, no answer came, and no FIN went out")


def _killed(nginx: Nginx, moment: Moment, scene: Scene) -> Iterator[Idea]:
    """By ends of programs and by steps; who ran `kill` in this host at this moment has done it."""
    for said in scene.timeline.recording.said:
        near = said.host == nginx.host and abs(said.t - moment.t) <= said.error + AROUND
        if near and (_ended(said) or (said.source, said.kind) == ("impairment", "kill")):
            yield _by(said, moment, said.text)
    for one in nginx.logs.errors:
        if one.level == "alert" and "exited on signal" in one.text and one.about(moment.t):
            together = _crowd(nginx, moment, scene)
            yield other(KILLED, f"the error log says: {one.said}", proven=together)


def _ended(said: Said) -> bool:
    """One that ends with 0 was not killed: it has closed what it had before."""
    by_itself = said.detail.get("code") == 0 and "kill" not in said.text
    return said.source == "exit" and not by_itself and _PROGRAMS.search(said.text) is not None


def _by(said: Said, moment: Moment, text: str) -> Idea:
    """What a process had open ends with it, and the end of a program is known some milliseconds later."""
    away = abs(said.t - moment.t) - said.error - moment.error
    stopping = any(word in text for word in ("reload", "quit", "-s stop"))
    made = other(
        SHUTTING if stopping else KILLED,
        f"at {said.t:.3f} s: {text}",
        proven=False,
        against=() if away <= LATE else (f"that was {away * 1000:.0f} ms away",),
    )
    return msgspec.structs.replace(made, weak=away > TOGETHER)


def _crowd(nginx: Nginx, moment: Moment, scene: Scene) -> bool:
    """Whether all that this nginx had ended together: then it was the process, and no timer of one."""
    mine = [one.traffic for one in scene.theirs if one.nginx is nginx]
    there = [one for one in mine if one.opened is not None and one.opened < moment.t - AROUND]
    alive = [one for one in there if one.near_end is None or one.near_end.t >= moment.t - 0.02]
    alive = [one for one in alive if one.far_end is None or one.far_end.t >= moment.t - 0.02]
    return all(one.near_end is not None and abs(one.near_end.t - moment.t) < 0.05 for one in alive)


def _told(nginx: Nginx, moment: Moment) -> Iterator[Idea]:
    """An idle connection is closed at once by a worker that shuts down, others when they are done or
    worker_shutdown_timeout is over."""
    for one in nginx.logs.errors:
        if one.level != "notice" or not _DIED.search(one.text):
            continue
        limit = nginx.configuration.value("worker_shutdown_timeout")
        if one.about(moment.t):
            made = other(SHUTTING, f"the error log says: {one.said}", proven=False)
            yield msgspec.structs.replace(made, weak=True)
        if "gracefully" in one.text and limit.seconds and one.t < moment.t:
            since = Since(t=one.t - one.error, until=one.t + one.error, words="since it was told to stop")
            yield Idea(name=limit.name, kind="timer", value=limit, since=(since,), manners=ANY)
            return


def kept_alive(listening: tuple[str, ...], traffic: Traffic, moment: Moment) -> Iterator[Idea]:
    """`listen … so_keepalive=idle:interval:count`: the kernel asks, and resets what does not answer."""
    option = next((one for one in listening if one.startswith("so_keepalive=")), None)
    if option is None or option.endswith("=off") or moment.by == "FIN":
        return
    from orchestrator.explain.configuration import Value
    from orchestrator.explain.times import seconds

    parts = [*option.partition("=")[2].split(":"), "", "", ""][:3] if "=on" not in option else ["", "", ""]
    idle, interval = seconds(parts[0]) or 7200.0, seconds(parts[1]) or 75.0
    count = int(parts[2]) if parts[2].isdigit() else 9
    heard = max((t for t in (traffic.last("far"), traffic.last("near"), traffic.accepted) if t is not None),
                default=None)  # fmt: skip
    if heard is None:
        return
    value = Value(name="so_keepalive", text=option.partition("=")[2], seconds=idle + interval * count)
    since = Since(t=heard, words="since the other end was heard for the last time")
    yield Idea(
        name="so_keepalive",
        kind="limit",
        value=value,
        since=(since,),
        late=1.0,
        manners=RST | {"silently"},
        because=(f"the kernel asked {len(traffic.probes)} times whether the other end is there",)
        if traffic.probes
        else (),
    )


def of_far(kind: str, one: Down | Up) -> Idea:
    """The other side closed first."""
    end = one.traffic.far_end
    assert end is not None
    return other(f"{kind} closed it", f"its {end.by} came at {end.t:.3f} s, before anything of nginx's")
