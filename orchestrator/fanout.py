"""Many requests on one channel, several under way at once: hundreds of hosts must not cost a round trip
each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from orchestrator.errors import DaemonError, LabError
from orchestrator.wire import Channel, Message, to_error

WINDOW = 64  # requests under way at once: enough to keep the daemon busy, few enough for its buffers


class Request(NamedTuple):
    """One request: `op` with its arguments, and pieces of input that end with {"eof": true} (None: no
    input).
    """

    op: str
    arguments: dict[str, Any]
    pieces: Callable[[], Iterator[bytes]] | None = None


class Answer(NamedTuple):
    """What came of one request: its value, or the error."""

    request: Request
    value: Message
    error: LabError | None = None


def ask_all(
    channel: Channel, requests: Iterable[Request], answered: Callable[[Answer], None] | None = None
) -> list[Answer]:
    """Ask them all and collect the answers, in the order of the requests. Errors of single ones are
    returned.
    """
    waiting = list(requests)
    answers: dict[int, Answer] = {}
    flying: dict[int, int] = {}  # id → place in `waiting`
    sent = 0
    while len(answers) < len(waiting):
        while sent < len(waiting) and len(flying) < WINDOW:
            flying[_send(channel, waiting[sent])] = sent
            sent += 1
        message, _ = channel.receive()
        place = flying.get(message.get("id", -1))
        if place is None or not ("ok" in message or "error" in message):
            continue
        del flying[message["id"]]
        answers[place] = _answer(waiting[place], message)
        if answered is not None:
            answered(answers[place])
    return [answers[place] for place in range(len(waiting))]


def _send(channel: Channel, request: Request) -> int:
    number = channel.ask(request.op, **request.arguments)
    if request.pieces is not None:
        for piece in request.pieces():
            channel.feed(number, piece)
        channel.feed(number, eof=True)
    return number


def _answer(request: Request, message: Message) -> Answer:
    if "error" in message:
        return Answer(request, {}, to_error(message["error"]))
    value = message["ok"]
    return Answer(request, value if isinstance(value, dict) else {})


def raise_first(answers: Iterable[Answer]) -> None:
    """Raise the first error among them, and say how many there are more."""
    errors = [answer for answer in answers if answer.error is not None]
    if not errors:
        return
    first = errors[0].error
    assert first is not None
    where = errors[0].request.arguments.get("host")
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    kind = type(first) if type(first).__init__ is LabError.__init__ else DaemonError
    raise kind(
        f"{where}: {first.message}{more}" if where else f"{first.message}{more}", first.hint
    ) from first


def until(deadline: float, look: Callable[[], bool], pause: float = 0.05) -> bool:
    """Look again and again until it is so (True), or time.monotonic() passes the deadline (False)."""
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True
