"""200,000 connections between two hosts, collected, joined and named: `lab` against `ss -tanp` in both.

    python -m bench.collect [RUNS] [CONNECTIONS]     (namespaces engine; writes docs/benchmarks.md)

Ours is the product's own observation (two looks where they are needed, holders, ids), timed from the
request to the rows; the peer is `ss -tanp` in the client's host and then in the server's, by the same
daemon, its output thrown away.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from bench.side_by_side import HEAD, alternate, machine, row, write_section
from orchestrator.bringup import up
from orchestrator.lab import Lab
from orchestrator.model.topology import Attachment, Host, Network, Topology

ROOT = Path(__file__).resolve().parent.parent
EACH = 17_500  # connections of one process
PYTHON = "/usr/bin/python3"
FIRST_PORT = 9000


def topology() -> Topology:
    """A client and a server on one network."""
    net = (Attachment(network="net"),)
    return Topology(
        name="bench-collect",
        networks=(Network(name="net", subnet="10.0.0.0/24"),),
        hosts=(
            Host(name="client", role="client", attachments=net),
            Host(name="server", role="server", attachments=net),
        ),
    )


def flood(lab: Lab, count: int) -> None:
    """Open `count` connections by programs in both hosts; returns when both ends have all."""
    code = (ROOT / "bench/flood.py").read_text()
    address = next(h for h in lab.plan.hosts if h.name == "server").interfaces[0].address
    widen = "echo '1024 65535' > /proc/sys/net/ipv4/ip_local_port_range"
    if lab.exec("client", ["sh", "-c", widen]):
        raise SystemExit("the range of ports cannot be set in a host")
    parts = [min(EACH, count - done) for done in range(0, count, EACH)]
    for i, part in enumerate(parts):
        argv = [PYTHON, "-c", code, "server", str(FIRST_PORT + i), str(part)]
        lab.channel.call("start", host="server", argv=argv, env={}, program=f"server-{i}")
    wait_for(lab, "server", "listening", len(parts))
    for i, part in enumerate(parts):
        argv = [PYTHON, "-c", code, "client", str(address), str(FIRST_PORT + i), str(part)]
        lab.channel.call("start", host="client", argv=argv, env={}, program=f"client-{i}")
    wait_for(lab, "client", "ready", len(parts))
    wait_for(lab, "server", "ready", len(parts))


def wait_for(lab: Lab, host: str, word: str, times: int) -> None:
    """Until the programs of a host have written `word` that often; 10 minutes at most."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        said = b"".join(frame.data for frame in lab.logs(host))
        if said.count(word.encode()) >= times:
            return
        time.sleep(0.2)
    raise SystemExit(f"{host}: {said[-2000:].decode()}")


def ours(lab: Lab, count: int) -> float:
    """Seconds for one observation, which must be whole."""
    began = time.monotonic()
    rows = lab.observe().joined.connections
    took = time.monotonic() - began
    whole = [
        c for c in rows if c.status == "joined" and c.client and c.server and c.client.fd and c.server.fd
    ]
    if len(whole) != count:
        raise SystemExit(f"{len(whole)} whole rows of {count}")
    return took


def ss(lab: Lab) -> float:
    """Seconds for `ss -tanp` in both hosts."""
    began = time.monotonic()
    for host in ("client", "server"):
        if lab.exec(host, ["sh", "-c", "ss -tanp > /dev/null"]):
            raise SystemExit("ss failed")
    return time.monotonic() - began


def main(runs: int, count: int) -> None:
    """The row."""
    with up(topology(), "namespaces").lab as lab:
        try:
            flood(lab, count)
            print(f"{count} connections are open", flush=True)
            series = alternate(lambda: ours(lab, count), lambda: ss(lab), runs)
        finally:
            lab.down()
    result = row(
        f"{count:,} connections: both ends, processes, descriptors", "ss -tanp twice", series, 1 / 10
    )
    print(result.markdown())
    lines = ["## Collecting and joining", "", machine(), "", HEAD, result.markdown()]
    write_section(ROOT / "docs/benchmarks.md", "collect", lines)


if __name__ == "__main__":
    arguments = [int(a) for a in sys.argv[1:]] + [3, 200_000][len(sys.argv) - 1 :]
    main(*arguments[:2])
