"""Values in steps and expectations: durations, sizes, addresses, comparisons. Each reader gives None after
having said what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from ipaddress import ip_address
from typing import Literal

from orchestrator.model.steps import Endpoint, Number, Value
from orchestrator.read.findings import Findings, shown
from orchestrator.read.vocabulary import SOCKET_OPTIONS, TEXT_OPTIONS
from orchestrator.read.words import Word

NAME = re.compile("[A-Za-z_][A-Za-z0-9_-]{0,62}")
KEPT = frozenset({"all", "until", "read", "write", "both", "tcp", "udp", "dual", "none", "as", "run"})
MOST_SECONDS = 86_400.0  # of anything that is waited for
MOST_BYTES = 1 << 40
MOST_TEXT = 256 << 10  # bytes of a text in one call; more travels as a size
MOST_TIMES = 100_000

_UNITS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?([A-Za-zµ]*)")
_SIZE = re.compile(r"([0-9]{1,15})([kKmMgGtT]?)(?:i?[bB])?")
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]{1,9})?")
_COMPARISON = re.compile(r"(==|!=|<=|>=|=|<|>)?\s*(.*?)((?:(?:\s*(?:\+-|±|\+/-)|\s[+-])[^+±-]*)*)", re.S)
_TOLERANCE = re.compile(r"\s*(\+-|±|\+/-|[+-])\s*([^+±-]*)")
_NEAR = "write it as `2s +-50ms` or `2s -5ms +50ms`"
_ENDPOINT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]*|\*)):([0-9]{1,9})")
_PACE = re.compile(r"(.*)/(?:([0-9]{0,6}) ?)bytes?", re.S)
_YES, _NO = ("yes", "true", "on"), ("no", "false", "off")
Operator = Literal["==", "!=", "<", "<=", ">", ">="]
_OPERATORS: dict[str | None, Operator] = {
    None: "==",
    "=": "==",
    "==": "==",
    "!=": "!=",
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
}

Reader = Callable[[Word, Findings], Value | None]


def duration(word: Word, findings: Findings) -> float | None:
    """`200ms`, `2s`, `1.5s`, `1min` as seconds."""
    match = _DURATION.fullmatch(word.text)
    if match and match[2] in _UNITS:
        seconds = float(match[1]) * _UNITS[match[2]]
        if seconds <= MOST_SECONDS:
            return seconds
        findings.add(word, f"{shown(word.text)} is more than a day")
        return None
    if match and not match[2]:
        hint = f"did you mean {shown(match[1] + 's')} or {shown(match[1] + 'ms')}?"
        findings.add(word, f"the duration {shown(word.text)} has no unit", hint)
    else:
        findings.add(word, f"{shown(word.text)} is no duration", "write it as `200ms`, `2s` or `1min`")
    return None


def some_time(word: Word, findings: Findings) -> float | None:
    """A duration that is not 0."""
    seconds = duration(word, findings)
    if seconds == 0:
        findings.add(word, f"{shown(word.text)} is no time at all", "write it as `200ms`, `2s` or `1min`")
        return None
    return seconds


def size(word: Word, findings: Findings) -> int | None:
    """`1000`, `64k`, `10MB` as bytes; units are powers of 1024."""
    found = size_of(word)
    if found is None:
        findings.add(word, f"{shown(word.text)} is no number of bytes", "write it as `1000`, `64k` or `10MB`")
    elif found > MOST_BYTES:
        findings.add(word, f"{shown(word.text)} is more than 1 TB")
        return None
    return found


def size_of(word: Word) -> int | None:
    """The bytes that a word gives, None where it is no size."""
    match = None if word.quoted else _SIZE.fullmatch(word.text)
    return int(match[1]) << 10 * " kmgt".index(match[2].lower() or " ") if match else None


def whole(least: int, most: int) -> Reader:
    """A reader of integers between these."""

    def read(word: Word, findings: Findings) -> int | None:
        if re.fullmatch("[0-9]{1,18}", word.text) and least <= int(word.text) <= most:
            return int(word.text)
        findings.add(word, f"{shown(word.text)} is no number from {least} to {most}")
        return None

    return read


times = whole(1, MOST_TIMES)


def yes_or_no(word: Word, findings: Findings) -> bool | None:
    """`yes`, `no`, `true`, `false`, `on`, `off`."""
    if word.text.lower() in _YES + _NO:
        return word.text.lower() in _YES
    findings.add(word, f"{shown(word.text)} is neither `yes` nor `no`")
    return None


def one_of(what: str, options: Collection[str]) -> Reader:
    """A reader of words."""

    def read(word: Word, findings: Findings) -> str | None:
        if word.text in options:
            return word.text
        hint = findings.meant(word.text, options)
        if not hint and len(options) <= 12:
            hint = "it is one of " + ", ".join(f"`{option}`" for option in sorted(options))
        findings.add(word, f"{shown(word.text)} is no {what}", hint)
        return None

    return read


def family(word: Word, findings: Findings) -> int | str | None:
    """`4`, `6` or `dual`."""
    found = one_of("family", ("4", "6", "dual"))(word, findings)
    return int(found) if isinstance(found, str) and found.isdigit() else found  # type: ignore[return-value]


def text(word: Word, findings: Findings) -> str | None:
    """Text that goes into one call."""
    if len(word.text.encode("utf-8", "surrogatepass")) <= MOST_TEXT:
        return word.text
    findings.add(word, f"this text is longer than {MOST_TEXT >> 10} KiB", "send a `size` instead")
    return None


def some_text(word: Word, findings: Findings) -> str | None:
    """Text that is not empty."""
    if word.text:
        return text(word, findings)
    findings.add(word, "this text is empty")
    return None


def path(word: Word, findings: Findings) -> str | None:
    """What is asked for in the first line of a request: no space and no line's end can be in it."""
    if re.search(r"[\s\x00-\x1f\x7f]", word.text):
        findings.add(word, f"{shown(word.text)} is no path", "write a space as `%20`; `send` sends any text")
        return None
    return some_text(word, findings)


