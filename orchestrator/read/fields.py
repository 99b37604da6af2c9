"""What an expectation may say of its subject: each field, and how its test is read. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from orchestrator.model.rows import TIMERS
from orchestrator.model.steps import (
    CLOSED_BY,
    FIRST_TO_CLOSE,
    RETRANSMITS,
    TIMED_OUT,
    Contains,
    Flag,
    Matches,
    Test,
    Words,
)
from orchestrator.read import values
from orchestrator.read.findings import Findings, shown
from orchestrator.read.sequences import CONNECTION_STATES
from orchestrator.read.vocabulary import ERRORS
from orchestrator.read.words import Word

NONE = "none"
STATUSES = ("joined", "client-only", "server-only", "in-transition", "external")
ROLES_BY = ("listener", "handshake", "port", "unknown")
SIDES = ("client", "server")
ENDINGS = ("FIN", "RST", "timeout")

ReadTest = Callable[[Word, Findings], Test | None]


def _number(word: Word, findings: Findings) -> Test | None:
    if word.text == NONE:
        return Words(any_of=(None,))
    return values.comparison(word, findings, seconds=False)


def _count(word: Word, findings: Findings) -> Test | None:
    return values.comparison(word, findings, seconds=False)


def _seconds(word: Word, findings: Findings) -> Test | None:
    return values.comparison(word, findings, seconds=True)


def _flag(word: Word, findings: Findings) -> Test | None:
    value = values.yes_or_no(word, findings)
    return None if value is None else Flag(value=bool(value))


def _words(what: str, options: Iterable[str]) -> ReadTest:
    """One of these, `A|B` for either, `none`."""
    known = (*sorted(options), NONE)

    def read(word: Word, findings: Findings) -> Test | None:
        found: list[str | None] = []
        for part in (part.strip() for part in word.text.split("|")):
            option = values.one_of(what, known)(word._replace(text=part), findings)
            if option is None:
                return None
            found.append(None if option == NONE else str(option))
        return Words(any_of=tuple(found))

    return read


def _text(word: Word, _findings: Findings) -> Test | None:
    return Words(any_of=(None if word.text == NONE and not word.quoted else word.text,))


def _address(word: Word, findings: Findings) -> Test | None:
    if word.text == "*" or values.is_address(word.text):
        return Words(any_of=(word.text,))
    findings.add(word, f"{shown(word.text)} is no address", "write one such as `10.20.2.80`, or `*`")
    return None


def _value(word: Word, findings: Findings) -> Test | None:
    """A number, or a text."""
    if re.match("[<>=!]|[+-]?[0-9]", word.text):
        return _number(word, findings)
    return _text(word, findings)


def _contains(word: Word, findings: Findings) -> Test | None:
    found = values.some_text(word, findings)
    return None if found is None else Contains(text=str(found))


def _matches(word: Word, findings: Findings) -> Test | None:
    try:
        re.compile(word.text)
    except (re.error, RecursionError, OverflowError) as error:
        findings.add(word, f"{shown(word.text)} is no regular expression: {error}")
        return None
    return Matches(pattern=word.text)


_END: dict[str, ReadTest] = {
    "host": _text,
    "address": _address,
    "port": _number,
    "rx_queue": _number,
    "tx_queue": _number,
    "timer": _words("timer", [timer for timer in TIMERS.values() if timer]),
    "timer_seconds": _seconds,
    "retransmits": _number,
    "uid": _number,
    "inode": _number,
    "pid": _number,
    "process": _text,
    "fd": _number,
    "holders": _number,
    "family": _number,
    "mapped": _flag,
    "peer_address": _address,
    "peer_port": _number,
}
_STATE = _words("state", CONNECTION_STATES)
FIELDS: dict[str, dict[str, ReadTest]] = {
    "connection": {
        "client": _STATE,
        "server": _STATE,
        **{f"{end}.{name}": read for end in ("client", "server") for name, read in _END.items()},
        "status": _words("status", STATUSES),
        "accepted": _flag,
        "roles_by": _words("way to know", ROLES_BY),
        "via": _text,
        "count": _number,
        FIRST_TO_CLOSE: _words("end of a connection", SIDES),
        CLOSED_BY: _words("way to close", ENDINGS),
        RETRANSMITS: _count,
    },
    "listener": {
        "state": _words("state of a listener", ("LISTEN",)),
        "queue": _number,
        "limit": _number,
        "address": _address,
        "pid": _number,
        "process": _text,
        "fd": _number,
        "holders": _number,
        "family": _number,
        "count": _number,
    },
    "counter": {"difference": _number},
    "log": {"contains": _contains, "matches": _matches, "count": _number},
    "received": {"text": _text, "contains": _contains, "matches": _matches, "bytes": _number, "eof": _flag},
    "step": {
        "result": _value,
        "errno": _words("error", (*ERRORS, TIMED_OUT)),
        "duration": _seconds,
        "running": _flag,
        "contains": _contains,
        "matches": _matches,
    },
}
