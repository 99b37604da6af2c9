"""What many hosts on many machines cost the orchestrator itself: 10,000 hosts on 100 machines.

    python -m bench.scale [RUNS]          (writes docs/benchmarks.md)

Each run is a process of its own, so that its memory is its own. What is measured is pure and needs no engine;
nothing is looked up or started. The processor time of the process, which other processes do not
lengthen, stands beside that of the clock.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bench.side_by_side import environment, machine, write_section

ROOT = Path(__file__).resolve().parent.parent
HOSTS, MACHINES = 10_000, 100
BAR_PLAN, BAR_MEMORY = 2.0, 500.0  # seconds, MB
GIB = 1 << 30
T = TypeVar("T")


def text(networks: int, *, hosts: int = HOSTS, written: bool = False, rules: str = "") -> bytes:
    """A lab file: so many networks behind one router, a server and its clients on each. `written`: each host
    by its own line, else by `count`."""
    each = hosts // networks
    names = [f"n{number}" for number in range(networks)]
    lines = ["name: scale", "machines:"]
    lines += [f"  m{n}: ssh://student@10.9.{n // 250}.{n % 250 + 1}" for n in range(MACHINES)]
    lines += [rules, "networks:", *(f"  {name}: {{}}" for name in names)]
    if networks > 1:
        lines += ["routers:", f"  core: {{networks: [{', '.join(names)}]}}"]
    lines.append("hosts:")
    for number, name in enumerate(names):
        client = f"{{role: client, networks: [{name}], connect: [web{number}:80]"
        lines.append(f"  web{number}: {{role: server, networks: [{name}], listen: [80]}}")
        if written:
            lines += [f"  c{number}-{n}: {client}}}" for n in range(each - 1)]
        else:
            lines.append(f"  c{number}: {client}, count: {each - 1}}}")
    return "\n".join(lines).encode()


APART = "keep apart: [[web*, c1]]\nplace: {web0: m7, 'c2-*': m9}"
CASES: dict[str, Callable[[], bytes]] = {
    "one network, by `count`": lambda: text(1),
    "100 networks, by `count`": lambda: text(100),
    "100 networks, each host written out": lambda: text(100, written=True),
    "2,500 networks, by `count`": lambda: text(2_500),
    "100 networks, with rules": lambda: text(100, rules=APART),
}
STEPS = ("read", "plan", "changes", "plan again", "parts", "dry run")


def measured(case: str) -> dict[str, float]:
    """Seconds of each step (and of the processor), and the most memory of the process, in MB."""
    import resource
    import time

    from orchestrator.model.machines import Capacity, Fleet
    from orchestrator.model.plan import LabKey
    from orchestrator.plan import changes, describe, make_plan
    from orchestrator.read import read_text

    found: dict[str, float] = {}

    def timed(what: str, work: Callable[[], T]) -> T:
        began, own = time.monotonic(), time.process_time()
        value = work()
        found[what] = time.monotonic() - began
        found[f"{what}, CPU"] = time.process_time() - own
        return value

    key, file = LabKey(owner="bench", name="scale"), CASES[case]()
    fleet = Fleet(
        capacities={f"m{n}": Capacity(memory_free=(8 + n % 3) * GIB, cpus=8) for n in range(MACHINES)}
    )
    topology = timed("read", lambda: read_text(file, "lab.yaml", "/"))
    plan = timed("plan", lambda: make_plan(topology, key, "docker", fleet=fleet))
    steps = timed("changes", lambda: changes(None, plan))
    again = timed("plan again", lambda: make_plan(topology, key, "docker", plan, fleet=fleet))
    if changes(plan, again):
        raise SystemExit(f"{case}: planned again, it differs")
    timed("parts", lambda: [plan.part(one.name) for one in plan.machines])
    timed("dry run", lambda: describe(plan, steps))
    found["MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def run(case: str) -> dict[str, float]:
    """One run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.scale", "--one", case],
        cwd=ROOT,
        env=environment(),
        check=True,
        capture_output=True,
    )
    return {str(key): float(value) for key, value in json.loads(done.stdout).items()}


def line(case: str, runs: list[dict[str, float]]) -> str:
    """A line of the table: medians, clock and processor."""
    middle = {key: statistics.median(one[key] for one in runs) for key in runs[0]}
    cells = [f"{middle[step]:.2f} ({middle[f'{step}, CPU']:.2f})" for step in STEPS]
    met = "yes" if middle["plan"] <= BAR_PLAN and middle["MB"] <= BAR_MEMORY else "**no**"
    return f"| {case} | {' | '.join(cells)} | {middle['MB']:.0f} | {met} |"


def main() -> None:
    """Run and write the section."""
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measured(sys.argv[2])))
        return
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    head = [
        f"## {HOSTS:,} hosts on {MACHINES} machines: the orchestrator's own part",
        "",
        f"{machine()}; {runs} runs; median seconds, in brackets of its processor; MB: the process's most. "
        f"Bars: plan ≤ {BAR_PLAN:g} s, memory ≤ {BAR_MEMORY:g} MB",
        "",
        f"| lab | {' | '.join(STEPS)} | MB | met |",
        f"|---|{'---|' * (len(STEPS) + 2)}",
    ]
    found = [*head, *(line(case, [run(case) for _ in range(runs)]) for case in CASES)]
    write_section(ROOT / "docs/benchmarks.md", "scale", found)
    print("\n".join(found))


if __name__ == "__main__":
    main()
