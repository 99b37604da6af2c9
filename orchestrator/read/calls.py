"""A host's step as said (forms.py) → the step for the model: arguments typed, names followed."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from orchestrator.model.steps import (
    TIMED_OUT,
    Call,
    Endpoint,
    Ref,
    Run,
    Step,
    Verb,
    Wait,
)
from orchestrator.read import values
from orchestrator.read.findings import Findings, shown
from orchestrator.read.names import Left, Names, Opened
from orchestrator.read.nodes import At
from orchestrator.read.people import People
from orchestrator.read.verbs import GRAMMARS, RUN, WAIT, WRITE, Said
from orchestrator.read.vocabulary import ERRORS
from orchestrator.read.words import Word

DROPPED_IF_IT_FAILS = (
    "socket",
    "listen",
    "accept",
    "dup",
)  # the agent keeps what a failed connect was made on
_DESCRIPTORS_OF_A_FORK = 64


class _Given(NamedTuple):
    """What a call is given: typed arguments, where to, and what it works on, each with its name."""

    arguments: dict[str, Any]
    target: Endpoint | None
    on: list[tuple[Opened, str]]


def _completed(verb: str, arguments: dict[str, Any], first: Opened | None) -> dict[str, Any]:
    """With what goes without saying."""
    if verb == "tls" and first is not None:
        return {"side": "server" if first.server else "client", **arguments}
    return {"how": "both", **arguments} if verb == "shutdown" else arguments


class CallReader:
    """Reads the steps of hosts of one scenario."""

    def __init__(self, people: People, names: Names, findings: Findings) -> None:
        self.people = people
        self.names = names
        self.findings = findings

    def step(self, said: Said, at: At) -> Step | None:
        """The step. None after a diagnostic; what it would have named is known all the same."""
        if said.verb.text == WAIT:
            return self._wait(said, at)
        common = self._common(said)
        if said.verb.text == RUN:
            return self._run(said, at, common)
        arguments, target = self._arguments(said)
        on = self._on(said)
        step = None
        if common is not None and arguments is not None and on is not None:
            step = self._call(said, at, common, _Given(arguments, target, on))
        if step is None and (said.name or self._makes(said)):
            self.names.unsure(said.host, said.name.text if said.name else None)
        return step

    def _makes(self, said: Said) -> str:
        """What kind of descriptor the step makes, or nothing."""
        makes = GRAMMARS[said.verb.text].makes
        if said.verb.text in ("listen", "connect") and (said.on or self._unaddressed(said)):
            return ""
        return makes

    def _unaddressed(self, said: Said) -> bool:
        return said.verb.text == "listen" and "address" not in said.args

    def _common(self, said: Said) -> dict[str, Any] | None:
        """What every step of a host can have."""
        found: dict[str, Any] = {"host": said.host, "background": said.background}
        if said.name is not None:
            found["name"] = values.name(said.name, self.findings)
        if said.timeout is not None:
            found["timeout"] = values.some_time(said.timeout, self.findings)
        if said.times is not None:
            found["times"] = values.times(said.times, self.findings)
        if said.fails is not None and said.verb.text != RUN:
            found["fails"] = self._fails(said.fails)
        return None if None in found.values() else found

    def _fails(self, word: Word) -> tuple[str, ...] | None:
        """`ECONNREFUSED`, `EAGAIN|timeout`; nothing: it must not fail (as a table may want it)."""
        if not word.text:
            return ()
        names = tuple(name.strip() for name in word.text.split("|"))
        for name in names:
            if name not in ERRORS and name != TIMED_OUT:
                hint = self.findings.meant(name, (*ERRORS, TIMED_OUT))
                hint = hint or "it is the name of an error, as `ECONNREFUSED`, or `timeout`"
                self.findings.add(word, f"there is no error {shown(name)}", hint)
                return None
        return names

    def _run(self, said: Said, at: At, common: dict[str, Any] | None) -> Run | None:
        if not said.argv or not said.argv[0].text:
            hint = "write it as `run curl http://web/`"
            self.findings.add(said.verb, "a `run` without a command", hint)
            return None
        exits = 0
        if said.fails is not None and said.fails.text:
            code = values.whole(1, 255)(said.fails, self.findings)
            if code is None:
                return None
            exits = cast(int, code)
        if common is None:
            return None
        argv = tuple(word.text for word in said.argv)
        self._named(said)
        return Run(line=at.line, column=at.column, text=said.text, argv=argv, exits=exits, **common)

    def _wait(self, said: Said, at: At) -> Wait | None:
        if len(said.on) != 1:
            self.findings.add(
                said.verb, "`wait` waits for one step", f"write it as `wait: {said.host}.answer`"
            )
            return None
        ref = self.awaited(said.on[0], said.host)
        return Wait(line=at.line, column=at.column, text=said.text, step=ref) if ref else None

    def awaited(self, word: Word, host: str | None = None) -> Ref | None:
        """The step that `wait` joins: `alice.answer`, or `answer` where that is one. None after a
        diagnostic."""
        ref = self.named_step(word, host)
        if ref is not None:
            self.names.join(ref.host, ref.name, word)
        return ref

    def named_step(self, word: Word, host: str | None = None) -> Ref | None:
        """A step by its name."""
        named, name = self.people.split(word, self.findings)
        if name is None:
            return None
        having = [h for h, mine in self.names.steps.items() if name in mine and (named or host or h) == h]
        if len(having) == 1:
            return Ref(host=having[0], name=name)
        whose = named or host
        if self.names.maybe(whose):
            return Ref(host=whose or "", name=name)
        if having:
            hint = "write " + " or ".join(shown(f"{h}.{name}") for h in having[:5])
            self.findings.add(word, f"{shown(name)} is a step of several hosts", hint)
        else:
            known = [*self.names.steps_named(), *(one.partition(".")[2] for one in self.names.steps_named())]
            hint = self.findings.meant(word.text, known) or f"a step is named by `as {name}`"
            self.findings.add(word, f"there is no step {shown(word.text)} before this one", hint)
        return None

    def _arguments(self, said: Said) -> tuple[dict[str, Any] | None, Endpoint | None]:
        """The arguments typed, and where to. (None, …) after a diagnostic."""
        grammar = GRAMMARS[said.verb.text]
        found: dict[str, Any] = {}
        target = None
        for name, word in said.args.items():
            if name == grammar.endpoint:
                target = found["endpoint"] = self._endpoint(said, word)
            elif name in grammar.args:
                found[name] = grammar.args[name](word, self.findings)
        if said.verb.text == "set" and "value" in said.args and found.get("option"):
            found["value"] = values.option_value(found["option"], said.args["value"], self.findings)
        well = self._complete(said) and None not in found.values()
        found.pop("endpoint", None)
        if said.headers:
            found["headers"] = said.headers
        return (found if well else None), target

    def _complete(self, said: Said) -> bool:
        """Whether all is there that the verb needs, and not too much."""
        grammar, verb = GRAMMARS[said.verb.text], said.verb
        missing = [name for name in grammar.needs if name not in said.args]
        if missing:
            text = f"`{verb.text}` without `{missing[0]}`"
            self.findings.add(verb, text, f"write it as `{grammar.example}`")
            return False
        some = [name for name in grammar.one_of or grammar.at_most_one_of if name in said.args]
        if grammar.one_of and not some:
            self.findings.add(
                verb, f"`{verb.text}` without what to {verb.text}", f"write it as `{grammar.example}`"
            )
        elif len(some) > 1:
            text = f"`{verb.text}` has both `{some[0]}` and `{some[1]}`"
            self.findings.add(said.args[some[1]], text, "leave one of them out")
        for name, other in grammar.only_with.items():
            if name in said.args and other not in said.args:
                self.findings.add(
                    said.args[name], f"`{name}` without `{other}`", f"give both, or only `{other}`"
                )
                return False
        return not missing and len(some) <= 1 and not (grammar.one_of and not some)

    def _endpoint(self, said: Said, word: Word) -> Endpoint | None:
        binds = said.verb.text in ("bind", "listen")
        found = values.address(word, self.findings) if binds else values.target(word, self.findings)
        if found is None or not found.host or values.is_address(found.host):
            return found
        host = self.people.host(word._replace(text=found.host), self.findings, itself=said.host)
        if host is None:
            return None
        if binds and host not in (said.host, "localhost"):
            hint = f"write `:{found.port}`, or one of its own addresses"
            self.findings.add(word, f"{shown(said.host)} cannot bind to {shown(host)}", hint)
            return None
        return Endpoint(host=host, port=found.port)

    def _on(self, said: Said) -> list[tuple[Opened, str]] | None:
        """The descriptors that it works on, each with its name. None after a diagnostic."""
        verb = said.verb.text
        if verb in ("socket", WRITE) or self._makes(said) == "listener":
            most = 0
        else:
            most = _DESCRIPTORS_OF_A_FORK if verb == "fork" else 1
        if len(said.on) > most:
            self._too_many(said, most)
            return None
        if most == 0:
            return []
        if verb == "listen" and "address" in said.args:
            hint = "`bind` it first, then `listen` without an address"
            self.findings.add(said.args["address"], "`listen` has both a descriptor and an address", hint)
            return None
        if said.on:
            found = [(self.names.use(said.host, word, verb), word.text) for word in said.on]
            return None if any(one is None for one, _ in found) else cast(list[tuple[Opened, str]], found)
        return self._unsaid(said)

    def _unsaid(self, said: Said) -> list[tuple[Opened, str]] | None:
        """The descriptor that is meant where none is named. None after a diagnostic."""
        if said.verb.text == "connect":
            return self._connects_on(said)
        if self._means_a_name(said):
            return None
        only = self.names.only(said.host, said.verb, said.verb.text)
        return None if only is None else [(only, only.name)]

    def _connects_on(self, said: Said) -> list[tuple[Opened, str]] | None:
        """`connect` without a descriptor makes one, unless the only one open still has no peer."""
        one = None if said.name else self.names.unconnected(said.host)
        if one is None:
            return []
        if one.name:
            return [(one, one.name)]
        text = f"{shown(said.host)} has a socket without a name, and `connect` alone makes another"
        self.findings.add(said.verb, text, f"name it in line {one.line}, as by `socket as door`")
        return None

    def _means_a_name(self, said: Said) -> bool:
        """`send call`: the name of a descriptor, and nothing to send."""
        word = said.args.get("text")
        if said.verb.text != "send" or word is None or word.quoted:
            return False
        if not self.names.is_open(said.host, word.text):
            return False
        hint = f"write `send {word.text} 'hello'`, or the word itself in quotes"
        self.findings.add(word, f"{word.said()} is a descriptor, and nothing is said of what to send", hint)
        return True

    def _too_many(self, said: Said, most: int) -> None:
        extra, verb = said.on[most], said.verb.text
        text = f"`{verb}` works on one descriptor" if most else f"`{verb}` works on no descriptor"
        self.findings.add(
            extra, f"{text}, {extra.said()} is too much", f"it is written as `{GRAMMARS[verb].example}`"
        )

    def _call(self, said: Said, at: At, common: dict[str, Any], given: _Given) -> Call | None:
        verb = cast(Verb, said.verb.text)
        first, name = given.on[0] if given.on else (None, "")
        each = first.size if first is not None and first.name == name else 0
        makes = self._makes(said) if not (verb == "connect" and given.on) else ""
        if self._contradicts(said, name, each, makes):
            return None
        call = Call(
            line=at.line,
            column=at.column,
            text=said.text,
            verb=verb,
            fd=name if name and verb != "fork" else None,
            fds=tuple(one for _, one in given.on if one) if verb == "fork" else (),
            opens=bool(makes) and makes != "child",
            target=given.target,
            arguments=_completed(verb, given.arguments, first),
            each=each,
            **common,
        )
        self._follow(said, call, makes, first, name)
        return call

    def _contradicts(self, said: Said, name: str, each: int, makes: str) -> bool:
        """Whether names and numbers do not go together; said here."""
        if each and (said.times is not None or said.verb.text == "fork"):
            text = f"{shown(name)} is {each} descriptors, and each is meant already"
            self.findings.add(said.times or said.on[0], text, f"name one of them, as {shown(f'{name}-1')}")
            return True
        if said.name is not None and not makes and GRAMMARS[said.verb.text].makes and not said.background:
            text = (
                f"`{said.verb.text}` on {shown(name)} makes no descriptor that {said.name.said()} could name"
            )
            self.findings.add(said.name, text, "leave one of the two names out")
            return True
        return False

    def _follow(self, said: Said, call: Call, makes: str, first: Opened | None, name: str) -> None:
        """What is open, and what it is, after this call."""
        if makes and not (call.fails and call.verb in DROPPED_IF_IT_FAILS):
            size = call.each or (call.times if call.times > 1 else 0)
            server = call.verb == "accept" or (call.verb == "dup" and first is not None and first.server)
            kind = first.kind if makes == "copy" and first is not None else makes
            new = Opened(name=call.name or "", kind=kind, line=call.line, server=server, size=size)
            self.names.open(call.host, said.name, said.verb, new)
        elif first is not None and call.verb in ("close", "reset"):
            self.names.close(call.host, first, name, call.line)
        elif first is not None and call.verb in ("connect", "listen") and not call.fails:
            first.kind = "connection" if call.verb == "connect" else "listener"
        self._named(said)

    def _named(self, said: Said) -> None:
        if said.name is not None:
            left = Left(line=said.verb.line, kind=said.verb.text, running=said.background)
            self.names.step(said.host, said.name, left)
