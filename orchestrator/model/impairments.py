"""Impairments as they are written, in a file, a step or a command: cuts, and what links are like.

Names are those of the running lab, or of what stands for several (a host with a `count`, a network); which
these are is found in a Plan when it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from orchestrator.model.plan import Plan

# How packets of a cut are known and answered; the words are those of the file and of the command line.
KINDS = ("syn", "syn-ack", "ack", "data", "fin", "rst", "new", "established")
ANSWERS = ("rst", "icmp")
# What a link can be set to: durations, parts of the packets, bytes in a second.
DURATIONS, PARTS, RATE = ("delay", "jitter"), ("loss", "duplicate", "reorder", "corrupt"), "rate"
LINK_KEYS = (*DURATIONS, *PARTS, RATE)
# How a DNS server answers, beside with addresses (agent/nameserver.py).
NAME_ANSWERS = ("usual", "refused", "servfail", "nxdomain", "empty", "silent", "truncated")


class CutSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What does not pass between two ends. `port`: of either end, 0: any. `kind`: of KINDS, "": any.
    `packets`: so many, then no more; 0: all. `answer`: of ANSWERS, "": nothing, it is dropped. `seconds`
    None: until it is taken back."""

    one: str
    other: str
    both: bool = True
    port: int = 0
    kind: str = ""
    packets: int = 0
    answer: str = ""
    seconds: float | None = None
    text: str = ""

    def request(self, plan: Plan) -> dict[str, Any]:
        """Of the daemon: the arguments of `cut`."""
        return {
            "from": who(plan, self.one),
            "to": who(plan, self.other),
            "both": self.both,
            "port": self.port,
            "kind": "syn" if self.kind == "new" else self.kind,
            "packets": self.packets,
            "answer": self.answer,
            "seconds": self.seconds,
            "text": f"cut {self.text or f'{self.one} {self.other}'}",
        }


class LinkSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a link is like from now on. `network` None: all links of the host; `host` may be a network, which
    is meant as a whole then. `values` None: as usual again. `state`: `down` pulls the link out, `flap` does
    so again and again, for `down` seconds after `up` seconds. `seconds` None: until it is taken back."""

    host: str
    network: str | None = None
    values: dict[str, float] | None = None
    state: Literal["", "down", "up", "flap"] = ""
    down: float = 1.0
    up: float = 1.0
    seconds: float | None = None
    text: str = ""

    def places(self, plan: Plan) -> list[list[str]]:
        """Hosts and networks, as the daemon wants them."""
        if plan.host(self.host) is None and self.host in {one.name for one in plan.networks}:
            return [["", self.host]]
        return [
            [name, interface.network]
            for name in who(plan, self.host)
            if (host := plan.host(name)) is not None
            for interface in host.interfaces
            if self.network in (None, interface.network)
        ]

    def request(self, plan: Plan) -> tuple[str, dict[str, Any]]:
        """Of the daemon: the op and its arguments."""
        about = {"seconds": self.seconds, "text": f"link {self.text or self.host}"}
        places = self.places(plan)
        if self.state == "up":
            return "heal", {"links": places}
        if self.state:
            flap = [self.down, self.up] if self.state == "flap" else None
            return "cut", {"links": places, "flap": flap, **about}
        return "link", {"places": places, "values": self.values, **about}


class DnsSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How a DNS server answers from now on. `name` "": every name of which nothing else is said. `late`:
    seconds; `answer`: one of NAME_ANSWERS, or hosts and addresses instead of the right ones; None: left as it
    is. `clear`: as usual again. `seconds` None: until it is taken back."""

    host: str
    name: str = ""
    late: float | None = None
    answer: tuple[str, ...] | None = None
    clear: bool = False
    seconds: float | None = None
    text: str = ""

    def request(self, plan: Plan) -> dict[str, Any]:
        """Of the daemon: the arguments of `answer`."""
        values: dict[str, Any] = {}
        if self.late is not None:
            values["late"] = self.late
        if self.answer is not None:
            word = self.answer[0]
            values["answer"] = word if word in NAME_ANSWERS else addresses_of(plan, self.answer)
        return {
            "places": [[name, self.name] for name in who(plan, self.host)],
            "values": None if self.clear else values,
            "seconds": self.seconds,
            "text": f"dns {self.text or self.host}",
        }


class Impaired(msgspec.Struct, frozen=True, kw_only=True):
    """What a lab file declares: it lasts as long as the lab."""

    links: tuple[LinkSpec, ...] = ()
    cuts: tuple[CutSpec, ...] = ()

    def request(self, plan: Plan) -> dict[str, Any] | None:
        """Of the daemon: what `impair` declares; None: nothing."""
        if not self.links and not self.cuts:
            return None
        links = [link.request(plan)[1] for link in self.links]
        return {"links": links, "cuts": [cut.request(plan) for cut in self.cuts]}


def who(plan: Plan, name: str) -> list[str]:
    """The hosts that a name stands for: one, those that a `count` made of one, or all on a network."""
    if plan.host(name) is not None:
        return [name]
    many = re.compile(f"{re.escape(name)}-[0-9]+")
    found = [host.name for host in plan.hosts if many.fullmatch(host.name)]
    return found or [h.name for h in plan.hosts if any(i.network == name for i in h.interfaces)]


def addresses_of(plan: Plan, words: Sequence[str]) -> list[str]:
    """All addresses that these stand for: hosts (those of a `count` too), or addresses themselves."""
    known = dict(plan.names)
    found: list[str] = []
    for word in words:
        names = [] if ":" in word or word.replace(".", "").isdigit() else who(plan, word)
        found += [address for name in names for address in known.get(name, ())] if names else [word]
    return list(dict.fromkeys(found))
