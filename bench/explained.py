"""How right `lab explain` is, over the scenarios of its own tests and of packs, in each way to make it
harder; writes docs/nginx-explained.md.

    python -m bench.explained [PACK…]         PACK: folders with a lab.yaml, labs/nginx-timeouts unless given

Of a pack its rows `plain` are run. `disguised`: their recordings under other names, addresses and ports.
`equal`: all limits of every server that the scenario does not set itself have the value that most of its rows
have. `error`: the error log at that level. For all that, files of a copy are changed as text, nothing else.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from orchestrator import kept
from orchestrator.model.recording import Recording
from tests.support.disguised import disguised
from tests.support.explained import Outcome, Result, matrix, of_case, of_run, summary
from tests.support.nginx_cases import variants

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "nginx-explained.md"
MARK = "<!-- below: python -m bench.explained -->"
EQUAL = "2s"
HTTP = (
    *("client_header_timeout", "client_body_timeout", "send_timeout", "keepalive_timeout"),
    *("lingering_timeout", "lingering_time", "resolver_timeout", "proxy_connect_timeout"),
    *("proxy_send_timeout", "proxy_read_timeout", "fastcgi_connect_timeout", "fastcgi_send_timeout"),
    *("fastcgi_read_timeout", "uwsgi_connect_timeout", "uwsgi_send_timeout", "uwsgi_read_timeout"),
    *("scgi_connect_timeout", "scgi_send_timeout", "scgi_read_timeout", "grpc_connect_timeout"),
    *("grpc_send_timeout", "grpc_read_timeout", "memcached_connect_timeout", "memcached_send_timeout"),
    *("memcached_read_timeout",),
)
STREAM = ("proxy_timeout", "proxy_connect_timeout", "preread_timeout", "proxy_protocol_timeout")
LEVEL = {r"(error_log \S+) info;": r"\1 error;"}
Columns = Mapping[str, Sequence[Outcome]]


@contextlib.contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """The lab of a folder, with the environment of its commands."""
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    lab(folder, environment, "up", "--engine", "namespaces")
    try:
        yield environment
    finally:
        lab(folder, environment, "down")


def lab(folder: Path, environment: Mapping[str, str], *arguments: str) -> int:
    """Its exit; what it says goes to our stderr."""
    command = [str(ROOT / "lab"), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, stdout=sys.stderr, check=False).returncode


def the_run(folder: Path) -> Path:
    """The newest that is kept."""
    return sorted((folder / "state" / "lab" / "runs").glob("*/*"))[-1]


def own() -> Columns:
    """The cases of the tests, in every variant."""
    columns: dict[str, list[Outcome]] = {}
    for name, variant in variants().items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            for file, text in variant.files().items():
                filled = text.replace("{name}", f"explained-{name}").replace("{net}", "10.197")
                (folder / file).write_text(filled, encoding="utf-8")
            with running(folder) as environment:
                lab(folder, environment, "run")
            run = the_run(folder)
            record = kept.read(run)
            found = kept.read_recordings(run, record)
            recordings = {one.label: found.get(one.recording) for one in record.scenarios}
            columns[name] = [
                of_case(case, variant, recording)
                for case in variant.cases()
                if isinstance(recording := recordings.get(case.name), Recording)
            ]
    return columns


def pack(source: Path) -> Columns:
    """The scenarios of a pack that say what they are about."""
    columns: dict[str, list[Outcome]] = {}
    with tempfile.TemporaryDirectory() as place:
        run = ran(source, Path(place) / "plain", {})
        columns["plain"] = of_run(run)
        record = kept.read(run)
        found = kept.read_recordings(run, record)
        hidden = {
            one.label: disguised(recording)
            for one in record.scenarios
            if isinstance(recording := found.get(one.recording), Recording)
        }
        columns["disguised"] = of_run(run, hidden)
        columns["error"] = of_run(ran(source, Path(place) / "error", LEVEL))
        columns["equal"] = of_run(ran(source, Path(place) / "equal", _equal()))
    return columns


def _equal() -> dict[str, str]:
    """Limits that the blocks of scenarios, being within, may set anew."""
    http = " ".join(f"{name} {EQUAL};" for name in HTTP)
    stream = " ".join(f"{name} {EQUAL};" for name in STREAM)
    return {r"(?m)^http \{": f"http {{ {http}", r"(?m)^stream \{": f"stream {{ {stream}"}


def ran(source: Path, folder: Path, changes: Mapping[str, str]) -> Path:
    """A run of a changed copy: of each table the row `plain`."""
    shutil.copytree(source, folder)
    path = folder / "lab.yaml"
    name = f"explained-{folder.name}"
    path.write_text(re.sub(r"(?m)^name: .*", f"name: {name}", path.read_text("utf-8")), encoding="utf-8")
    for file in folder.rglob("*.conf"):
        text = file.read_text("utf-8")
        for old, new in changes.items():
            text = re.sub(old, new, text)
        file.write_text(text, encoding="utf-8")
    with running(folder) as environment:
        lab(folder, environment, "run", "--row", "plain")
    return the_run(folder)


def told(title: str, columns: Columns) -> list[str]:
    """A part of the page."""
    results: tuple[Result, ...] = ("exact", "among", "other", "unknown", "wrong", "blamed")
    lines = [f"### {title}", "", f"| | {' | '.join(results)} |", f"|---|{'---|' * len(results)}"]
    for column, outcomes in columns.items():
        counted = summary(outcomes)
        lines.append(f"| {column} | {' | '.join(str(counted[one]) for one in results)} |")
    return [*lines, "", *matrix(columns), ""]


def versions() -> str:
    """What it was made with."""
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr.strip()
    return f"Made with {nginx.rpartition(' ')[2]} on Linux {os.uname().release}, in namespaces, as root."


def main(packs: Sequence[str]) -> None:
    """Run all, write the page."""
    sources = [Path(one) for one in packs] or [ROOT / "labs" / "nginx-timeouts"]
    lines = [versions(), "", *told("The cases of the tests", own())]
    for source in sources:
        lines += told(f"labs/{source.name}", pack(source))
    before = DOCUMENT.read_text("utf-8").partition(MARK)[0]
    DOCUMENT.write_text(f"{before}{MARK}\n" + "\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
