"""Address translation on the way: which tuple a connection has behind each router, from the routers'
conntrack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from orchestrator.join.spaces import Space, Spaces
from orchestrator.model.rows import Translation, Via, endpoint

Endpoint = tuple[str, int]
Path = tuple[Translation, ...]
Step = tuple[Space, Endpoint, Endpoint]

MAX_ROUTERS = 16  # on one path; what a router says is hostile, and may go round in circles
MAX_PATHS = 64  # looked at from one tuple


class Translations:
    """Finds the tuples before and behind routers, within the domain that each router is of."""

    def __init__(self, translations: Iterable[Translation], spaces: Spaces) -> None:
        self._forward: dict[Step, list[Translation]] = {}
        self._back: dict[Step, list[Translation]] = {}
        for found in translations:
            if (found.client, found.server) == (found.new_client, found.new_server):
                continue  # forwarded as it was
            for space in {spaces.domain(found.host), found.host}:
                self._forward.setdefault((space, found.client, found.server), []).append(found)
                self._back.setdefault((space, found.new_client, found.new_server), []).append(found)

    def __bool__(self) -> bool:
        return bool(self._forward)

    def steps(self) -> Iterator[Step]:
        """Every tuple that has a part in a translation, as its client's and its server's rows say it."""
        for space, client, server in self._forward:
            yield space, client, server
        for space, client, server in self._back:
            yield space, server, client

    def starts(self, space: Space, local: Endpoint, peer: Endpoint) -> bool:
        """Whether a router translates what a socket with this tuple sends."""
        return (space, local, peer) in self._forward

    def onward(self, space: Space, local: Endpoint, peer: Endpoint) -> Iterator[Path]:
        """Ways over one router or more from the client with this tuple, each with its beginnings."""
        return _walk((space, local, peer), self._forward, lambda t: (t.new_client, t.new_server))

    def back(self, space: Space, local: Endpoint, peer: Endpoint) -> Iterator[Path]:
        """Ways back from the server with this tuple, in the client's order."""
        paths = _walk((space, peer, local), self._back, lambda t: (t.client, t.server))
        return (path[::-1] for path in paths)


def _walk(
    start: Step,
    steps: dict[Step, list[Translation]],
    beyond: Callable[[Translation], tuple[Endpoint, Endpoint]],
) -> Iterator[Path]:
    """Breadth first, so that the shortest comes first."""
    waiting: list[tuple[Step, Path]] = [(start, ())]
    for (space, client, server), path in waiting:
        for found in steps.get((space, client, server), ()):
            if len(waiting) > MAX_PATHS:
                return
            if len(path) < MAX_ROUTERS and all(found.host != passed.host for passed in path):
                longer = (*path, found)
                yield longer
                waiting.append(((space, *beyond(found)), longer))


def via_of(path: Path) -> tuple[Via, ...]:
    """As the row shows it: each router and the tuple behind it."""
    return tuple(
        Via(host=t.host, client=endpoint(*t.new_client), server=endpoint(*t.new_server)) for t in path
    )
