"""`lab heal`."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli.ending import say
from orchestrator.cli.naming import complete_hosts, find, lab_options
from orchestrator.errors import UsageError


@click.command("heal")
@lab_options
@click.argument("ends", nargs=-1, metavar="[HOST [HOST]]", shell_complete=complete_hosts)
def command(name: str | None, path: str | None, ends: tuple[str, ...]) -> int:
    """Take back all cuts and all that links were set to, also what the lab file declares; or the cuts of one
    host, or those between two. `lab up` puts back what the file declares.
    """
    from orchestrator.model.impairments import who

    if len(ends) > 2:
        raise UsageError("name one host or two")
    with find(name, path) as lab:
        sides = [who(lab.plan, end) for end in ends]
        for end, side in zip(ends, sides, strict=True):
            if not side:
                lab.host(end)
        told: dict[str, Any] = dict(zip(("from", "to"), sides, strict=False))
        healed = lab.channel.call("heal", **told).get("healed", 0)
    say(f"{healed} taken back" if healed else "nothing was impaired")
    return 0
