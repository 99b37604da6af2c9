"""Programs in the kernel that runs, on sockets of a network namespace of the test's own: those of the
computer, which others use meanwhile, are not seen (and are counted where the kernel runs no program).
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import struct
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from orchestrator.daemon import sysc
from orchestrator.daemon.tracing import tracer as tracing
from orchestrator.daemon.tracing.programs import RECORD, STATE
from orchestrator.daemon.tracing.ring import SLOT
from orchestrator.daemon.tracing.tracer import Refused, Tracer, cookie_of
from tests.support.rig import eventually

CLOSED = 10  # changes of a connection from connect to close, both ends
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def elsewhere(work: Callable[..., Any], *arguments: Any) -> Any:
    """What a process of its own returns, for what changes a process for good."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_run, args=(theirs, work, arguments))
    process.start()
    theirs.close()
    try:
        kind, value = ours.recv()
    finally:
        process.join()
    assert kind == "returned", value
    return value


def _run(channel: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        channel.send(("returned", work(*arguments)))
    except BaseException as error:
        channel.send(("raised", repr(error)))


def own_network() -> None:
    """From now on this process has a network of its own, with lo."""
    import fcntl

    sysc.unshare(sysc.NEWNET)
    with socket.socket() as sock:
        flags = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
        up = struct.unpack_from("16xH", flags)[0] | _IFF_UP
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", up))


@pytest.fixture
def may_trace() -> None:
    """Skips where nothing can be traced here."""
    try:
        Tracer().close()
    except Refused as refused:
        pytest.skip(str(refused))


def open_and_close(count: int) -> None:
    """So many connections, one after the other. Some changes may be made a little later, by the kernel."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        for _ in range(count):
            client = socket.create_connection(server.getsockname())
            accepted, _ = server.accept()
            client.close()
            assert accepted.recv(1) == b""
            accepted.close()


def records(tracer: Tracer) -> list[tuple[Any, ...]]:
    """All that are there."""
    data = b""
    while taken := tracer.ring.take():
        data += taken
    assert len(data) % SLOT == 0
    return [RECORD.unpack(data[at + 8 : at + SLOT]) for at in range(0, len(data), SLOT)]


def await_records(tracer: Tracer, count: int) -> None:
    """Returns when it is known of so many changes what became of them."""
    eventually(lambda: tracer.ring.fill // SLOT + sum(tracer.lost().values()) + tracer.not_run() >= count)


def states(tracer: Tracer) -> list[tuple[Any, ...]]:
    """Records of changes of state, each there once."""
    found = [record for record in records(tracer) if record[5] == STATE]
    assert len({(record[1], record[2], record[7], record[8]) for record in found if record[2]}) == len(
        [record for record in found if record[2]]
    )
    return found


def _trace(count: int, size: int) -> tuple[int, int, int]:
    tracer = Tracer(size)
    own_network()
    open_and_close(3)  # not watched
    own_network()
    with socket.socket() as own:
        cookie = cookie_of(own)
    tracer.watch(cookie)
    open_and_close(count)
    await_records(tracer, CLOSED * count + 2)
    assert tracer.lost().keys() <= {cookie}
    lost = tracer.lost().get(cookie, 0)
    found = states(tracer)
    assert {record[3] for record in found} == {cookie}
    assert tracer.ring.was_full == bool(lost)
    assert tracer.unwatch(cookie) == lost
    open_and_close(3)
    assert not records(tracer)
    not_run = tracer.not_run()
    tracer.close()
    return len(found), lost, not_run


def test_each_change_comes_once(may_trace: None) -> None:
    found, lost, not_run = elsewhere(_trace, 500, 1 << 20)
    expected = CLOSED * 500 + 2  # and CLOSE to LISTEN, LISTEN to CLOSE
    assert lost == 0
    assert expected - not_run <= found <= expected


def test_what_finds_no_room_is_counted(may_trace: None) -> None:
    found, lost, not_run = elsewhere(_trace, 40, 1 << 12)
    expected = CLOSED * 40 + 2
    assert lost > 0
    assert expected - not_run <= found + lost <= expected


def _overtaken(count: int) -> tuple[Counter[tuple[int, int]], int, int, int]:
    """A client in a process of its own, whose packets interrupt what the server does, and the other way."""
    tracer = Tracer()
    own_network()
    server = socket.create_server(("127.0.0.1", 0), backlog=1000)
    tracer.watch(cookie_of(server))
    child = os.fork()
    if not child:
        for _ in range(count):
            socket.create_connection(server.getsockname()).close()
        os._exit(0)
    for _ in range(count):
        accepted, _ = server.accept()
        accepted.recv(1)
        accepted.close()
    os.waitpid(child, 0)
    await_records(tracer, CLOSED * count)
    missed = tracer.passed_over()["inet_sock_set_state", False]
    found, not_run = states(tracer), tracer.not_run()
    assert not tracer.lost()
    tracer.close()
    second = sum(record[11] for record in found)
    return Counter((record[7], record[8]) for record in found), not_run, missed, second


def test_what_a_program_misses_the_second_one_has(may_trace: None) -> None:
    """The first of two is passed over when it runs already; how often that is is left to chance."""
    count = 8000
    found, not_run, missed, second = elsewhere(_overtaken, count)
    expected = [(7, 2), (2, 1), (10, 3), (3, 1), (1, 4), (1, 8), (4, 5), (5, 7), (8, 9), (9, 7)]
    assert found.keys() == set(expected)
    assert max(found.values()) == count
    assert CLOSED * count - not_run <= found.total()
    assert second <= missed  # those of the computer's other sockets are among these


def _without_the_first() -> int:
    tracer = Tracer()
    own_network()
    os.close(tracer._links.pop(0))  # that of the first program for changes of state
    server = socket.create_server(("127.0.0.1", 0))
    tracer.watch(cookie_of(server))
    server.close()  # LISTEN to CLOSE
    (found,) = states(tracer)
    tracer.close()
    return int(found[11])


def test_the_second_records_in_its_place(may_trace: None) -> None:
    assert elsewhere(_without_the_first) == 1


def _again() -> tuple[int, int, int, int]:
    """Records of one that rested, of a second recording; beside them those that nobody took before it."""
    tracer = Tracer(1 << 12)
    own_network()
    server = socket.create_server(("127.0.0.1", 0))
    tracer.watch(cookie_of(server))
    for _ in range(40):  # more than there is room for
        socket.create_connection(server.getsockname()).close()
        server.accept()[0].close()
    left, lost = tracer.ring.fill, sum(tracer.lost().values())
    tracer.rest()
    socket.create_server(("127.0.0.1", 0)).close()  # nobody's
    tracer.begin()
    other = socket.create_server(("127.0.0.1", 0))
    tracer.watch(cookie_of(other))
    other.close()  # LISTEN to CLOSE
    found = states(tracer), sum(tracer.lost().values())
    tracer.close()
    return left, lost, len(found[0]), found[1]


def test_one_that_rested_goes_on_as_if_it_were_new(may_trace: None) -> None:
    left, lost, found, lost_again = elsewhere(_again)
    assert left > 0
    assert lost > 0
    assert (found, lost_again) == (1, 0)


def test_nothing_is_left(may_trace: None) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    def mapped() -> int:
        return Path("/proc/self/maps").read_text().count("bpf-map")

    before = open_files(), mapped()
    tracer = Tracer()
    assert open_files() > before[0]
    tracer.close()
    tracer.close()
    assert (open_files(), mapped()) == before


def _refused_without(capabilities: bool, path: str | None) -> str:
    if not capabilities:
        sysc.capset(())
    if path is not None:
        tracing.BTF = path
    before = os.listdir("/proc/self/fd")
    try:
        Tracer().close()
    except Refused as refused:
        assert os.listdir("/proc/self/fd") == before
        return str(refused)
    return ""


def test_a_user_may_not() -> None:
    assert elsewhere(_refused_without, False, None).startswith("it takes CAP_BPF and CAP_PERFMON")


@pytest.mark.parametrize(
    "text", [None, b"", b"\xeb\x9f" * 50, b"no BTF at all, but long enough for a header"]
)
def test_a_kernel_without_btf(may_trace: None, tmp_path: Path, text: bytes | None) -> None:
    path = tmp_path / "vmlinux"
    if text is not None:
        path.write_bytes(text)
    assert elsewhere(_refused_without, True, str(path))
