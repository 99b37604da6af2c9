"""`expect:` → Expectation: the subject found among what the steps before it have made, every field typed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from orchestrator.model.rows import STATES, TIMERS
from orchestrator.model.steps import (
    DEFAULT_WITHIN,
    TIMED_OUT,
    Between,
    ByName,
    Check,
    Contains,
    CounterOf,
    Expectation,
    Flag,
    Kind,
    ListenerAt,
    LogOf,
    Matches,
    Subject,
    Test,
    Words,
)
from orchestrator.read import values
from orchestrator.read.calls import CallReader
from orchestrator.read.findings import Findings, shown
from orchestrator.read.forms import written
from orchestrator.read.names import Opened
from orchestrator.read.nodes import Mapping, Scalar
from orchestrator.read.vocabulary import COUNTER_PATTERN, COUNTERS, ERRORS
from orchestrator.read.words import Reading, Word

NONE = "none"
_TIMES = ("within", "for")
CONNECTION_STATES = frozenset(STATES.values()) - {"LISTEN"}
STATUSES = ("joined", "client-only", "server-only", "in-transition", "external")
ROLES_BY = ("listener", "handshake", "port", "unknown")

ReadTest = Callable[[Word, Findings], Test | None]


def _number(word: Word, findings: Findings) -> Test | None:
    if word.text == NONE:
        return Words(any_of=(None,))
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
        if "->" in word.text:
            text = f"a sequence, {shown(word.text)}, is not supported yet"
            findings.add(word, text, "expect one state after the other")
            return None
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


class ExpectReader:
    """Reads the expectations of one scenario."""

    def __init__(self, calls: CallReader, reading: Reading) -> None:
        self.calls = calls
        self.names = calls.names
        self.people = calls.people
        self.reading = reading
        self.findings = reading.findings
        self.within = DEFAULT_WITHIN  # seconds of an expectation that gives none

    def expectation(self, key: Scalar, record: Mapping) -> Expectation | None:
        """The expectation. None after a diagnostic."""
        before = self.reading.unknown
        words = {
            name.text: (name, self.reading.word(v)) for name, v in record.entries if isinstance(v, Scalar)
        }
        kind = self._kind(words)
        if kind is None or self.reading.unknown != before:
            return None
        subject = self._subject(kind, words[kind][1])
        checks = self._checks(record, kind, words)
        within, lasting = self._times(words)
        if checks is not None and subject is not None:
            self._countable(kind, subject, words)
        if subject is None or checks is None:
            return None
        return Expectation(
            line=key.line,
            column=key.column,
            text=self.reading.shown(f"expect: {written(record)}"),
            kind=kind,
            subject=subject,
            checks=checks,
            within=within,
            lasting=lasting,
        )

    def _kind(self, words: dict[str, tuple[Scalar, Word]]) -> Kind | None:
        """What it is about."""
        kinds: list[Kind] = [kind for kind in _KINDS if kind in words]
        if len(kinds) == 1:
            return kinds[0]
        if kinds:
            text = f"an expectation is about one thing, not about `{kinds[0]}` and `{kinds[1]}`"
            self.findings.add(words[kinds[1]][0], text, "write two of them")
        return None

    def _checks(
        self, record: Mapping, kind: Kind, words: dict[str, tuple[Scalar, Word]]
    ) -> tuple[Check, ...] | None:
        """What must be so of it. None after a diagnostic."""
        found: list[Check] = []
        well = True
        for name, (key, word) in words.items():
            if name == kind or name in _TIMES:
                continue
            read = FIELDS[kind].get(name)
            if read is None:
                known = list(FIELDS[kind])
                shorter = [field for field in known if "." not in field]
                hint = self.findings.meant(name, known) or "it has " + ", ".join(f"`{f}`" for f in shorter)
                self.findings.add(key, f"a {kind} has no `{name}`", hint)
                well = False
                continue
            test = read(word, self.findings)
            well = well and test is not None
            if test is not None:
                found.append(Check(field=name, test=test, text=word.text))
        if well and not found and not self.findings.near(record, len(words)):
            text = f"nothing is said of what is expected of the {kind}"
            self.findings.add(words[kind][0], text, f"add `{next(iter(FIELDS[kind]))}: …`")
        return tuple(found) if well and found else None

    def _times(self, words: dict[str, tuple[Scalar, Word]]) -> tuple[float, float | None]:
        seconds = {n: values.some_time(words[n][1], self.findings) for n in _TIMES if n in words}
        if len(seconds) == 2:
            text = "an expectation has either `within` or `for`"
            self.findings.add(
                words["for"][0], text, "write two, the first with `within`, the second with `for`"
            )
        return seconds.get("within") or self.within, seconds.get("for")

    def _countable(self, kind: Kind, subject: Subject, words: dict[str, tuple[Scalar, Word]]) -> None:
        if kind == "connection" and "count" in words and isinstance(subject, ByName) and not subject.each:
            text = f"`count`: {words[kind][1].said()} is one connection"
            self.findings.add(words["count"][0], text, "count `alice -> web:80`, or a name that `x3` made")

    def _subject(self, kind: Kind, word: Word) -> Subject | None:
        """The subject. None after a diagnostic."""
        if kind == "step":
            ref = self.calls.named_step(word)
            return None if ref is None else ByName(host=ref.host, name=ref.name)
        if kind == "log":
            host = self.people.host(word, self.findings)
            return LogOf(host=host) if host else None
        if kind == "counter":
            return self._counter(word)
        if kind == "connection" and "->" in word.text:
            return self._between(word)
        if kind == "listener" and ":" in word.text:
            return self._listener(word)
        return self._named(kind, word)

    def _counter(self, word: Word) -> CounterOf | None:
        host, name = self.people.split(word, self.findings)
        if name is None:
            return None
        if host is None:
            self.findings.add(word, f"{word.said()} is a counter of each host", f"write one, as `web.{name}`")
            return None
        hint = "" if name in COUNTERS else self.findings.meant(name, COUNTERS)
        if hint or not re.fullmatch(COUNTER_PATTERN, name):
            hint = hint or "counters are named as nstat(8) does, as `TcpExtListenDrops`"
            self.findings.add(word, f"there is no counter {shown(name)}", hint)
            return None
        return CounterOf(host=host, name=name)

    def _between(self, word: Word) -> Between | None:
        client, _, server = (part.strip() for part in word.text.partition("->"))
        if "->" in server:
            self.findings.add(word, f"{word.said()} has more than two ends", "write it as `alice -> web:80`")
            return None
        end = values.target(word._replace(text=server), self.findings)
        host = self.people.host(word._replace(text=client), self.findings)
        if end is None or host is None:
            return None
        if not values.is_address(end.host):
            found = self.people.host(word._replace(text=end.host), self.findings, itself=host)
            return Between(client=host, server=type(end)(host=found, port=end.port)) if found else None
        return Between(client=host, server=end)

    def _listener(self, word: Word) -> ListenerAt | None:
        end = values.target(word, self.findings)
        host = None if end is None else self.people.host(word._replace(text=end.host), self.findings)
        return ListenerAt(host=host, port=end.port) if host and end else None

    def _named(self, kind: Kind, word: Word) -> ByName | None:
        """By a descriptor, also one that is closed by now."""
        host, name = self.people.split(word, self.findings)
        if name is None:
            return None
        having = [h for h in ([host] if host else self.names.descriptors) if self.names.known(h, name)]
        if len(having) != 1:
            return self._unnamed(kind, word, host, name, having)
        one = self.names.known(having[0], name)
        if one is None or not self._fits(kind, word, one):
            return None
        return ByName(host=having[0], name=name, each=one.size if one.name == name else 0)

    def _unnamed(
        self, kind: Kind, word: Word, host: str | None, name: str, having: list[str]
    ) -> ByName | None:
        """No step has made it, or several have."""
        if having:
            hint = "write " + " or ".join(shown(f"{h}.{name}") for h in having[:5])
            self.findings.add(word, f"{shown(name)} is a descriptor of several hosts", hint)
            return None
        if self.names.maybe(host):
            return ByName(host=host or "", name=name)
        known = [*self.names.descriptors_named()]
        form = "alice.call" if kind != "listener" else "web:80"
        hint = self.findings.meant(word.text, known)
        if not hint and not known:
            hint = f"no step before this one names what it opens; write it as `{form}`, after `… as call`"
        self.findings.add(
            word, f"no step makes a {_MADE[kind]} {word.said()}", hint or f"write it as `{form}`"
        )
        return None

    def _fits(self, kind: Kind, word: Word, one: Opened) -> bool:
        """Whether what the name stands for can be the subject."""
        listens = one.kind == "listener"
        if one.kind == "child":
            self.findings.add(word, f"{word.said()} is a process, no descriptor")
        elif kind == "listener" and one.kind == "connection":
            self.findings.add(
                word, f"{word.said()} is a connection, no listener", "did you mean `connection:`?"
            )
        elif kind != "listener" and listens:
            self.findings.add(
                word, f"{word.said()} is a listener, no connection", "did you mean `listener:`?"
            )
        else:
            return True
        return False


_MADE = {"connection": "connection", "listener": "listener", "received": "descriptor"}
_KINDS: tuple[Kind, ...] = ("connection", "listener", "counter", "log", "received", "step")
