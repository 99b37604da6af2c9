"""docs/lab-yaml.md, from the description: `python -m orchestrator.read.reference > docs/lab-yaml.md`."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.read.kinds import Either, Field, Kind, ListOf, MapOf, Nothing, Record, Text
from orchestrator.read.schema import HOST, LAB, MOST_HOSTS, NETWORK, RESOURCES, ROUTER

_HEAD = """# lab.yaml

<!-- Made from the schema in orchestrator/read/schema.py by `python -m orchestrator.read.reference`. -->

A lab file is YAML, in UTF-8, indented by spaces. Every scalar is read as text and typed by this page: a
host may be called `on`, and `12:30` stays text. Keys are given once; anchors and aliases work, merge keys
(`<<`), tags and several documents do not. A mistake is reported as `FILE:LINE:COLUMN: what is wrong`, all
of them at once, and nothing is started. `lab schema` prints this as a JSON schema for editors, `lab
validate` checks a file.
"""

_NOTES = f"""
## Names
Names of labs, networks, routers and hosts are DNS labels: at most 63 letters, digits and `-`, with no `-`
at either end. Routers and hosts share one set of names, looked up without regard to case; `localhost` and
names of digits only cannot be theirs. With `count: 3` the host `bob` becomes `bob-1`, `bob-2`, `bob-3`. A
lab has at most {MOST_HOSTS:,} hosts.

## Addresses
Given addresses are kept. The others are chosen in file order from the low end of the subnet, routers first;
so a network's first router has its first address. `up` on a running lab never renumbers a running host.
Subnets may overlap only where no router and no host is on both sides, and not with docker.

## Routes
Routes are static, by the fewest routers, in both families. What leaves a router through its `nat` network
carries the router's address there; from that side nothing is reached behind it. A lab is closed: only hosts
that are themselves on a network with `internet: true` have a route out of it.
"""


def reference() -> str:
    """The page, as Markdown."""
    parts = [_HEAD]
    for title, record in (
        ("The file", LAB),
        ("A network", NETWORK),
        ("A router", ROUTER),
        ("A host", HOST),
        ("`resources` of a host", RESOURCES),
    ):
        parts.append("\n".join((f"\n## {title}", *_table(record), "")))
    return "".join((*parts, _NOTES))


def _table(record: Record) -> Iterator[str]:
    """One row for each key that works, then a line about the others."""
    yield "| key | value | |"
    yield "|---|---|---|"
    for name, field in record.fields.items():
        if not field.later:
            yield f"| `{name}` | {_value(field)} | {_escaped(field.doc)}{_necessity(field)} |"
    later = [f"`{name}`" for name, field in record.fields.items() if field.later]
    if later:
        yield f"\nNot supported yet: {', '.join(later)}."


def _value(field: Field) -> str:
    return " or ".join(dict.fromkeys(_forms(field.kind))) if field.kind else ""


def _necessity(field: Field) -> str:
    return " **Required.**" if field.required else ""


def _forms(kind: Kind) -> Iterator[str]:
    """What may stand there, each by an example."""
    if isinstance(kind, Text) and kind.words:
        yield ", ".join(f"`{word}`" for word in kind.words)
    elif isinstance(kind, Text | ListOf | MapOf | Record):
        yield f"`{_escaped(kind.example)}`"
    elif isinstance(kind, Either):
        for option in kind.options:
            if not isinstance(option, Nothing):
                yield from _forms(option)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(reference(), end="")
