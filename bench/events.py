"""Whether the timeline loses anything of many connections in a short time, and what the daemon needs for it.

    python -m bench.events [RUNS]         (as root: also tries it as uid 65534; writes docs/benchmarks.md)

A program in one host opens CONNECTIONS connections to another's and closes each at once, the other end closes
when it reads the end. A recording is made as a scenario makes it. Of every connection each end's SYN, the
answer to it, both FINs, and the acknowledgements of these are looked for, at both hosts.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.side_by_side import machine, write_section
from orchestrator import bringup
from orchestrator.join.timeline import timeline
from orchestrator.lab import Lab
from orchestrator.model.recording import ACK, FIN, SYN, Recording, Segment
from orchestrator.read import read_text
from orchestrator.scenarios.recorder import Recorder

ROOT = Path(__file__).resolve().parent.parent
CONNECTIONS, PORT = 10_000, 7000
LATE_SECONDS = 1.0
REST_SECONDS = 10.0
BAR_BUSY, BAR_REST = 1.0, 0.01  # of a core
LAB = b"""
name: bench-events
networks: {net: {}}
hosts:
  a: {role: server, networks: [net], sysctls: {net.ipv4.tcp_max_tw_buckets: 100000}}
  b: {role: client, networks: [net], sysctls: {net.ipv4.tcp_max_tw_buckets: 100000}}
