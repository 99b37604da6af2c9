"""Whether tracepoints lose anything of many connections in a short time, and what they cost. As root.

    python -m bench.tracepoints [RUNS]         (writes docs/benchmarks.md)

The connections of bench/events.py: a client that closes each at once, a server that closes when it reads the
end. Of each, ten changes of state are to be recorded, once each. Opening is timed without tracepoints , too,
in turn. Who takes them: the daemon (docker), this process (namespaces).
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.events import CLIENT, LAB, SERVER, daemon_of, processor_seconds, run, said
from bench.side_by_side import machine, write_section
from orchestrator import bringup
from orchestrator.lab import Lab
from orchestrator.model.recording import Change
from orchestrator.read import read_text
from orchestrator.scenarios.traces import Traces

ROOT = Path(__file__).resolve().parent.parent
CONNECTIONS, PORT = 10_000, 7100
STATES = 10  # changes of a connection, both ends
REST_SECONDS = 5.0
SETTLE_SECONDS = 2.0


@contextmanager
def running(engine: str) -> Iterator[Lab]:
    """A lab of two hosts, and its end."""
    outcome = bringup.up(read_text(LAB, "lab.yaml", str(ROOT)), engine)
    try:
        yield outcome.lab
    finally:
        outcome.lab.down()


def opened(lab: Lab, port: int) -> float:
    """Seconds that the client takes."""
    address = next(link.address for link in lab.host("a").interfaces if link.address)
    serving = run(lab, "a", SERVER, str(port), str(CONNECTIONS))
    server = said(*serving)
    assert next(server) == "ready\n"
    opening = run(lab, "b", CLIENT, address, str(port), str(CONNECTIONS))
    client = said(*opening)
    assert next(client) == "ready\n"
    began = time.monotonic()
    list(client)
    took = time.monotonic() - began
    list(server)
    for channel, _ in (serving, opening):
        channel.close()
    return took


def twice(changes: list[Change]) -> int:
    """Changes that are there more than once: no socket takes the same step again."""
    counts = Counter((one.host, one.cookie, one.old, one.new) for one in changes)
    return sum(count - 1 for count in counts.values())


def settled(traces: Traces) -> tuple[list[Change], int]:
    """The changes, and how many are known to be lost, when all are accounted for: the last ones are made by
    the kernel when both programs have ended, or after SETTLE_SECONDS."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        taken = traces.taken()
        found = [one for one in taken.changes if one.kind == "state" and one.peer[1]]
        lost = sum(one.count or 0 for one in taken.losses)
        if len(found) + lost >= STATES * CONNECTIONS or time.monotonic() > deadline:
            return found, lost
        time.sleep(0.1)


def measure(lab: Lab, port: int) -> dict[str, float]:
    """One run."""
    plain = opened(lab, port)
    names = [host.name for host in lab.plan.hosts]
    traces = Traces(lab.another_channel, names, 0, here=lab.engine.name == "namespaces")
    taking = daemon_of(lab)
    began = time.monotonic()
    traces.start()
    starting = time.monotonic() - began
    assert not traces.why, traces.why
    try:
        at_rest = _processor(lab, taking)
        time.sleep(REST_SECONDS)
        rest = _processor(lab, taking) - at_rest
        before = _processor(lab, taking)
        took = opened(lab, port + 1)
        busy = _processor(lab, taking) - before
        found, lost = settled(traces)
    finally:
        traces.close()
    return {
        "starting": starting,
        "plain": plain,
        "took": took,
        "found": len(found),
        "twice": twice(found),
        "lost": lost,
        "missing": max(0, STATES * CONNECTIONS - len(found) - lost),
        "busy": busy / took,
        "rest": rest / REST_SECONDS,
    }


def _processor(lab: Lab, daemon: int) -> float:
    """Of who takes the records. Of this process it has what waits for the programs' output in it, too."""
    return time.process_time() if lab.engine.name == "namespaces" else processor_seconds(daemon)


def main(runs: int) -> None:
    """The table."""
    rows = [
        f"| {CONNECTIONS:,} connections | attached in | opened in | without | changes | known to be lost "
        "| missing beside | twice | of a core | at rest |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for engine in "namespaces", "docker":
        with running(engine) as lab:
            found = [measure(lab, PORT + 2 * number) for number in range(runs)]
        middle = {key: statistics.median(one[key] for one in found) for key in found[0]}
        total = {key: sum(one[key] for one in found) for key in found[0]}
        rows.append(
            f"| {engine} | {middle['starting']:.2f} s | {middle['took']:.2f} s | {middle['plain']:.2f} s "
            f"| {total['found']:,.0f} in {runs} runs | {total['lost']:,.0f} | {total['missing']:,.0f} "
            f"| {total['twice']:,.0f} | {middle['busy']:.3f} | {middle['rest']:.4f} |"
        )
        print(rows[-1], flush=True)
    note = "Bars: nothing missing that is not known to be lost, nothing twice; at rest under 0.01 of a core."
    lines = ["## Tracepoints", "", machine(), "", *rows, "", note]
    write_section(ROOT / "docs/benchmarks.md", "tracepoints", lines)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 5)
