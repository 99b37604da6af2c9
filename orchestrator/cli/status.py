"""`lab status`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.ending import harmless, say
from orchestrator.cli.naming import complete_labs, find, lab_options
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.lab import Lab


@click.command("status")
@click.argument("which", required=False, metavar="[NAME]", shell_complete=complete_labs)
@lab_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout")
def command(which: str | None, name: str | None, path: str | None, as_json: bool) -> int:
    """The labs of yours that run; with a name (or -f FILE) the hosts of that one.

    One that is not `running` is `starting` or `removing` while a command is at work on it, else `incomplete`:
    `lab gc` removes what is left of it. `silent`: its daemon does not answer; `lab down NAME` removes it.
    """
    if which and (name or path):
        raise UsageError("name one lab")
    if which or name or path:
        with find(which or name, path) as lab:
            show_hosts(lab, as_json)
        return 0
    return show_labs(as_json)


def show_labs(as_json: bool) -> int:
    """Every lab of this user on every engine."""
    from orchestrator.cli.machines import prompting
    from orchestrator.lab import all_found

    prompting()
    found, errors = all_found()
    for error in errors:
        say(f"lab: {error}")
    if as_json:
        print_json(
            {
                "labs": [
                    {"name": f.key.name, "engine": f.engine, "state": f.state, "what": f.what} for f in found
                ]
            }
        )
    elif found:
        print_table(
            [("LAB", "ENGINE", "STATE", "WHAT"), *((f.key.name, f.engine, f.state, f.what) for f in found)]
        )
    else:
        say("no lab is running")
    return 3 if errors else 0


def show_hosts(lab: Lab, as_json: bool) -> None:
    """How each host of one lab is, and what is impaired."""
    from orchestrator.cli.impairing import echo_lines, impairments

    seen = {str(host.get("name")): host for host in lab.hosts()}
    if as_json:
        hosts = [seen.get(name, {"name": name, "alive": False}) for name in lab.names()]
        impaired = {key: impairments(lab).get(key, []) for key in ("links", "names", "impairments")}
        about = {"lab": lab.key.name, "engine": lab.engine.name, "file": lab.plan.path}
        print_json({**about, "hosts": hosts, **impaired})
        return
    click.echo(harmless(f"lab {lab.key.name}, engine {lab.engine.name}, from {lab.plan.path or 'no file'}"))
    rows = [("HOST", "KIND", "ADDRESSES", "STATE", "LISTENS", "CONNECTED", "PROGRAM")]
    for host in lab.plan.hosts:
        addresses = [a for i in host.interfaces for a in (i.address, i.address6) if a]
        state = seen.get(host.name, {})
        rows.append((host.name, host.role or host.kind, " ".join(addresses), *how(state)))
    print_table(rows)
    echo_lines(impairments(lab))


def how(state: dict[str, Any]) -> tuple[str, str, str, str]:
    """Columns STATE, LISTENS, CONNECTED and PROGRAM of one host."""
    ports = " ".join(map(str, sorted({one.get("port", 0) for one in state.get("listening", [])})))
    programs = ", ".join(program(one) for one in state.get("programs", []))
    alive, gone = "paused" if state.get("paused") else "up", "off" if state.get("off") else "gone"
    return (
        alive if state.get("alive") else gone,
        ports or "-",
        str(state.get("connected") or "-"),
        programs or "-",
    )


def program(one: dict[str, Any]) -> str:
    """A program's command and how it is."""
    argv = " ".join(map(str, one.get("argv", [])))
    if one.get("state") == "running":
        return argv
    ending = f"signal {one['signal']}" if one.get("signal") else f"exit {one.get('exit')}"
    return f"{argv} ({ending})"


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Columns as wide as they need to be."""
    clean = [[harmless(cell).replace("\n", " ").replace("\t", " ") for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in clean) for i in range(len(clean[0]))]
    for row in clean:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_json(document: Any) -> None:
    """One document, and nothing else, on stdout."""
    import json

    click.echo(json.dumps(document, indent=2, ensure_ascii=True))
