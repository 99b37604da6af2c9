"""Packets of hosts in a file: tshark reads it and finds there what was done in the lab."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import msgspec
import pytest

from orchestrator.join.packets import packets
from orchestrator.model.plan import Interface, PlannedHost
from orchestrator.scenarios.recorder import Recorder
from orchestrator.wire import Channel
from tests.support.cli import LAUNCHER, SECONDS
from tests.support.rig import Rig, eventually
from tests.support.rows import look, of_port

pytestmark = pytest.mark.engine("namespaces", "docker")
LAB = """
networks: {office: {}, dc: {}}
routers: {edge: {networks: [office, dc]}}
hosts:
  web: {role: server, networks: [dc]}
  alice: {role: client, networks: [office]}
"""
SYN, ACK, PSH, FIN, RST = 0x2, 0x10, 0x8, 0x1, 0x4
INBOUND, OUTBOUND = 1, 2
FIELDS = (
    "frame.interface_name",
    "ip.src",
    "tcp.flags",
    "tcp.seq_raw",
    "tcp.len",
    "frame.packet_flags_direction",
)
BULK = 48 << 20  # bytes: more than rings and buffers on the way hold


class Seen(NamedTuple):
    """A packet, as tshark says it."""

    interface: str
    source: str
    flags: int
    sequence: int
    size: int
    direction: int


def tshark(file: Path, wanted: str) -> list[Seen]:
    """What tshark reads."""
    fields = [word for field in FIELDS for word in ("-e", field)]
    command = ["tshark", "-n", "-r", str(file), "-Y", wanted, "-T", "fields", *fields]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    rows = (line.split("\t") for line in done.stdout.splitlines())
    return [Seen(r[0], r[1], int(r[2], 16), int(r[3]), int(r[4]), int(r[5], 16) & 3) for r in rows]


class Capturing:
    """`lab capture` under way."""

    def __init__(self, rig: Rig, folder: Path, *arguments: str, out: int | IO[bytes] | None = None) -> None:
        self.process = subprocess.Popen(
            [str(LAUNCHER), "capture", "--lab", rig.lab.key.name, *arguments],
            cwd=folder,
            stderr=subprocess.PIPE,
            stdout=out,
        )
        assert self.process.stderr
        line = self.process.stderr.readline().decode()
        assert line.startswith("capturing on "), line

    def end(self, number: int = signal.SIGINT) -> str:
        """Ctrl-C; what it says then."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self, code: int = 0) -> str:
        """What it says at its end."""
        _, said = self.process.communicate(timeout=SECONDS)
        assert self.process.returncode == code, said
        return said.decode()


@contextlib.contextmanager
def capturing(rig: Rig, folder: Path, *arguments: str, out: int | None = None) -> Iterator[Capturing]:
    """One that is over at the end of the block."""
    one = Capturing(rig, folder, *arguments, out=out)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()
        for stream in (one.process.stderr, one.process.stdout):
            if stream:
                stream.close()


def said_counts(text: str) -> dict[str, int]:
    """{"alice": 12, …} of the summary."""
    line = next(line for line in text.splitlines() if re.match(r"\d+ packets in ", line))
    return {host: int(count) for host, count in re.findall(r"(\w+) (\d+)(?:,|$)", line.partition(":")[2])}


def connect(lab: Rig, port: int) -> None:
    """alice.c <=> web.conn, by web.l."""
    lab.call("web", "listen", port=port, to="l")
    lab.call("alice", "connect", address=lab.address("web"), port=port, to="c")
    lab.call("web", "accept", fd="l", to="conn")


def close_both(lab: Rig, port: int) -> None:
    """alice first; returns when the last ACK is with web."""
    lab.call("alice", "close", fd="c")
    assert lab.received("web", "conn")[0] == b"hello"
    assert lab.received("web", "conn")[1]["eof"] is True
    lab.call("web", "close", fd="conn")
    eventually(lambda: not of_port(look(lab), port))  # the client waits out its time by another port


def reset(lab: Rig, client: str = "alice") -> None:
    """Returns when the reset is with web."""
    lab.call(client, "reset", fd="c")
    assert lab.received("web", "conn")[1]["errno"] == "ECONNRESET"


def at(interface: str, found: list[Seen]) -> list[Seen]:
    return [one for one in found if one.interface == interface]


