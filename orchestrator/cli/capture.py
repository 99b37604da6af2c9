"""`lab capture`."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from orchestrator.cli.cp import size
from orchestrator.cli.ending import say
from orchestrator.cli.naming import complete_hosts, find, lab_options
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.capturing import Seen

MOST_SECONDS = 365 * 86400.0
MOST_NAMED = 12  # hosts in the summary
UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600}


def duration(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """`10s`, `500ms`, `2min`: seconds."""
    if value is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|min|h)", value)
    seconds = float(match[1]) * UNITS[match[2]] if match else 0
    if not 0 < seconds <= MOST_SECONDS:
        raise click.BadParameter(f"{value!r} is no length of time; write it as 500ms, 10s or 2min")
    return seconds


@click.command("capture")
@lab_options
@click.option("--connection", metavar="C", help='Only TCP and UDP of one pair, as "alice -> web:80"')
@click.option(
    "-o", "--output", metavar="FILE", help="Where to; - is the standard output  [default: NAME.pcapng]"
)
@click.option(
    "--for", "seconds", callback=duration, metavar="TIME", help="End after this, as `10s` or `2min`"
)
@click.option(
    "--max-size",
    callback=size,
    metavar="SIZE",
    default="100m",
    help="End before the file is larger than this, as `500m` or `10g`  [default: 100m]",
)
@click.option(
    "--snap",
    type=click.IntRange(16, 1 << 18),
    metavar="N",
    help="Keep the first N bytes of a packet  [default: all]",
)
@click.argument("host", nargs=-1, shell_complete=complete_hosts)
def command(
    name: str | None,
    path: str | None,
    output: str | None,
    max_size: int,
    host: tuple[str, ...],
    **chosen: Any,
) -> int:
    """Write the packets of hosts, of all unless some are named, as pcapng, which Wireshark opens: TCP, UDP,
    ICMP and ARP, until Ctrl-C.

    \b
    lab capture alice web --for 10s
    lab capture --connection "alice -> web:80" -o - | tshark -r -
    """
    from orchestrator import capturing

    with find(name, path) as lab:
        for one in host:
            lab.host(one)
        wanted = capturing.Wanted(hosts=host, size=max_size, **chosen)
        started = capturing.start(lab, wanted)
        target = output or f"{lab.key.name}.pcapng"
        with opened(target) as out:
            recorder = capturing.Recorder(out, lab.plan, max_size)
            began = time.monotonic()
            try:
                capturing.follow(lab, started, wanted, recorder, say)
            finally:
                for line in summary(recorder.seen, time.monotonic() - began):
                    say(line)
        if recorder.full:
            say(f"ended before {target} became larger than {max_size} bytes: --max-size allows more")
    return 0


@contextlib.contextmanager
def opened(target: str) -> Iterator[BinaryIO]:
    """Where the packets go. Raises UsageError for a place that takes none."""
    if target == "-":
        if sys.stdout.isatty():
            raise UsageError("packets are not for a terminal", "lab capture -o - | tshark -r -")
        yield sys.stdout.buffer
        return
    try:
        with open(target, "wb") as out:
            yield out
    except OSError as error:
        raise UsageError(f"{target}: {os.strerror(error.errno or 0)}") from error


def summary(seen: Sequence[Seen], seconds: float) -> Iterator[str]:
    """How many packets of each host, and what is missing."""
    hosts: dict[str, int] = {}
    for one in seen:
        hosts[one.interface.host] = hosts.get(one.interface.host, 0) + one.written
    if hosts:
        each = [f"{host} {count}" for host, count in hosts.items()]
        if len(each) > MOST_NAMED:
            most = sorted(hosts, key=lambda host: -hosts[host])[:MOST_NAMED]
            each = [*(f"{host} {hosts[host]}" for host in most), f"and {len(hosts) - len(most)} other hosts"]
        yield f"{sum(hosts.values())} packets in {seconds:.1f} s: {', '.join(each)}"
    if seen and not any(one.lost for one in seen) and seen[0].received is not None:
        yield "no packet was lost"
    for one in seen:
        if one.lost:
            yield f"{one.interface.name} lost {one.lost} packets: they came faster than they were taken"
        if one.received is None:
            yield f"{one.interface.name}: how many packets were lost is not known"
        if one.left_out:
            yield f"{one.interface.name}: {one.left_out} packets are not in the file"
