"""The verbs of a call: what each works on, what it takes, and how the words of the short form are meant."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import get_args

from orchestrator.model.steps import Verb
from orchestrator.read import values
from orchestrator.read.findings import Findings, shown
from orchestrator.read.values import NAME, Reader
from orchestrator.read.vocabulary import METHODS
from orchestrator.read.words import Word

RUN = "run"
WAIT = "wait"
WRITE = "write"
CALLS: tuple[Verb, ...] = get_args(Verb)
ALL_VERBS = (*CALLS, RUN, WAIT)


@dataclass(kw_only=True)
class Said:
    """A step of a host, as said in either form: words under the names that the long form has for them."""

    host: str
    verb: Word
    text: str  # the whole step
    on: list[Word] = field(default_factory=list)  # descriptors (of `wait`: the step)
    args: dict[str, Word] = field(default_factory=dict)
    argv: list[Word] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    name: Word | None = None  # as
    fails: Word | None = None
    timeout: Word | None = None
    times: Word | None = None
    background: bool = False


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """What a verb takes. `endpoint`: the argument that becomes the call's target; `one_of`: exactly one of
    these; `makes`: what `as` names, nothing where that is the step alone."""

    args: Mapping[str, Reader] = field(default_factory=dict)
    endpoint: str = ""
    needs: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    at_most_one_of: tuple[str, ...] = ()
    only_with: Mapping[str, str] = field(default_factory=dict)  # argument → the one that it needs
    makes: str = ""
    example: str = ""


_BLOCKING: dict[str, Reader] = {"blocking": values.yes_or_no}
_FAMILY: dict[str, Reader] = {"family": values.family}

GRAMMARS: dict[str, Grammar] = {
    "socket": Grammar(
        args={"kind": values.one_of("kind of socket", ("tcp", "udp")), **_FAMILY},
        makes="socket",
        example="socket tcp as door",
    ),
    "bind": Grammar(endpoint="address", needs=("address",), example="bind door :80"),
    "listen": Grammar(
        endpoint="address",
        args={"backlog": values.whole(0, 1 << 30), **_FAMILY},
        makes="listener",
        example="listen :80 as door",
    ),
    "accept": Grammar(args=_BLOCKING, makes="connection", example="accept door as conn"),
    "connect": Grammar(
        endpoint="to",
        args={**_FAMILY, **_BLOCKING},
        needs=("to",),
        makes="connection",
        example="connect web:80 as call",
    ),
    "send": Grammar(
        endpoint="to",
        args={
            "text": values.some_text,
            "hex": values.hexadecimal,
            "size": values.size,
            "pace": values.pace,
            **_BLOCKING,
        },
        one_of=("text", "hex", "size"),
        example="send call 'hello'",
    ),
    "recv": Grammar(
        args={"size": values.size, "until": values.some_text, "all": values.yes_or_no, **_BLOCKING},
        at_most_one_of=("size", "until", "all"),
        example="recv call until 'end'",
    ),
    "shutdown": Grammar(
        args={"how": values.one_of("way to shut down", ("read", "write", "both"))},
        example="shutdown call write",
    ),
    "close": Grammar(example="close call"),
    "reset": Grammar(example="reset call"),
    "set": Grammar(
        args={"option": values.option}, needs=("option", "value"), example="set call SO_RCVBUF=4096"
    ),
    "get": Grammar(args={"option": values.option}, needs=("option",), example="get call SO_RCVBUF"),
    "poll": Grammar(example="poll call"),
    "dup": Grammar(makes="copy", example="dup call as copy"),
    "fork": Grammar(makes="child", example="fork call as child"),
    "tls": Grammar(
        args={
            "side": values.one_of("side", ("client", "server")),
            "server_name": values.some_text,
            "version": values.one_of("version of TLS", ("TLSv1.2", "TLSv1.3")),
            "alpn": values.some_text,
            "verify": values.yes_or_no,
            "ca": values.some_text,
            "cert": values.some_text,
            "key": values.some_text,
        },
        only_with={"key": "cert"},
        example="tls call server_name=shop.example",
    ),
    "http": Grammar(
        args={
            "method": values.one_of("method", METHODS),
            "path": values.path,
            "body": values.text,
            "pace": values.pace,
        },
        needs=("method", "path"),
        example="http call GET /",
    ),
    WRITE: Grammar(
        args={"path": values.path_in_host, "text": values.text, "file": values.text},
        needs=("path",),
        one_of=("text", "file"),
        example="write /etc/motd hello",
    ),
    RUN: Grammar(example="run curl http://web/"),
    WAIT: Grammar(example="wait answer"),
}
_ARGUMENTS = {  # beside those that are read by a reader of their own
    name: {*grammar.args, *grammar.needs, *([grammar.endpoint] if grammar.endpoint else [])}
    for name, grammar in GRAMMARS.items()
}
_ARGUMENTS["http"].add("headers")


def arguments(verb: str) -> set[str]:
    """What may stand beside this verb, by the names of the long form."""
    return _ARGUMENTS[verb]


# The short form: which of the words names a descriptor, and which argument each of the others is.


def place_words(said: Said, words: list[Word], findings: Findings) -> bool:
    """Put the words behind the verb where they belong; False after a diagnostic."""
    rest = list(words)
    _PLACERS[said.verb.text](said, rest)
    if not rest:
        return True
    extra, hint = rest[0], f"it is written as `{GRAMMARS[said.verb.text].example}`"
    if {"text", "until"} & set(said.args):
        hint = "a text of several words needs quotes"
    if len(rest) > 2 and extra.text == "as":
        extra, hint = rest[2], "behind the name there may be `x3`, for three times, and `&`"
    findings.add(extra, f"`{said.verb.text}` has no use for {extra.said()}", hint)
    return False


def _nothing(said: Said, rest: list[Word]) -> None:
    """Only a descriptor, if anything."""
    _name_unless(said, rest, lambda word: False)


def _name_unless(said: Said, rest: list[Word], argument: Callable[[Word], bool]) -> None:
    """The first word is a descriptor unless it looks like an argument."""
    if rest and not argument(rest[0]) and not rest[0].quoted:
        said.on.append(rest.pop(0))


def _take(said: Said, rest: list[Word], *names: str) -> None:
    for name in names:
        if rest:
            said.args[name] = rest.pop(0)


def _socket(said: Said, rest: list[Word]) -> None:
    while rest and len(said.args) < 2:
        word = rest.pop(0)
        said.args["family" if word.text in ("4", "6", "dual") else "kind"] = word


def _endpoint(key: str) -> Callable[[Said, list[Word]], None]:
    def place(said: Said, rest: list[Word]) -> None:
        _name_unless(said, rest, lambda word: not NAME.fullmatch(word.text))
        _take(said, rest, key)

    return place


def _send(said: Said, rest: list[Word]) -> None:
    if len(rest) > 1 or said.args:
        _name_unless(said, rest, lambda word: False)
    if rest:
        word = rest.pop(0)
        said.args["text" if values.size_of(word) is None else "size"] = word


def _recv(said: Said, rest: list[Word]) -> None:
    kept = ("all", "until")
    _name_unless(said, rest, lambda word: word.text in kept or values.size_of(word) is not None)
    if not rest:
        return
    word = rest.pop(0)
    if word.text == "all" and not word.quoted:
        said.args["all"] = word._replace(text="yes")
    elif word.text == "until" and not word.quoted:
        said.args["until"] = rest.pop(0) if rest else word._replace(text="")
    else:
        said.args["size"] = word


def _shutdown(said: Said, rest: list[Word]) -> None:
    _name_unless(said, rest, lambda word: word.text in ("read", "write", "both"))
    _take(said, rest, "how")


def _get(said: Said, rest: list[Word]) -> None:
    _name_unless(said, rest, lambda word: bool(re.fullmatch("[A-Z0-9]+_[A-Z0-9_]+", word.text)))
    _take(said, rest, "option")


def _several(said: Said, rest: list[Word]) -> None:
    while rest:
        said.on.append(rest.pop(0))


def _tls(said: Said, rest: list[Word]) -> None:
    _name_unless(said, rest, lambda word: word.text in ("client", "server"))
    _take(said, rest, "side")


def _http(said: Said, rest: list[Word]) -> None:
    if len(rest) > 2 or (len(rest) > 1 and not rest[1].text.startswith("/")):
        _name_unless(said, rest, lambda word: word.text in METHODS)
    _take(said, rest, "method", "path")


_PLACERS: dict[str, Callable[[Said, list[Word]], None]] = {
    **dict.fromkeys(GRAMMARS, _nothing),
    "socket": _socket,
    "bind": _endpoint("address"),
    "listen": _endpoint("address"),
    "connect": _endpoint("to"),
    "send": _send,
    "recv": _recv,
    "shutdown": _shutdown,
    "get": _get,
    "fork": _several,
    "tls": _tls,
    "http": _http,
    WRITE: lambda said, rest: _take(said, rest, "path", "text"),
}


def no_verb(word: Word, findings: Findings) -> None:
    """Say that it is none."""
    hint = findings.meant(word.text, ALL_VERBS) or "verbs are " + ", ".join(ALL_VERBS)
    findings.add(word, f"there is no verb {shown(word.text)}", hint)