def path_in_host(word: Word, findings: Findings) -> str | None:
    """An absolute path that names a file."""
    if re.fullmatch(r"/[^\x00-\x1f]{0,1023}[^\x00-\x1f/]", word.text) and ".." not in word.text.split("/"):
        return word.text
    findings.add(
        word, f"{shown(word.text)} is no path of a file in a host", "write it as `/etc/nginx/nginx.conf`"
    )
    return None


def hexadecimal(word: Word, findings: Findings) -> str | None:
    """`16 03 01` or `160301`."""
    digits = "".join(word.text.split())
    if re.fullmatch("(?:[0-9A-Fa-f]{2})+", digits):
        return text(word._replace(text=digits), findings)
    findings.add(
        word, f"{shown(word.text)} is no bytes in hexadecimal", "write two digits a byte, as `16 03 01`"
    )
    return None


def name(word: Word, findings: Findings) -> str | None:
    """What `as` gives."""
    if not NAME.fullmatch(word.text):
        hint = "a name is letters, digits, `_` and `-`, beginning with a letter"
        findings.add(word, f"{shown(word.text)} is no name", hint)
    elif word.text in KEPT:
        findings.add(word, f"{shown(word.text)} has a meaning of its own", "choose another name")
    else:
        return word.text
    return None


def address(word: Word, findings: Findings) -> Endpoint | None:
    """Where to bind: `:80`, `*:80`, `10.20.2.80:80`, `[::]:80`, `web:80`; port 0: the kernel chooses."""
    return _endpoint(word, findings, "address", "`:80`, `10.20.2.80:80` or `[::]:80`", bind=True)


def target(word: Word, findings: Findings) -> Endpoint | None:
    """Where to connect: `web:80`, `10.20.2.80:80`, `[fd20:2::80]:80`."""
    return _endpoint(word, findings, "target", "`web:80`, `10.20.2.80:80` or `[fd20:2::80]:80`", bind=False)


