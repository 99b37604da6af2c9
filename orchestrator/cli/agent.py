"""`lab agent`."""

from __future__ import annotations

import click

from orchestrator.cli.naming import complete_hosts, find, lab_options


@click.command("agent")
@lab_options
@click.argument("host", required=False, shell_complete=complete_hosts)
def command(name: str | None, path: str | None, host: str | None) -> int:
    """A prompt for the socket agent of a host: type a step, see what it returns and both ends change.

    A line is a step in the short form of lab.yaml (docs/lab-yaml.md), of HOST unless it names another one.
    `expect: {…}`, `wait: 1s` and the other steps work too. `rows`, `listeners` and `open` show what there is,
    `help` the verbs. Ctrl-C ends a step that waits, Ctrl-D the session; what was opened in it is closed then.
    A trailing `&` leaves a step running; it is told when it ends, before the next prompt. Tab completes, and
    lines of earlier sessions are kept.

    \b
    web> listen :80 as door
    web> accept door as conn &
    web> alice: connect web:80 as call
    web> alice: send call hello
    web> expect: {connection: alice.call, server.rx_queue: 5}

    From a pipe lines are performed without a prompt, up to the first that fails. Exit: 0 all went well,
    1 a step or an expectation failed, 2 a line is wrong, 3 the infrastructure failed, 4 a verdict is unknown.

    \b
    printf 'listen :80 as door\\nalice: connect web:80\\n' | lab agent web
    """
    with find(name, path) as lab:
        if host is not None:
            lab.host(host)
        from orchestrator.cli.prompt import Prompt

        return Prompt(lab, host).run()
