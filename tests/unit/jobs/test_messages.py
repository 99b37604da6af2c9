"""What parent and workers say to each other arrives as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from orchestrator.jobs.messages import (
    TO_PARENT,
    TO_WORKER,
    Begin,
    Failed,
    Interrupt,
    Leave,
    Perform,
    Performed,
    Said,
    Telling,
    ToParent,
    ToWorker,
    Up,
    receive,
    send,
)
from orchestrator.report.arrows import ASCII
from orchestrator.report.layout import Style
from orchestrator.report.run_timeline import Paper

STYLE = Style(100, True)
TELLING = Telling(style=STYLE, paper=Paper(STYLE, ASCII), quiet=True, timeline="calm")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.mark.parametrize(
    "message",
    [
        Begin(topology=b"{}", engine="fake", name="l-1", began=1.5, telling=TELLING),
        Perform(at=3, room=1 << 20),
        Leave(),
        Interrupt(),
    ],
)
def test_to_a_worker(pipe: tuple[int, int], message: ToWorker) -> None:
    send(pipe[1], message)
    assert TO_WORKER.decode(receive(pipe[0]) or b"") == message


@pytest.mark.parametrize(
    "message",
    [
        Up(),
        Performed(record=b"{}", recording=b"\0\xff", told="a\nb", spent=True),
        Failed(kind="EngineError", message="no", hint="yes"),
        Said(line="é"),
    ],
)
def test_to_the_parent(pipe: tuple[int, int], message: ToParent) -> None:
    send(pipe[1], message)
    assert TO_PARENT.decode(receive(pipe[0]) or b"") == message


def test_what_ends_amid_a_message_is_the_end() -> None:
    for whole in b"", b"\0", b"\0\0\0\5abc":
        reads, writes = os.pipe()
        os.write(writes, whole)
        os.close(writes)
        assert receive(reads) is None
        os.close(reads)
