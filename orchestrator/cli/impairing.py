"""What `lab cut`, `lab link` and `lab status` share: words read as in a scenario, and what is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrator.cli.ending import harmless, say
from orchestrator.errors import DaemonError, UsageError

if TYPE_CHECKING:
    from orchestrator.lab import Lab
    from orchestrator.read.findings import Findings
    from orchestrator.read.impairments import Ends
    from orchestrator.read.words import Word

Spec = TypeVar("Spec")
_KEY = re.compile("([a-z]+)=(.*)", re.S)


def asked_in_words(
    lab: Lab, words: Sequence[str], read: Callable[[list[Word], Ends, Findings, str], Spec | None]
) -> Spec:
    """What the words of a command line ask for. Raises UsageError with all that is wrong."""
    from orchestrator.read.findings import Findings
    from orchestrator.read.people import Residents
    from orchestrator.read.words import Word

    findings = Findings("")
    people = Residents.of(lab.plan)
    found = [
        Word(1, at, match[2], key=match[1]) if (match := _KEY.fullmatch(word)) else Word(1, at, word)
        for at, word in enumerate(words, 1)
    ]
    said = " ".join(word for word in words if not word.startswith("for="))
    spec = read(found, people.ends(), findings, said)
    if spec is None:
        wrong = [one.text for one in findings.take()]
        raise UsageError("; ".join(wrong) or "this cannot be read")
    return spec


def tell(lab: Lab, op: str, arguments: dict[str, Any], as_json: bool) -> int:
    """Ask for it; exit 4 where it could not be seen."""
    from orchestrator.cli.status import print_json
    from orchestrator.scenarios.impairing import doubtful

    answer = lab.channel.call(op, **arguments)
    doubts = doubtful(answer)
    if as_json:
        print_json(answer)
    elif op == "answer":
        say(f"{harmless(str(arguments['text']))}{_for(arguments)}: in force")
    elif op == "heal":
        say("put back in" if answer.get("healed") else "nothing was pulled out")
    else:
        say(
            f"{harmless(str(arguments['text']))}{_for(arguments)}: "
            + ("not verified" if doubts else "in force, verified")
        )
    if doubts:
        say(f"lab: {harmless(doubts)}")
    return 4 if doubts else 0


def _for(arguments: dict[str, Any]) -> str:
    seconds = arguments.get("seconds")
    return f" for {seconds:g} s" if seconds else ""


def impairments(lab: Lab) -> dict[str, Any]:
    """What the daemon says of them; nothing where it knows of none."""
    try:
        return lab.channel.call("impairments")
    except DaemonError:
        return {}


def show_links(lab: Lab, where: str | None, as_json: bool) -> int:
    """What links are like, and what is cut."""
    from orchestrator.cli.status import print_json, print_table

    seen = impairments(lab)
    host, _, network = (where or "").partition(":")
    if host and lab.plan.host(host) is None and host not in [one.name for one in lab.plan.networks]:
        lab.host(host)
    links = [
        one
        for one in seen.get("links", [])
        if not host or (host in (one["host"] or one["network"]) and network in ("", one["network"]))
    ]
    if as_json:
        print_json({"lab": lab.key.name, "links": links, "impairments": seen.get("impairments", [])})
    elif links:
        print_table([("LINK", "IS LIKE"), *((_named(one), _like(one)) for one in links)])
    else:
        say("all links are as usual")
    if not as_json and where is None:
        for line in lines({"impairments": seen.get("impairments", [])}):
            click.echo(harmless(line))
    return 0


def lines(seen: dict[str, Any]) -> Iterator[str]:
    """A line for each link that is not as usual, and for each cut."""
    for one in seen.get("links", []):
        yield f"link {_named(one)}: {_like(one)}"
    yield from name_lines(seen)
    for one in seen.get("impairments", []):
        if one.get("kind") == "cut":
            left = "" if one.get("left") is None else f", {one['left']:.1f} s left"
            yield f"{one.get('text')}{left}"
        if one.get("failed"):
            yield f"{one.get('text')}: not in force: {one['failed']}"


def name_lines(seen: dict[str, Any]) -> Iterator[str]:
    """A line for each name that is not answered as usual."""
    for one in seen.get("names", []):
        late = f" late={one['late'] * 1000:g}ms" if one.get("late") else ""
        answer = one.get("answer") or ""
        said = f" answer={answer if isinstance(answer, str) else ','.join(answer)}" if answer else ""
        yield f"dns {one['host']}{':' if one['name'] else ''}{one['name']}:{late}{said}"


def echo_lines(seen: dict[str, Any]) -> None:
    """Those, below a table."""
    for line in lines(seen):
        click.echo(harmless(line))


def _named(one: dict[str, Any]) -> str:
    return f"{one['host']}:{one['network']}" if one["host"] else str(one["network"])


def _like(one: dict[str, Any]) -> str:
    from orchestrator.model.impairments import DURATIONS, LINK_KEYS, PARTS

    said = []
    for key in LINK_KEYS:
        if value := one.get(key):
            if key in DURATIONS:
                said.append(f"{key}={value * 1000:g}ms")
            elif key in PARTS:
                said.append(f"{key}={value * 100:g}%")
            else:
                said.append(f"{key}={value * 8 / 1e6:g}mbit")
    return " ".join(said)
