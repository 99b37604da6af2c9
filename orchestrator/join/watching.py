"""Who has watched what, and when: where the silence of a source says something, and where it says nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from orchestrator.model.recording import Loss, Recording, Watch

_NAMES = {"packet": "packets", "tracepoint": "changes", "snapshot": "tables", "log": "logs", "call": "calls"}
TAIL = 1.0  # seconds at a recording's end that a source may be behind the others
MUTED = "rules that were made in {host} may drop what it sends, before anybody sees it"
_NOBODY = "nobody watched the {what} of {host}"


class Gap(NamedTuple):
    """A time of which a source cannot say that nothing happened."""

    began: float
    ended: float
    why: str


class Coverage(NamedTuple):
    """What one source can say of one host. `bare`, `everything`: of packets, as in Watch."""

    watched: bool
    gaps: tuple[Gap, ...]
    error: float = 0.0
    everything: bool = False
    bare: bool = False

    def within(self, began: float, ended: float) -> list[Gap]:
        """Gaps of that time; not those that only touch it."""
        return [gap for gap in self.gaps if gap.began < ended and gap.ended > began]

    def whole(self, began: float, ended: float) -> bool:
        """Whether it has none."""
        return not self.gaps or not self.within(began, ended)


def horizon(recording: Recording) -> float:
    """Until when a recording says something: sources may be some time behind its end."""
    sources = ("packet", "tracepoint")
    heard = [one.ended for one in recording.watches if one.source in sources and not one.why]
    return min(recording.length, max(heard)) if heard and max(heard) > 0 else recording.length


class Watching:
    """All sources and hosts of a recording."""

    def __init__(self, recording: Recording) -> None:
        self.length = horizon(recording)
        self._watches: dict[tuple[str, str], list[Watch]] = {}
        for watch in sorted(recording.watches, key=lambda one: (one.began, one.ended, one.why)):
            self._watches.setdefault((watch.source, watch.host), []).append(watch)
        self._losses = sorted(recording.losses, key=lambda one: (one.began, one.ended, one.source, one.stage))
        self._muted = set(muted(recording))
        self._known: dict[tuple[str, str], Coverage] = {}

    def of(self, source: str, host: str) -> Coverage:
        """What a source can say of a host."""
        found = self._known.get((source, host))
        if found is None:
            found = self._known[source, host] = self._coverage(source, host)
        return found

    def _coverage(self, source: str, host: str) -> Coverage:
        watches = [one for one in self._watches.get((source, host), ()) if one.ended > one.began]
        gaps = [*self._unwatched(source, host, watches), *self._lost(source, host)]
        if source == "packet" and host in self._muted:
            gaps.append(Gap(float("-inf"), float("inf"), MUTED.format(host=host)))
        gaps.sort()
        return Coverage(
            watched=bool(watches),
            gaps=tuple(gaps),
            error=max((one.error for one in watches), default=0.0),
            everything=bool(watches) and all(one.everything for one in watches),
            bare=bool(watches) and all(one.bare or one.everything for one in watches),
        )

    def _unwatched(self, source: str, host: str, watches: Sequence[Watch]) -> Iterator[Gap]:
        every = self._watches.get((source, host), ())
        said = [one.why for one in every if one.why]
        why = _NOBODY.format(what=_NAMES[source], host=host) + (f": {said[-1]}" if said else "")
        until = float("-inf")
        for watch in watches:
            if watch.began > until:
                yield Gap(until, watch.began, why)
            until = max(until, watch.ended)
        if until < self.length - (TAIL if watches and not watches[-1].why else 0.0):
            yield Gap(until, float("inf"), why)

    def _lost(self, source: str, host: str) -> Iterator[Gap]:
        for loss in self._losses:
            if loss.source == source and loss.host in (None, host):
                yield Gap(loss.began, loss.ended, lost(loss))

    def doubts(self, hosts: Iterable[str], began: float, ended: float) -> tuple[str, ...]:
        """What was lost of these hosts in that time."""
        known = set(hosts)
        return tuple(
            lost(loss)
            for loss in self._losses
            if (loss.host is None or loss.host in known) and loss.began <= ended and loss.ended >= began
        )


def lost(loss: Loss) -> str:
    """A loss in words."""
    count = "some" if loss.count is None else f"{loss.count:,}"
    whose = f" of {loss.host}" if loss.host is not None else ""
    return f"{count} {_NAMES[loss.source]}{whose} were lost ({loss.stage})"


# What a step does to a host that no packet is dropped or held by.
_HARMLESS = ("pause", "resume", "kill", "note", "heal", "dns")
_FILTERS = re.compile(r"\b(ip6?tables|nft|tc|ebtables)\b")
_OUTGOING = re.compile(r"\b(OUTPUT|POSTROUTING|output|postrouting|nft|tc)\b")
_WORD = re.compile(r"[\w.-]+")


def tampered(recording: Recording) -> Mapping[str, float]:
    """Since when something in a host may drop or hold what comes, behind the tap (netfilter): impairments,
    and programs that make rules."""
    found: dict[str, float] = {}
    everybody = {watch.host for watch in recording.watches}
    for said in recording.said:
        rules = said.source == "exit" and _FILTERS.search(said.text) is not None
        if not rules and (said.source != "impairment" or said.kind in _HARMLESS):
            continue
        since = 0.0 if rules else said.t - said.error  # when it began to run is not known
        named = everybody.intersection(_WORD.findall(said.text))
        for host in [said.host] if said.host else named or everybody:
            found[host] = min(since, found.get(host, since))
    return found


def muted(recording: Recording) -> Iterator[str]:
    """Hosts in which programs have made rules that may drop what is sent, before the tap."""
    for said in recording.said:
        if said.source == "exit" and _FILTERS.search(said.text) and _OUTGOING.search(said.text):
            yield said.host
