"""How long until N hosts with agents are ready, and until all is gone: the namespaces engine against Mininet.

    python -m bench.hosts [RUNS]         (as root: Mininet needs it; writes docs/benchmarks.md)

Both are timed inside their own process, from the first call to the last answer, the interpreter's start
excluded on both sides; ours includes the start of the daemon's interpreter, for that is a part of making
hosts. The memory is the proportional set size (proc(5), smaps_rollup) of the daemon and everything below
it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from bench.side_by_side import HEAD, alternate, machine, row, write_section
from orchestrator.model.plan import LabKey

ROOT = Path(__file__).resolve().parent.parent
BARS = {100: 1 / 5, 400: 1 / 6, 800: 1 / 6}
RUNS = {100: 5, 400: 3, 800: 3}  # unless told otherwise
MEMORY_BAR = 3.0  # MiB a host


def measure_ours(count: int) -> dict[str, float]:
    """One bring-up in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.hosts", "one", str(count)],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    result: dict[str, float] = json.loads(done.stdout)
    return result


def measure_mininet(count: int) -> tuple[float, float]:
    """Mininet's (up, down) in seconds."""
    done = subprocess.run(
        ["/usr/bin/python3", str(ROOT / "bench/mininet_hosts.py"), str(count)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    up, down = done.stdout.split()
    return float(up), float(down)


def one(count: int) -> dict[str, float]:
    """Bring `count` hosts up and down here; seconds and MiB."""
    from orchestrator.engines.namespaces import NamespacesEngine
    from orchestrator.model.topology import Attachment, Host, Network, Topology
    from orchestrator.owner import owner
    from orchestrator.plan import changes, make_plan

    engine, key = NamespacesEngine(), LabKey(owner=owner(), name=f"hosts-{count}")
    net = Network(name="net", subnet="10.0.0.0/16")
    host = Host(name="h", role="client", count=count, attachments=(Attachment(network="net"),))
    plan = make_plan(Topology(name=key.name, networks=(net,), hosts=(host,)), key, "namespaces")
    began = time.monotonic()
    with engine.apply(plan, changes(None, plan), lambda _: None):
        ready = time.monotonic()
        memory = pss(daemon_of(key))
        stopping = time.monotonic()
        engine.remove(key, lambda _: None)
    return {"up": ready - began, "down": time.monotonic() - stopping, "memory": memory / count}


def daemon_of(key: LabKey) -> int:
    """The pid of the daemon of a running lab."""
    from orchestrator.engines.namespaces_find import daemons

    found = next(daemons(key.owner, key.name))
    found.close()
    return found.pid


def pss(pid: int) -> float:
    """MiB of a process and all its descendants, shared pages divided among those who share them (proc(5))."""
    total = 0.0
    for process in descendants(pid):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) / 1024
    return total


def descendants(pid: int) -> list[int]:
    """The process and every process below it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += parents.get(found[-1], [])
    return found


def main(runs: int | None) -> None:
    """The table."""
    rows, memory_rows = [], []
    for count, bar in BARS.items():
        memory: list[float] = []
        downs: list[float] = []
        peer_downs: list[float] = []

        def ours(count: int = count, memory: list[float] = memory, downs: list[float] = downs) -> float:
            result = measure_ours(count)
            memory.append(result["memory"])
            downs.append(result["down"])
            return result["up"]

        def peer(count: int = count, downs: list[float] = peer_downs) -> float:
            up, down = measure_mininet(count)
            downs.append(down)
            return up

        up = alternate(ours, peer, runs or RUNS[count])
        rows.append(row(f"{count} hosts with agents ready", "Mininet", up, bar))
        rows.append(row(f"{count} hosts gone", "Mininet", (downs, peer_downs), bar))
        memory_rows.append(
            f"- {count} hosts: {max(memory):.2f} MiB (PSS) a host at most, bar {MEMORY_BAR:.0f}"
        )
        print(rows[-2].markdown(), rows[-1].markdown(), memory_rows[-1], sep="\n", flush=True)
    lines = [
        "## Hosts: namespaces engine against Mininet",
        "",
        machine(),
        "",
        HEAD,
        *(r.markdown() for r in rows),
    ]
    write_section(ROOT / "docs/benchmarks.md", "hosts", [*lines, "", *memory_rows])


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        print(json.dumps(one(int(sys.argv[2]))))
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else None)
