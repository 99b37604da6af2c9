"""A daemon whose hosts are bare network namespaces: `tiny_daemon.py LEASE LISTENER`, inherited descriptors.

The server, the zygote and the agents are the real ones; only roots, networks and limits are missing. A
host's `spec["act"]` names one of the misbehaviours below, in place of the agent.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from orchestrator import errors, wire
from orchestrator.agent import loop
from orchestrator.daemon import netlink, serve, sysc, walkers, zygote
from orchestrator.daemon.maker import Made, Spec, Start


def _garbage(channel: socket.socket) -> None:
    channel.sendall(b"GET / HTTP/1.0\r\n\r\n")


def _huge(channel: socket.socket) -> None:
    channel.sendall(wire.HEADER.pack(wire.MAGIC, 0xFFFFFFFF, 0xFFFFFFFF))


def _unasked(channel: socket.socket) -> None:
    channel.sendall(wire.encode({"id": 999_999, "ok": {}}))


def _no_object(channel: socket.socket) -> None:
    channel.sendall(wire.HEADER.pack(wire.MAGIC, 2, 0) + b"[]")


def _deep(channel: socket.socket) -> None:
    text = b"[" * 100_000
    channel.sendall(wire.HEADER.pack(wire.MAGIC, len(text), 0) + text)


def _silent(channel: socket.socket) -> None:
    del channel


def _flood(channel: socket.socket) -> None:
    """Answers the first request with parts without end, whatever its window is."""
    request = wire.read_frame(channel).message["id"]
    while True:
        channel.sendall(wire.encode({"id": request, "part": {"stream": "out"}}, bytes(1 << 16)))


def _lying(channel: socket.socket) -> None:
    """Answers with an error that is none of an agent's."""
    request = wire.read_frame(channel).message["id"]
    error = {"kind": "TopologyError", "message": "x" * 100_000, "hint": ["y"]}
    channel.sendall(wire.encode({"id": request, "error": error}))


_ODD_ANSWERS: dict[str, Any] = {
    "odd_place": [[7, {"ok": {}}, 0]],
    "odd_twice": [[0, {"ok": {}}, 0], [0, {"ok": {}}, 0]],
    "odd_size": [[0, {"ok": {}}, 9]],
    "odd_form": [[0, {"ok": "yes"}, 0]],
    "odd_list": [[0]],
}


def _odd(act: str, channel: socket.socket) -> None:
    """Answers many calls in a form that is none."""
    request = wire.read_frame(channel).message["id"]
    channel.sendall(wire.encode({"id": request, "part": {"answers": _ODD_ANSWERS[act]}}))


def _wordy(channel: socket.socket) -> None:
    """Answers the first request with parts without end that have no bytes, but long messages."""
    request = wire.read_frame(channel).message["id"]
    while True:
        channel.sendall(wire.encode({"id": request, "part": {"entries": ["x" * 900_000]}}))


def _endless(channel: socket.socket) -> None:
    """Lists a folder that does not end."""
    request = wire.read_frame(channel).message["id"]
    while True:
        channel.sendall(wire.encode({"id": request, "part": {"entries": [{"path": "x"}] * 5000}}))


def _pretending(channel: socket.socket) -> None:
    """Says of itself that it is another host, alive, and holds what makes no sense."""
    held = {"listening": [7, {"port": "x"}], "connected": "many", "programs": [{"argv": 7}]}
    while True:
        request = wire.read_frame(channel).message["id"]
        said = {"name": "good", "kind": "router", "pid": 1, "alive": "yes", **held}
        channel.sendall(wire.encode({"id": request, "ok": said}))


_BAD = (_garbage, _huge, _unasked, _no_object, _deep, _silent, _flood, _lying)
_WORSE = (_wordy, _endless, _pretending)
ACTS: dict[str, Callable[[socket.socket], None]] = {
    **{f.__name__[1:]: f for f in (*_BAD, *_WORSE)},
    **{act: partial(_odd, act) for act in _ODD_ANSWERS},
}


def _own_hosts_file() -> None:
    sysc.mount(None, "/", None, sysc.MS_REC | sysc.MS_PRIVATE)
    sysc.mount("own", "/mnt", "tmpfs")
    Path("/mnt/hosts").touch()
    sysc.mount("/mnt/hosts", "/etc/hosts", None, sysc.MS_BIND)


def _live(channel: socket.socket, message: wire.Message) -> NoReturn:
    sysc.unshare(sysc.NEWNET | sysc.NEWNS)
    _own_hosts_file()
    netlink.Netlink().do([netlink.up(1)])
    diag = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 4)
    zygote.say_ready(channel, [diag.fileno()])
    diag.close()
    if act := message.get("act"):
        try:
            ACTS[act](channel)
        except OSError:
            os._exit(0)
        while True:
            time.sleep(60)
    loop.serve(channel, loop.Agent())


class TinyMaker:
    """See maker.Maker."""

    def __init__(self, fork: zygote.Zygote) -> None:
        self.zygote = fork
        self._pids: dict[str, tuple[int, int]] = {}
        self.configured: list[str] = []

    def make(self, networks: Sequence[Spec], hosts: Sequence[Spec]) -> Iterator[Made]:
        """See maker.Maker."""
        for spec in hosts:
            if spec["name"] in self._pids:
                continue
            if spec["name"] == "impossible":
                raise errors.EngineError("it cannot be made")
            if spec["name"] == "slow":
                time.sleep(60)
            answer, fds = self.zygote.request({"do": "host", **spec})
            channel = socket.socket(fileno=fds[0])
            _, sensors = zygote.await_ready(channel)
            self._pids[spec["name"]] = (answer["pid"], fds[1])
            diag, start = socket.socket(fileno=sensors[0]), Start(**spec.get("start", {}))
            pid = answer["pid"]
            yield Made(
                name=spec["name"], spec=spec, pid=pid, agent=pid, channel=channel, diag=diag, start=start
            )

    def adopt(self, hosts: Sequence[Spec], bridges: Sequence[str]) -> Iterator[Made]:
        """See maker.Maker."""
        return self.make((), [{**h["spec"], "start": h["start"]} for h in hosts])

    def stitch(self, networks: Sequence[Spec]) -> None:
        """It has no networks."""

    def configure(self, hosts: Sequence[Spec]) -> None:
        """See maker.Maker."""
        self.configured += [spec["name"] for spec in hosts]

    def remove(self, hosts: Sequence[str], networks: Sequence[str]) -> None:
        """See maker.Maker."""
        for name in hosts:
            if name in self._pids:
                pid, pidfd = self._pids.pop(name)
                _kill(pid)
                os.close(pidfd)

    def close(self) -> None:
        """See maker.Maker."""
        self.remove(list(self._pids), ())
        self.zygote.close()


def _kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        pass


def main(arguments: Sequence[str]) -> None:
    """Serve on the two descriptors until the lab ends."""
    lease, listener = (socket.socket(fileno=int(a)) for a in arguments)

    def handler(message: wire.Message, _: Any) -> zygote.Answer:
        child = zygote.Child(message["name"], lambda channel: _live(channel, message))
        return zygote.fork_child(child).answer()

    sysc.unshare(sysc.NEWNET)  # what is set next is of this namespace, for those made from it
    Path("/proc/sys/net/ipv4/tcp_child_ehash_entries").write_text("1024")
    maker = TinyMaker(zygote.start_zygote({"host": handler, "walk": walkers.handle}))
    serve.serve(maker, listener, lease, engine="tiny", owner="me", name="test")


if __name__ == "__main__":
    main(sys.argv[1:])
