"""Requests about impairments: read, carried out by Impairments, answered."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from orchestrator import errors, wire
from orchestrator.daemon import answering
from orchestrator.daemon.clients import ClientRequest
from orchestrator.daemon.cut_rules import Which
from orchestrator.daemon.effects import KEYS
from orchestrator.daemon.hosts import Hosts
from orchestrator.daemon.impairments import Impairments
from orchestrator.daemon.wanted import Cut, Place, Setting
from orchestrator.daemon.zygote import Zygote

OPS = ("cut", "heal", "link", "answer", "impair", "impairments")
_MOST_SECONDS = 1e9


class Impairing:
    """What a client asks of a lab's impairments."""

    def __init__(self, hosts: Hosts, zygote: Zygote) -> None:
        self._hosts = hosts
        self.all = Impairments(hosts, zygote)
        self._declared: Any = None
        self._ops: dict[str, Callable[[ClientRequest], Awaitable[wire.Message]]] = {
            "cut": self._cut,
            "heal": self._heal,
            "link": self._link,
            "answer": self._names_answered,
            "impair": self._impair,
            "impairments": self._list,
        }

    async def handle(self, request: ClientRequest) -> wire.Message:
        """The answer of one request. Raises LabError. `strangers`: hosts of other machines, as planned."""
        self.all.learn(request.message.get("strangers") or ())
        return await self._ops[str(request.message["op"])](request)

    async def _cut(self, request: ClientRequest) -> wire.Message:
        cut = self._read_cut(request.message, self._client(request))
        await self.all.cut(cut)
        return _answer(cut)

    def _read_cut(self, told: Mapping[str, Any], client: int | None, *, declared: bool = False) -> Cut:
        senders, receivers = self._names(told.get("from") or ()), self._names(told.get("to") or ())
        links = [self._place(one) for one in told.get("links") or ()]
        ways = [(a, b) for a in senders for b in receivers if a != b]
        if told.get("both", True):
            ways += [(b, a) for a, b in ways]
        if not ways and not links:
            raise errors.DaemonError("a cut of nothing", "name two hosts")
        return Cut(
            number=self.all.number(),
            text=str(told.get("text") or "cut"),
            which=Which.told(told),
            ways=list(dict.fromkeys(ways)),
            links=links,
            until=_until(told),
            client=client,
            declared=declared,
            quick=told.get("verify") is False,
            flap=None if told.get("flap") is None else (float(told["flap"][0]), float(told["flap"][1])),
        )

    async def _link(self, request: ClientRequest) -> wire.Message:
        setting = self._read_setting(request.message, self._client(request))
        await self.all.set(setting)
        return _answer(setting)

    def _read_setting(
        self, told: Mapping[str, Any], client: int | None, *, declared: bool = False
    ) -> Setting:
        values = told.get("values")
        if values is not None and (unknown := set(values) - set(KEYS)):
            raise errors.DaemonError(f"a link has no {sorted(unknown)[0]!r}", f"it has {', '.join(KEYS)}")
        return Setting(
            number=self.all.number(),
            text=str(told.get("text") or "link"),
            places=[self._place(one) for one in told["places"]],
            values=None if values is None else {key: float(value) for key, value in values.items()},
            until=_until(told),
            client=client,
            declared=declared,
        )

    async def _names_answered(self, request: ClientRequest) -> wire.Message:
        """How a DNS server answers: like a link, but that the second word of a place is a name."""
        told = request.message
        values = told.get("values")
        if values is not None and (unknown := set(values) - set(answering.KEYS)):
            raise errors.DaemonError(f"an answer has no {sorted(unknown)[0]!r}")
        setting = Setting(
            number=self.all.number(),
            text=str(told.get("text") or "dns"),
            places=[(self._hosts.get(host).name, str(name).lower()) for host, name in told["places"]],
            values=values,
            until=_until(told),
            client=self._client(request),
            names=True,
        )
        await self.all.answer(setting)
        return _answer(setting)

    async def _heal(self, request: ClientRequest) -> wire.Message:
        told, client = request.message, self._client(request)
        numbers, senders, receivers = told.get("ids"), set(told.get("from") or ()), set(told.get("to") or ())

        links = [self._place(one) for one in told.get("links") or ()]

        def wanted(one: Cut | Setting) -> bool:
            if links:
                return isinstance(one, Cut) and bool(one.links) and set(one.links) <= set(links)
            if client is not None and not senders and numbers is None:
                return one.client == client
            if numbers is not None:
                return one.number in numbers
            if not senders:
                return True
            if isinstance(one, Setting) or one.links:
                return False
            ends = {name for way in one.ways for name in way}
            return bool(ends & senders) and (not receivers or bool(ends & receivers))

        healed = await self.all.heal(wanted)
        if client is None and not senders and not links and numbers is None:
            self._declared = None
        return {"healed": healed}

    async def _impair(self, request: ClientRequest) -> wire.Message:
        """What the lab file says, instead of what it said before. What cannot be made is said, not raised:
        the lab is there all the same."""
        told = request.message
        await self.all.heal(lambda one: one.declared)
        self._declared = told.get("declared")
        failed: list[str] = []
        declared = self._declared or {}
        for one in declared.get("links", ()):
            try:
                await self.all.set(self._read_setting(one, None, declared=True))
            except errors.LabError as error:
                failed.append(f"{one.get('text')}: {error.message}")
        for one in declared.get("cuts", ()):
            try:
                await self.all.cut(self._read_cut(one, None, declared=True))
            except errors.LabError as error:
                failed.append(f"{one.get('text')}: {error.message}")
        return {"failed": failed}

    async def _list(self, request: ClientRequest) -> wire.Message:
        """`since`: also what has happened from that event on. `now`: the monotonic clock."""
        events = self.all.since(int(request.message.get("since") or 0))
        found = self.all.describe() | {"declared": self._declared, "now": time.monotonic()}
        return found | {"events": events}

    def _client(self, request: ClientRequest) -> int | None:
        return request.client.number if request.message.get("scoped") else None

    def _names(self, names: Sequence[str]) -> list[str]:
        return [name if self.all.is_stranger(name) else self._hosts.get(name).name for name in names]

    def _place(self, one: Sequence[str]) -> Place:
        host, network = map(str, one)
        if host and not self.all.is_stranger(host):
            self._hosts.get(host)
        return host, network


def _until(told: Mapping[str, Any]) -> float | None:
    """When it ends, on the monotonic clock."""
    seconds = told.get("seconds")
    if seconds is None:
        return None
    if not 0 < float(seconds) < _MOST_SECONDS:
        raise errors.DaemonError("an impairment without a time to be")
    return time.monotonic() + float(seconds)


def _answer(one: Cut | Setting) -> wire.Message:
    return {"id": one.number, "verified": [word.json() for word in one.verified]}