def test_handshake_data_and_fin_are_in_the_file(lab: Rig, tmp_path: Path) -> None:
    alice, web = lab.address("alice"), lab.address("web")
    with capturing(lab, tmp_path) as one:
        connect(lab, 8200)
        lab.call("alice", "send", fd="c", text="hello")
        close_both(lab, 8200)
        said = one.end()
    file = tmp_path / f"{lab.lab.key.name}.pcapng"
    found = tshark(file, "tcp.port == 8200")
    client, server = at("alice:eth0 (office)", found), at("web:eth0 (dc)", found)
    told = [(p.source, p.flags, p.size) for p in client if p.flags & (SYN | FIN) or p.size]
    assert told == [
        (alice, SYN, 0),
        (web, SYN | ACK, 0),
        (alice, PSH | ACK, 5),
        (alice, FIN | ACK, 0),
        (web, FIN | ACK, 0),
    ]
    assert client[-1].flags == ACK
    both = [Counter(p[1:5] for p in end) for end in (client, server)]
    assert both[0] == both[1]
    assert all(p.direction == (OUTBOUND if p.source == alice else INBOUND) for p in client)
    assert all(p.direction == (OUTBOUND if p.source == web else INBOUND) for p in server)
    assert "no packet was lost" in said
    everything = tshark_count(file)
    assert said_counts(said) == {host: everything[host] for host in ("edge", "web", "alice")}


