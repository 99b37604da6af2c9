"""nginx's logs as they were kept: lines of the error log (ngx_log_error_core) and of the access log by its
own log_format, with the time of each on the recording's clock. The error log counts whole seconds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from orchestrator.explain.parsing import Statement
from orchestrator.model.nginx import PROGRAM, NginxSeen

COMBINED = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
    '"$http_referer" "$http_user_agent"'
)
SLACK = 0.1  # seconds between what happens and the clock that nginx writes into its log
OUTPUTS = frozenset({"stderr", "/dev/stderr", "/dev/stdout"})
_ERROR = re.compile(
    r"(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) \[(\w+)\] (\d+)#\d+: (?:\*(\d+) )?(.*?)"
    r"((?:, (?:client|server|udp client|tcp client): .*)?)$"
)
_FIELD = re.compile(r', (client|server|request|subrequest|upstream|host): (?:"([^"]*)"|([^,"]*))')
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
_BROKEN = re.compile(r"[\x00-\x08\x0e-\x1f]")


class ErrorLine(msgspec.Struct, frozen=True, kw_only=True):
    """`action`: what nginx was doing, behind "while". `number`: its own count of connections."""

    t: float
    error: float
    level: str
    pid: int
    number: int | None
    text: str
    action: str = ""
    client: str = ""
    request: str = ""
    upstream: str = ""

    @property
    def said(self) -> str:
        """For people."""
        return f"[{self.level}] {self.text}"

    def about(self, t: float, error: float = 0.0) -> bool:
        """Whether it may have been written then."""
        return abs(self.t - t) <= self.error + SLACK + error


class AccessLine(msgspec.Struct, frozen=True, kw_only=True):
    """`fields`: by the names of variables, without `$`."""

    t: float
    error: float
    fields: dict[str, str]
    text: str

    @property
    def status(self) -> str:
        """Of the response, as it was logged."""
        return self.fields.get("status", "")

    @property
    def path(self) -> str | None:
        """What was asked for, without what is behind a `?`."""
        return path_of(self.fields.get("request", ""))


class Logs(msgspec.Struct, frozen=True, kw_only=True):
    """All of one nginx. `errors_whole`: nothing of the error log is missing."""

    errors: tuple[ErrorLine, ...] = ()
    accesses: tuple[AccessLine, ...] = ()
    errors_whole: bool = False
    accesses_whole: bool = False


def path_of(request: str) -> str | None:
    """Of a request line."""
    words = request.split(" ")
    return words[1].split("?")[0] if len(words) > 1 and words[1].startswith("/") else None


def read(seen: NginxSeen, statements: Sequence[Statement], began: float) -> Logs:
    """`began`: when t = 0 of the recording is, seconds since 1970."""
    formats = _formats(statements)
    errors: list[ErrorLine] = []
    accesses: list[AccessLine] = []
    for log in seen.logs:
        patterns = [_pattern(one) for one in formats.get(log.path, (COMBINED, *_all(formats)))]
        for line in log.text.splitlines():
            error = _error(line, seen.zone + began)
            if error is not None:
                errors.append(error)
            elif (access := _access(line, patterns, began)) is not None:
                accesses.append(access)
    return Logs(
        errors=tuple(sorted(errors, key=lambda one: one.t)),
        accesses=tuple(sorted(accesses, key=lambda one: one.t)),
        errors_whole=_kept(seen, statements),
        accesses_whole=all(one.whole for one in seen.logs) and bool(accesses),
    )


def _kept(seen: NginxSeen, statements: Sequence[Statement]) -> bool:
    """Whether all that it writes into error logs was kept, from the beginning of what matters."""
    whole = {one.path for one in seen.logs if one.whole}
    named = {one.args[0] for one in _everywhere(statements) if one.name == "error_log" and one.args}
    return bool(whole) and named <= whole | OUTPUTS and (not named & OUTPUTS or PROGRAM in whole)


def _error(line: str, shift: float) -> ErrorLine | None:
    found = _ERROR.match(line)
    if found is None:
        return None
    when, level, pid, number, text, rest = found.groups()
    try:
        at = datetime.strptime(when, "%Y/%m/%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
    fields = {name: quoted or bare for name, quoted, bare in _FIELD.findall(rest)}
    return ErrorLine(
        t=at - shift + 0.5,
        error=0.5,
        level=level,
        pid=int(pid),
        number=int(number) if number else None,
        text=text,
        action=text.rpartition(" while ")[2] if " while " in text else "",
        client=fields.get("client", ""),
        request=fields.get("request", ""),
        upstream=fields.get("upstream", ""),
    )


def _access(line: str, patterns: Sequence[re.Pattern[str]], began: float) -> AccessLine | None:
    for pattern in patterns:
        found = pattern.fullmatch(line)
        if found is None:
            continue
        fields = {name: text for name, text in found.groupdict().items() if text is not None}
        when = _when(fields)
        if when is not None:
            return AccessLine(t=when[0] - began, error=when[1], fields=fields, text=line)
    return None


def _when(fields: Mapping[str, str]) -> tuple[float, float] | None:
    """$msec is exact; the others count seconds. In UTC."""
    try:
        if "msec" in fields:
            return float(fields["msec"]), 0.002
        if "time_local" in fields:
            return datetime.strptime(fields["time_local"], "%d/%b/%Y:%H:%M:%S %z").timestamp() + 0.5, 0.5
        if "time_iso8601" in fields:
            return datetime.fromisoformat(fields["time_iso8601"]).timestamp() + 0.5, 0.5
    except ValueError:
        pass
    return None


def _formats(statements: Sequence[Statement]) -> dict[str, tuple[str, ...]]:
    """The formats that are written to each path; http and stream name theirs apart."""
    logs: dict[str, list[str]] = {}
    for block in statements:
        inside = list(_everywhere(block.block or ()))
        named = {"combined": COMBINED, **dict(_named(inside))}
        for one in inside:
            if one.name == "access_log" and one.args:
                name = one.args[1] if len(one.args) > 1 and "=" not in one.args[1] else "combined"
                logs.setdefault(one.args[0], []).append(named.get(name, COMBINED))
    return {path: tuple(dict.fromkeys(found)) for path, found in logs.items()}


def _named(statements: Sequence[Statement]) -> Iterator[tuple[str, str]]:
    for one in statements:
        if one.name == "log_format" and len(one.args) > 1:
            parts = one.args[2:] if one.args[1].startswith("escape=") else one.args[1:]
            yield one.args[0], "".join(parts)


def _all(formats: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    return (one for found in formats.values() for one in found)


def _everywhere(statements: Sequence[Statement]) -> Iterator[Statement]:
    for one in statements:
        yield one
        yield from _everywhere(one.block or ())


def _pattern(text: str) -> re.Pattern[str]:
    """A variable that comes a second time is not looked at. One may hold anything but a line's end."""
    met: set[str] = set()
    pieces: list[str] = []
    last = 0
    for found in _VARIABLE.finditer(text):
        pieces.append(re.escape(text[last : found.start()]))
        name = found[1]
        pieces.append(f"(?P<{name}>.*?)" if name not in met and not name[0].isdigit() else ".*?")
        met.add(name)
        last = found.end()
    return re.compile("".join((*pieces, re.escape(text[last:]))))
