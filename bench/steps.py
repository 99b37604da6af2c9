"""What a step costs over its system call, and how long a step of many calls takes, on both engines.

    python -m bench.steps [RUNS]         (writes docs/benchmarks.md)

A step is a call of a host's agent, asked over the lab's channel: client, daemon, agent and back. Its cost is
the time from the question to the answer, less what the call itself took in the agent. A step of many
calls is `Call.messages` of one step with `x1000`, as `lab run` sends it.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.side_by_side import machine, write_section
from orchestrator import bringup, fanout
from orchestrator.lab import Lab
from orchestrator.model.steps import Call, Endpoint
from orchestrator.read import read_text

ROOT = Path(__file__).resolve().parent.parent
STEPS, MANY = 1000, 1000
BARS = {"namespaces": 0.002, "docker": 0.005}  # seconds over the system call
MANY_BAR = 0.5  # seconds for 1,000 connections
LAB = b"""
name: bench-steps
networks: {net: {}}
hosts:
  a: {role: server, networks: [net]}
  b: {role: client, networks: [net]}
"""


@contextmanager
def running(engine: str) -> Iterator[Lab]:
    """A lab of two hosts, and its end."""
    outcome = bringup.up(read_text(LAB, "lab.yaml", str(ROOT)), engine)
    try:
        yield outcome.lab
    finally:
        outcome.lab.down()


def cost(lab: Lab) -> list[float]:
    """Seconds over its system call of each of STEPS steps."""
    ask(lab, "b", do="socket", **{"as": "s"})
    found = []
    for _ in range(STEPS):
        began = time.monotonic()
        answer = ask(lab, "b", do="get", fd="s", option="SO_TYPE")
        found.append(time.monotonic() - began - answer["duration"])
    ask(lab, "b", do="close", fd="s")
    return found


def ask(lab: Lab, host: str, **call: Any) -> dict[str, Any]:
    """One call, which must not fail."""
    answer = lab.channel.call("call", host=host, call=call)
    assert answer["errno"] is None, answer
    return answer


def many(lab: Lab, port: int) -> dict[str, float]:
    """Seconds of each step of MANY calls."""
    ask(lab, "a", do="listen", port=port, backlog=4096, **{"as": "door"})
    address = next(link.address for link in lab.host("a").interfaces if link.address)
    steps = {
        "connect": _step(
            "b", "connect", name="call", opens=True, times=MANY, target=Endpoint(host="a", port=port)
        ),
        "accept": _step("a", "accept", fd="door", name="conn", opens=True, times=MANY),
        "send": _step("b", "send", fd="call", each=MANY, arguments={"text": "hello"}),
        "recv": _step("a", "recv", fd="conn", each=MANY),
        "close": _step("b", "close", fd="call", each=MANY),
    }
    found = {name: perform(lab, step, address) for name, step in steps.items()}
    perform(lab, _step("a", "close", fd="conn", each=MANY), address)
    ask(lab, "a", do="close", fd="door")
    return found


def _step(host: str, verb: Any, **more: Any) -> Call:
    return Call(line=1, column=1, text="", host=host, verb=verb, timeout=30.0, **more)


def perform(lab: Lab, step: Call, address: str) -> float:
    """Seconds until all its calls are answered, and none of them failed."""
    began = time.monotonic()
    asked = [
        fanout.Request("call", {"host": step.host, "call": message})
        for message in step.messages(lambda _, __: address)
    ]
    answers = fanout.ask_all(lab.channel, asked)
    took = time.monotonic() - began
    fanout.raise_first(answers)
    assert all(answer.value["errno"] is None for answer in answers)
    return took


def main(runs: int) -> None:
    """The tables."""
    rows = [f"| engine | over the system call, median of {STEPS:,} | min–max of {runs} runs | bar | met |"]
    rows.append("|---|---|---|---|---|")
    lots = [f"| engine | {MANY:,} at once, by one step | median | min–max of {runs} runs | bar | met |"]
    lots.append("|---|---|---|---|---|---|")
    for engine, bar in BARS.items():
        with running(engine) as lab:
            costs = [statistics.median(cost(lab)) for _ in range(runs)]
            took = [many(lab, 7000 + run) for run in range(runs)]
        rows.append(
            f"| {engine} | {_figures(costs, 1e3, 'ms')} | ≤ {bar * 1e3:.0f} ms | {_met(costs, bar)} |"
        )
        for name in took[0]:
            series = [one[name] for one in took]
            judged = (f"≤ {MANY_BAR} s", _met(series, MANY_BAR)) if name == "connect" else ("", "")
            lots.append(f"| {engine} | {name} | {_figures(series, 1, 's')} | {judged[0]} | {judged[1]} |")
        print(*rows[-1:], *lots[-len(took[0]) :], sep="\n", flush=True)
    lines = ["## Steps", "", machine(), "", *rows, "", *lots]
    write_section(ROOT / "docs/benchmarks.md", "steps", lines)


def _figures(series: list[float], factor: float, unit: str) -> str:
    median, least, most = (f(series) * factor for f in (statistics.median, min, max))
    return f"{median:.3g} {unit} | {least:.3g}–{most:.3g}"


def _met(series: list[float], bar: float) -> str:
    return "yes" if statistics.median(series) <= bar else "**no**"


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 5)
