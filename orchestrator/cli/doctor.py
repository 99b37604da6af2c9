"""`lab doctor`."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import click

import orchestrator
from orchestrator.cli.ending import harmless
from orchestrator.cli.status import print_json
from orchestrator.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.engines.base import Check, Found, Probe
    from orchestrator.model.machine_checks import MachineReport


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout")
def command(as_json: bool) -> int:
    """What works on this computer and what does not, tried by doing it, with every cure; and on the machines
    that ./lab.yaml names.

    Exit 0 where at least one engine works, else 3.
    """
    from orchestrator.cli.progress import shown
    from orchestrator.engines import registry
    from orchestrator.lab import all_found

    with shown("doctor") as progress:
        probes = []
        for name in registry.REAL:
            progress(f"trying the engine {name}")
            probes.append(probe(name))
        found, errors = all_found()
    reports = machines_here()
    if as_json:
        print_json(document(probes, found, reports))
    else:
        show(probes, found, errors)
        show_machines(reports)
    return 0 if any(one.works for one in probes) else 3


def probe(name: str) -> Probe:
    """A thorough one; an engine that cannot even be asked does not work."""
    from orchestrator.engines import registry
    from orchestrator.engines.base import Probe

    try:
        return registry.engine(name).probe(thorough=True)
    except (LabError, ImportError) as error:
        return Probe(
            engine=name, works=False, reason=str(error).splitlines()[0], cure=getattr(error, "hint", "")
        )


def versions() -> dict[str, str]:
    """What somebody who helps would ask first."""
    return {
        "lab": orchestrator.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def auto_choice(probes: list[Probe]) -> str:
    """What `auto` takes here."""
    from orchestrator.engines import registry

    works = {one.engine for one in probes if one.works}
    return next((name for name in registry.AUTO if name in works), "nothing")


def show(probes: list[Probe], found: list[Found], errors: list[LabError]) -> None:
    """One screen."""
    write("   ".join(f"{name} {value}" for name, value in versions().items()))
    for one in probes:
        write("")
        write(f"{mark(one.works)} engine {one.engine}: {one.reason}")
        for check in one.checks:
            show_check(check)
        if one.cure and one.cure not in {check.cure for check in one.checks if not check.ok}:
            write_cure(one.cure)
    write("")
    write(f"   engine: auto takes {auto_choice(probes)}")
    show_labs(found, errors)


def machines_here() -> list[MachineReport]:
    """Of the machines that the lab file of the current folder names, if there is one and it can be read."""
    from orchestrator.cli import machines
    from orchestrator.cli.naming import DEFAULT_FILE

    try:
        named = machines.in_file(DEFAULT_FILE)
    except (LabError, OSError):
        return []
    return machines.look(named) if named else []


def show_machines(reports: Sequence[MachineReport]) -> None:
    """As `lab machines` does."""
    from orchestrator.report.machines import lines

    if reports:
        write("")
        for line in lines(reports):
            write(f"   {line}".rstrip())


def show_check(check: Check) -> None:
    """One thing that was tried."""
    write(f"     {mark(check.ok)} {check.what}" + (f": {check.detail}" if check.detail else ""))
    if not check.ok and check.cure:
        write_cure(check.cure)


def show_labs(found: list[Found], errors: list[LabError]) -> None:
    """What runs, and what was left behind."""
    running = [one for one in found if one.state == "running"]
    stale = [one for one in found if one.state == "incomplete"]
    write("   labs: " + (", ".join(f"{one.key.name} ({one.engine})" for one in running) or "none running"))
    for one in stale:
        write(f"{mark(False)} left behind: {one.key.name} ({one.engine}): {one.what}")
    if stale:
        write_cure("lab gc")
    for error in errors:
        write(f"{mark(False)} {error}")


def mark(ok: bool) -> str:
    """Two letters that stay apart without colours."""
    return "ok" if ok else "--"


def write(line: str) -> None:
    """One line of the result."""
    click.echo(harmless(line))


def write_cure(cure: str) -> None:
    """Cures stand out by an arrow."""
    for line in cure.splitlines():
        write(f"        -> {line}")


def document(probes: list[Probe], found: list[Found], reports: Sequence[MachineReport]) -> dict[str, object]:
    """`--json`."""
    import msgspec

    from orchestrator.cli import machines

    return {
        "versions": versions(),
        "engines": msgspec.to_builtins(probes),
        "auto": auto_choice(probes),
        "labs": msgspec.to_builtins(found),
        **({"machines": machines.document(reports)["machines"]} if reports else {}),
    }
