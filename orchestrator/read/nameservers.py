"""`dns:` and `resolver:` of hosts: who answers questions of DNS, and who asks whom."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.read.build import Draft, Joined
from orchestrator.read.findings import shown
from orchestrator.read.nodes import Mapping, Node, Scalar, Sequence
from orchestrator.read.values import is_address

PORT = 53


def records(one: Joined, draft: Draft) -> dict[str, tuple[str, ...]] | None:
    """What a DNS server knows besides the lab's own hosts; None: the host is none."""
    node = one.node.get("dns")
    if node is None:
        return None
    taken = one.node.get("listen")
    for item in taken.items if isinstance(taken, Sequence) else ():
        if isinstance(item, Scalar) and item.text.rpartition(":")[2] == str(PORT):
            draft.findings.add(item, f"port {PORT} is that of `dns`")
    found: dict[str, tuple[str, ...]] = {}
    lines: dict[str, int] = {}
    for key, value in node.entries if isinstance(node, Mapping) else ():
        name = key.text.rstrip(".").lower()
        if name in lines:
            draft.findings.add(key, f"{shown(key.text)} has a record already in line {lines[name]}")
        lines[name] = key.line
        found[name] = tuple(_known(draft, item) for item in _scalars(value))
    return found


def resolver(one: Joined, known: Callable[[Joined, Scalar, str], bool]) -> tuple[str, ...]:
    """Whom a host asks; `known` says (and complains) whether it reaches a host."""
    items = _scalars(one.node.get("resolver"))
    return tuple(item.text for item in items if is_address(item.text) or known(one, item, item.text))


def _scalars(node: Node | None) -> list[Scalar]:
    items = node.items if isinstance(node, Sequence) else (node,)
    return [item for item in items if isinstance(item, Scalar) and not item.nothing]


def _known(draft: Draft, item: Scalar) -> str:
    """An address, or a host (of a `count`: all of it) as the file writes it."""
    if is_address(item.text) or item.text in draft.members:
        return item.text
    found = draft.names.get(item.text.lower())
    if found is None and item.text not in draft.written_names:
        hint = draft.findings.meant(item.text, draft.written_names)
        draft.findings.add(item, f"{shown(item.text)} is no address and no host", hint)
    return item.text
