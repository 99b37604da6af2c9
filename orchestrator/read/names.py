"""Which names are open while a scenario is read from top to bottom: descriptors, and steps left running."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

from orchestrator.read.findings import Findings, Place, shown
from orchestrator.read.words import Word

_MEMBER = re.compile("(.+)-([1-9][0-9]{0,5})")
_LOOKED_AT = 50  # open descriptors, where none is named: those opened first, so all from before a `parallel`


@dataclass(kw_only=True)
class Opened:
    """A descriptor (or a child process). `size` > 0: that many, NAME-1 … NAME-size. `beside`: the parallel
    steps in which it was opened."""

    name: str
    kind: str  # socket, listener, connection, copy, child
    line: int
    server: bool = False  # of a connection: the end that accepted
    size: int = 0
    beside: tuple[tuple[int, int], ...] = ()
    closed: int = 0  # the line; 0: it is open
    members_closed: dict[int, int] = field(default_factory=dict)


@dataclass(kw_only=True)
class Left:
    """A step that has a name."""

    line: int
    kind: str  # its verb
    running: bool = False  # in the background, and not joined


class Names:
    """The names of one scenario, by host."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.descriptors: dict[str, dict[str, Opened]] = {}
        self.steps: dict[str, dict[str, Left]] = {}
        self._open: dict[str, dict[int, Opened]] = {}  # those not closed, with a name or without
        self._numbered: dict[tuple[str, str], list[Opened]] = {}  # by host and NAME, those called NAME-n
        self._unsure: set[str] = set()  # hosts of which a step could not be read
        self._parallel: dict[int, int] = {}  # those that are being read, and the number of their step
        self._parallels = 0

    @contextmanager
    def parallel(self) -> Iterator[int]:
        """Steps side by side: call `side` before each."""
        self._parallels += 1
        number = self._parallels
        yield number
        self._parallel.pop(number, None)

    def side(self, number: int, step: int) -> None:
        """The next of the parallel steps: it does not know what the others open."""
        self._parallel[number] = step

    def unsure(self, host: str, name: str | None) -> None:
        """A step of this host could not be read. What it may have opened (None: under any name) is not
        complained of."""
        if name is None:
            self._unsure.add(host)
            return
        if name not in self.descriptors.get(host, {}):
            self._add(Opened(name=name, kind="unknown", line=0), host)
        self.steps.setdefault(host, {}).setdefault(name, Left(line=0, kind="unknown", running=True))

    def open(self, host: str, word: Word | None, at: Place, new: Opened) -> None:
        """A new descriptor, under the name that `as` gives or without one."""
        new.beside = tuple(self._parallel.items())
        if word is None:
            self._open.setdefault(host, {})[id(new)] = new
            return
        other = self._taken(host, new)
        if other is not None:
            hint = "close it first, or choose another name"
            text = f"{shown(word.text)} of {shown(host)} is open already, since line {other.line}"
            self.findings.add(word, text, hint)
        self._add(new, host)

    def _add(self, new: Opened, host: str) -> None:
        self.descriptors.setdefault(host, {})[new.name] = new
        self._open.setdefault(host, {})[id(new)] = new
        match = _MEMBER.fullmatch(new.name)
        if match:
            self._numbered.setdefault((host, match[1]), []).append(new)

    def _taken(self, host: str, new: Opened) -> Opened | None:
        """What has this name, or one of those that it stands for."""
        mine = self.descriptors.get(host, {})
        base, number = self._group(host, new.name)
        found = [mine.get(new.name), None if base and number in base.members_closed else base]
        if new.size:
            found += self._numbered.get((host, new.name), ())
        return next((one for one in found if one and not one.closed and one.line), None)

    def _group(self, host: str, name: str) -> tuple[Opened | None, int]:
        """The descriptors of which NAME-3 is one, open or closed, and its number."""
        match = _MEMBER.fullmatch(name)
        base = self.descriptors.get(host, {}).get(match[1]) if match else None
        if match is None or base is None or int(match[2]) > base.size:
            return None, 0
        return base, int(match[2])

    def known(self, host: str, name: str) -> Opened | None:
        """What has ever been opened under this name, closed or not."""
        return self.descriptors.get(host, {}).get(name) or self._group(host, name)[0]

    def is_open(self, host: str, name: str) -> bool:
        """Whether the name can be used now."""
        one = self.known(host, name)
        return one is not None and not self._closed(host, one, name)

    def _closed(self, host: str, one: Opened, name: str) -> int:
        """The line in which it was closed, or the one of its members that has this name; 0: it was not."""
        number = 0 if one.name == name else self._group(host, name)[1]
        return one.closed or one.members_closed.get(number, 0)

    def use(self, host: str, word: Word, verb: str) -> Opened | None:
        """What a step works on, by its name. None after a diagnostic."""
        one = self.known(host, word.text)
        if one is None:
            if host in self._unsure:
                return Opened(name=word.text, kind="unknown", line=0)
            self._never(host, word)
        elif closed := self._closed(host, one, word.text):
            text = f"{shown(word.text)} of {shown(host)} was closed in line {closed}"
            self.findings.add(word, text, "open it again first, or close it later")
        elif one.members_closed and one.name == word.text:
            number, line = next(iter(one.members_closed.items()))
            text = f"{shown(f'{one.name}-{number}')} of {shown(host)} was closed in line {line}"
            self.findings.add(word, text, "name the others one by one")
        elif not self._visible(one):
            text = f"{shown(word.text)} is opened beside this step, in line {one.line}"
            self.findings.add(word, text, "put that step before the `parallel`")
        elif one.kind == "child" and verb != "close":
            self.findings.add(word, f"{shown(word.text)} is a process, no descriptor", "`close` ends it")
        else:
            return one
        return None

    def _never(self, host: str, word: Word) -> None:
        mine = self.descriptors.get(host, {})
        hint = self.findings.meant(word.text, mine)
        other = next((h for h, names in self.descriptors.items() if word.text in names), None)
        if not hint and other:
            hint = f"it is a descriptor of {shown(other)}"
        if not hint:
            hint = f"a step names what it opens by `as {word.text}`" if word.text.isprintable() else ""
        self.findings.add(word, f"{shown(host)} has opened no {shown(word.text)}", hint)

    def only(self, host: str, at: Place, verb: str) -> Opened | None:
        """The descriptor that is meant where none is named. None after a diagnostic."""
        if host in self._unsure:
            return Opened(name="", kind="unknown", line=0)
        found = self._visible_ones(host)
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(shown(one.name) if one.name else "one without a name" for one in found[:5])
            text = f"{shown(host)} has several descriptors open: {names}{' …' if len(found) > 5 else ''}"
            self.findings.add(at, text, f"say which one `{verb}` means")
        else:
            text = f"{shown(host)} has no descriptor open that `{verb}` could work on"
            self.findings.add(at, text, "open one first, as by `connect web:80`")
        return None

    def _visible_ones(self, host: str) -> list[Opened]:
        first = islice(self._open.get(host, {}).values(), _LOOKED_AT)
        return [one for one in first if one.kind != "child" and self._visible(one)]

    def unconnected(self, host: str) -> Opened | None:
        """The only open descriptor, where it is a socket that nothing was done with but bind."""
        found = self._visible_ones(host)
        return found[0] if len(found) == 1 and found[0].kind == "socket" else None

    def _visible(self, one: Opened) -> bool:
        return all(self._parallel.get(number, step) == step for number, step in one.beside)

    def close(self, host: str, one: Opened, name: str, line: int) -> None:
        """It is closed from here on: all of it, or the one of its members that is named."""
        if one.size and name != one.name:
            base, number = self._group(host, name)
            if base is one:
                one.members_closed[number] = line
        else:
            one.closed = line
            self._open.get(host, {}).pop(id(one), None)

    def drop(self, host: str, name: str | None, line: int) -> None:
        """What the step in that line was to open (under that name) is not there after all."""
        mine = self.descriptors.get(host, {})
        for one in [one for one in self._open.get(host, {}).values() if one.line == line]:
            if one.name == (name or ""):
                self.close(host, one, one.name, line)
                mine.pop(one.name, None)

    def close_all(self, host: str, line: int) -> None:
        """The host is gone."""
        for one in self._open.pop(host, {}).values():
            one.closed = line

    def step(self, host: str, word: Word, new: Left) -> None:
        """A step gets a name. It can be used again when that step has ended."""
        mine = self.steps.setdefault(host, {})
        other = mine.get(word.text)
        if other and other.running and other.line and (new.running or other.line != new.line):
            text = f"{shown(word.text)} of {shown(host)} is still running, since line {other.line}"
            self.findings.add(word, text, f"`wait: {host}.{word.text}` joins it")
        mine[word.text] = new

    def end(self, host: str, name: str) -> None:
        """A step that was left running has ended by itself: `wait` for it is well, and so is its name for
        another one."""
        left = self.steps.get(host, {}).get(name)
        if left is not None:
            left.line = 0

    def join(self, host: str, name: str, word: Word) -> None:
        """`wait` for a step that was left running."""
        left = self.steps.get(host, {}).get(name)
        if left is None or left.running or not left.line:
            if left is not None and left.line:
                left.running = False
            return
        text = f"{shown(word.text)} is not in the background: its step in line {left.line} has ended"
        self.findings.add(word, text, "a trailing `&` leaves a step running")

    def steps_named(self) -> Iterable[str]:
        """HOST.NAME of every step that has a name."""
        return [f"{host}.{name}" for host, mine in self.steps.items() for name in mine]

    def descriptors_named(self) -> Iterable[str]:
        """HOST.NAME of everything that was opened."""
        return [f"{host}.{name}" for host, mine in self.descriptors.items() for name in mine]

    def maybe(self, host: str | None) -> bool:
        """Whether a step of this host (None: of any) could not be read, so that it may have made any name."""
        return host in self._unsure if host else bool(self._unsure)
