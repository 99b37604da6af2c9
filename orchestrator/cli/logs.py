"""`lab logs`."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from orchestrator.cli.ending import harmless
from orchestrator.cli.naming import complete_files, complete_hosts, complete_labs, find
from orchestrator.errors import LabError

if TYPE_CHECKING:
    from orchestrator.lab import Lab
    from orchestrator.wire import Channel


class Piece(NamedTuple):
    """What one source said, the end of a host's logs (source ""), or an error."""

    host: str
    source: str
    data: bytes
    error: LabError | None = None


@click.command("logs")
@click.option("--lab", "name", metavar="NAME", shell_complete=complete_labs, help="The running lab, by name")
@click.option(
    "--file", "path", metavar="FILE", shell_complete=complete_files, help="The lab file  [default: lab.yaml]"
)
@click.option("-f", "--follow", "follow", is_flag=True, help="Go on until Ctrl-C")
@click.option(
    "-n", "--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines of each source"
)
@click.argument("host", required=False, shell_complete=complete_hosts)
def command(name: str | None, path: str | None, follow: bool, tail: int | None, host: str | None) -> int:
    """What the program of `run:` wrote and what the files of `logs:` hold, of one host or of all."""
    with find(name, path) as lab:
        if host:
            lab.host(host)
        chosen = [host] if host else [h.name for h in lab.plan.hosts if h.run or h.logs or h.image]
        if follow:
            pieces = Follower(lab, chosen, tail)
            pieces.show()
        else:
            for one in chosen:
                show_one(lab, one, tail, prefixed=host is None)
    return 0


def show_one(lab: Lab, host: str, tail: int | None, *, prefixed: bool) -> None:
    """All there is now."""
    lines = Lines(prefixed)
    for message, data in lab.logs(host, tail=tail):
        if "part" in message:
            lines.add(host, str(message["part"].get("source")), data)
    lines.finish()


class Lines:
    """Pieces of bytes in, whole lines out, each made harmless; with host and source before it where asked."""

    def __init__(self, prefixed: bool) -> None:
        self._prefixed = prefixed
        self._rest: dict[tuple[str, str], bytes] = {}

    def add(self, host: str, source: str, data: bytes) -> None:
        """Print the lines that are whole now."""
        *whole, rest = (self._rest.pop((host, source), b"") + data).split(b"\n")
        for line in whole:
            self._print(host, source, line)
        if len(rest) > 1 << 16:
            self._print(host, source, rest)
        elif rest:
            self._rest[host, source] = rest

    def finish(self) -> None:
        """Print what has no line end yet."""
        for (host, source), rest in self._rest.items():
            self._print(host, source, rest)
        self._rest.clear()

    def _print(self, host: str, source: str, line: bytes) -> None:
        text = harmless(line.decode(errors="replace").rstrip("\r"))
        click.echo(f"{harmless(host)} {harmless(source)}: {text}" if self._prefixed else text)


class Follower:
    """Logs of several hosts as they come: a channel and a thread for each."""

    def __init__(self, lab: Lab, hosts: Sequence[str], tail: int | None) -> None:
        self._lab, self._hosts, self._tail = lab, list(hosts), tail
        self._pieces: queue.Queue[Piece] = queue.Queue(maxsize=256)

    def show(self) -> None:
        """Until all have ended, or Ctrl-C."""
        lines = Lines(prefixed=len(self._hosts) > 1)
        channels = [self._lab.another_channel() for _ in self._hosts]
        for host, channel in zip(self._hosts, channels, strict=True):
            threading.Thread(target=self._follow, args=(host, channel), daemon=True).start()
        left = len(self._hosts)
        while left:
            piece = self._pieces.get()
            if piece.error is not None:
                raise piece.error
            if piece.source:
                lines.add(piece.host, piece.source, piece.data)
            else:
                left -= 1
        lines.finish()

    def _follow(self, host: str, channel: Channel) -> None:
        try:
            paths = list(self._lab.host(host).logs)
            for message, data in channel.parts(
                channel.ask("logs", host=host, paths=paths, follow=True, tail=self._tail)
            ):
                if "part" in message:
                    self._pieces.put(Piece(host, str(message["part"].get("source")), data))
            self._pieces.put(Piece(host, "", b""))
        except LabError as error:
            self._pieces.put(Piece(host, "", b"", error))
