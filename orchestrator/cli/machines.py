"""`lab machines`."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from orchestrator.cli.naming import DEFAULT_FILE, file_option
from orchestrator.cli.status import print_json
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.model.machine_checks import MachineReport
    from orchestrator.model.machines import Machine

_PROMPTS = threading.Lock()  # one at a time, however many machines want a password


@click.command("machines")
@file_option
@click.argument("urls", nargs=-1, metavar="[URL]...")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout")
def command(path: str | None, urls: tuple[str, ...], as_json: bool) -> int:
    """Look at the machines of a file, or at those named as `ssh://user@host` or `local`, side by side.

    All that is wrong is said at once, each with its cure. Nothing is made or changed on them. Exit 0 where a
    lab can be on all of them, else 3.
    """
    if path and urls:
        raise UsageError("-f and URLs both name machines; give one of them")
    machines = _named(urls) if urls else in_file(path or DEFAULT_FILE)
    if not machines:
        raise UsageError(
            f"{path or DEFAULT_FILE} names no machines", "`lab machines ssh://user@host` looks at one"
        )
    reports = look(machines)
    if as_json:
        print_json(document(reports))
    else:
        from orchestrator.report.machines import lines

        for line in lines(reports):
            click.echo(line)
    return 0 if all(report.ready for report in reports) else 3


def in_file(path: str) -> Sequence[Machine]:
    """The machines that a file names."""
    from orchestrator.read import read_file

    if not os.path.exists(path):
        raise UsageError(f"{path} is not there", "name a file with -f, or machines by their URLs")
    return read_file(path).machines


def look(machines: Sequence[Machine]) -> list[MachineReport]:
    """A report of each."""
    from orchestrator.cli.progress import shown
    from orchestrator.engines import docker_checks
    from orchestrator.machines.base import open_machine

    addresses = {one.name: one.address for one in machines if one.address}
    lines = [open_machine(one.name, one.url, ask) for one in machines]
    try:
        with shown("machines") as progress:
            progress(f"looking at {len(lines)} machine{'' if len(lines) == 1 else 's'}")
            return docker_checks.look(lines, addresses=addresses)
    finally:
        for line in lines:
            line.close()


def ask(question: str) -> str | None:
    """A secret, of a user at a terminal. It is shown nowhere."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    with _PROMPTS:
        secret = click.prompt(
            question, default="", hide_input=True, err=True, prompt_suffix="", show_default=False
        )
    return str(secret) or None


def prompting() -> None:
    """From now on the password of a machine may be asked for."""
    from orchestrator.engines import registry

    registry.ask_secrets(ask)


def document(reports: Sequence[MachineReport]) -> dict[str, object]:
    """`--json`."""
    import msgspec

    found = [{**msgspec.to_builtins(report), "ready": report.ready} for report in reports]
    return {"machines": found, "ready": all(report.ready for report in reports)}


def _named(urls: Sequence[str]) -> Sequence[Machine]:
    """Each called by its host's name, unless two have the same."""
    from orchestrator.model.machines import Machine, ssh_url

    found: dict[str, Machine] = {}
    for url in urls:
        parts = ssh_url(url)
        short = parts.host if parts else "local" if url == "local" else f"machine-{len(found) + 1}"
        name = short if short not in found else f"{short}-{len(found) + 1}"
        found[name] = Machine(name=name, url=url)
    return list(found.values())
