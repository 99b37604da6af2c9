"""How a command line names a lab: `--lab NAME`, its file, or nothing; and how names are completed."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from orchestrator.errors import LabError, NoSuchLab, UsageError

if TYPE_CHECKING:
    from orchestrator.lab import Lab

DEFAULT_FILE = "lab.yaml"
ENGINES = ("auto", "namespaces", "docker")
Function = TypeVar("Function", bound=Callable[..., Any])


class EngineName(click.Choice[str]):
    """The engines that are offered; `fake` is taken too, for tests."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "fake" else super().convert(value, param, ctx)


def file_option(function: Function) -> Function:
    """`-f FILE`."""
    return click.option(
        "-f",
        "--file",
        "path",
        metavar="FILE",
        shell_complete=complete_files,
        help="The lab file  [default: lab.yaml]",
    )(function)


def engine_option(function: Function) -> Function:
    """`--engine E`, for what brings a lab up."""
    return click.option(
        "--engine",
        type=EngineName(ENGINES),
        metavar="E",
        default=None,
        help="auto, namespaces or docker; the file's own choice unless given",
    )(function)


def lab_options(function: Function) -> Function:
    """`--lab NAME` and `-f FILE`: which running lab is meant."""
    named = click.option(
        "--lab", "name", metavar="NAME", shell_complete=complete_labs, help="The running lab, by name"
    )
    return named(file_option(function))


def find(name: str | None, path: str | None) -> Lab:
    """The running lab that is meant: by name, by file, by ./lab.yaml, or the only one that runs."""
    from orchestrator.cli.machines import prompting
    from orchestrator.lab import Lab, all_found

    if name and path:
        raise UsageError("--lab and -f both name a lab; give one of them")
    prompting()
    if name is None and path is None and not os.path.exists(DEFAULT_FILE):
        running = sorted({found.key.name for found in all_found()[0] if found.state == "running"})
        if len(running) != 1:
            what = f"which lab? {', '.join(running)} run" if running else "no lab is running"
            raise NoSuchLab(
                what,
                "name one with --lab NAME, or its file with -f FILE" if running else "`lab up` brings one up",
            )
        name = running[0]
    return Lab.find(name or name_in(path or DEFAULT_FILE))


def name_in(path: str) -> str:
    """The name that a lab file gives its lab."""
    from orchestrator.read import read_file

    return read_file(path).name


def complete_files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Left to the shell."""
    return [CompletionItem(incomplete, type="file")]


def complete_labs(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Names of labs that run on the engine that is quick to ask."""
    from orchestrator.engines import registry
    from orchestrator.owner import owner

    try:
        found = registry.engine("namespaces").find(owner())
    except (LabError, OSError, ImportError):
        return []
    return sorted({lab.key.name for lab in found if lab.key.name.startswith(incomplete)})


def complete_scenarios(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Scenarios of the file that is meant."""
    from orchestrator.read import read_file

    try:
        scenarios = read_file(context.params.get("path") or DEFAULT_FILE).scenarios
    except (LabError, OSError):
        return []
    return [name for name in dict.fromkeys(one.name for one in scenarios) if name.startswith(incomplete)]


def complete_hosts(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Hosts of the lab that is meant, as far as that can be said quickly."""
    return [name for name in _host_names(context.params) if name.startswith(incomplete)]


def complete_host_paths(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """HOST: or a file of this computer."""
    hosts = [
        CompletionItem(f"{name}:")
        for name in _host_names(context.params)
        if f"{name}:".startswith(incomplete)
    ]
    return hosts or [CompletionItem(incomplete, type="file")]


def _host_names(params: dict[str, Any]) -> list[str]:
    """From the file, which is quick; from a running lab where one is named or there is no file."""
    path = params.get("path") or DEFAULT_FILE
    try:
        if params.get("name") is None and os.path.exists(path):
            return names_in(path)
        with find(params.get("name"), None) as lab:
            return lab.names()
    except (LabError, OSError):
        return []


def names_in(path: str) -> list[str]:
    """Routers and hosts that a lab file makes."""
    from orchestrator.read import read_file

    topology = read_file(path)
    hosts = [
        f"{h.name}-{n}" if h.count > 1 else h.name for h in topology.hosts for n in range(1, h.count + 1)
    ]
    return [router.name for router in topology.routers] + hosts
