"""Who answers questions of DNS, and what: the lab's own names, and what the file says besides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.model.plan import Interface, PlannedDns
from orchestrator.model.topology import Host
from orchestrator.plan.expand import Member

Names = tuple[tuple[str, tuple[str, ...]], ...]  # Plan.names


def served(
    host: Host, links: Sequence[Interface], names: Names, members: Sequence[Member]
) -> PlannedDns | None:
    """The DNS server of a host; None: it is none."""
    if host.dns is None:
        return None
    known = {name.lower(): addresses for name, addresses in names}
    groups: dict[str, list[str]] = {}
    for member in members:
        if member.host is not None:
            groups.setdefault(member.host.name, []).extend(known[member.name.lower()])
    own = {
        name: tuple(address for word in words for address in _addresses(word, known, groups))
        for name, words in host.dns.items()
    }
    return PlannedDns(addresses=tuple(_places(links)), records={**known, **own})


def _addresses(
    word: str, known: Mapping[str, Sequence[str]], groups: Mapping[str, Sequence[str]]
) -> Sequence[str]:
    """Of a host, of all that a `count` makes of one, or the address itself."""
    return known.get(word.lower()) or groups.get(word) or (word,)


def _places(links: Sequence[Interface]) -> Iterator[str]:
    """Where it is asked: each of its addresses, and from within itself."""
    yield "127.0.0.1"
    yield from (link.address for link in links if link.address)
    yield from (link.address6 for link in links if link.address6)
