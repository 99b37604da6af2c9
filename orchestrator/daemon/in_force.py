"""What is in force in one host: its table of nf_tables, changed in transactions, kept alive by renewing.

All that a rule is about stands in sets whose elements have a timeout, so nothing goes on after its time,
whoever was killed; and the table belongs to our socket where the kernel knows that (Linux 5.12), so it goes
with the daemon. The base chain is made once and stays as long as anything is in force: to remove a hook makes
the kernel drop all that is held in queues of that host (net/netfilter/core.c, nf_queue_nf_hook_drop()).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from orchestrator import errors
from orchestrator.daemon import cut_rules, within
from orchestrator.daemon import nftables as nft
from orchestrator.daemon.cut_rules import Keys, Which
from orchestrator.daemon.hosts import Host

TABLE = "lab_impairments"
LEASE = 10.0  # seconds that what has no end lasts without being renewed
RENEW = 3.0
BESIDE = 0x1000  # from the number of a queue to that of the one for ICMP
_BASE = "in"
_PRIORITY = -90  # behind the translation of addresses (NF_IP_PRI_NAT_DST): hosts are known by their own
_RAW = -300  # NF_IP_PRI_RAW: before connections are tracked
_ICMP, _ICMPV6, _NEIGHBOURS = (
    1,
    58,
    (135, 136),
)  # RFC 4861: what IPv6 has for ARP, which no rule here sees either
_SIOCGIFHWADDR = 0x8927  # linux/sockios.h


@dataclass
class _Set:
    """The content of a set. `until` on the monotonic clock, None: as long as it is renewed."""

    keys: list[bytes]
    until: float | None

    def seconds(self, now: float) -> float:
        """How long from now."""
        return LEASE if self.until is None else self.until - now


@dataclass(frozen=True)
class Queued:
    """What goes to a queue: all that comes in by an interface, or what a neighbour sends there."""

    number: int
    interface: int
    mac: str = ""

    @property
    def set(self) -> str:
        """The name of its set."""
        return f"queue{self.number}"

    @property
    def form(self) -> nft.Key:
        """The form of its set."""
        return nft.NEIGHBOUR if self.mac else nft.INTERFACE

    @property
    def key(self) -> bytes:
        """Its one element."""
        if self.mac:
            return cut_rules.neighbour_key(self.interface, self.mac)
        return cut_rules.interface_key(self.interface)

    def rules(self) -> Iterator[nft.Message]:
        """Hand it over: what answers a ping to a queue beside (delay_line.py, Queue)."""
        found = [nft.meta(nft.IIF)] + ([nft.link(6, 6, nft.SECOND_WORD)] if self.mac else [])
        found.append(nft.lookup(self.set))
        for protocol in (_ICMP, _ICMPV6):
            echo = [nft.meta(nft.PROTOCOL), nft.compare(bytes([protocol]))]
            yield nft.rule(TABLE, _BASE, *found, *echo, nft.queue(self.number + BESIDE))
        yield nft.rule(TABLE, _BASE, *found, nft.queue(self.number))


class InForce:
    """The table of one host. Every method blocks, and raises EngineError where the kernel refuses."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.proc = os.dup(host.proc)  # the host may be removed meanwhile; then nothing here matters any more
        self.interfaces: dict[str, int] = {}  # MAC address: index
        self.devices: dict[str, str] = {}  # MAC address: name
        self._sets: dict[str, _Set] = {}
        self._cuts: list[int] = []
        self._queues: list[Queued] = []
        self._there = False
        self._nft: nft.Socket | None = None

    def open(self) -> None:
        """Enter its network namespace. Apart, for it blocks."""
        if self._nft is None:
            try:
                self._nft = within.network(self.proc, self._open)
            except OSError as error:
                raise errors.EngineError(f"host {self.host.name} cannot be impaired: {error}") from error

    def _open(self) -> nft.Socket:
        for index, name in socket.if_nameindex():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                said = fcntl.ioctl(sock, _SIOCGIFHWADDR, struct.pack("16s24x", name.encode()))
            mac = said[18:24].hex(":")
            self.interfaces[mac], self.devices[mac] = index, name
        return nft.Socket()

    def interface(self, network: str) -> int:
        """The index of its interface on a network; 0 where it has none."""
        return next(
            (
                self.interfaces.get(one["mac"], 0)
                for one in self.host.spec["interfaces"]
                if one["network"] == network
            ),
            0,
        )

    @property
    def idle(self) -> bool:
        """Whether nothing is in force."""
        return not self._cuts and not self._queues

    def cut(self, number: int, which: Which, keys: Keys, until: float | None) -> None:
        """Put a cut in force."""
        now = time.monotonic()
        added = {name: (key, _Set(found, until)) for name, key, found in keys.sets(number)}
        chain = cut_rules.chain_name(number)
        messages = [nft.new_chain(TABLE, cut_rules.end_name(number)), nft.new_chain(TABLE, chain)]
        for at, (name, (key, content)) in enumerate(added.items(), 1):
            messages.append(nft.new_set(TABLE, name, at, key))
            messages += nft.elements(TABLE, name, content.keys, max(0.001, content.seconds(now)))
        messages += cut_rules.rules(TABLE, number, which, keys)
        messages += self._dispatch([*self._cuts, number], self._queues)
        self._commit(messages)
        self._cuts.append(number)
        self._sets |= {name: content for name, (_, content) in added.items()}

    def heal(self, number: int) -> None:
        """Take a cut back."""
        if number not in self._cuts:
            return
        left = [one for one in self._cuts if one != number]
        chain, end = cut_rules.chain_name(number), cut_rules.end_name(number)
        gone = [name for name in self._sets if name.startswith(f"{chain}_")]
        messages = [*self._dispatch(left, self._queues), nft.empty(TABLE, chain), nft.empty(TABLE, end)]
        messages += [
            nft.delete_chain(TABLE, chain),
            nft.delete_chain(TABLE, end),
            *(nft.delete_set(TABLE, name) for name in gone),
        ]
        self._commit(messages)
        self._cuts = left
        for name in gone:
            del self._sets[name]

    def queue(self, wanted: Sequence[tuple[Queued, float | None]]) -> None:
        """Exactly this goes to queues from now on, each until its time."""
        now = time.monotonic()
        old = {one.set for one in self._queues}
        new = [one for one, _ in wanted]
        messages: list[nft.Message] = []
        for at, one in enumerate(new, 1):
            if one.set not in old:
                messages.append(nft.new_set(TABLE, one.set, at, one.form))
        messages += self._dispatch(self._cuts, new)
        messages += [nft.delete_set(TABLE, name) for name in sorted(old - {one.set for one in new})]
        for one, until in wanted:
            content = _Set([one.key], until)
            if one.set in old:
                messages += self._again(one.set, now)
            messages += nft.elements(TABLE, one.set, content.keys, max(0.001, content.seconds(now)))
        self._commit(messages)
        for name in old:
            self._sets.pop(name, None)
        self._queues = new
        self._sets |= {one.set: _Set([one.key], until) for one, until in wanted}

    def renew(self) -> None:
        """What has no end of its own goes on for another LEASE."""
        now = time.monotonic()
        messages: list[nft.Message] = []
        for name, content in self._sets.items():
            if content.until is None:
                messages += self._again(name, now)
                messages += nft.elements(TABLE, name, content.keys, LEASE)
        if messages:
            self._commit(messages)

    def _again(self, name: str, now: float) -> Iterable[nft.Message]:
        """Room for elements that are there already: their time cannot be changed before Linux 6.12. All of a
        set are removed, whether their time was over or not."""
        yield nft.empty_set(TABLE, name)

    def _dispatch(self, cuts: Sequence[int], queues: Sequence[Queued]) -> Iterator[nft.Message]:
        """The base chain, anew: who looks for a neighbour finds it; then cuts, then what probes of cuts are
        not to wait for, then queues: first what is about one neighbour."""
        yield nft.empty(TABLE, _BASE)
        for kind in _NEIGHBOURS:
            found = [nft.meta(nft.PROTOCOL), nft.compare(bytes([_ICMPV6]))]
            found += [nft.transport(0, 1), nft.compare(bytes([kind])), nft.verdict(nft.ACCEPT)]
            yield nft.rule(TABLE, _BASE, *found)
        for number in cuts:
            yield nft.rule(TABLE, _BASE, nft.verdict(nft.JUMP, cut_rules.chain_name(number)))
        probe = [nft.meta(nft.PROTOCOL), nft.compare(bytes([cut_rules.PROBE]))]
        probe += [nft.transport(0, 1), nft.compare(bytes([cut_rules.CUT_PROBE]))]
        yield nft.rule(TABLE, _BASE, *probe, nft.verdict(nft.ACCEPT))
        for one in sorted(queues, key=lambda one: not one.mac):
            yield from one.rules()

    def _commit(self, messages: Sequence[nft.Message]) -> None:
        """The table is made with what first comes into it; where it cannot belong to us, it is made all the
        same, for what is in it ends by itself."""
        assert self._nft is not None
        try:
            if self._there:
                self._nft.commit(messages)
                return
            for owner in (True, False):
                try:
                    left = [
                        nft.new_table(TABLE, owner=False),
                        nft.delete_table(TABLE),
                    ]  # by an earlier daemon
                    made = [nft.new_table(TABLE, owner=owner), nft.base_chain(TABLE, _BASE, _PRIORITY)]
                    made += _without_tracking() if self.host.spec.get("nat") else []
                    self._nft.commit([*left, *made, *messages])
                    break
                except OSError:
                    if not owner:
                        raise
            self._there = True
        except OSError as error:
            raise errors.EngineError(
                f"host {self.host.name} cannot be impaired: {error}", "the kernel needs nf_tables"
            ) from error

    def withdraw(self) -> None:
        """Take all back, and the table with it."""
        if self._there and self._nft is not None:
            with contextlib.suppress(OSError):  # the host is gone, or someone in it has removed the table
                self._nft.commit([nft.delete_table(TABLE)])
        self._there, self._cuts, self._queues, self._sets = False, [], [], {}

    def close(self) -> None:
        """Leave the host."""
        self.withdraw()
        if self._nft is not None:
            self._nft.close()
        os.close(self.proc)


def _without_tracking() -> Iterator[nft.Message]:
    """A probe goes as it is also where addresses are translated: else those of two hosts could not be told
    apart, for their protocol has no ports."""
    probe = [nft.meta(nft.PROTOCOL), nft.compare(bytes([cut_rules.PROBE])), nft.untracked()]
    for chain, hook in (("probes", nft.PREROUTING), ("own_probes", nft.OUTPUT)):
        yield nft.base_chain(TABLE, chain, _RAW, hook)
        yield nft.rule(TABLE, chain, *probe)
