"""What the daemons of several machines answer to one request, made one answer, as a single daemon would have
given it. Pure.

A machine that is gone or silent has an error of its own: what looks at a lab goes on without it and says what
it has not seen; what changes a lab fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator import wire
from orchestrator.engines import spread_where as splitting
from orchestrator.engines.spread_line import named
from orchestrator.engines.spread_where import Split, Where
from orchestrator.errors import DaemonGone, DaemonSilent, LabError, MachineUnreachable
from orchestrator.join import ids
from orchestrator.wire import Frame, Message

AWAY = (DaemonGone, DaemonSilent, MachineUnreachable)  # the machine says nothing, rather than no
_REMEMBERED = 16  # bytes of a record of `remember`


class Answers(NamedTuple):
    """Of all machines that were asked, by machine."""

    asked: Message
    where: Where
    values: Mapping[str, Message]
    errors: Mapping[str, LabError]

    @property
    def unseen(self) -> list[str]:
        """The hosts of machines that said nothing, as far as they were asked about."""
        wanted = self.asked.get("hosts")
        return [
            host
            for host, machine in self.where.hosts.items()
            if machine in self.errors and (wanted is None or host in wanted)
        ]


Merge = Callable[[Answers], Message]


class Kind(NamedTuple):
    """How a request is asked and answered. `tolerant`: it goes on without machines that are away. `bounded`:
    a daemon answers it soon, or is silent. `one`: any machine can answer. `routed`: the answer of one machine
    is given as it is. `stamped`: each part says its machine, and what becomes of a machine is a part; `told`:
    so is what each answers, with its hosts."""

    split: Split
    merge: Merge
    tolerant: bool = False
    bounded: bool = False
    one: bool = False
    routed: bool = False
    stamped: bool = False
    told: bool = False


def whole(kind: Kind, found: Answers) -> Message:
    """The end of the answer: {"ok"} or {"error"}."""
    refused = {m: e for m, e in found.errors.items() if not (kind.tolerant and isinstance(e, AWAY))}
    if not refused and not found.values and found.errors:
        refused = dict(found.errors)
    for machine, error in refused.items():
        return {"error": wire.error_message(named(machine, error))}
    try:
        return {"ok": kind.merge(found)}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return {"error": wire.error_message(error)}


# What is merged how.


def _nothing(_: Answers) -> Message:
    return {}


def _only(found: Answers) -> Message:
    return next(iter(found.values.values()))


def _sum(key: str) -> Merge:
    def merge(found: Answers) -> Message:
        return {key: sum(int(value.get(key, 0)) for value in found.values.values())}

    return merge


def _failed(found: Answers) -> Message:
    lines = [line for value in found.values.values() for line in value.get("failed", ())]
    return {"failed": list(dict.fromkeys(lines))}


def _hello(found: Answers) -> Message:
    """The lab is in the state of the machine that is least far. `away`: why, by machine."""
    first = next(iter(found.values.values()))
    states = {value.get("state") for value in found.values.values()}
    return {
        **first,
        "state": "running" if states == {"running"} else next(iter(states - {"running"})),
        "machines": {machine: value.get("pid") for machine, value in found.values.items()},
        "away": _away(found),
    }


def _away(found: Answers) -> dict[str, str]:
    return {machine: error.message for machine, error in found.errors.items()}


def _snapshot(found: Answers) -> Message:
    return {
        "taken": {
            machine: {"began": value.get("began"), "ended": value.get("ended")}
            for machine, value in found.values.items()
        },
        "not_observed": _not_observed(found),
        "away": _away(found),
    }


def _not_observed(found: Answers) -> list[str]:
    told = [name for value in found.values.values() for name in value.get("not_observed", ())]
    return [*told, *found.unseen]


def _counters(found: Answers) -> Message:
    return {"not_observed": _not_observed(found)}


def _hosts(found: Answers) -> Message:
    """In the order of the plan. Of a machine that does not answer nothing is known: `alive` is null; where
    there is no daemon any more nothing of the lab runs that it could tell of.
    """
    told = {host["name"]: host for value in found.values.values() for host in value.get("hosts", ())}
    nothing: Message = {"programs": [], "listening": [], "connected": 0, "paused": False, "off": False}
    for host in found.unseen:
        error = found.errors[found.where.hosts[host]]
        alive = False if isinstance(error, DaemonGone) else None
        told[host] = {"name": host, "kind": "host", "pid": 0, "alive": alive, "why": error.message, **nothing}
    order = [*found.where.hosts, *(name for name in told if name not in found.where.hosts)]
    return {"hosts": [told[name] for name in order if name in told]}


def _plan(found: Answers) -> Message:
    return {"plan": wire.unpacked(_only(found).get("plan"))}


def _impairments(found: Answers) -> Message:
    """Each is on every machine, which has a number of its own for it. Times of events are told by how long
    ago they were, for each machine has a clock of its own.
    """
    now = {machine: float(value.get("now", 0.0)) for machine, value in found.values.items()}
    events = _alike(
        {m: [{**e, "t": e["t"] - now[m]} for e in v.get("events", ())] for m, v in found.values.items()}
    )
    listed = _alike({machine: value.get("impairments", ()) for machine, value in found.values.items()})
    links = {(one["host"], one["network"]): one for v in found.values.values() for one in v.get("links", ())}
    return {
        "impairments": [_one_of(several) for several in listed],
        "links": list(links.values()),
        "events": [next(iter(several.values())) for several in events],
        "now": 0.0,
        "declared": next((v["declared"] for v in found.values.values() if v.get("declared")), None),
    }


def _alike(each: Mapping[str, Sequence[Message]]) -> list[dict[str, Message]]:
    """The same of several machines together: the first that says so of one with the first of another."""
    found: dict[tuple[Any, ...], dict[str, Message]] = {}
    for machine, several in each.items():
        seen: Counter[tuple[Any, ...]] = Counter()
        for one in several:
            key = tuple(one.get(name) for name in ("kind", "text", "declared", "scoped", "over"))
            found.setdefault((*key, seen[key]), {})[machine] = one
            seen[key] += 1
    return list(found.values())


def _one_of(several: Mapping[str, Message]) -> Message:
    first = next(iter(several.values()))
    return {
        **first,
        "id": {machine: one.get("id") for machine, one in several.items()},
        "failed": next((one["failed"] for one in several.values() if one.get("failed")), ""),
        "verified": _words(several.values()),
    }


def _words(several: Iterable[Message]) -> list[Message]:
    """What was seen of each way. What one machine could not look at another may have."""
    words = [word for one in several for word in one.get("verified") or ()]
    seen = [word for word in words if word.get("verified") is not None]
    unseen = {
        word["way"]: word
        for word in words
        if word.get("verified") is None and not any(one["way"].startswith(word["way"]) for one in seen)
    }
    return [*seen, *unseen.values()]


def _impaired(found: Answers) -> Message:
    """What was asked for in one request is one impairment: its number is each machine's own."""
    return {
        "id": {machine: value.get("id") for machine, value in found.values.items()},
        "verified": _words(found.values.values()),
    }


