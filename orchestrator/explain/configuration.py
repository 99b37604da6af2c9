"""What a configuration has in force, and where: servers by their listening sockets, locations, and the
effective value of each directive, inherited as nginx merges them (inner before outer, else the default)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from orchestrator.explain.directives import DEFAULTS, LEVELS, PASSING, WHOLE_SECONDS
from orchestrator.explain.parsing import Parsed, Statement
from orchestrator.explain.times import seconds
from orchestrator.model.nginx import NginxSeen

Family = Literal["http", "stream"]
Chain = tuple[tuple[Statement, ...], ...]  # the blocks around something, the outermost first
Address = tuple[str | None, int | None]  # None: any, or not known
DEFAULT = "nginx's default"
_ANY = ("*", "0.0.0.0", "::")


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """A directive as it is in force. `seconds` None: no time, or not known (a variable). `where`: the file
    and line, or DEFAULT."""

    name: str
    text: str
    seconds: float | None
    where: str = DEFAULT


class Listen(msgspec.Struct, frozen=True, kw_only=True):
    """A socket that a server listens on. `address` None: every one of the host."""

    address: str | None
    port: int
    options: tuple[str, ...] = ()

    def takes(self, address: str, port: int) -> bool:
        """Whether a connection to there comes to it."""
        return self.port == port and self.address in (None, address)


class Pass(msgspec.Struct, frozen=True, kw_only=True):
    """Where requests go on to. `kind`: of PASSING. `target`: as written, without the scheme and the path."""

    kind: str
    target: str
    where: str
    secure: bool = False


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """A location, or a server itself (`pattern` empty)."""

    pattern: tuple[str, ...]
    chain: Chain
    family: Family
    passes: tuple[Pass, ...] = ()
    where: str = ""

    def value(self, name: str) -> Value:
        """In force here."""
        return value(self.chain, name, DEFAULTS[self.family])

    @property
    def said(self) -> str:
        """For people."""
        return f"location {' '.join(self.pattern)}" if self.pattern else "server"


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A `server` block. `locations`: itself first, then all, also nested ones."""

    family: Family
    listens: tuple[Listen, ...]
    names: tuple[str, ...]
    chain: Chain
    locations: tuple[Location, ...]
    where: str

    def value(self, name: str) -> Value:
        """In force where no location is chosen (yet)."""
        return value(self.chain, name, DEFAULTS[self.family])

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        return any("ssl" in one.options for one in self.listens) or self.value("ssl").text == "on"


def once(values: Iterable[tuple[Value, str]]) -> Iterator[tuple[Value, str]]:
    """Each that is in force somewhere, with the first place where it is."""
    met: dict[Value, str] = {}
    for value, said in values:
        met.setdefault(value, said)
    yield from met.items()


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """A group of peers. `cached`: whether connections are kept (`keepalive N`)."""

    name: str
    family: Family
    peers: tuple[Address, ...]
    chain: Chain
    cached: bool
    where: str

    def value(self, name: str) -> Value:
        """In force for connections that are kept."""
        return value(self.chain[-1:], name, DEFAULTS["upstream"])


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """Of one nginx. `resolved`: addresses of names, as the host's /etc/hosts has them."""

    seen: NginxSeen
    main: tuple[Statement, ...]
    servers: tuple[Server, ...]
    upstreams: tuple[Upstream, ...]
    problems: tuple[str, ...] = ()
    resolved: Mapping[str, tuple[str, ...]] = {}

    def at(self, address: str, port: int) -> tuple[Server, ...]:
        """The servers of the socket that a connection to there comes to, its default one first. A socket of
        this very address goes before one of all."""
        found = [(s, one) for s in self.servers for one in s.listens if one.takes(address, port)]
        exact = [pair for pair in found if pair[1].address == address] or found
        exact.sort(key=lambda pair: not {"default_server", "default"} & set(pair[1].options))
        return tuple(dict.fromkeys(server for server, _ in exact))

    def listen(self, address: str, port: int) -> Listen | None:
        """That socket."""
        found = [one for s in self.servers for one in s.listens if one.takes(address, port)]
        exact = [one for one in found if one.address == address] or found
        options = tuple(dict.fromkeys(option for one in exact for option in one.options))
        return None if not exact else msgspec.structs.replace(exact[0], options=options)

    def value(self, name: str) -> Value:
        """Of the outermost block."""
        return value((self.main,), name, DEFAULTS["http"])

    def upstream(self, target: str) -> Upstream | None:
        """The group of that name."""
        return next((one for one in self.upstreams if one.name == target), None)

    def peers(self, one: Pass) -> tuple[Address, ...]:
        """Where its connections may go; a variable leads anywhere."""
        group = self.upstream(one.target)
        if group is not None:
            return tuple(each for peer in group.peers for each in self._addresses(peer))
        if "$" in one.target:
            return ((None, None),)
        port = 443 if one.secure else 80
        return tuple(self._addresses(endpoint(one.target, port)))

    def _addresses(self, peer: Address) -> Iterator[Address]:
        host, port = peer
        if host is None or re.fullmatch(r"[0-9.]+|[0-9a-f:]+", host):
            yield peer
        else:
            yield from ((address, port) for address in self.resolved.get(host, (None,)))


def value(chain: Chain, name: str, defaults: Mapping[str, str]) -> Value:
    """The innermost one; of several in one block the last."""
    for block in reversed(chain):
        for one in reversed(block):
            if one.name == name and one.args:
                return Value(name=name, text=" ".join(one.args), seconds=_time(name, one), where=one.where)
    text = defaults.get(name, "")
    return Value(name=name, text=text, seconds=seconds(text.split(" ")[0]) if text else None)


