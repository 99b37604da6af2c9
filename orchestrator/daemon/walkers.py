"""Who holds many sockets: the descriptors of many processes, read by several of ours at once.

Reading a descriptor's link takes 4 µs of the kernel's time, and a thread would wait for the interpreter's
lock each time. The zygote forks the readers, since the daemon has threads.
"""

from __future__ import annotations

import os
import socket
import struct
from array import array
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple, NoReturn

from orchestrator import errors
from orchestrator.daemon import holders, zygote
from orchestrator.wire import Message, read_exactly

AT_ONCE = min(2, os.cpu_count() or 1)
_BLOCK = struct.Struct("=QQ")  # processes that could not be read, length of the records that follow

Share = list[tuple[str, int]]  # (pid, its index among the processes of its host)


class Read(NamedTuple):
    """What was read of one host: records as `holders.Held` has them."""

    records: array[int]
    unread: int


def handle(message: Message, _: Sequence[int]) -> zygote.Answer:
    """The zygote's handler of `{"do": "walk", "shares": [[share of each host] for each reader]}`."""
    children = [zygote.Child("", partial(_serve, shares), "walker") for shares in message["shares"]]
    found, failure = zygote.fork_children(children)
    for child in found:
        os.close(child.pidfd)
    if failure is not None:
        for child in found:
            os.close(child.channel)
        raise failure
    return {}, [child.channel for child in found]


def _serve(shares: Sequence[Share], channel: socket.socket) -> NoReturn:
    for share in shares:
        records = array("Q")
        unread = 0
        for pid, index in share:
            found = holders.sockets(pid)
            if found is None:
                unread += 1
            else:
                holders.add(records, index, found)
        channel.sendall(_BLOCK.pack(unread, len(records) * records.itemsize))
        channel.sendall(records)
    os._exit(0)


def walk(fork: zygote.Zygote, hosts: Sequence[Sequence[holders.Process]]) -> Iterator[Read]:
    """What the processes of each host hold, host after host; each is read by all readers together."""
    shares = [_shared(processes) for processes in hosts]
    by_reader = [list(one) for one in zip(*shares, strict=True)]
    _, fds = fork.request({"do": "walk", "shares": by_reader})
    readers = [socket.socket(fileno=fd) for fd in fds]
    try:
        for _ in hosts:
            blocks = [_block(reader) for reader in readers]
            records = array("Q")
            for block in blocks:
                records.extend(block.records)
            yield Read(records, sum(block.unread for block in blocks))
    finally:
        for reader in readers:
            reader.close()


def _shared(processes: Sequence[holders.Process]) -> list[Share]:
    """Shares with about the same number of descriptors: the largest first, each to who has least."""
    shares: list[Share] = [[] for _ in range(AT_ONCE)]
    sizes = [0] * AT_ONCE
    order = sorted(range(len(processes)), key=lambda at: -processes[at].room)
    for index in order:
        least = sizes.index(min(sizes))
        shares[least].append((processes[index].outer, index))
        sizes[least] += processes[index].room
    return shares


def _block(reader: socket.socket) -> Read:
    records = array("Q")
    try:
        unread, length = _BLOCK.unpack(read_exactly(reader, _BLOCK.size))
        records.frombytes(read_exactly(reader, length))
    except errors.DaemonError as error:
        raise errors.ObservationError("a process that read descriptors has ended early") from error
    return Read(records, unread)
