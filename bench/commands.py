"""Whole processes: `lab up` of 20 containers against `docker-compose up -d` of the same; `lab conns`.

    python -m bench.commands [RUNS]          (needs a Docker Engine; writes docs/benchmarks.md)

Images are there before. `lab up` ends when agents answer in all hosts, compose when containers are
started. Each is removed after each run. `lab conns` is timed on a lab of 10 hosts whose clients hold
connections, on both engines.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.side_by_side import HEAD, alternate, environment, machine, row, write_section

ROOT = Path(__file__).resolve().parent.parent
LAB = [str(ROOT / "lab")]
HOSTS = 20
CONNS_BAR = 0.5  # seconds


def timed(*command: str, cwd: Path) -> float:
    """Seconds of a whole command, which must succeed."""
    began = time.monotonic()
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True)
    took = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return took


def lab_file(folder: Path, name: str, clients: int, connect: bool) -> None:
    """A network with a server and `clients` clients."""
    listen, to_web = (", listen: [80]", ", connect: [web:80]") if connect else ("", "")
    text = (
        f"name: {name}\nnetworks:\n  net: {{subnet: 10.97.0.0/24}}\nhosts:\n"
        f"  web: {{role: server, networks: [net]{listen}}}\n"
        f"  c: {{role: client, networks: [net], count: {clients}{to_web}}}\n"
    )
    (folder / "lab.yaml").write_text(text)


def compose() -> list[str]:
    """Compose 1 or 2, whichever is there."""
    return ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]


def compose_file(folder: Path) -> None:
    """The same containers: image, init, network."""
    service = {"image": "lab/host", "init": True, "networks": ["net"]}
    network = {"ipam": {"config": [{"subnet": "10.98.0.0/24"}]}}
    services = {f"h{i}": service for i in range(HOSTS)}
    document = {"version": "3.7", "services": services, "networks": {"net": network}}
    (folder / "docker-compose.yml").write_text(json.dumps(document))


def up_lab(folder: Path) -> float:
    """`lab up`, then down."""
    took = timed(*LAB, "up", "--engine", "docker", cwd=folder)
    timed(*LAB, "down", cwd=folder)
    return took


def up_compose(folder: Path) -> float:
    """`docker-compose up -d`, then down."""
    took = timed(*compose(), "up", "-d", cwd=folder)
    timed(*compose(), "down", "-t", "0", cwd=folder)
    return took


def conns(folder: Path, engine: str, runs: int) -> list[float]:
    """Seconds of `lab conns` on a running lab of ten hosts."""
    timed(*LAB, "up", "--engine", engine, cwd=folder)
    try:
        timed(*LAB, "conns", cwd=folder)
        return [timed(*LAB, "conns", cwd=folder) for _ in range(runs)]
    finally:
        timed(*LAB, "down", cwd=folder)


def main(runs: int) -> None:
    """Both tables."""
    with tempfile.TemporaryDirectory() as temporary:
        ours, peer, ten = (Path(temporary) / name for name in ("ours", "benchcompose", "ten"))
        for folder in (ours, peer, ten):
            folder.mkdir()
        lab_file(ours, "bench-up", HOSTS - 1, connect=False)
        compose_file(peer)
        lab_file(ten, "bench-conns", 9, connect=True)
        timed(*LAB, "images", "build", cwd=ours)
        up_lab(ours), up_compose(peer)
        result = row(
            f"{HOSTS} hosts with agents", "docker-compose up -d",
            alternate(lambda: up_lab(ours), lambda: up_compose(peer), runs), 1.05,
        )  # fmt: skip
        print(result.markdown(), flush=True)
        lines = ["## Docker engine against Compose", "", machine(), "", HEAD, result.markdown()]
        write_section(ROOT / "docs/benchmarks.md", "compose", lines)
        lines = ["## `lab conns`, the whole process, 10 hosts", "", machine(), ""]
        lines += ["| engine | median | min–max | bar |", "|---|---|---|---|"]
        for engine in ("namespaces", "docker"):
            took = conns(ten, engine, runs)
            span = f"{min(took):.3f}–{max(took):.3f}"
            lines.append(f"| {engine} | {statistics.median(took):.3f} s | {span} | ≤ {CONNS_BAR} s |")
            print(lines[-1], flush=True)
        write_section(ROOT / "docs/benchmarks.md", "conns", lines)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 5)
