"""`lab cut`."""

from __future__ import annotations

import click

from orchestrator.cli.impairing import asked_in_words, tell
from orchestrator.cli.naming import complete_hosts, find, lab_options


@click.command("cut")
@lab_options
@click.argument("one", shell_complete=complete_hosts)
@click.argument("other", shell_complete=complete_hosts)
@click.option("--for", "seconds", metavar="TIME", help="How long, as 30s  [default: until `lab heal`]")
@click.option("--one-way", is_flag=True, help="Only what the first sends to the other")
@click.option("--port", metavar="N", help="Only what has this port at either end")
@click.option("--kind", metavar="K", help="Of TCP: syn, syn-ack, ack, data, fin, rst, new, established")
@click.option("--packets", metavar="N", help="So many of them, and then no more")
@click.option("--reject", metavar="HOW", help="Answer with rst or icmp, instead of silence")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout")
def command(name: str | None, path: str | None, one: str, other: str, as_json: bool, **given: object) -> int:
    """Let nothing pass between two hosts (or all hosts of a `count`, or of a network).

    It is in force when the command returns: probes have seen each direction. It ends by itself, whoever is
    killed meanwhile. Exit 4: it could not be seen.
    """
    from orchestrator.read import impairments

    words = [one, other, *(["one-way"] if given["one_way"] else [])]
    options = {"port": "port", "kind": "kind", "packets": "packets", "reject": "reject", "seconds": "for"}
    words += [f"{key}={given[option]}" for option, key in options.items() if given[option] is not None]
    with find(name, path) as lab:
        spec = asked_in_words(lab, words, impairments.cut)
        return tell(lab, "cut", spec.request(lab.plan), as_json)
