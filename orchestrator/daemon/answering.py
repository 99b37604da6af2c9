"""How the DNS servers of a lab answer: what was asked for, put together, and said to their agents.

Nothing of it can outlive its end: it is kept in the agent, which ends with its channel.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestrator import errors
from orchestrator.daemon.hosts import Host, Hosts
from orchestrator.daemon.verifying import Word
from orchestrator.daemon.wanted import Place, Setting, links_of, overruled

SECONDS = 2.0  # that an agent may take
KEYS = ("late", "answer")


class Answering:
    """The settings of all hosts; the second word of a place is a name here, or "" for every name."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self.settings: dict[int, Setting] = {}
        self._told: set[str] = set()  # hosts that answer otherwise than usual

    def ways(self) -> dict[Place, dict[str, Any]]:
        """How each name is answered; those that are as usual are left out."""
        return links_of(self.settings.values())

    def describe(self) -> list[dict[str, Any]]:
        """The same, as JSON."""
        return [{"host": host, "name": name, **values} for (host, name), values in self.ways().items()]

    async def set(self, setting: Setting) -> None:
        """From now on it is so. Raises EngineError; then all is as before."""
        if setting.values is None:  # all names of a host are cleared with it
            whole = {host for host, name in setting.places if not name}
            setting.places += [p for p in self.ways() if p[0] in whole and p not in setting.places]
        hosts = sorted({host for host, _ in setting.places})
        self.settings[setting.number] = setting
        try:
            for name in hosts:
                await self._tell(self._hosts.get(name), needed=True)
        except errors.LabError as error:
            del self.settings[setting.number]
            await self.apply()
            raise errors.EngineError(error.message, error.hint) from error
        setting.verified = [Word(f"{host}: {name or 'every name'}", True) for host, name in setting.places]
        for one in overruled(self.settings.values()):
            del self.settings[one.number]

    async def apply(self, names: Iterable[str] | None = None) -> None:
        """Say it (again) to these hosts, or to all that it concerns; who is gone is passed over."""
        concerned = {host for host, _ in self.ways()} | self._told
        for host in self._hosts:
            if host.name in (concerned if names is None else names) and host.link.alive and not host.off:
                try:
                    await self._tell(host)
                except errors.LabError as error:
                    for one in self.settings.values():
                        if any(place[0] == host.name for place in one.places):
                            one.failed = error.message

    async def _tell(self, host: Host, *, needed: bool = False) -> None:
        ways = {name: values for (at, name), values in self.ways().items() if at == host.name}
        await host.link.call("answer", SECONDS, ways=ways, needed=needed)
        (self._told.add if ways else self._told.discard)(host.name)
