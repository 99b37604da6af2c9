"""Labs on several machines: 20 hosts over two against the same on one; `lab conns`; bytes across.

    python -m bench.machines [RUNS]          (needs `make machines`; writes docs/benchmarks.md)

Images are there before. The machines are containers of this computer: with two of them there is no more
processor than with one. Each lab is removed after each run.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.commands import LAB, ROOT, timed
from bench.side_by_side import HEAD, alternate, environment, machine, row, write_section

HOSTS = 20
UP_BAR = 1.1  # two machines by one
CONNS_BAR = 1.0  # seconds
BYTES = 100_000_000
RATE_BAR = 400.0  # MB/s
URLS = {"m1": "ssh://lab-m1", "m2": "ssh://lab-m2"}


def lab_file(folder: Path, name: str, machines: int, hosts: int, scenario: str = "") -> None:
    """A network with a server and clients that are connected to it, spread evenly over the machines."""
    used = dict([*URLS.items()][:machines])
    text = (
        f"name: {name}\nnetworks:\n  net: {{subnet: 10.96.0.0/24}}\nhosts:\n"
        "  web: {role: server, networks: [net], listen: [80]}\n"
        f"  c: {{role: client, networks: [net], count: {hosts - 1}, connect: [web:80]}}\n"
        f"machines: {json.dumps(used)}\n{scenario}"
    )
    (folder / "lab.yaml").write_text(text)


def up(folder: Path) -> float:
    """`lab up`, then down."""
    took = timed(*LAB, "up", "--yes", cwd=folder)
    timed(*LAB, "down", cwd=folder)
    return took


def conns(folder: Path, runs: int) -> list[float]:
    """Seconds of `lab conns`, which must show every connection with both ends."""
    timed(*LAB, "up", "--yes", cwd=folder)
    try:
        timed(*LAB, "conns", cwd=folder)
        took = [timed(*LAB, "conns", cwd=folder) for _ in range(runs)]
        done = subprocess.run(
            [*LAB, "conns", "--json"], cwd=folder, env=environment(), capture_output=True, check=True
        )
        rows = json.loads(done.stdout)["connections"]
        if [one["status"] for one in rows] != ["joined"] * 19:
            raise SystemExit(f"not all joined: {rows}")
        return took
    finally:
        timed(*LAB, "down", cwd=folder)


BULK = f"""
place: {{web: m1, c: m2}}
scenarios:
  bulk:
    steps:
      - web: listen :9000 as l
      - c: connect web:9000 as call
      - web: accept l as conn
      - web: recv conn {BYTES} as got timeout=60s &
      - c: send call {BYTES} timeout=60s
      - wait: web.got
      - expect: {{step: web.got, result: {BYTES}}}
"""


def rates(folder: Path, runs: int) -> list[float]:
    """MB/s of one connection across, as the receiving agent has it: from its call to its last byte."""
    timed(*LAB, "up", "--yes", cwd=folder)
    found = []
    try:
        for _ in range(runs):
            done = subprocess.run(
                [*LAB, "run", "--json", "-"], cwd=folder, env=environment(), capture_output=True, check=False
            )
            document = json.loads(done.stdout)
            if document["verdict"] != "pass":
                raise SystemExit(done.stderr.decode())
            steps = document["scenarios"][0]["steps"]
            (step,) = [one for one in steps if one["text"] == "wait: web.got"]
            found.append(BYTES / step["duration"] / 1e6)
    finally:
        timed(*LAB, "down", cwd=folder)
    return found


def verdict(good: bool) -> str:
    """As the other tables say it."""
    return "yes" if good else "**no**"


def main(runs: int) -> None:
    """The table."""
    with tempfile.TemporaryDirectory() as temporary:
        two, one, ten, bulk = (Path(temporary) / name for name in ("two", "one", "ten", "bulk"))
        for folder in (two, one, ten, bulk):
            folder.mkdir()
        lab_file(two, "bench-two", 2, HOSTS)
        lab_file(one, "bench-one", 1, HOSTS)
        lab_file(ten, "bench-ten", 2, HOSTS)
        lab_file(bulk, "bench-bulk", 2, 2, BULK)
        up(two), up(one)
        series = alternate(lambda: up(two), lambda: up(one), runs)
        result = row(f"{HOSTS} hosts over two machines", "over one", series, UP_BAR)
        print(result.markdown(), flush=True)
        looks = conns(ten, runs)
        speed = rates(bulk, runs)
    load = os.getloadavg()[0]
    middle, fast = statistics.median(looks), statistics.median(speed)
    lines = ["## Labs on two machines", "", f"{machine()}; load {load:.1f} at the end", "", HEAD]
    lines += [result.markdown(), "", "| what | median | min–max | bar | met |", "|---|---|---|---|---|"]
    lines.append(
        f"| `lab conns`, the whole process, two machines of 10 hosts | {middle:.2f} s | {min(looks):.2f}–"
        f"{max(looks):.2f} | ≤ {CONNS_BAR:.0f} s | {verdict(middle <= CONNS_BAR)} |"
    )
    lines.append(
        f"| 100 MB across, one connection | {fast:.0f} MB/s | {min(speed):.0f}–{max(speed):.0f} | "
        f"≥ {RATE_BAR:.0f} MB/s | {verdict(fast >= RATE_BAR)} |"
    )
    print("\n".join(lines[-2:]), flush=True)
    write_section(ROOT / "docs/benchmarks.md", "machines", lines)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 5)
