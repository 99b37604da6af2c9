"""What scenarios do and expect, read from lab.yaml: every name checked, every value typed, variables put in.

A Scenario is one performance: one with a table stands here once for each of its rows, under one name. `line`
and `column` (both from 1) are a step's place in the file; `text` is the step as it was written, with the
values of variables in place of `${…}`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec

from orchestrator.model.impairments import CutSpec, DnsSpec, LinkSpec
from orchestrator.model.rows import endpoint

DEFAULT_TIMEOUT = 5.0  # seconds of a call
DEFAULT_WITHIN = 1.0  # seconds of an expectation that gives neither `within` nor `for`
TIMED_OUT = "timeout"  # among `fails`: the call had not ended when its time was over

Verb = Literal[
    "socket",
    "bind",
    "listen",
    "accept",
    "connect",
    "send",
    "recv",
    "shutdown",
    "close",
    "reset",
    "set",
    "get",
    "poll",
    "dup",
    "fork",
    "tls",
    "http",
    "write",
]
Value = str | int | float | bool | dict[str, str] | tuple[int, ...]
Resolve = Callable[[str, str], str]


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """Where a step stands and how it was written."""

    line: int
    column: int
    text: str


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An address and a port. `host`: a host's name, an address, or "" for every address (bind, listen)."""

    host: str
    port: int

    def __str__(self) -> str:
        return endpoint(self.host, self.port)


class Ref(msgspec.Struct, frozen=True, kw_only=True):
    """A name that a step of `host` has made. `each` > 0: it stands for NAME-1 … NAME-each."""

    host: str
    name: str
    each: int = 0

    def names(self) -> tuple[str, ...]:
        """The names that it stands for."""
        return tuple(f"{self.name}-{n}" for n in range(1, self.each + 1)) if self.each else (self.name,)

    def __str__(self) -> str:
        return f"{self.host}.{self.name}"


class Call(Written, frozen=True, kw_only=True, tag="call"):
    """A call on a socket of a host's agent, or `times` of them at once; or `write`, of a file.

    `name` is what `as` gives: the new descriptor's, and the step's own (`wait NAME`, `step: HOST.NAME`).
    `fd` None: a new descriptor, or the only one that the host has open. With `each` the descriptor's name
    stands for so many of them, and the call is made on every one.
    """

    host: str
    verb: Verb
    fd: str | None = None
    fds: tuple[str, ...] = ()  # of fork: the descriptors that the child inherits
    name: str | None = None
    opens: bool = False  # `name` is (also) a descriptor's
    target: Endpoint | None = None
    arguments: dict[str, Value] = {}  # under the names that the agent's calls have for them
    fails: tuple[str, ...] = ()  # what it must fail with: names of errno(3), or TIMED_OUT; empty: it must not
    timeout: float = DEFAULT_TIMEOUT
    background: bool = False
    times: int = 1
    each: int = 0

    @property
    def count(self) -> int:
        """How many calls of the agent it is."""
        return self.each or self.times

    def messages(self, resolve: Resolve) -> Iterator[dict[str, Any]]:
        """The agent's calls (docs/architecture.md, "Calls of an agent"), one for each time.

        `resolve(HOST, NAME)` gives the address that a name of the lab has, as seen from a host; addresses
        do not come to it.
        """
        shared: dict[str, Any] = {"do": self.verb, **self.arguments, "timeout": self.timeout}
        if self.target is not None:
            shared |= {"address": self._address(self.target.host, resolve), "port": self.target.port}
            if self.verb == "connect" and not self._literal(self.target.host):
                shared["target"] = str(self.target)  # what `http` asks for
        if self.fds:
            shared["fds"] = list(self.fds)
        for number in range(1, self.count + 1):
            yield shared | self._names(f"-{number}" if self.count > 1 or self.each else "")

    def names(self) -> tuple[str, ...]:
        """The names of the descriptors that it opens."""
        if self.name is None or not self.opens:
            return ()
        several = self.count if self.count > 1 or self.each else 0
        return Ref(host=self.host, name=self.name, each=several).names()

    def _names(self, number: str) -> dict[str, str]:
        found = {} if self.fd is None else {"fd": self.fd + (number if self.each else "")}
        if self.name is not None and (self.opens or self.verb == "fork"):
            found["as"] = self.name + number
        return found

    def _address(self, host: str, resolve: Resolve) -> str:
        if not host:
            return "::" if self.arguments.get("family") in (6, "dual") else "0.0.0.0"
        return host if self._literal(host) else resolve(self.host, host)

    @staticmethod
    def _literal(host: str) -> bool:
        return ":" in host or host.replace(".", "").isdigit()


