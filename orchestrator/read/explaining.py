"""What can be typed, explained: the verbs and their arguments, from the description of lab.yaml. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.read.kinds import Field
from orchestrator.read.scenario_schema import ARGUMENT_FIELDS, CALL_FIELDS, COMMON_FIELDS, STEP_FIELDS
from orchestrator.read.verbs import ALL_VERBS, GRAMMARS, RUN, WAIT, arguments

_ROOM = 32
_PAST = "expect: {connection: alice.call, first to close: server, closed by: FIN}"
_OTHERS = {
    "expect": "expect: {connection: alice.call, server: ESTABLISHED}",
    "wait": "wait: 2s",
    "note": "note: the queue is full now",
    "parallel": "parallel: [alice: close call, web: close conn]",
    "repeat": "{repeat: 3, steps: [alice: send call x]}",
    "cut": "cut: alice web for 2s",
    "heal": "heal: all",
    "dns": "dns: ns:shop.lab late=300ms",
    "link": "link: alice delay=50ms loss=2%",
    "pause": "pause: web",
    "resume": "resume: web",
    "kill": "kill: web.run",
}


def verbs() -> Iterator[str]:
    """Each verb by an example, and what it does."""
    for verb in ALL_VERBS:
        yield _row(GRAMMARS[verb].example, CALL_FIELDS[verb].doc)


def others() -> Iterator[str]:
    """Steps that are no call of a host."""
    for key, example in _OTHERS.items():
        doc = STEP_FIELDS[key].doc
        yield from (_row(example, doc),) if len(example) < _ROOM else (f"  {example}", _row("", doc))
        if key == "expect":
            yield from (f"  {_PAST}", _row("", "What has happened; `client: SYN_SENT -> ESTABLISHED` too."))


def verb(name: str) -> Iterator[str]:
    """One verb with its arguments."""
    grammar = GRAMMARS[name]
    yield f"{grammar.example}"
    yield f"  {CALL_FIELDS[name].doc}"
    own = {key: field for key, field in ARGUMENT_FIELDS.items() if key in arguments(name)}
    yield from _fields("arguments, by the names of the long form", own)
    if name != WAIT:
        kept = {key: field for key, field in COMMON_FIELDS.items() if key not in ("times", "background")}
        yield from _fields("options, as `key=value`", {k: f for k, f in kept.items() if k != "as"})
        yield _row("as NAME", COMMON_FIELDS["as"].doc)
        yield _row("x3", COMMON_FIELDS["times"].doc)
        yield _row("&", "Leave it running; `wait NAME` joins it.")
    if name not in (RUN, WAIT):
        yield "  long form: {" + f"{name}: NAME, key: value, …" + "}"


def _fields(title: str, fields: Mapping[str, Field]) -> Iterator[str]:
    if fields:
        yield f"  {title}:"
    for key, field in fields.items():
        yield _row(key, field.doc)


def _row(left: str, doc: str) -> str:
    return f"  {left:<{_ROOM}} {doc}".rstrip()
