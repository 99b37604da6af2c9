"""Lines of logs as they are compared and shown on a page: without what every run has otherwise. Pure.

Known are nginx's error log (`2026/11/28 05:48:33 [info] 4#4: *2 client timed out …`) and lines of KEY=VALUE
words; others stay as they are.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_ERROR = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (\[\w+\]) \d+#\d+: (?:\*\d+ )?(.*)", re.DOTALL)
_STAMP = re.compile(r"\d{10}\.\d{3} (?=\w+=)")  # $msec, before words with `=`
_ANSWERED = re.compile(r"\bstatus=(\S+) sent=(\S+)")
_CONTEXT = re.compile(r", client: .*", re.DOTALL)
_CALM = "[notice]"  # of nginx: what it does with its processes


class Answered(NamedTuple):
    """What an access log has of a request: `$status` and `$bytes_sent`."""

    status: str
    sent: str


def undated(line: str) -> str:
    """Without the time, the process, and the number of the connection."""
    found = _ERROR.fullmatch(line)
    return " ".join(found.groups()) if found else _STAMP.sub("", line, count=1)


def is_calm(line: str) -> bool:
    """Of an undated line: it is about nginx's processes, and not about a connection."""
    return line.startswith(_CALM)


def answered(line: str) -> Answered | None:
    """Of a line that has `status=… sent=…`."""
    found = _ANSWERED.search(line)
    return Answered(found.group(1), found.group(2)) if found else None


def complaint(line: str) -> str:
    """Of an undated line of an error log its level and message, without whom it is about; else nothing."""
    return _CONTEXT.sub("", line) if re.match(r"\[\w+\] ", line) else ""
