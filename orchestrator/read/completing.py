"""What may stand where somebody is typing a step: words for a prompt's completion. Pure.

Each candidate stands for the word at the end of the line; one that is complete ends with a space.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from orchestrator.read.fields import ENDINGS, FIELDS, NONE, ROLES_BY, SIDES, STATUSES
from orchestrator.read.names import Names, Opened
from orchestrator.read.scenario_schema import STEP_FIELDS, SUBJECT_FIELDS
from orchestrator.read.sequences import CONNECTION_STATES
from orchestrator.read.steps import KEYWORDS
from orchestrator.read.verbs import ALL_VERBS, GRAMMARS, WAIT, arguments
from orchestrator.read.vocabulary import COUNTERS, ERRORS, METHODS, SOCKET_OPTIONS

DELIMITERS = " \t{,["
_HOST = re.compile(r"[ \t]*(?:-[ \t]+)?(?:([A-Za-z0-9_][A-Za-z0-9_.-]*)[ \t]*:[ \t]+)?")
_KEYS = [key for key in KEYWORDS if not STEP_FIELDS[key].later]
_ON_SOCKETS = ("bind", "connect")  # what was only made by `socket`
_YES_NO = ("true", "false")
_WHEN = (("within", "for"), ("within", "for", "after"))  # the second of connections
_VALUES: Mapping[str, Sequence[str]] = {
    "client": (*sorted(CONNECTION_STATES), NONE),
    "server": (*sorted(CONNECTION_STATES), NONE),
    "state": ("LISTEN", NONE),
    "status": (*STATUSES, NONE),
    "roles_by": ROLES_BY,
    "first to close": (*SIDES, NONE),
    "closed by": (*ENDINGS, NONE),
    "errno": (*sorted(ERRORS), "timeout", NONE),
    **dict.fromkeys(("accepted", "eof", "running"), _YES_NO),
}
_WORDS: Mapping[str, Sequence[str]] = {  # of the short form, beside names and options
    "socket": ("tcp", "udp", "4", "6", "dual"),
    "shutdown": ("read", "write", "both"),
    "recv": ("all", "until"),
    "http": METHODS,
    "tls": ("client", "server"),
}


class Known(NamedTuple):
    """What there is to be named. `commands`: what else than a step may be typed; `ports`: `web:80`;
    `programs`: hosts that have a `run:`."""

    host: str | None
    hosts: Sequence[str]
    names: Names
    commands: Sequence[str] = ()
    ports: Sequence[str] = ()
    programs: Sequence[str] = ()

    def open(self, host: str | None) -> list[Opened]:
        """What is open on a host, and has a name."""
        mine = self.names.descriptors.get(host or "", {})
        return [one for one in mine.values() if not one.closed]

    def dotted(self, *, listeners: bool) -> Iterator[str]:
        """HOST.NAME of all descriptors that are listeners, or are not."""
        for host, mine in self.names.descriptors.items():
            for one in mine.values():
                if one.kind not in ("child", "connection" if listeners else "listener"):
                    yield f"{host}.{one.name}"

    def running(self) -> Iterator[str]:
        """HOST.NAME of steps left running."""
        for host, mine in self.names.steps.items():
            yield from (f"{host}.{name}" for name, left in mine.items() if left.running and left.line)


def candidates(before: str, known: Known) -> list[str]:
    """The words that may stand where `before`, the line up to the cursor, ends."""
    at = max(before.rfind(one) for one in DELIMITERS) + 1
    head, word = before[:at], before[at:]
    found = sorted(set(_all(head, word, known)))
    return [one for one in found if one.startswith(word)]


def _all(head: str, word: str, known: Known) -> Iterable[str]:
    if "{" in head:
        return _in_mapping(head.rpartition("{")[2], word, known)
    match = _HOST.match(head)
    named = match[1] if match else None
    if named in KEYWORDS:
        return _of_keyword(named, known)
    words = head[match.end() if match else 0 :].split()
    if not words:
        return _first(named, known)
    host = named or known.host
    if words[0] == "help":
        return _whole(ALL_VERBS) if len(words) == 1 else ()
    if words[0] not in GRAMMARS:
        return ()
    return _arguments(words, word, host, known)


def _whole(words: Iterable[str]) -> Iterator[str]:
    return (f"{word} " for word in words)


def _first(named: str | None, known: Known) -> Iterator[str]:
    if named is not None or known.host is not None:
        yield from _whole(ALL_VERBS)
    if named is None:
        yield from known.commands
        yield from (f"{host}: " for host in known.hosts)
        yield from ("expect: {" if key == "expect" else f"{key}: " for key in _KEYS)


def _of_keyword(key: str | None, known: Known) -> Iterator[str]:
    if key == "expect":
        yield "{"
    elif key in ("pause", "resume", "kill"):
        yield from known.hosts
        yield from (f"{host}.run" for host in known.programs)
    if key in ("wait", "kill", "pause", "resume"):
        yield from known.running()


def _arguments(words: Sequence[str], word: str, host: str | None, known: Known) -> Iterator[str]:
    verb, given = words[0], words[1:]
    if given and given[-1] == "as":
        return
    if verb == WAIT:
        yield from (name.removeprefix(f"{host}.") for name in known.running())
        return
    if word.startswith("fails="):
        yield from _whole(f"fails={error}" for error in (*ERRORS, "timeout"))
        return
    if not given:
        yield from _whole(_descriptors(verb, host, known))
    yield from _places(verb, given, known)
    if verb in ("set", "get") and len(given) <= 1:
        yield from (f"{option}=" if verb == "set" else f"{option} " for option in SOCKET_OPTIONS)
    yield from _whole(one for one in _WORDS.get(verb, ()) if one not in given)
    yield from (f"{key}=" for key in (*_options(verb), "fails", "timeout"))
    if GRAMMARS[verb].makes or given:
        yield from ("as ", "&")


def _descriptors(verb: str, host: str | None, known: Known) -> Iterator[str]:
    for one in known.open(host):
        listens, bare = one.kind == "listener", one.kind == "socket"
        fits = {
            "socket": False,
            "write": False,
            "accept": not bare and one.kind != "connection",
            "listen": bare,
            "close": True,
            **dict.fromkeys(_ON_SOCKETS, bare),
            **dict.fromkeys(("send", "recv", "http", "tls", "shutdown"), not listens),
        }
        if fits.get(verb, True) and (one.kind != "child" or verb == "close"):
            yield one.name


def _places(verb: str, given: Sequence[str], known: Known) -> Iterator[str]:
    if verb == "connect" and not any(":" in one for one in given):
        yield from _whole(known.ports)
        yield from (f"{host}:" for host in known.hosts)
    elif verb in ("bind", "listen") and not given:
        yield ":"


def _options(verb: str) -> Iterator[str]:
    """What is written as `key=value`, and nowhere else."""
    grammar = GRAMMARS[verb]
    said = {
        grammar.endpoint,
        *grammar.needs,
        *grammar.one_of,
        "headers",
        "size",
        "until",
        "all",
        "how",
        "side",
    }
    return (key for key in sorted(arguments(verb)) if key not in said and key not in ("kind", "option"))


# `expect: {connection: alice.call, client: ESTABLISHED}`


def _in_mapping(inside: str, word: str, known: Known) -> Iterator[str]:
    *whole, last = inside.split(",")
    kind = next((key for one in whole if (key := one.partition(":")[0].strip()) in FIELDS), None)
    key, colon, said = last.partition(":")
    if not colon:
        yield from _keys(kind, {one.partition(":")[0].strip() for one in whole})
    elif key.strip() == "after" and not said.strip().count(" "):
        yield from _whole(name for name in known.names.steps_named())
    elif key.strip() in FIELDS:
        yield from _subject(key.strip(), said, word, known)
    else:
        yield from _VALUES.get(key.strip(), ())


def _keys(kind: str | None, given: set[str]) -> Iterator[str]:
    keys = SUBJECT_FIELDS if kind is None else (*FIELDS[kind], *_WHEN[kind == "connection"])
    return (f"{key}: " for key in keys if key not in given)


def _subject(kind: str, said: str, word: str, known: Known) -> Iterator[str]:
    if "->" in said:
        yield from known.ports
    elif kind == "counter":
        host = word.partition(".")[0]
        yield from (f"{host}.{name}" for name in COUNTERS) if "." in word else (f"{h}." for h in known.hosts)
    elif kind == "log":
        yield from known.hosts
    elif kind == "step":
        yield from known.names.steps_named()
    else:
        yield from known.dotted(listeners=kind == "listener")
        yield from known.ports if kind == "listener" else ()
        yield from (f"{host} -> " for host in known.hosts) if kind == "connection" else ()
