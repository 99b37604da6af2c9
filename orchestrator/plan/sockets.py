"""What agents open: listening sockets, and to which of a target's addresses a connection goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.errors import PlanError
from orchestrator.model.plan import Interface, PlannedConnect, PlannedListen
from orchestrator.model.reach import Reach
from orchestrator.model.topology import ConnectTo, Host, Listen
from orchestrator.plan.expand import Member


def listens(host: Host, six: bool) -> tuple[PlannedListen, ...]:
    """The sockets of `listen`. A port alone: one socket for each family that the host has."""
    return tuple(one for listen in host.listen for one in _listen(listen, six))


def _listen(listen: Listen, six: bool) -> Iterator[PlannedListen]:
    if listen.address is not None:
        yield PlannedListen(address=listen.address, port=listen.port, dual=listen.address == "::")
        return
    yield PlannedListen(address="0.0.0.0", port=listen.port)
    if six:
        yield PlannedListen(address="::", port=listen.port)


class Targets:
    """Finds addresses by name. Names are looked up as resolvers do, without regard to case."""

    def __init__(
        self,
        members: Sequence[Member],
        interfaces: Mapping[str, tuple[Interface, ...]],
        reach: Reach,
        reach6: Reach,
    ) -> None:
        self._members = {member.name.lower(): member for member in members}
        self._interfaces = interfaces
        self._reach = reach
        self._reach6 = reach6

    def connects(self, member: Member) -> tuple[PlannedConnect, ...]:
        """The connections of a host. Raises PlanError for a target that cannot be reached."""
        if member.host is None:
            return ()
        return tuple(self._connect(member, member.host, one) for one in member.host.connect)

    def _connect(self, member: Member, host: Host, one: ConnectTo) -> PlannedConnect:
        if one.host == "localhost":
            return PlannedConnect(
                host=member.name, address=_loopback(host, one.port), port=one.port, times=one.times
            )
        own = one.host.lower() in (host.name.lower(), member.name.lower())
        target = member if own else self._members.get(one.host.lower())
        if target is None:
            raise PlanError(f"host `{member.name}` connects to `{one.host}`, which is nobody")
        reachable = list(self._reachable(member, target))
        if not reachable:
            raise PlanError(f"host `{member.name}` cannot reach `{target.name}`: no router leads there")
        heard = [address for address in reachable if _hears(target.host, address, one.port)]
        return PlannedConnect(
            host=target.name, address=(heard or reachable)[0], port=one.port, times=one.times
        )

    def resolvers(self, member: Member) -> tuple[str, ...]:
        """Addresses of whom a host asks for names, as it reaches them. Raises PlanError."""
        return tuple(self._asked(member, word) for word in (member.host.resolver if member.host else ()))

    def _asked(self, member: Member, word: str) -> str:
        if word == "localhost" or word.lower() == member.name.lower():
            return "127.0.0.1"
        target = self._members.get(word.lower())
        if target is None:
            return word  # an address
        found = next(self._reachable(member, target), None)
        if found is None:
            raise PlanError(f"host `{member.name}` cannot reach `{target.name}`: no router leads there")
        return found

    def _reachable(self, member: Member, target: Member) -> Iterator[str]:
        """Addresses of the target in the order of preference: a shared network first, IPv4 first."""
        theirs = self._interfaces[target.name]
        shared = [one for one in theirs if one.network in member.on]
        yield from (one.address for one in shared if one.address)
        yield from (one.address6 for one in shared if one.address6)
        beyond = [one for one in theirs if one.network not in member.on]
        for one in beyond:
            if one.address and any(self._reach.reaches(start, one.network) for start in member.on):
                yield one.address
        mine6 = [one.network for one in self._interfaces[member.name] if one.address6]
        for one in beyond:
            if one.address6 and any(self._reach6.reaches(start, one.network) for start in mine6):
                yield one.address6


def _loopback(host: Host, port: int) -> str:
    """127.0.0.1, unless only IPv6 is listened on there."""
    families = [one.address for one in host.listen if one.port == port]
    return "::1" if families and all(address == "::1" for address in families) else "127.0.0.1"


def _hears(target: Host | None, address: str, port: int) -> bool:
    """Whether one of the target's own listening sockets takes this address."""
    if target is None:
        return False
    anywhere = (None, "::") if ":" in address else (None, "::", "0.0.0.0")
    return any(one.port == port and one.address in (*anywhere, address) for one in target.listen)