def _time(name: str, one: Statement) -> float | None:
    found = seconds(one.args[0])
    return float(int(found)) if found is not None and name in WHOLE_SECONDS else found


def read(seen: NginxSeen, parsed: Parsed, resolved: Mapping[str, tuple[str, ...]]) -> Configuration:
    """What is in force by these statements."""
    main = parsed.statements
    servers: list[Server] = []
    upstreams: list[Upstream] = []
    families: tuple[Family, ...] = ("http", "stream")
    for family in families:
        for block in _blocks(main, family):
            around: Chain = (main, block.block or ())
            servers += [_server(one, around, family) for one in _blocks(block.block or (), "server")]
            upstreams += [_upstream(one, around, family) for one in _blocks(block.block or (), "upstream")]
    return Configuration(
        seen=seen,
        main=main,
        servers=tuple(servers),
        upstreams=tuple(upstreams),
        problems=parsed.problems,
        resolved=resolved,
    )


def _blocks(statements: Iterable[Statement], name: str) -> Iterator[Statement]:
    return (one for one in statements if one.name == name and one.block is not None)


def _server(one: Statement, around: Chain, family: Family) -> Server:
    block = one.block or ()
    chain = (*around, block)
    written = [each for each in block if each.name == "listen" and each.args]
    listens = [_listen(each) for each in written]
    default = () if written else (Listen(address=None, port=80),)
    return Server(
        family=family,
        listens=tuple(each for each in listens if each is not None) or default,
        names=tuple(name for each in block if each.name == "server_name" for name in each.args),
        chain=chain,
        locations=tuple(_locations((), block, chain, family, one.where)),
        where=one.where,
    )


def _listen(one: Statement) -> Listen | None:
    if one.args[0].startswith("unix:"):
        return None
    address, port = endpoint(one.args[0], 80)
    return Listen(address=None if address in _ANY else address, port=port or 80, options=one.args[1:])


def _locations(
    pattern: tuple[str, ...], block: Sequence[Statement], chain: Chain, family: Family, where: str
) -> Iterator[Location]:
    passes = tuple(_passes(block))
    yield Location(pattern=pattern, chain=chain, family=family, passes=passes, where=where)
    for one in _blocks(block, "location"):
        yield from _locations(one.args, one.block or (), (*chain, one.block or ()), family, one.where)
    for name in ("if", "limit_except"):
        for one in _blocks(block, name):
            inner = tuple(_passes(one.block or ()))
            if inner:
                around = (*chain, one.block or ())
                yield Location(pattern=pattern, chain=around, family=family, passes=inner, where=one.where)


def _passes(block: Sequence[Statement]) -> Iterator[Pass]:
    for one in block:
        kind = one.name.removesuffix("_pass")
        if one.name.endswith("_pass") and kind in PASSING and one.args:
            scheme, separator, rest = one.args[0].partition("://")
            target = rest if separator else one.args[0]
            if not target.startswith("unix:"):
                target = target.split("/", 1)[0]
            yield Pass(kind=kind, target=target, where=one.where, secure=scheme in ("https", "grpcs"))


def _upstream(one: Statement, around: Chain, family: Family) -> Upstream:
    block = one.block or ()
    return Upstream(
        name=one.args[0] if one.args else "",
        family=family,
        peers=tuple(endpoint(each.args[0], 80) for each in block if each.name == "server" and each.args),
        chain=(*around, block),
        cached=any(each.name == "keepalive" for each in block),
        where=one.where,
    )


def endpoint(text: str, port: int) -> tuple[str | None, int | None]:
    """`10.0.0.1:80`, `[::1]:80`, `web`, `80`."""
    if text.startswith("unix:") or "$" in text:
        return None, None
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        return address, int(rest[1:]) if rest[1:].isdigit() else port
    host, colon, number = text.rpartition(":")
    if colon and number.isdigit():
        return host, int(number)
    return (None, int(text)) if text.isdigit() else (text, port)


# Which location, which level.


def chosen(server: Server, path: str) -> list[Location]:
    """Where a request for this path goes: exact, the longest prefix (and ^~), the first expression, as
    nginx searches. A location of a name or of an inner redirect is not found by a path."""
    found = [one for one in server.locations if one.pattern]
    exact = [one for one in found if one.pattern == ("=", path)]
    if exact:
        return exact
    prefixes = [one for one in found if _prefix(one) is not None and path.startswith(_prefix(one) or "")]
    longest = max((len(_prefix(one) or "") for one in prefixes), default=-1)
    best = [one for one in prefixes if len(_prefix(one) or "") == longest]
    if not (best and best[0].pattern[0] == "^~"):
        for one in found:
            if one.pattern[0] in ("~", "~*") and len(one.pattern) > 1 and _fits(one.pattern, path):
                return [each for each in found if each.pattern == one.pattern]
    return best or list(server.locations[:1])


def _prefix(one: Location) -> str | None:
    if len(one.pattern) == 1 and not one.pattern[0].startswith("@"):
        return one.pattern[0]
    return one.pattern[1] if len(one.pattern) == 2 and one.pattern[0] == "^~" else None


def _fits(pattern: tuple[str, ...], path: str) -> bool:
    try:
        return re.search(pattern[1], path, re.IGNORECASE if pattern[0] == "~*" else 0) is not None
    except re.error:
        return False


def level(where: Server | Location) -> str:
    """The lowest level that its error log takes."""
    words = where.value("error_log").text.split()
    return words[1] if len(words) > 1 and words[1] in LEVELS else "error"


def logs_at(where: Server | Location, wanted: str) -> bool:
    """Whether a line of that level would be there."""
    return LEVELS.index(wanted) <= LEVELS.index(level(where))
