"""Impairments as they are asked for, pure: cuts, settings of links, and what these come to together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.daemon.cut_rules import Flow, Which
from orchestrator.daemon.verifying import Word

Ways = list[tuple[str, str]]  # from host, to host
Place = tuple[str, str]  # a host (or "") and a network: a link, or the network as a whole
Values = dict[str, Any]  # of a line, see effects.Line; of names, see agent/nameserver.py


@dataclass(kw_only=True)
class Cut:
    """A cut as asked for. `ways`: between hosts; `links`: links that are pulled out, both directions."""

    number: int
    text: str
    which: Which
    ways: Ways
    links: list[Place] = field(default_factory=list)
    until: float | None
    client: int | None  # the channel that it ends with
    flows: dict[tuple[str, str], list[Flow]] | None = (
        None  # of a cut of connections that there were, each way
    )
    declared: bool = False
    flap: tuple[float, float] | None = None  # seconds that it is there, and is not, in turn
    again: float = 0.0  # when it is there again
    quick: bool = False  # one of many in a row: nothing is verified
    verified: list[Word] = field(default_factory=list)
    failed: str = ""


@dataclass(kw_only=True)
class Setting:
    """What links (or names, of a DNS server) were set to, one after the other: later ones win, key by key.
    `values` None: cleared."""

    number: int
    text: str
    places: list[Place]
    values: Values | None
    until: float | None
    client: int | None
    declared: bool = False
    names: bool = False  # how names are answered, not links
    verified: list[Word] = field(default_factory=list)
    failed: str = ""


def links_of(settings: Iterable[Setting]) -> dict[Place, Values]:
    """What each link and network is like; those that are as usual are left out."""
    found: dict[Place, Values] = {}
    for setting in settings:
        for place in setting.places:
            values = found.setdefault(place, {})
            if setting.values is None:
                values.clear()
            else:
                values |= setting.values
    return {
        place: {key: value for key, value in values.items() if value}
        for place, values in found.items()
        if any(values.values())
    }


def ends_of(settings: Iterable[Setting]) -> dict[Place, float | None]:
    """When the last setting of each place ends."""
    found: dict[Place, float | None] = {}
    for setting in settings:
        for place in setting.places:
            before = found.get(place, 0.0)
            found[place] = None if before is None or setting.until is None else max(before, setting.until)
    return found


def last_of(ends: Mapping[Place, float | None], places: Sequence[Place]) -> float | None:
    """When the last of these ends; None: one has no end."""
    times = [ends[place] for place in places]
    known = [time for time in times if time is not None]
    return max(known) if len(known) == len(times) else None


def overruled(settings: Collection[Setting]) -> list[Setting]:
    """Those of which nothing is seen any more, and never will be again."""
    lasting = [s for s in settings if s.until is None and s.client is None]
    gone = []
    for at, one in enumerate(lasting):
        later = [s for s in lasting[at + 1 :] if set(s.places) >= set(one.places)]
        keys = set(one.values or ())
        hidden = any(s.values is None or (one.values is not None and keys <= set(s.values)) for s in later)
        if hidden and not one.declared:
            gone.append(one)
    left = [one for one in settings if one not in gone]
    for at, one in enumerate(left):  # nothing is left that it clears
        if one.values is None and not any(set(s.places) & set(one.places) for s in left[:at]):
            gone.append(one)
    return gone
