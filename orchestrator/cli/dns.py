"""`lab dns`."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli.ending import harmless, say
from orchestrator.cli.impairing import asked_in_words, impairments, name_lines, tell
from orchestrator.cli.naming import complete_hosts, find, lab_options


@click.command("dns")
@lab_options
@click.argument("where", required=False, metavar="[HOST[:NAME]]", shell_complete=complete_hosts)
@click.argument("words", nargs=-1, metavar="[set KEY=VALUE… | clear]")
@click.option("--for", "seconds", metavar="TIME", help="How long, as 30s  [default: until it is cleared]")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout")
def command(
    name: str | None, path: str | None, where: str | None, words: tuple[str, ...], **given: Any
) -> int:
    """How a DNS server of the lab (a host with `dns:`) answers, for one name or for all.

    `lab dns ns:shop.lab set late=300ms` answers later; `answer=refused`, `servfail`, `nxdomain`, `empty`,
    `silent`, `truncated`, or `answer=10.0.0.9` answers otherwise. Each leaves the other as it is. `clear`: as
    usual again. Without anything: what is answered otherwise than usual.
    """
    from orchestrator.read import impairments as read

    with find(name, path) as lab:
        if where is not None and words:
            told = [where, *words, *([f"for={given['seconds']}"] if given["seconds"] else [])]
            spec = asked_in_words(lab, told, read.dns)
            return tell(lab, "answer", spec.request(lab.plan), given["as_json"])
        seen = impairments(lab)
        if given["as_json"]:
            from orchestrator.cli.status import print_json

            print_json({"lab": lab.key.name, "names": seen.get("names", [])})
            return 0
        found = list(name_lines(seen))
        for line in found:
            click.echo(harmless(line))
        if not found:
            say("all names are answered as usual")
        return 0
