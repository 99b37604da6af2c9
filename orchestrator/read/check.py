"""Nodes, checked against the description: what is well-formed is kept, everything else becomes a diagnostic.

The kept part is read on by build.py, so that mistakes of structure and of sense are told at the same time.
"""

from __future__ import annotations

from orchestrator.read.findings import Findings, shown
from orchestrator.read.kinds import Again, Either, Kind, ListOf, MapOf, Nothing, Record, Text
from orchestrator.read.nodes import Mapping, Node, Scalar, Sequence


def check(node: Node, kind: Kind, name: str, findings: Findings) -> Node | None:
    """The well-formed part of a node; None where nothing of it is. `name`: what the value belongs to."""
    option = _option(node, kind)
    if option is None:
        findings.add(node, _mismatch(node, kind, name), _cure(node, kind))
        return None
    if isinstance(option, Text) and isinstance(node, Scalar):
        return _text(node, option, name, findings)
    if isinstance(option, ListOf) and isinstance(node, Sequence):
        return _list(node, option, name, findings)
    if isinstance(option, MapOf) and isinstance(node, Mapping):
        return _map(node, option, name, findings)
    if isinstance(option, Record) and isinstance(node, Mapping):
        return _record(node, option, findings)
    return node


def _option(node: Node, kind: Kind) -> Kind | None:
    """Which of the kinds has this node's form."""
    if isinstance(kind, Again):
        return _option(node, kind.of())
    if isinstance(kind, Either):
        return next((option for option in kind.options if _option(node, option)), None)
    if isinstance(node, Scalar):
        form: type[Kind] | tuple[type[Kind], ...] = Nothing if node.nothing else Text
    else:
        form = ListOf if isinstance(node, Sequence) else (MapOf, Record)
    return kind if isinstance(kind, form) else None


def _forms(kind: Kind) -> list[str]:
    if isinstance(kind, Again):
        return _forms(kind.of())
    if isinstance(kind, Either):
        return [form for option in kind.options for form in _forms(option)]
    names = {Text: "a value", ListOf: "a list", MapOf: "a mapping", Record: "a mapping"}
    return [names[type(kind)]] if type(kind) in names else []


def _mismatch(node: Node, kind: Kind, name: str) -> str:
    """`listen` wants a list, not a value."""
    wanted = " or ".join(dict.fromkeys(_forms(kind)))
    if isinstance(node, Scalar):
        got = "nothing" if node.nothing else f"the value {shown(node.text)}"
    else:
        got = "a list" if isinstance(node, Sequence) else "a mapping"
    return f"{name} is {wanted}, not {got}"


def _cure(node: Node, kind: Kind) -> str:
    """What was probably meant by a value of the wrong form."""
    if isinstance(node, Mapping) and isinstance(kind, Text) and len(node.entries) == 1:
        key, value = node.entries[0]
        if isinstance(value, Scalar) and kind.accepts(f"{key.text}:{value.text}"):
            return f"did you mean {shown(f'{key.text}:{value.text}')}, without the space?"
    lists = [kind] if isinstance(kind, ListOf) else []
    if isinstance(kind, Either):
        lists = [option for option in kind.options if isinstance(option, ListOf)]
    if lists and lists[0].hint:
        return lists[0].hint
    if isinstance(node, Scalar) and not node.nothing and lists and _option(node, lists[0].item):
        return f"did you mean `[{node.text}]`?" if node.text.isprintable() else ""
    return f"write it as `{kind.example}`" if kind.example else ""


def _text(node: Scalar, kind: Text, name: str, findings: Findings) -> Node | None:
    if kind.accepts(node.text):
        return node
    hint = findings.meant(node.text, kind.words) if kind.words else kind.hint
    if kind.words and not hint:
        hint = "it is one of " + ", ".join(f"`{word}`" for word in kind.words)
    findings.add(node, f"{name}: {shown(node.text)} is no {kind.what}", hint)
    return None


def _list(node: Sequence, kind: ListOf, name: str, findings: Findings) -> Node:
    if len(node.items) < kind.least:
        findings.add(node, f"{name} is an empty list", f"write it as `{kind.example}`")
    if kind.most is not None and len(node.items) > kind.most:
        findings.add(node, f"{name} has {len(node.items)} entries, at most {kind.most} are allowed")
    items = [check(item, kind.item, f"an entry of {name}", findings) for item in node.items]
    return node._replace(items=tuple(item for item in items if item is not None))


def _map(node: Mapping, kind: MapOf, name: str, findings: Findings) -> Node:
    if len(node.entries) < kind.least:
        findings.add(node, f"{name} is an empty mapping", f"write it as `{kind.example}`")
    kept = []
    for key, value in node.entries:
        checked = check(value, kind.value, shown(key.text), findings)
        if not kind.key.accepts(key.text):
            findings.add(key, f"{shown(key.text)} is no {kind.key.what}", kind.key.hint)
        elif checked is not None:
            kept.append((key, checked))
    return node._replace(entries=tuple(kept))


def _record(node: Mapping, kind: Record, findings: Findings) -> Node:
    kept = []
    before = len(findings)
    if len(node.entries) < kind.least:
        findings.add(node, f"{kind.what} is an empty mapping", f"write it as `{kind.example}`")
    for key, value in node.entries:
        checked = _field(key, value, kind, findings)
        if checked is not None:
            kept.append((key, checked))
    for name in kind.required:
        if node.get(name) is None:
            findings.add(node, f"{kind.what} without `{name}`", _example(name, kind.fields[name].kind))
    if kind.some and len(findings) == before and not _has_some(node, kind):
        findings.add(node, f"{kind.what} without {kind.without}", f"write it as `{kind.example}`")
    return node._replace(entries=tuple(kept))


def _has_some(node: Mapping, kind: Record) -> bool:
    return any(key.text in kind.some for key, _ in node.entries)


def _field(key: Scalar, value: Node, kind: Record, findings: Findings) -> Node | None:
    """The well-formed part of one entry of a record."""
    field = kind.fields.get(key.text)
    if field is None and kind.rest is not None:
        return _other(key, value, kind, findings)
    if field is None:
        hint = kind.hints.get(key.text) or findings.meant(key.text, list(kind.fields))
        findings.add(key, f"{kind.what} has no {shown(key.text)}", hint or f"it may have {kind.known}")
    elif field.later or field.kind is None:
        findings.add(key, f"`{key.text}` is not supported yet", "leave it out")
    else:
        return check(value, field.kind, f"`{key.text}`", findings)
    return None


def _other(key: Scalar, value: Node, kind: Record, findings: Findings) -> Node | None:
    """The value of a key that the user has chosen; or was a known one meant?"""
    assert kind.rest is not None
    option = _option(value, kind.rest)
    if isinstance(option, Record) and isinstance(value, Mapping) and not _has_some(value, option):
        hint = findings.meant(key.text, list(kind.fields))
        if hint:
            findings.add(key, f"{kind.what} has no {shown(key.text)}", hint)
            return None
    return check(value, kind.rest, shown(key.text), findings)


def _example(name: str, kind: Kind | None) -> str:
    return f"add `{name}: {kind.example}`" if kind and kind.example else ""
