"""A cut as rules of nf_tables, pure: which packets it is about, and what becomes of them.

Each cut has a chain and sets of its own in the table of a host that its packets come to. The chain lets
probes of others pass, drops its own (verifying.py), and then does what it is for.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from orchestrator import errors
from orchestrator.daemon import nftables as nft

PROBE = 253  # of IP: "use for experimentation and testing", RFC 3692; no program is asked for it
CUT_PROBE, DELAY_PROBE, TRAIN_PROBE = 0x4C, 0x4D, 0x4E  # the first byte of a probe
_TCP, _UDP = 6, 17
_FIN, _SYN, _RST, _PSH, _ACK = 1, 2, 4, 8, 16  # RFC 9293, 3.1
_FLAGS = 13  # offset in a TCP header
_FAMILY = {4: 2, 6: 10}  # NFPROTO_IPV4, NFPROTO_IPV6
_SOURCE = {4: (12, 4), 6: (8, 16)}  # of the source address in an IP header; the destination is behind it

# What is one packet of a kind, by a TCP header's flags: (those looked at, those set).
KINDS: Mapping[str, tuple[int, int]] = {
    "syn": (_SYN | _ACK, _SYN),
    "syn-ack": (_SYN | _ACK, _SYN | _ACK),
    "ack": (_SYN | _FIN | _RST | _PSH | _ACK, _ACK),
    "data": (_SYN | _PSH, _PSH),
    "fin": (_FIN, _FIN),
    "rst": (_RST, _RST),
}
ESTABLISHED = "established"  # the connections that there are when it is cut, and no others
ANSWERS = ("", "rst", "icmp")


@dataclass(frozen=True, kw_only=True)
class Which:
    """Which packets between two hosts, and what becomes of them. `port`: of either end. `kind`: of KINDS.
    `packets`: so many and then no more; 0: all. `answer`: "" drops silently."""

    port: int = 0
    kind: str = ""
    packets: int = 0
    answer: str = ""

    @classmethod
    def told(cls, message: Mapping[str, Any]) -> Which:
        """Of a request. Raises DaemonError."""
        port, packets = int(message.get("port") or 0), int(message.get("packets") or 0)
        kind, answer = str(message.get("kind") or ""), str(message.get("answer") or "")
        if kind and kind not in (*KINDS, ESTABLISHED):
            raise errors.DaemonError(f"a cut of {kind!r}", f"there are {', '.join(KINDS)}, {ESTABLISHED}")
        if answer not in ANSWERS or not 0 <= port < 1 << 16 or not 0 <= packets < 1 << 31:
            raise errors.DaemonError("a cut that cannot be", "answer is rst or icmp")
        return cls(port=port, kind=kind, packets=packets, answer=answer)

    @property
    def whole(self) -> bool:
        """Whether nothing passes."""
        return not (self.port or self.kind or self.packets)


class Flow(NamedTuple):
    """A connection as packets of one direction show it."""

    source: str
    source_port: int
    target: str
    target_port: int


@dataclass(kw_only=True)
class Keys:
    """What the sets of a cut hold in one host: pairs of addresses by family, these with ports, neighbours,
    interfaces."""

    pairs: dict[int, list[bytes]] = field(default_factory=lambda: {4: [], 6: []})
    flows: dict[int, list[bytes]] = field(default_factory=lambda: {4: [], 6: []})
    neighbours: list[bytes] = field(default_factory=list)
    interfaces: list[bytes] = field(default_factory=list)

    def add_pairs(self, sources: Sequence[str], targets: Sequence[str]) -> None:
        """Each of these to each of those, of one family."""
        for source in map(ipaddress.ip_address, sources):
            for target in map(ipaddress.ip_address, targets):
                if source.version == target.version:
                    self.pairs[source.version].append(source.packed + target.packed)

    def add_flow(self, flow: Flow) -> None:
        """A connection, one way."""
        source, target = ipaddress.ip_address(flow.source), ipaddress.ip_address(flow.target)
        ports = struct.pack(">HxxHxx", flow.source_port, flow.target_port)
        self.flows[source.version].append(source.packed + target.packed + ports)

    def sets(self, number: int) -> Iterator[tuple[str, nft.Key, list[bytes]]]:
        """Name, form and content of each that is not empty."""
        named = [
            ("four", nft.PAIR[4], self.pairs[4]),
            ("six", nft.PAIR[6], self.pairs[6]),
            ("flows", nft.FLOW[4], self.flows[4]),
            ("flows6", nft.FLOW[6], self.flows[6]),
            ("from", nft.NEIGHBOUR, self.neighbours),
            ("at", nft.INTERFACE, self.interfaces),
        ]
        for name, key, keys in named:
            if keys:
                yield f"cut{number}_{name}", key, list(dict.fromkeys(keys))


def interface_key(index: int) -> bytes:
    """Of a set of interfaces; the kernel keeps an index in the machine's own byte order."""
    return struct.pack("=I", index)