class Run(Written, frozen=True, kw_only=True, tag="run"):
    """A program in a host, to its end. `exits`: the exit code that it must have."""

    host: str
    argv: tuple[str, ...]
    name: str | None = None
    exits: int = 0
    timeout: float = DEFAULT_TIMEOUT
    background: bool = False
    times: int = 1


class Wait(Written, frozen=True, kw_only=True, tag="wait"):
    """Let time pass, or join a step that was left running."""

    seconds: float | None = None
    step: Ref | None = None


class Note(Written, frozen=True, kw_only=True, tag="note"):
    """Words for whoever watches; `text` is what the file says, `words` what is shown."""

    words: str


class Parallel(Written, frozen=True, kw_only=True, tag="parallel"):
    """Steps that begin together; it ends when all have."""

    steps: tuple[Step, ...]


class Repeat(Written, frozen=True, kw_only=True, tag="repeat"):
    """Steps in order, so many times over."""

    times: int
    steps: tuple[Step, ...]


class Pause(Written, frozen=True, kw_only=True, tag="pause"):
    """Stop a host, or one program of it (its `run`, or the name of a `run` step). `seconds` None: until
    `resume`, or the end of the scenario."""

    host: str
    program: str | None = None
    seconds: float | None = None


class Resume(Written, frozen=True, kw_only=True, tag="resume"):
    """Let go on what was paused."""

    host: str
    program: str | None = None


class Kill(Written, frozen=True, kw_only=True, tag="kill"):
    """End a program of a host by a signal, or (program None) the host itself, as if its power was cut."""

    host: str
    program: str | None = None
    signal: str = "KILL"


class Cut(Written, frozen=True, kw_only=True, tag="cut"):
    """From now on something does not pass between two; it ends by itself, by `heal`, or with the scenario."""

    spec: CutSpec


class Link(Written, frozen=True, kw_only=True, tag="link"):
    """From now on links are like this, as long as a cut."""

    spec: LinkSpec


class Dns(Written, frozen=True, kw_only=True, tag="dns"):
    """From now on a DNS server answers like this, as long as a cut."""

    spec: DnsSpec


class Heal(Written, frozen=True, kw_only=True, tag="heal"):
    """Take back cuts and links that the scenario has made: all (`one` None), or the cuts of one end, or
    between two."""

    one: str | None = None
    other: str | None = None


# What an expectation compares with.


class Number(msgspec.Struct, frozen=True, kw_only=True, tag="number"):
    """A comparison with a number (durations: seconds). With `==` alone it may also be so much `below` or
    `above` it."""

    operator: Literal["==", "!=", "<", "<=", ">", ">="] = "=="
    value: float
    below: float = 0.0
    above: float = 0.0

    @property
    def tolerance(self) -> float:
        """The wider of the two."""
        return max(self.below, self.above)


class Words(msgspec.Struct, frozen=True, kw_only=True, tag="words"):
    """One of these texts. None among them: no row, no value."""

    any_of: tuple[str | None, ...]


class Flag(msgspec.Struct, frozen=True, kw_only=True, tag="flag"):
    """Yes or no."""

    value: bool


class Contains(msgspec.Struct, frozen=True, kw_only=True, tag="contains"):
    """A text somewhere in it."""

    text: str


class Matches(msgspec.Struct, frozen=True, kw_only=True, tag="matches"):
    """A regular expression (Python's) that is found somewhere in it."""

    pattern: str


class Sequence(msgspec.Struct, frozen=True, kw_only=True, tag="sequence"):
    """States that an end was in, one directly after the other; each is one of several. Before the first and
    after the last there may have been others."""

    states: tuple[tuple[str, ...], ...]


