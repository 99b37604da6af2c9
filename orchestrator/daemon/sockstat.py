"""How many TCP sockets a host has, from /proc/PID/net/sockstat and sockstat6.

Reading even an empty /proc/PID/net/tcp passes over every socket of the computer where hosts share its hash
table (docker): 2 ms, 12 on a busy one. These counts are kept by network namespace and cost 15 µs, so a table
in which nothing can be is not read.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# net/ipv4/proc.c sockstat_seq_show(), net/ipv6/proc.c sockstat6_seq_show(). `inuse` counts sockets of that
# family that are hashed, listening ones too; `tw` counts TIME_WAIT of both; `orphan` is the whole computer's.
_FOUR = re.compile(rb"^TCP: inuse (\d+) orphan \d+ tw (\d+) ", re.MULTILINE)
_SIX = re.compile(rb"^TCP6: inuse (\d+)$", re.MULTILINE)


class Tables(NamedTuple):
    """Which tables may have rows."""

    tcp: bool = True
    tcp6: bool = True


def tables(sockstat: bytes, sockstat6: bytes) -> Tables:
    """A request socket (SYN_RECV) counts nowhere, but it has a listener, and IPv6's may be IPv4's too. What
    has not the form that is known here is read."""
    four, six = _FOUR.search(sockstat), _SIX.search(sockstat6)
    if four is None or (sockstat6 and six is None):
        return Tables()
    waiting = int(four[2]) > 0
    has_six = six is not None and int(six[1]) > 0
    return Tables(tcp=int(four[1]) > 0 or has_six or waiting, tcp6=has_six or waiting)
