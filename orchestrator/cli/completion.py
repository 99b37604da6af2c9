"""`lab completion`."""

from __future__ import annotations

import os

import click
from click.shell_completion import get_completion_class

from orchestrator.errors import UsageError

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", required=False, type=click.Choice(SHELLS))
def command(shell: str | None) -> int:
    """Print a script that completes verbs, options, labs and hosts.

    \b
    bash:  eval "$(lab completion bash)"          in ~/.bashrc
    zsh:   eval "$(lab completion zsh)"           in ~/.zshrc
    fish:  lab completion fish | source           in ~/.config/fish/config.fish
    """
    from orchestrator.cli.verbs import lab

    chosen = shell or os.path.basename(os.environ.get("SHELL", ""))
    kind = get_completion_class(chosen)
    if kind is None:
        raise UsageError(f"which shell? {', '.join(SHELLS)}")
    complete = kind(lab, {}, "lab", "_LAB_COMPLETE")
    click.echo(complete.source_template % complete.source_vars())  # source() would ask bash for its version
    return 0
