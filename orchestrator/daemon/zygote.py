"""A warm, single-threaded process that forks agents, so that the daemon may have threads and a loop.

The daemon starts it before either. They share one SEQPACKET socketpair: a request is one JSON message with
any descriptors, and so is its answer. A handler runs in the zygote and ordinarily calls `fork_child`; it
answers as soon as the child exists, so that many are started without waiting for any. A child says how it
went as the first frame of its channel: `{"ready": true, …}` with descriptors by SCM_RIGHTS, or
`{"error": {kind, message, hint}}`.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import struct
from _thread import allocate_lock
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, NoReturn

from orchestrator import errors, wire
from orchestrator.agent import signals, tls
from orchestrator.daemon import process, sysc
from orchestrator.wire import Message

Answer = tuple[Message, Sequence[int]]
Handler = Callable[
    [Message, Sequence[int]], Answer
]  # what it answers is sent, then its descriptors are closed
_READY = wire.encode({"ready": True})
_MAX_MESSAGE = 1 << 20
_MAX_FDS = 64
CHANNEL = 3  # the only descriptor of a child beside 0–2


class Forked(NamedTuple):
    """A child: its pid as the zygote sees it, and descriptors: a pidfd, the daemon's end of its channel."""

    pid: int
    pidfd: int
    channel: int

    def answer(self) -> Answer:
        """What a handler returns for it: `{"pid"}` and the descriptors (channel, pidfd)."""
        return {"pid": self.pid}, (self.channel, self.pidfd)


class Zygote:
    """The daemon's side."""

    def __init__(self, sock: socket.socket, pid: int) -> None:
        self._socket = sock
        self._one = allocate_lock()  # threading would be one more module in each host
        self.pid = pid

    def request(self, message: Message, fds: Sequence[int] = ()) -> tuple[Message, list[int]]:
        """Let the handler of `message["do"]` act; raises what it raised, DaemonError without a zygote."""
        with self._one:
            self.ask(message, fds)
            return self.answer()

    def ask(self, message: Message, fds: Sequence[int] = ()) -> None:
        """The first half of a request, for who has something to do meanwhile, and is alone."""
        try:
            socket.send_fds(self._socket, [json.dumps(message).encode()], list(fds))
        except OSError as error:
            raise errors.DaemonError(f"the process that forks agents cannot be asked: {error}") from error

    def answer(self) -> tuple[Message, list[int]]:
        """The second half."""
        try:
            answer, got = _receive(self._socket)
        except OSError as error:
            raise errors.DaemonError(f"the process that forks agents does not answer: {error}") from error
        if answer is None:
            raise errors.DaemonError("the process that forks agents is gone")
        if "error" in answer:
            raise wire.to_error(answer["error"])
        return answer, got

    def close(self) -> None:
        """End the zygote: it exits at the end of its socket. What it forked lives on."""
        self._socket.close()