"""
SERVER = """
use Socket;
socket(S, PF_INET, SOCK_STREAM, 0) and setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1) or die $!;
bind(S, sockaddr_in($ARGV[0], INADDR_ANY)) and listen(S, 4096) or die $!;
$| = 1;
print "ready\\n";
for (1 .. $ARGV[1]) { accept(C, S) or die $!; sysread(C, $x, 1); close(C); }
"""
CLIENT = """
use Socket;
$| = 1;
print "ready\\n";
$to = sockaddr_in($ARGV[1], inet_aton($ARGV[0]));
for (1 .. $ARGV[2]) { socket(C, PF_INET, SOCK_STREAM, 0); connect(C, $to) or die $!; close(C); }
"""  # Perl, which the images of docker have, too


def run(lab: Lab, host: str, *argv: str) -> tuple[Any, int]:
    """A program in a host; its channel and request."""
    channel = lab.another_channel()
    request = channel.ask("exec", host=host, argv=["perl", "-e", *argv], env={}, tty=None)
    channel.feed(request, eof=True)
    return channel, request


def said(channel: Any, request: int) -> Iterator[str]:
    """What it writes, piece by piece, to its end."""
    for message, data in channel.parts(request):
        if "part" in message:
            yield data.decode()


def processor_seconds(pid: int) -> float:
    """Of a process and those that it has waited for (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def daemon_of(lab: Lab) -> int:
    """Its process, as this computer knows it."""
    if lab.engine.name == "namespaces":
        from orchestrator.engines import namespaces_find

        (found,) = namespaces_find.daemons(lab.key.owner, lab.key.name)
        return found.pid
    from orchestrator.engines.docker_objects import daemon_name

    pid = subprocess.run(
        ["docker", "inspect", "-f", "{{.State.Pid}}", daemon_name(lab.key)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return int(pid)


def missing(recording: Recording, port: int) -> int:
    """How many of the segments that each connection must have at each host are not in the recording."""
    count = 0
    for host in ("a", "b"):
        found = incarnations([one for one in recording.segments if one.host == host], port)
        count += (CONNECTIONS - len(found)) * 6
        for one in found:
            kinds = Counter((segment.source[1] == port, segment.flags & (SYN | FIN)) for segment in one)
            wanted = ((False, SYN), (True, SYN), (False, FIN), (True, FIN))
            count += sum(not kinds[kind] for kind in wanted)
            count += sum(not acknowledged(one, side, port) for side in (True, False))
    return count


def whole_of(recorder: Recorder, port: int) -> Recording:
    """The recording when the last acknowledgement is there: the kernel may still have it before it."""
    deadline = time.monotonic() + LATE_SECONDS
    while missing(recording := recorder.recording(), port) and time.monotonic() < deadline:
        pass
    return recording


def incarnations(segments: list[Segment], port: int) -> list[list[Segment]]:
    """The segments of each connection to this port: a port of the client may come again in a run."""
    latest: dict[int, list[Segment]] = {}
    found: list[list[Segment]] = []
    for one in segments:
        if port not in (one.source[1], one.target[1]):
            continue
        client = one.target[1] if one.source[1] == port else one.source[1]
        known = latest.get(client)
        first = one.source[1] == client and one.flags & SYN
        if known is None or (first and one.seq != known[0].seq):
            known = latest[client] = []
            found.append(known)
        known.append(one)
    return found


def acknowledged(found: list[Segment], by_server: bool, port: int) -> bool:
    """Whether the FIN of one side is acknowledged by a segment of the other."""
    fins = [one for one in found if one.flags & FIN and (one.source[1] == port) != by_server]
    return any(
        one.ack == (fin.seq + fin.length + 1) & 0xFFFFFFFF
        for fin in fins
        for one in found
        if one.flags & ACK and (one.source[1] == port) == by_server
    )


def measure(lab: Lab, port: int) -> dict[str, float]:
    """One run: how long it took, what was lost, what it cost."""
    address = next(link.address for link in lab.host("a").interfaces if link.address)
    daemon = daemon_of(lab)
    with Recorder(lab.another_channel, lab.plan, time.monotonic()) as recorder:
        serving = run(lab, "a", SERVER, str(port), str(CONNECTIONS))
        server = said(*serving)
        assert next(server) == "ready\n"
        before, began = processor_seconds(daemon), time.monotonic()
        opening = run(lab, "b", CLIENT, address, str(port), str(CONNECTIONS))
        client = said(*opening)
        assert next(client) == "ready\n"
        first = time.monotonic()
        list(client)
        took = time.monotonic() - first
        list(server)
        recorder.recording()
        busy, whole = processor_seconds(daemon) - before, time.monotonic() - began
        recording = whole_of(recorder, port)
    for channel, _ in (serving, opening):
        channel.close()
    lost = sum(one.count or 0 for one in recording.losses)
    began = time.monotonic()
    joined = timeline(recording)
    joining = time.monotonic() - began
    closed = sum(one.closing.by == "FIN" and one.closing.known for one in joined.histories)
    return {
        "seconds": took,
        "segments": len(recording.segments),
        "lost": lost,
        "missing": missing(recording, port),
        "unknown": CONNECTIONS - closed,
        "busy": busy / whole,
        "joining": joining,
    }


def at_rest(lab: Lab) -> float:
    """The daemon's share of a core while nothing happens."""
    daemon = daemon_of(lab)
    before = processor_seconds(daemon)
    time.sleep(REST_SECONDS)
    return (processor_seconds(daemon) - before) / REST_SECONDS


def one(engine: str, runs: int) -> dict[str, Any]:
    """All runs on one engine, as this user."""
    lab = bringup.up(read_text(LAB, "lab.yaml", str(ROOT)), engine).lab
    try:
        rest = at_rest(lab)
        return {"rest": rest, "runs": [measure(lab, PORT + number) for number in range(runs)]}
    finally:
        lab.down()


def measured(engine: str, runs: int, user: int | None) -> dict[str, Any]:
    """The same in a process of its own, as another user."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.events", "one", engine, str(runs)],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
        env={**os.environ, **({} if user is None else {"HOME": "/", "XDG_STATE_HOME": "/tmp/bench-events"})},
        user=user, group=user, extra_groups=None if user is None else [],
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main(runs: int) -> None:
    """The table."""
    kinds: list[tuple[str, str, int | None]] = [
        ("namespaces", "namespaces", None),
        ("docker", "docker", None),
    ]
    if os.geteuid() == 0:
        kinds.insert(1, ("namespaces, uid 65534", "namespaces", 65534))
    rows = [
        f"| {CONNECTIONS:,} connections opened and closed | seconds | segments | lost | missing "
        "| daemon, of a core | at rest |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, engine, user in kinds:
        found = measured(engine, runs, user)
        series = {key: [one[key] for one in found["runs"]] for key in found["runs"][0]}
        middle = {key: statistics.median(values) for key, values in series.items()}
        rows.append(
            f"| {name} | {middle['seconds']:.2f} | {middle['segments']:,.0f} | {sum(series['lost']):,.0f} "
            f"| {sum(series['missing']):,.0f} of {runs} runs | {middle['busy']:.2f} | {found['rest']:.4f} |"
        )
        print(rows[-1], series, flush=True)
    note = (
        f"Bars: nothing lost or missing; the daemon under {BAR_BUSY:g} of a core, at rest under {BAR_REST:g}."
    )
    write_section(ROOT / "docs/benchmarks.md", "events", ["## Events", "", machine(), "", *rows, "", note])


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        print(json.dumps(one(sys.argv[2], int(sys.argv[3]))))
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else 5)
