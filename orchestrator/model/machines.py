"""Machines as a user wrote them: where they are, what joins them, and who belongs on which.

`at` is the place in the file, `FILE:LINE:COLUMN`: a rule that cannot hold is found only by the plan.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal, NamedTuple, get_args

import msgspec

LOCAL = "local"  # the url of this computer
SSH_PORT = 22
VXLAN_PORT = 4790  # UDP, between machines; 4789, VXLAN's own, may be a swarm's (RFC 7348, 5)
Fabric = Literal["vxlan", "swarm", "wireguard"]  # wireguard: VXLAN, encrypted
FABRICS: tuple[Fabric, ...] = get_args(Fabric)

_SSH = re.compile(
    r"ssh://(?:(?P<user>[^@:/\s]+)@)?(?P<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?/?"
)


class SshUrl(NamedTuple):
    """`ssh://user@host:port`. What is None is ~/.ssh/config's to say, or ssh's usual. The host may be a name
    that only that file knows."""

    host: str
    user: str | None = None
    port: int | None = None


def ssh_url(text: str) -> SshUrl | None:
    """The parts of such a url; None where it is none."""
    match = _SSH.fullmatch(text)
    if match is None or (match["port"] and not 0 < int(match["port"]) < 65_536):
        return None
    port = int(match["port"]) if match["port"] else None
    return SshUrl(match["host"].strip("[]"), match["user"], port)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A computer with an engine on it. `address`: where the others reach it, if not at the url's host."""

    name: str
    url: str  # "ssh://student@10.0.0.11", or LOCAL
    address: str | None = None
    labels: tuple[str, ...] = ()
    at: str = ""


class PlaceRule(msgspec.Struct, frozen=True, kw_only=True):
    """`web: m1` or `web: {label: big}`: one of `machine` and `label` is given."""

    who: str  # a host, a router, all of a `count`, or a pattern: `bob-*`
    machine: str | None = None
    label: str | None = None
    at: str = ""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """`together`: all of these on one machine. `apart`: those of different entries never on the same one;
    where there is one entry alone, no two of it."""

    kind: Literal["together", "apart"]
    who: tuple[str, ...]  # entries, each as PlaceRule.who
    at: str = ""


class Placing(msgspec.Struct, frozen=True, kw_only=True):
    """All that a file says of who is on which machine."""

    rules: tuple[PlaceRule, ...] = ()
    groups: tuple[Group, ...] = ()


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What one machine was seen to have before anything is planned. None: it was not looked at."""

    memory_free: int | None = None  # bytes that new hosts may take (MemAvailable, proc(5))
    cpus: float | None = None
    hosts: int = 0  # there already, of other labs
    mtu: int = 1500  # bytes of an IP packet that pass to the other machines
    address: str | None = None  # where they reach it, where the file does not say
    vnis: tuple[int, ...] = ()  # VXLAN network identifiers that other labs have there


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """All machines of a file as they were looked at; one that is missing was not. `swarm`: they are one."""

    capacities: dict[str, Capacity] = {}
    swarm: bool = False


def is_pattern(who: str) -> bool:
    """Whether it has a `*`, which stands for any letters, none too."""
    return "*" in who


class Naming:
    """Whom an entry of a rule stands for. Names are looked up without regard to case, as everywhere."""

    def __init__(self, names: Mapping[str, Iterable[str]]) -> None:
        """`names`: each host and router as written → its names in the running lab."""
        self._groups = {written.lower(): tuple(many) for written, many in names.items()}
        self._all = tuple(name for many in self._groups.values() for name in many)
        self._single = {name.lower(): (name,) for name in self._all}
        self._matched: dict[str, tuple[str, ...]] = {}  # by pattern

    def members(self, who: str) -> tuple[str, ...]:
        """As in the running lab, in file order. `bob` is all of a `count`, `bob-2` one of them."""
        if is_pattern(who):
            if who not in self._matched:
                match, small = _matching(who), self._single.items()
                self._matched[who] = tuple(one for name, (one,) in small if match(name))
            return self._matched[who]
        return self._groups.get(who.lower(), ()) or self._single.get(who.lower(), ())

    def rank(self, who: str) -> tuple[int, int]:
        """How closely an entry names somebody: where several stand for one host, the highest rules. One
        host, then all of a `count`, then the pattern with the most letters."""
        if is_pattern(who):
            return 0, len(who.replace("*", ""))
        return (1 if len(self.members(who)) > 1 else 2), 0

    def ruling(self, rules: Iterable[PlaceRule]) -> Iterator[tuple[str, PlaceRule]]:
        """Each host of a rule and the rule that it goes by; one that two rules of one rank name comes with
        each of them."""
        found: dict[str, list[PlaceRule]] = {}
        for rule in sorted(rules, key=lambda rule: self.rank(rule.who), reverse=True):
            rank = self.rank(rule.who)
            for name in self.members(rule.who):
                known = found.setdefault(name, [])
                if not known or self.rank(known[0].who) == rank:
                    known.append(rule)
        return ((name, rule) for name, known in found.items() for rule in known)


def _matching(who: str) -> Callable[[str], object]:
    """What tells whether a name has the pattern's pieces, one after the other. Each is taken where it is
    first found (atomic groups): with all ways to share the letters out `*a*a*a*a*b` would take hours."""
    first, *middle, last = map(re.escape, who.lower().split("*"))
    pieces = "".join(f"(?>.*?{piece})" for piece in middle)
    return re.compile(f"{first}{pieces}.*{last}").fullmatch