def start_zygote(handlers: Mapping[str, Handler]) -> Zygote:
    """Fork the zygote. To be called before this process has a second thread; import first what agents need.

    `handlers` maps `message["do"]` to what is called for it, in the zygote.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_MESSAGE)
    tls.warm()
    gc.freeze()  # a collection in a child would touch, and so copy, every page
    pid = os.fork()
    if pid:
        theirs.close()
        return Zygote(ours, pid)
    try:
        os.setsid()  # as each child of it: processor time of its own, while the daemon has much to import
        gc.enable()
        os.dup2(theirs.fileno(), CHANNEL)
        sysc.close_range(CHANNEL + 1)
        process.stdio_to_null()
        signals.reset()
        signal.signal(
            signal.SIGCHLD, signal.SIG_IGN
        )  # children are reaped by the kernel; see proc(5), wait(2)
        process.set_title("zygote")
        _serve(socket.socket(fileno=CHANNEL), handlers)
    finally:
        os._exit(1)


def _serve(sock: socket.socket, handlers: Mapping[str, Handler]) -> NoReturn:
    ended = _wake_at_child_end()
    while True:
        while ended in select.select([sock, ended], [], [])[0]:
            ended.recv(4096)
            _reap()
        message, fds = _receive(sock)
        if message is None:
            os._exit(0)
        try:
            answer, out = handlers[str(message.get("do"))](message, fds)
        except Exception as error:  # whatever a handler raises is the requester's to hear
            answer, out = {"error": wire.error_message(error)}, ()
        socket.send_fds(sock, [json.dumps(answer).encode()], list(out))
        for fd in (*fds, *out):
            os.close(fd)


def _wake_at_child_end() -> socket.socket:
    """A socket that is readable when a child has ended: reaped between requests, not during a handler."""
    ended, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.detach(), warn_on_full_buffer=False)
    signals.catch()
    return ended


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _receive(sock: socket.socket) -> tuple[Message | None, list[int]]:
    """One message, None at the end, and its descriptors (close-on-exec)."""
    data, fds, _, _ = socket.recv_fds(sock, _MAX_MESSAGE, _MAX_FDS, socket.MSG_CMSG_CLOEXEC)
    return (json.loads(data) if data else None), fds


class Child(NamedTuple):
    """What is to be forked: a child called "NAME TITLE" that runs `body` on its channel.

    Its channel is a stream socket at descriptor 3; it has no descriptor but that and 0–2 (/dev/null), and
    the signal dispositions of an agent (signals.catch). What `body` raises is its first frame's error, and
    its end.
    """

    title: str
    body: Callable[[socket.socket], NoReturn]
    name: str = "agent"


def _nothing() -> None:
    """What is done between two forks that need nothing."""


def fork_child(child: Child) -> Forked:
    """Fork one. Its pid is the caller's view also where the child is in another pid namespace (the caller did
    setns or unshare before, and goes back after).
    """
    forked, failure = fork_children([child])
    if failure is not None:
        raise failure
    return forked[0]


def fork_children(
    children: Sequence[Child], before: Callable[[], None] = _nothing, after: Callable[[], None] = _nothing
) -> tuple[list[Forked], OSError | None]:
    """Fork many, between `before` and `after` (in this process) each; the first failure ends it.

    A fork makes every page of this process one that is copied when it is written again: so next to nothing
    is done between two of them. That is 15 pages instead of 250 for each child.
    """
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM) for _ in children]
    pids, failure = [], None
    titles = [process.title(child.name, child.title) for child in children]
    for child, title, (_, theirs) in zip(children, titles, pairs, strict=True):
        try:
            before()
            pid = os.fork()
            if not pid:
                _child(theirs, title, child.body)
            pids.append(pid)
            after()
        except OSError as error:
            failure = error
            break
    for _, theirs in pairs:
        theirs.close()
    return [
        Forked(pid, os.pidfd_open(pid), ours.detach()) for pid, (ours, _) in zip(pids, pairs, strict=False)
    ], failure


def _child(
    theirs: socket.socket, title: process.Title, body: Callable[[socket.socket], NoReturn]
) -> NoReturn:
    try:
        os.setsid()  # processor time is shared out by sessions (sched(7), autogroup): each host has its own
        os.dup2(theirs.fileno(), CHANNEL, inheritable=False)
        sysc.close_range(CHANNEL + 1)
        channel = socket.socket(fileno=CHANNEL)
        signal.set_wakeup_fd(-1)
        title.set()
        try:
            body(channel)
        except Exception as error:
            channel.sendall(wire.encode({"error": wire.error_message(error)}))
    finally:
        os._exit(1)


def say_ready(channel: socket.socket, fds: Sequence[int] = (), **more: object) -> None:
    """The child's first frame: it is in its host. The descriptors go to the daemon; close them afterwards."""
    packed = struct.pack(f"={len(fds)}i", *fds)
    frame = wire.encode({"ready": True, **more}) if more else _READY
    channel.sendmsg([frame], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)])


def await_ready(channel: socket.socket) -> tuple[Message, list[int]]:
    """The daemon's side of `say_ready`, blocking: the frame and its descriptors, or what the child raised."""
    header, fds, _, _ = socket.recv_fds(channel, wire.HEADER.size, _MAX_FDS, socket.MSG_CMSG_CLOEXEC)
    if not header:
        raise errors.AgentError("an agent ended before it was ready")
    if len(header) < wire.HEADER.size:
        header += wire.read_exactly(channel, wire.HEADER.size - len(header))
    length, _ = wire.lengths(header, wire.AGENT_MAX_JSON, 0)
    message = wire.decode(wire.read_exactly(channel, length)).message
    if "error" in message:
        raise wire.to_error(message["error"])
    return message, fds
