"""`ss -tan` as an independent witness: the same sockets as our tables, by iproute2's program."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import NamedTuple

from orchestrator.model.rows import SocketEntry
from orchestrator.observe import take
from tests.support.rig import Rig, eventually

ARGV = ("ss", "-tanOH")  # one line a socket, no heading
# misc/ss.c, sstate_name
STATES = {
    "ESTAB": "ESTABLISHED",
    "SYN-SENT": "SYN_SENT",
    "SYN-RECV": "SYN_RECV",
    "FIN-WAIT-1": "FIN_WAIT1",
    "FIN-WAIT-2": "FIN_WAIT2",
    "TIME-WAIT": "TIME_WAIT",
    "UNCONN": "CLOSE",
    "CLOSE-WAIT": "CLOSE_WAIT",
    "LAST-ACK": "LAST_ACK",
    "LISTEN": "LISTEN",
    "CLOSING": "CLOSING",
}
DOCKER_DNS = "127.0.0.11"


class Seen(NamedTuple):
    """A socket as both can tell it. Of a listener `peer` is ("*", 0)."""

    state: str
    local: tuple[str, int]
    peer: tuple[str, int]
    rx_queue: int


def parse(text: str) -> Counter[Seen]:
    """The lines of `ss -tanOH`; not those of Docker's own name server."""
    seen = (_line(line) for line in text.splitlines() if line.strip())
    return Counter(one for one in seen if DOCKER_DNS not in (one.local[0], one.peer[0]))


def _line(line: str) -> Seen:
    state, rx_queue, _, local, peer, *_ = line.split()
    return Seen(STATES[state], _end(local), _end(peer), int(rx_queue))


def _end(text: str) -> tuple[str, int]:
    """ "[::ffff:10.0.0.1]:80", "*:80", "0.0.0.0:*", "10.0.0.1%eth0:80"."""
    address, _, port = text.rpartition(":")
    address = address.strip("[]").partition("%")[0].removeprefix("::ffff:")
    return ("*" if address in ("0.0.0.0", "::") else address, 0 if port == "*" else int(port))


def ours(entries: list[SocketEntry]) -> Counter[Seen]:
    """Our entries in the same words."""
    return Counter(
        Seen(
            entry.state,
            _any(entry.address, entry.port),
            _any(entry.peer_address, entry.peer_port),
            entry.rx_queue,
        )
        for entry in entries
        if DOCKER_DNS not in (entry.address, entry.peer_address)
    )


def _any(address: str, port: int) -> tuple[str, int]:
    return ("*" if address in ("0.0.0.0", "::") else address, port)


def agree(lab: Rig, *hosts: str) -> None:
    """In each of these hosts (all of them, where none is named) both list the same sockets."""
    for host in hosts or lab.lab.names():
        eventually(partial(_compare, lab, host), seconds=5)


def _compare(lab: Rig, host: str) -> bool:
    """One look of ours, then one of theirs; what changed in between is looked at again."""
    seen = take(lab.channel, [host])
    ended = lab.run(host, *ARGV)
    assert ended.code == 0, ended
    theirs, mine = parse(ended.out.decode()), ours(list(seen.entries))
    if theirs != mine:
        print(f"{host}: only ss: {theirs - mine}; only ours: {mine - theirs}")
    return theirs == mine