def neighbour_key(index: int, mac: str) -> bytes:
    """What comes in by that interface from that MAC address."""
    return struct.pack("=I", index) + bytes.fromhex(mac.replace(":", "")) + bytes(2)


def probe(first: int, number: int) -> bytes:
    """The first four bytes of a probe, which rules know it by."""
    return struct.pack(">I", first << 24 | number & 0xFFFFFF)


def chain_name(number: int) -> str:
    """The chain of a cut."""
    return f"cut{number}"


def end_name(number: int) -> str:
    """The chain that all packets of a cut come to, by whatever rule: so they are counted together."""
    return f"cut{number}_end"


def rules(table: str, number: int, which: Which, keys: Keys) -> Iterator[nft.Message]:
    """All rules of a cut's chains."""
    chain, end = chain_name(number), end_name(number)
    for rule in _ends(which):
        yield nft.rule(table, end, *rule)
    for name, key, _ in keys.sets(number):
        found = _in_set(name, key)
        flows = key in nft.FLOW.values()
        ours = [nft.transport(0, 4), nft.compare(probe(CUT_PROBE, number))]
        if not flows:  # they have ports
            yield nft.rule(table, chain, *found, *_protocol(PROBE), *ours, nft.verdict(nft.DROP))
        for first in () if flows else (CUT_PROBE, DELAY_PROBE, TRAIN_PROBE):
            # not all by a mask: nft(8) 1.0.6 aborts when it lists that
            probes = [nft.transport(0, 1), nft.compare(bytes([first]))]
            yield nft.rule(table, chain, *found, *_protocol(PROBE), *probes, nft.verdict(nft.RETURN))
        if which.kind == ESTABLISHED and not flows:
            continue
        for match in _matches(which):
            yield nft.rule(table, chain, *found, *match, nft.verdict(nft.GOTO, end))


def _in_set(name: str, key: nft.Key) -> list[bytes]:
    if key == nft.INTERFACE:
        return [nft.meta(nft.IIF), nft.lookup(name)]
    if key == nft.NEIGHBOUR:
        return [nft.meta(nft.IIF), nft.link(6, 6, nft.SECOND_WORD), nft.lookup(name)]
    version = 4 if key in (nft.PAIR[4], nft.FLOW[4]) else 6
    offset, length = _SOURCE[version]
    second = nft.SECOND_WORD if version == 4 else nft.SECOND
    ports: list[bytes] = []
    if key in nft.FLOW.values():
        words = (nft.THIRD_WORD, nft.FOURTH_WORD) if version == 4 else (nft.NINTH_WORD, nft.TENTH_WORD)
        ports = [nft.transport(0, 2, words[0]), nft.transport(2, 2, words[1])]
    return [
        *(_protocol(_TCP) if ports else []),
        nft.meta(nft.FAMILY),
        nft.compare(bytes([_FAMILY[version]])),
        nft.network(offset, length),
        nft.network(offset + length, length, second),
        *ports,
        nft.lookup(name),
    ]


def _protocol(number: int) -> list[bytes]:
    return [nft.meta(nft.PROTOCOL), nft.compare(bytes([number]))]


def _matches(which: Which) -> Iterator[list[bytes]]:
    """The ways in which a packet can be one of these."""
    flags: list[bytes] = []
    if which.kind in KINDS:
        looked, set_ = KINDS[which.kind]
        flags = [nft.transport(_FLAGS, 1), nft.masked(bytes([looked])), nft.compare(bytes([set_]))]
    if not which.port:
        yield [*_protocol(_TCP), *flags] if flags else []
        return
    for protocol in (_TCP,) if flags else (_TCP, _UDP):
        for offset in (0, 2):
            port = [nft.transport(offset, 2), nft.compare(struct.pack(">H", which.port))]
            yield [*_protocol(protocol), *port, *flags]


def _ends(which: Which) -> Iterator[list[bytes]]:
    """What becomes of it. RST answers TCP alone; the rest is told that it is unreachable."""
    if which.packets:
        yield [nft.beyond(which.packets), nft.verdict(nft.RETURN)]
    if which.answer == "rst":
        yield [*_protocol(_TCP), nft.counter(), nft.reset()]
    yield [nft.counter(), nft.unreachable() if which.answer else nft.verdict(nft.DROP)]
