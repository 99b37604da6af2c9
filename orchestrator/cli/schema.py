"""`lab schema`."""

from __future__ import annotations

import click

from orchestrator.cli.status import print_json


@click.command("schema")
def command() -> int:
    """Print the JSON schema of lab.yaml, for editors: it says what `lab validate` says."""
    from orchestrator.read.schema import json_schema

    print_json(json_schema())
    return 0