def tshark_count(file: Path) -> Counter[str]:
    """Packets of each host, of whatever protocol."""
    command = ["tshark", "-n", "-r", str(file), "-T", "fields", "-e", "frame.interface_name"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    return Counter(line.partition(":")[0] for line in done.stdout.splitlines())


def test_a_reset_goes_to_a_pipe_that_tshark_reads(lab: Rig, tmp_path: Path) -> None:
    with capturing(lab, tmp_path, "alice", "-o", "-", out=subprocess.PIPE) as one:
        connect(lab, 8201)
        reset(lab)
        one.process.send_signal(signal.SIGINT)
        out, said = one.process.communicate(timeout=SECONDS)
    assert one.process.returncode == 0, said
    (tmp_path / "piped").write_bytes(out)
    found = tshark(tmp_path / "piped", "tcp.port == 8201")
    assert [(p.flags, p.direction) for p in found] == [
        (SYN, OUTBOUND),
        (SYN | ACK, INBOUND),
        (ACK, OUTBOUND),
        (RST | ACK, OUTBOUND),
    ]


def test_one_connection_alone(lab: Rig, tmp_path: Path) -> None:
    with capturing(lab, tmp_path, "--connection", "alice -> web:8203", "-o", "one") as one:
        for port in (8202, 8203):
            connect(lab, port)
            reset(lab)
            for fd in ("conn", "l"):
                lab.call("web", "close", fd=fd)
        one.end(signal.SIGTERM)
    found = tshark(tmp_path / "one", "tcp")
    assert [p.flags for p in at("alice:eth0 (office)", found)] == [SYN, SYN | ACK, ACK, RST | ACK]
    assert found == tshark(tmp_path / "one", "tcp.port == 8203")
    assert {p.interface for p in found} >= {"alice:eth0 (office)", "web:eth0 (dc)"}


def test_a_host_that_speaks_to_itself_is_seen_once(lab: Rig, tmp_path: Path) -> None:
    with capturing(lab, tmp_path, "web", "-o", "self") as one:
        lab.call("web", "listen", port=8204, to="l")
        lab.call("web", "connect", address=lab.address("web"), port=8204, to="c")
        lab.call("web", "accept", fd="l", to="conn")
        reset(lab, "web")
        one.end()
    found = tshark(tmp_path / "self", "tcp.port == 8204")
    assert [(p.interface, p.flags) for p in found] == [
        ("web:lo", f) for f in (SYN, SYN | ACK, ACK, RST | ACK)
    ]


def test_it_ends_by_itself_after_a_time_and_before_a_size(lab: Rig, tmp_path: Path) -> None:
    with capturing(lab, tmp_path, "-o", "short", "--for", "200ms") as one:
        one.ended()
    with capturing(lab, tmp_path, "alice", "-o", "small", "--max-size", "1500", "--for", "60s") as one:
        connect(lab, 8205)
        lab.call("alice", "send", fd="c", size=100_000)
        said = one.ended()
    assert "packets are not in the file" in said
    assert (tmp_path / "small").stat().st_size <= 1500
    assert [p.flags for p in tshark(tmp_path / "small", "tcp")][:2] == [SYN, SYN | ACK]


def test_tshark_and_a_recording_agree(lab: Rig, tmp_path: Path) -> None:
    """The same segments at the same interfaces, in the same order."""
    with (
        capturing(lab, tmp_path) as one,
        Recorder(lab.another, lab.lab.plan, time.monotonic()) as recorder,
    ):
        connect(lab, 8207)
        lab.call("alice", "send", fd="c", text="hello")
        close_both(lab, 8207)
        recording = recorder.recording()
        one.end()
    found = tshark(tmp_path / f"{lab.lab.key.name}.pcapng", "tcp.port == 8207")
    names = {(host.name, i.device): f"{host.name}:{i.device} ({i.network})" for host, i in interfaces(lab)}
    ours = [
        Seen(
            names[s.host, s.device],
            s.source[0],
            s.flags,
            s.seq,
            s.length,
            OUTBOUND if s.outgoing else INBOUND,
        )
        for s in recording.segments
        if 8207 in (s.source[1], s.target[1])
    ]
    for name in names.values():
        assert at(name, ours) == at(name, found), name
    assert len(at("web:eth0 (dc)", ours)) >= 8  # the handshake, data and its ACK, two FINs and the last ACK


def interfaces(lab: Rig) -> Iterator[tuple[PlannedHost, Interface]]:
    """As the plan has them, with the names that their kernel gives."""
    for host in lab.lab.plan.hosts:
        for link in host.interfaces:
            devices = lab.run(host.name, "ls", "/sys/class/net").out.decode().split()
            for device in devices:
                path = f"/sys/class/net/{device}/address"
                if lab.run(host.name, "cat", path).out.decode().strip() == link.mac:
                    yield host, msgspec.structs.replace(link, device=device)


def taps(lab: Rig, host: str) -> int:
    """AF_PACKET sockets in the host's network namespace."""
    return len(lab.run(host, "cat", "/proc/net/packet").out.splitlines()) - 1


def test_nothing_is_left_of_one_that_was_killed(lab: Rig, tmp_path: Path) -> None:
    eventually(lambda: (taps(lab, "alice"), taps(lab, "edge")) == (2, 3))  # of the history: lo, and eth0
    with capturing(lab, tmp_path) as one:
        assert taps(lab, "alice") == 4
        assert taps(lab, "edge") == 6
        one.process.kill()
        one.process.wait()
        eventually(lambda: (taps(lab, "alice"), taps(lab, "edge")) == (2, 3))


def test_what_is_not_taken_is_dropped_and_counted(lab: Rig) -> None:
    """The kernel drops it; nobody in the lab waits for who captures."""
    with lab.another() as other:
        request = other.ask("capture", hosts=["alice", "web"])
        told = next(other.parts(request)).message["part"]
        connect(lab, 8206)
        with lab.under_way("web", "recv", fd="conn", size=BULK, timeout=60):
            lab.call("alice", "send", fd="c", size=BULK, timeout=60)
        other.feed(request, eof=True)
        got, counts = passed_on(other, request, len(told["interfaces"]))
    assert [one["received"] - one["dropped"] for one in counts] == got
    assert sum(one["dropped"] for one in counts) > 0


def passed_on(channel: Channel, request: int, interfaces: int) -> tuple[list[int], list[dict[str, int]]]:
    """Packets that came of each interface, and what is told at the end."""
    got = [0] * interfaces
    for message, data in channel.parts(request):
        if "ok" in message:
            return got, message["ok"]["interfaces"]
        if "interface" in message["part"]:
            got[message["part"]["interface"]] += len(list(packets(data)))
    raise AssertionError("no end")


def test_the_end_of_a_host_is_the_end_of_what_is_captured_there(shared: Rig, tmp_path: Path) -> None:
    """The last test of this lab: alice is gone after it."""
    with capturing(shared, tmp_path, "-o", "gone") as one:
        shared.channel.call("power_off", host="alice")
        shared.call("web", "listen", port=8207, to="l")
        shared.call("web", "connect", address=shared.address("web"), port=8207, to="c")
        said = one.end()
    assert said_counts(said)["web"] >= 3
    (tmp_path / "kept").write_text("of before")
    command = [str(LAUNCHER), "capture", "--lab", shared.lab.key.name, "alice", "-o", "kept"]
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS)
    assert refused.returncode == 3
    assert "host alice does not run" in refused.stderr
    assert (tmp_path / "kept").read_text() == "of before"
