"""`lab link`."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli.impairing import asked_in_words, show_links, tell
from orchestrator.cli.naming import complete_hosts, find, lab_options


@click.command("link")
@lab_options
@click.argument("where", required=False, metavar="[HOST[:NETWORK]]", shell_complete=complete_hosts)
@click.argument("words", nargs=-1, metavar="[set KEY=VALUE… | clear | down | up | flap]")
@click.option("--for", "seconds", metavar="TIME", help="How long, as 30s  [default: until it is cleared]")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout")
def command(
    name: str | None, path: str | None, where: str | None, words: tuple[str, ...], **given: Any
) -> int:
    """What a host's links are like, or (with a network's name) all that crosses a network.

    `lab link alice set delay=50ms loss=2%` holds what alice sends; other settings of the link stay. Keys:
    delay, jitter, loss, duplicate, reorder, corrupt, rate. `clear`: as usual again. `down` pulls the link
    out, `up` puts it back, `flap down=1s up=2s` does both in turn. Without anything: what links are like.
    """
    from orchestrator.read import impairments

    with find(name, path) as lab:
        if where is None or not words:
            return show_links(lab, where, given["as_json"])
        told = [where, *words, *([f"for={given['seconds']}"] if given["seconds"] else [])]
        spec = asked_in_words(lab, told, impairments.link)
        op, arguments = spec.request(lab.plan)
        return tell(lab, op, arguments, given["as_json"])
