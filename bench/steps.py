"""What a step costs over its system call, and how long a step of many calls takes, on both engines.

    python -m bench.steps [RUNS]         (writes docs/benchmarks.md)

Scenarios are performed as `lab run` does it. A step's cost is the time until the next one begins, less what
the call itself took in the agent: client, daemon, agent and back, and the record. An expectation's time is
its own record's, of one that is true already. A step of many calls is one with `x1000`.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.side_by_side import machine, write_section
from orchestrator import bringup
from orchestrator.lab import Lab
from orchestrator.model.runs import ExpectationRecord, Part, ScenarioRecord, StepRecord
from orchestrator.model.steps import Call, Endpoint, Expectation, Note, Scenario, Step
from orchestrator.read import read_text
from orchestrator.requests import Requests
from orchestrator.runs import Runner

ROOT = Path(__file__).resolve().parent.parent
STEPS, MANY, EXPECTATIONS = 1000, 1000, 100
BARS = {"namespaces": 0.002, "docker": 0.005}  # seconds over the system call
JUDGED_BAR = 0.015  # seconds for an expectation that is true already
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


class Nobody:
    """An audience that is told nothing."""

    def scenario_begins(self, scenario: Scenario) -> None: ...
    def scenario_ended(self, scenario: Scenario, record: ScenarioRecord) -> None: ...
    def step_begins(self, step: Step, part: Part) -> None: ...
    def step_ended(self, step: Step, record: StepRecord) -> None: ...
    def judged(self, step: Expectation, record: ExpectationRecord) -> None: ...
    def noted(self, step: Note) -> None: ...


SCENARIO = f"""
scenarios:
  steps:
    steps:
      - a: listen :6999 as door
      - b: connect a:6999 as call
      - repeat: {STEPS}
        steps: [b: get call SO_TYPE]
  expectations:
    steps:
      - a: listen :6999 as door
      - b: connect a:6999 as call
      - repeat: {EXPECTATIONS}
        steps:
          - expect: {{connection: b.call, client: ESTABLISHED, server: ESTABLISHED, accepted: false}}
          - expect: {{listener: "a:6999", queue: 1}}
          - expect: {{counter: b.TcpActiveOpens, difference: 1}}
"""


def performed(lab: Lab) -> tuple[list[float], list[float]]:
    """Seconds over its system call of each of STEPS steps; seconds of each expectation, true already."""
    steps, expectations = read_text(LAB + SCENARIO.encode(), "lab.yaml", str(ROOT)).scenarios
    runner = Runner(lab, Nobody())
    first, second = runner.run(steps), runner.run(expectations)
    assert (first.verdict, second.verdict) == ("pass", "pass"), (first, second)
    gets = [one for one in first.steps if "get" in one.text]
    costs = [later.began - one.began - one.duration for one, later in pairwise(gets)]
    return costs, [one.duration for one in second.expectations]


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
    requests = Requests(lab.another_channel())
    found = {name: perform(requests, step, address) for name, step in steps.items()}
    perform(requests, _step("a", "close", fd="conn", each=MANY), address)
    requests.close()
    ask(lab, "a", do="close", fd="door")
    return found


def _step(host: str, verb: Any, **more: Any) -> Call:
    return Call(line=1, column=1, text="", host=host, verb=verb, timeout=30.0, **more)


def perform(requests: Requests, step: Call, address: str) -> float:
    """Seconds until all its calls are answered, and none of them failed."""
    began = time.monotonic()
    pending = requests.begin_calls(step.messages(lambda _, __: address), host=step.host)
    answers = [one.answer() for one in pending]
    took = time.monotonic() - began
    assert all(answer.message["errno"] is None for answer in answers)
    return took


def main(runs: int) -> None:
    """The tables."""
    rows = [f"| engine | what | median | min–max of {runs} runs' medians | bar | met |"]
    rows.append("|---|---|---|---|---|---|")
    lots = [f"| engine | {MANY:,} at once, by one step | median | min–max of {runs} runs | bar | met |"]
    lots.append("|---|---|---|---|---|---|")
    for engine, bar in BARS.items():
        with running(engine) as lab:
            both = [performed(lab) for _ in range(runs)]
            took = [many(lab, 7000 + run) for run in range(runs)]
        for what, at, most in (
            (f"a step over its system call, {STEPS:,} steps", 0, bar),
            (f"an expectation that is true already, {3 * EXPECTATIONS}", 1, JUDGED_BAR),
        ):
            medians = [statistics.median(one[at]) for one in both]
            bound = f"≤ {most * 1e3:.0f} ms | {_met(medians, most)}"
            rows.append(f"| {engine} | {what} | {_figures(medians, 1e3, 'ms')} | {bound} |")
        for name in took[0]:
            series = [one[name] for one in took]
            judged = (f"≤ {MANY_BAR} s", _met(series, MANY_BAR)) if name == "connect" else ("", "")
            lots.append(f"| {engine} | {name} | {_figures(series, 1, 's')} | {judged[0]} | {judged[1]} |")
        print(*rows[-2:], *lots[-len(took[0]) :], sep="\n", flush=True)
    lines = ["## Steps", "", machine(), "", *rows, "", *lots]
    write_section(ROOT / "docs/benchmarks.md", "steps", lines)


def _figures(series: list[float], factor: float, unit: str) -> str:
    median, least, most = (f(series) * factor for f in (statistics.median, min, max))
    return f"{median:.3g} {unit} | {least:.3g}–{most:.3g}"


def _met(series: list[float], bar: float) -> str:
    return "yes" if statistics.median(series) <= bar else "**no**"


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 5)
