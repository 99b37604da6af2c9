"""The ways between machines, tried by sending on them: path_probe.py, run on all of them at the same time."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from orchestrator.errors import MachineError
from orchestrator.machines.base import Machine

SECONDS = 4.0  # for the slowest machine to start, and for all sizes to be tried
_NO_PYTHON = 127


class Way(NamedTuple):
    """From one machine to another, as the first one saw it. `mtu` None: nothing came back on that port."""

    mtu: int | None  # bytes of the largest IP packet that passes
    interface: int  # … that the interface takes
    rtt: float | None = None
    offset: float | None = None  # seconds that the other's clock is ahead


class Tried(NamedTuple):
    """`ways`: by (from, to). `bound`: why there is no port, "" where there is. `unknown`: who could not try,
    and why.
    """

    ways: Mapping[tuple[str, str], Way]
    bound: Mapping[str, str]
    unknown: Mapping[str, str]


def try_paths(machines: Sequence[Machine], addresses: Mapping[str, str], port: int) -> Tried:
    """Between all machines that have an address. With one alone only its port is tried."""
    nonce = secrets.token_hex(8)
    source = (Path(__file__).parent / "path_probe.py").read_bytes()

    def run(machine: Machine) -> tuple[str, str]:
        others = [addresses[one.name] for one in machines if one is not machine and one.name in addresses]
        argv = ["python3", "-", nonce, str(port), str(SECONDS), *others]
        try:
            ended = machine.run(argv, source, SECONDS + 10)
        except MachineError as error:
            return "", error.message
        if ended.code == _NO_PYTHON:
            return "", "it has no python3"
        said = ended.err.decode(errors="replace").strip().splitlines()
        return ended.out.decode(errors="replace"), "" if ended.code == 0 else f"python3: {said[-1:]}"

    with ThreadPoolExecutor(len(machines) or 1) as pool:
        outcomes = list(pool.map(run, machines))
    names = {address: name for name, address in addresses.items()}
    ways: dict[tuple[str, str], Way] = {}
    bound: dict[str, str] = {}
    unknown: dict[str, str] = {}
    for machine, (text, why) in zip(machines, outcomes, strict=True):
        if why:
            unknown[machine.name] = why
            continue
        bound[machine.name], found = parse(text)
        ways |= {(machine.name, names[to]): way for to, way in found.items() if to in names}
    return Tried(ways, bound, unknown)


def parse(text: str) -> tuple[str, dict[str, Way]]:
    """What one probe printed: why it had no port, and the ways by address."""
    bound, ways = "it said nothing", dict[str, Way]()
    for line in text.splitlines():
        words = line.split()
        if words[:2] == ["lab:", "bound"]:
            bound = "" if words[2] == "ok" else words[2]
        elif words[:2] == ["lab:", "peer"]:
            address, passed, interface, *known = words[2:]
            rtt, offset = map(float, known) if len(known) == 2 else (None, None)
            ways[address] = Way(int(passed) or None, int(interface), rtt, offset)
    return bound, ways
