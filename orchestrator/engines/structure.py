"""What the changes of a plan ask an engine for: what is to be removed and made, in a daemon's words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from orchestrator.model.plan import Change, Plan
from orchestrator.wire import Channel


class Structure(NamedTuple):
    """The arguments of `remove` and of `make`."""

    old_hosts: list[str]
    old_networks: list[str]
    networks: list[Any]
    hosts: list[Any]


class _Named(Protocol):
    @property
    def name(self) -> str: ...


def of_changes(plan: Plan, changes: Sequence[Change]) -> Structure:
    """The structs of what is to be made are as the plan has them."""

    def subjects(action: str) -> list[str]:
        return [change.subject for change in changes if change.action == action]

    return Structure(
        subjects("remove-host"),
        subjects("remove-network"),
        _chosen(plan.networks, subjects("make-network")),
        _chosen(plan.hosts, subjects("make-host")),
    )


def _chosen(things: Iterable[_Named], names: Iterable[str]) -> list[Any]:
    wanted = set(names)
    return [msgspec.to_builtins(thing) for thing in things if thing.name in wanted]


@contextlib.contextmanager
def kept_unless_it_fails(channel: Channel) -> Iterator[Channel]:
    """The channel is the caller's afterwards, and closed when the block fails."""
    try:
        yield channel
    except BaseException:
        channel.close()
        raise
