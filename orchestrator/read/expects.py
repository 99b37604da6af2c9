"""`expect:` → Expectation: the subject found among what the steps before it have made, every field typed."""

from __future__ import annotations

import re

from orchestrator.model.steps import (
    CLOSED_BY,
    DEFAULT_WITHIN,
    FIRST_TO_CLOSE,
    HAPPENED,
    After,
    Between,
    ByName,
    Check,
    CounterOf,
    Expectation,
    Kind,
    ListenerAt,
    LogOf,
    Sequence,
    Subject,
    Test,
)
from orchestrator.read import sequences, values
from orchestrator.read.afterwards import AfterReader
from orchestrator.read.calls import CallReader
from orchestrator.read.fields import FIELDS, ReadTest
from orchestrator.read.findings import Place, shown
from orchestrator.read.forms import written
from orchestrator.read.names import Opened
from orchestrator.read.nodes import At, Mapping, Scalar
from orchestrator.read.vocabulary import COUNTER_PATTERN, COUNTERS
from orchestrator.read.words import Reading, Word

_TIMES = ("within", "for")
_STATES = ("client", "server")
AFTER = "after"
_CLOSING = {FIRST_TO_CLOSE, CLOSED_BY}


class ExpectReader:
    """Reads the expectations of one scenario."""

    def __init__(self, calls: CallReader, reading: Reading) -> None:
        self.calls = calls
        self.names = calls.names
        self.people = calls.people
        self.reading = reading
        self.findings = reading.findings
        self.afterwards = AfterReader(calls, reading)
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
        later = record.get(AFTER)
        after = None if later is None or kind != "connection" else self.afterwards.read(later)
        checks = self._checks(record, kind, words, dated=later is not None)
        within, lasting = self._times(words, after)
        if checks is not None and subject is not None:
            self._countable(kind, subject, words)
            checks = self._together(record, checks)
        if subject is None or checks is None or (later is not None and after is None):
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
            after=after,
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
        self, record: Mapping, kind: Kind, words: dict[str, tuple[Scalar, Word]], *, dated: bool
    ) -> tuple[Check, ...] | None:
        """What must be so of it; `dated`: and when it came to be so. None after a diagnostic."""
        found: list[Check] = []
        well = kind == "connection" or not dated
        if not well:
            key = next(key for key, _ in record.entries if key.text == AFTER)
            self.findings.add(key, f"a {kind} has no `{AFTER}`", "it goes with what a connection has done")
        for name, (key, word) in words.items():
            if name in (kind, AFTER, *_TIMES):
                continue
            read = FIELDS[kind].get(name)
            if read is None:
                self._no_field(kind, name, key)
                well = False
                continue
            test = self._test(name, word, record, read, dated=dated)
            well = well and test is not None
            if test is not None:
                found.append(Check(field=name, test=test, text=word.text))
        if well and not found and not self.findings.near(record, len(words)):
            text = f"nothing is said of what is expected of the {kind}"
            self.findings.add(words[kind][0], text, f"add `{next(iter(FIELDS[kind]))}: …`")
        return tuple(found) if well and found else None

    def _no_field(self, kind: Kind, name: str, key: Scalar) -> None:
        known = list(FIELDS[kind])
        shorter = [field for field in known if "." not in field]
        hint = self.findings.meant(name, known) or "it has " + ", ".join(f"`{f}`" for f in shorter)
        self.findings.add(key, f"a {kind} has no `{name}`", hint)

    def _test(self, name: str, word: Word, record: Mapping, read: ReadTest, *, dated: bool) -> Test | None:
        """What a field is compared with. A state that is dated is one that the end came into."""
        if name not in _STATES or (sequences.ARROW not in word.text and not dated):
            return read(word, self.findings)
        scalar = record.get(name)

        def place(offset: int) -> Place:
            if isinstance(scalar, Scalar) and scalar.text == word.text:
                return self.reading.source.place(scalar, offset)
            return At(word.line, word.column)

        return sequences.read(word, self.findings, place)

    def _together(self, record: Mapping, checks: tuple[Check, ...]) -> tuple[Check, ...] | None:
        """The checks, if they can be judged together and for as long as is said. None after a diagnostic."""
        keys = {key.text: key for key, _ in record.entries}
        happened = [one.field for one in checks if one.field in HAPPENED or isinstance(one.test, Sequence)]
        now = [one.field for one in checks if one.field not in happened]
        if AFTER in keys:
            return checks if self._datable(keys, happened, now) else None
        if "for" in keys and any(isinstance(one.test, Sequence) for one in checks):
            hint = "write `within`, until when it must have been so, or leave it out"
            self.findings.add(keys["for"], "a sequence is what has been, and that does not cease", hint)
            return None
        if "count" in now and happened and len(now) > 1:
            other = next(field for field in now if field != "count")
            text = f"`{happened[0]}` is counted over time, and `{other}` now"
            self.findings.add(keys["count"], text, "write two of them")
            return None
        return checks

    def _datable(self, keys: dict[str, Scalar], happened: list[str], now: list[str]) -> bool:
        """Whether `after` has one thing whose moment there is."""
        if "for" in keys:
            text = f"`{AFTER}` says when it came to be so, and `for` that it lasts"
            self.findings.add(keys["for"], text, "write two of them")
        elif now:
            hint = "`after` goes with states (`A`, `A -> B`), `first to close`, `closed by`, `retransmits`"
            self.findings.add(keys[AFTER], f"nothing tells when `{now[0]}` came to be so", hint)
        elif len(happened) > 1 and set(happened) != _CLOSING:
            text = f"`{AFTER}` is the time to one thing, not to `{happened[0]}` and `{happened[1]}`"
            self.findings.add(keys[AFTER], text, "write one expectation for each")
        else:
            return True
        return False

    def _times(
        self, words: dict[str, tuple[Scalar, Word]], after: After | None
    ) -> tuple[float, float | None]:
        """Until when, or how long. What comes so long after a step is waited for so much longer."""
        seconds = {n: values.some_time(words[n][1], self.findings) for n in _TIMES if n in words}
        if len(seconds) == 2:
            text = "an expectation has either `within` or `for`"
            self.findings.add(
                words["for"][0], text, "write two, the first with `within`, the second with `for`"
            )
        later = 0.0 if after is None else after.test.value + after.test.above
        return seconds.get("within") or self.within + later, seconds.get("for")

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
