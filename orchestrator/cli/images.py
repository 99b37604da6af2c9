"""`lab images`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from orchestrator.cli.ending import say
from orchestrator.errors import EngineUnavailable


@click.group("images")
def command() -> None:
    """The images that hosts are made from (the engine docker)."""


@command.command("build")
@click.argument("names", nargs=-1, metavar="[NAME]...")
def build(names: tuple[str, ...]) -> int:
    """Build the images that the project comes with, or those named."""
    from orchestrator.cli.progress import shown
    from orchestrator.engines import registry

    engine = registry.engine("docker")
    probe = engine.probe()
    if not probe.works:
        raise EngineUnavailable(f"images need a Docker Engine: {probe.reason}", probe.cure)
    build_images: Callable[..., Any] = getattr(engine, "build_images")  # noqa: B009 - the docker engine's own
    with shown("images") as progress:
        built = build_images(names, progress)
    say(f"ready: {', '.join(map(str, built))}")
    return 0