def _endpoint(word: Word, findings: Findings, what: str, forms: str, *, bind: bool) -> Endpoint | None:
    match = _ENDPOINT.fullmatch(word.text)
    host = "" if match is None else match[1] or match[2].replace("*", "")
    if match is None or not (host or bind) or (match[1] and not is_address(host)):
        findings.add(word, f"{shown(word.text)} is no {what}", f"write it as {forms}")
    elif host.replace(".", "").isdigit() and not is_address(host):
        findings.add(word, f"{shown(host)} is no address", "did you mean one such as `10.20.2.80`?")
    elif not (0 if bind else 1) <= int(match[3]) <= 65535:
        findings.add(word, f"{shown(match[3])} is no port", "a port is a number from 1 to 65535")
    else:
        return Endpoint(host=str(ip_address(host)) if is_address(host) else host, port=int(match[3]))
    return None


def is_address(host: str) -> bool:
    """Whether it is an address, no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def pace(word: Word, findings: Findings) -> float | None:
    """`100ms/byte` as seconds a byte."""
    match = _PACE.fullmatch(word.text)
    if match is None or match[2] == "0":
        findings.add(word, f"{shown(word.text)} is no pace", "write it as `100ms/byte`")
        return None
    seconds = some_time(word._replace(text=match[1]), findings)
    return None if seconds is None else seconds / int(match[2] or 1)


def option(word: Word, findings: Findings) -> str | None:
    """A socket option by its C name."""
    if word.text in SOCKET_OPTIONS:
        return word.text
    hint = findings.meant(word.text, SOCKET_OPTIONS) or "options have their C names, as `SO_RCVBUF`"
    findings.add(word, f"there is no socket option {shown(word.text)}", hint)
    return None


def option_value(option: str, word: Word, findings: Findings) -> Value | None:
    """What that option is set to."""
    if option in TEXT_OPTIONS:
        return text(word, findings)
    if option == "SO_LINGER":
        if re.fullmatch("[01],[0-9]{1,5}", word.text):
            on, _, seconds = word.text.partition(",")
            return (int(on), int(seconds))
        findings.add(
            word, f"SO_LINGER: {shown(word.text)} is no such value", "write `1,5`: on, and 5 seconds"
        )
        return None
    if re.fullmatch("-?[0-9]{1,10}", word.text) and -(1 << 31) <= int(word.text) < 1 << 32:
        return int(word.text)
    findings.add(word, f"{option}: {shown(word.text)} is no number")
    return None


def comparison(word: Word, findings: Findings, *, seconds: bool) -> Number | None:
    """`3`, `>=2`, `!=0`; in seconds: `2s +-50ms`, `2s -5ms +50ms`, `<1s`."""
    match = _COMPARISON.fullmatch(word.text.strip())
    assert match is not None  # it matches anything
    operator = _OPERATORS[match[1]]
    read = duration if seconds else _number
    value = read(word._replace(text=match[2]), findings)
    near = _tolerances(word, match[3], findings, read)
    if value is None or near is None:
        return None
    if match[3].strip() and operator != "==":
        findings.add(
            word, f"{shown(word.text)}: a tolerance goes with no `{operator}`", "leave one of them out"
        )
        return None
    return Number(operator=operator, value=value, below=near[0], above=near[1])


def _tolerances(
    word: Word, text: str, findings: Findings, read: Callable[[Word, Findings], float | None]
) -> tuple[float, float] | None:
    """`+-50ms`, `-5ms +50ms`, `+50ms`: how much less, and how much more. None after a diagnostic."""
    found: dict[str, float] = {}
    for sign, amount in _TOLERANCE.findall(text):
        value = read(word._replace(text=amount.strip()), findings)
        if value is None:
            return None
        for one in sign if sign in ("+", "-") else "-+":
            if one in found:
                findings.add(word, f"{shown(word.text)} has two tolerances to one side", _NEAR)
                return None
            found[one] = value
    return found.get("-", 0.0), found.get("+", 0.0)


def _number(word: Word, findings: Findings) -> float | None:
    if _NUMBER.fullmatch(word.text):
        return float(word.text)
    findings.add(word, f"{shown(word.text)} is no number", "write it as `3`, `'>=2'` or `'!=0'`")
    return None