def _healed(found: Answers) -> Message:
    return {"healed": max(int(value.get("healed", 0)) for value in found.values.values())}


# A plan is stored whole on every machine, so that any of them can tell it. That of 10,000 hosts is 10 MiB of
# JSON, and would be encoded once for each of 100 machines: it is packed once, and so are all names.


def _of_plan(asked: Message, where: Where) -> dict[str, Message]:
    return splitting.everywhere({**asked, "plan": wire.packed(asked.get("plan"))}, where)


def _of_names(asked: Message, where: Where) -> dict[str, Message]:
    return splitting.by_specs({**asked, "names": wire.packed(asked.get("names"))}, where)


def remembered(data: bytes, where: Where) -> dict[str, bytes]:
    """The records of each machine's sockets, with the cookies that its kernel gave."""
    found: dict[int, bytearray] = {}
    for at in range(0, len(data) - _REMEMBERED + 1, _REMEMBERED):
        cookie = int.from_bytes(data[at : at + 8], "little")
        own = (cookie & ids.OF_MACHINE).to_bytes(8, "little")
        found.setdefault(cookie >> ids.MACHINE, bytearray()).extend(own + data[at + 8 : at + 16])
    machines = where.fleet
    return {machines[n]: bytes(records) for n, records in found.items() if n < len(machines)}


_HOST_OPS = (
    *("call", "calls", "pause", "resume", "power_off", "listen", "connect", "start", "stop", "signal"),
    *("dns", "exec", "put", "get", "list", "mkdir", "logs"),
)
_ONE = Kind(splitting.by_host, _only, routed=True)
KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(_HOST_OPS, _ONE),
    "hello": Kind(splitting.everywhere, _hello, tolerant=True, bounded=True),
    "plan": Kind(splitting.everywhere, _plan, tolerant=True, bounded=True, one=True),
    "set_plan": Kind(_of_plan, _nothing),
    "commit": Kind(splitting.everywhere, _nothing),
    "down": Kind(splitting.everywhere, _nothing, tolerant=True),
    "unwatch": Kind(splitting.everywhere, _nothing, tolerant=True),
    "remember": Kind(splitting.everywhere, _nothing, tolerant=True, bounded=True),
    "make": Kind(splitting.by_specs, _nothing),
    "configure": Kind(_of_names, _nothing),
    "remove": Kind(splitting.of_removal, _nothing),
    "hosts": Kind(splitting.everywhere, _hosts, tolerant=True, bounded=True),
    "release": Kind(splitting.everywhere, _sum("closed"), tolerant=True, bounded=True),
    "snapshot": Kind(splitting.by_hosts, _snapshot, tolerant=True, bounded=True),
    "counters": Kind(splitting.by_hosts, _counters, tolerant=True, bounded=True),
    "heal": Kind(splitting.of_healing, _healed, tolerant=True),
    "impairments": Kind(splitting.everywhere, _impairments, tolerant=True, bounded=True),
    "impair": Kind(splitting.of_impairment, _failed),
    "cut": Kind(splitting.of_impairment, _impaired),
    "link": Kind(splitting.of_impairment, _impaired),
    "history": Kind(splitting.of_history, _nothing, tolerant=True, stamped=True),
    "trace": Kind(splitting.everywhere, _nothing, tolerant=True, stamped=True),
    "clock": Kind(splitting.everywhere, _nothing, tolerant=True, bounded=True, stamped=True, told=True),
}


def numbered(op: str, part: Message, machine: str, where: Where) -> Message:
    """A part as it goes on. Cookies of sockets are each kernel's own: the machine is told with them."""
    if op == "snapshot":
        number = where.fleet.index(machine)
        return {**part, "cookies": number << ids.MACHINE} if number else part
    if op in ("history", "trace", "clock"):
        return {**part, "machine": machine}
    return part


def said(machine: str, value: Message, where: Where) -> Iterator[Frame]:
    """What a machine answers, as a part."""
    number = where.fleet.index(machine) << ids.MACHINE
    yield Frame({"part": {**value, "machine": machine, "hosts": where.on(machine), "cookies": number}})


def went(machine: str, error: LabError) -> Iterator[Frame]:
    """What those are told who follow several machines."""
    yield Frame({"part": {"machine": machine, "gone": error.message}})
