"""A program's own values as nodes, as if they had been written in a lab file."""

from __future__ import annotations

from collections.abc import Mapping as Values
from typing import Any

from orchestrator.read.nodes import Mapping, Node, Scalar, Sequence

TEXTS = ("text", "contains", "matches", "until", "body", "hex", "path", "server_name")  # never `none`


def node_of(value: Any, line: int, key: str = "") -> Node:
    """True is `true`, None is `none`, 5 is `5`, bytes are what `hex` wants. What is text in any case is as in
    quotes, under whichever `key` it stands."""
    if isinstance(value, Values):
        return mapping_of(value, line)
    if isinstance(value, list | tuple):
        return Sequence(line, 1, tuple(node_of(one, line) for one in value))
    if value is None:
        return Scalar(line, 1, "none", True)
    if isinstance(value, bool):
        return Scalar(line, 1, "true" if value else "false", True)
    if isinstance(value, bytes):
        return Scalar(line, 1, value.hex(), True)
    return Scalar(line, 1, str(value), plain=not (isinstance(value, str) and key in TEXTS))


def mapping_of(values: Values[str, Any], line: int) -> Mapping:
    """Keys and values, in their order."""
    entries = ((Scalar(line, 1, str(key), True), node_of(one, line, str(key))) for key, one in values.items())
    return Mapping(line, 1, tuple(entries))