Test = Number | Words | Flag | Contains | Matches | Sequence


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One field of an expectation. `text`: what the file says must be there."""

    field: str
    test: Test
    text: str


class After(msgspec.Struct, frozen=True, kw_only=True):
    """So long after a step (seconds), from what that sent to what came of it. `text`: as the file says it."""

    step: Ref
    test: Number
    text: str


class Between(msgspec.Struct, frozen=True, kw_only=True, tag="between"):
    """The connections from a host to a port of a host: `alice -> web:80`."""

    client: str
    server: Endpoint

    def __str__(self) -> str:
        return f"{self.client} -> {self.server}"


class ByName(Ref, frozen=True, kw_only=True, tag="name"):
    """What a name stands for: a connection by the descriptor of one end, a listener, a step, what came in."""

    __str__ = Ref.__str__


class ListenerAt(msgspec.Struct, frozen=True, kw_only=True, tag="listener"):
    """The listening sockets of a host at a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class CounterOf(msgspec.Struct, frozen=True, kw_only=True, tag="counter"):
    """A counter of a host's network stack, named as nstat(8) does: `TcpExtListenDrops`."""

    host: str
    name: str

    def __str__(self) -> str:
        return f"{self.host}.{self.name}"


class LogOf(msgspec.Struct, frozen=True, kw_only=True, tag="log"):
    """What a host's program and its log files have said since the scenario began."""

    host: str

    def __str__(self) -> str:
        return self.host


Subject = Between | ByName | ListenerAt | CounterOf | LogOf
Kind = Literal["connection", "listener", "counter", "log", "received", "step"]


FIRST_TO_CLOSE, CLOSED_BY, RETRANSMITS = "first to close", "closed by", "retransmits"
HAPPENED = frozenset((FIRST_TO_CLOSE, CLOSED_BY, RETRANSMITS))  # fields that only the timeline tells


class Expectation(Written, frozen=True, kw_only=True, tag="expect"):
    """What is to be seen. With `lasting` it is to be so for so many seconds from now on, without it at one
    moment at least of the next `within` seconds. `after`: what its one check is about came so long after."""

    kind: Kind
    subject: Subject
    checks: tuple[Check, ...]
    within: float = DEFAULT_WITHIN
    lasting: float | None = None
    after: After | None = None

    @property
    def happened(self) -> tuple[Check, ...]:
        """The checks that are about what happened, which the timeline tells."""
        return tuple(one for one in self.checks if one.field in HAPPENED or isinstance(one.test, Sequence))

    @property
    def seen(self) -> tuple[Check, ...]:
        """The checks that one look at the lab can tell."""
        return tuple(one for one in self.checks if one not in self.happened)


Impair = Cut | Link | Dns | Heal
Step = Call | Run | Wait | Note | Parallel | Repeat | Pause | Resume | Kill | Impair | Expectation


Covers = Literal["whole", "gap", "idle"]


class About(
    msgspec.Struct, frozen=True, kw_only=True, rename={"variant_of": "variant of"}, omit_defaults=True
):
    """What a scenario is about, for whoever reads its record; it is not judged. `covers`: whether the limit
    is on the whole of something, on the gap between two operations, or on rest; only the scenario that shows
    it by its expectations says so."""

    directive: tuple[str, ...] = ()  # of the configuration: what ends the connection
    covers: Covers | None = None
    documented: str = ""  # a sentence of the program's documentation
    differs: str = ""  # how what is observed differs from that
    variant_of: str = ""  # the scenario that it varies


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One performance of a scenario. `row` is what this row of its table gives (in the table's order),
    `row_name` what the row is called, `variables` all that is put in for `${…}`. `setup` and `cleanup` are
    done whatever happens. `file`: the included file that it stands in, below the folder of the lab file."""

    name: str
    title: str = ""
    line: int
    file: str = ""
    about: About = About()
    row_name: str = ""
    variables: dict[str, str] = {}
    row: dict[str, str] = {}
    setup: tuple[Step, ...] = ()
    steps: tuple[Step, ...] = ()
    cleanup: tuple[Step, ...] = ()

    @property
    def label(self) -> str:
        """Its name, with the row where there is a table: `full[backlog=3]`, `full[short]`."""
        row = self.row_name or ",".join(f"{k}={v}" for k, v in self.row.items())
        return f"{self.name}[{row}]" if row else self.name
