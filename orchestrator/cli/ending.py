"""How a command ends: which exit code, and what is said on stderr. Nothing but results goes to stdout."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

from orchestrator.errors import LabError, TopologyError

if TYPE_CHECKING:
    import click

SIGPIPE_EXIT = 141  # 128 + SIGPIPE: what a shell reports for a program that a closed pipe ended
INTERRUPTED_EXIT = 130  # 128 + SIGINT
INFRASTRUCTURE = 3


class Terminated(BaseException):
    """SIGTERM or SIGHUP: unwinds as Ctrl-C does, so that a half-made lab is removed."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code; errors are said, never shown as a traceback."""
    _listen_for_endings()
    try:
        code = _call(arguments)
        sys.stdout.flush()
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        code = _ended_by(error)
    return code


def _ended_by(error: BaseException) -> int:
    """The exit code of what ended a command; what there is to say of it is said."""
    match error:
        case BrokenPipeError():
            _silence_stdout()
            return SIGPIPE_EXIT
        case KeyboardInterrupt():
            return INTERRUPTED_EXIT
        case Terminated():
            return 128 + error.number
        case BaseExceptionGroup():
            codes = [_ended_by(one) for one in error.exceptions]
            return INFRASTRUCTURE if INFRASTRUCTURE in codes else max(codes)
        case LabError():
            return _say_error(error)
    return _say_unexpected(error)


def _call(arguments: Sequence[str]) -> int:
    import click

    from orchestrator.cli.verbs import lab

    try:
        if "_LAB_COMPLETE" in os.environ:
            lab.main(prog_name="lab")
        # Not by main(), which answers a closed pipe with exit 1.
        with lab.make_context("lab", list(arguments)) as context:
            code = lab.invoke(context)
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.Abort:
        return INTERRUPTED_EXIT
    except click.ClickException as error:
        return _say_usage(error)
    return code if isinstance(code, int) else 0


def _say_usage(error: click.ClickException) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":  # since click 8.2: the help of a group without a verb
        say(error.format_message())
    else:
        where = f"\n  see `{context.command_path} --help`" if context else ""
        say(f"lab: {lower(error.format_message())}{where}")
    return 2


def _listen_for_endings() -> None:
    def end(number: int, _: FrameType | None) -> None:
        raise Terminated(number)

    signal.signal(signal.SIGTERM, end)
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:  # nohup(1) keeps its word
        signal.signal(hangup, end)


def _say_error(error: LabError) -> int:
    """Diagnostics are lines of their own, as compilers write them; anything else is headed by `lab:`."""
    if os.environ.get("LAB_DEBUG"):
        _traceback(error)
    say(str(error) if isinstance(error, TopologyError) else f"lab: {error}")
    return error.exit_code


def _say_unexpected(error: BaseException) -> int:
    if os.environ.get("LAB_DEBUG"):
        _traceback(error)
    text = str(error).splitlines() or [""]
    say(f"lab: a mistake of lab itself: {type(error).__name__}: {text[0]}")
    say("  LAB_DEBUG=1 shows where; please report it")
    return INFRASTRUCTURE


def _traceback(error: BaseException) -> None:
    import traceback

    say("".join(traceback.format_exception(error)).rstrip())


def _silence_stdout() -> None:
    """The reader has gone: Python's own flush at exit must not complain."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass


def say(text: str) -> None:
    """A diagnostic or progress: stderr, with control characters of names made harmless."""
    try:
        print(harmless(text), file=sys.stderr, flush=True)
    except OSError:
        pass  # nobody listens


def harmless(text: str) -> str:
    """Text of several lines, each made harmless."""
    if text.isascii() and text.isprintable():
        return text
    from orchestrator.report.harmless import harmless as line_made_harmless

    return "\n".join(map(line_made_harmless, text.split("\n")))


def lower(text: str) -> str:
    """Messages of click in the form of ours: no capital at the beginning, no full stop."""
    return text[:1].lower() + text[1:].rstrip(".") if text else text
