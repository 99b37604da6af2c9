"""Calls of a step: sent to an agent all at once, their answers taken into the ledger and judged."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from orchestrator.errors import AgentError, AgentGone, LabError
from orchestrator.model.runs import CallResult
from orchestrator.model.steps import TIMED_OUT, Call, Resolve
from orchestrator.requests import Pending, Requests
from orchestrator.scenarios.heartbeat import Heartbeat
from orchestrator.scenarios.ledger import Ledger, address, call_result
from orchestrator.scenarios.observation import StepResult
from orchestrator.scenarios.recorder import Recorder
from orchestrator.wire import Frame

INTERRUPTING = 2.0  # seconds for an agent to end what waits
GRACE = 15.0  # seconds beyond its timeout after which a call that was not answered is given up


class StepFailed(Exception):
    """A step did not do what it had to; the steps after it rely on it."""


class Answered(NamedTuple):
    """All calls of a step, ended. `first`: the first that went wrong, else the first."""

    results: list[CallResult]
    bad: list[CallResult]
    first: CallResult


class UnderWay:
    """The calls of a step under way, in their order. `label`: by which they can be interrupted. `answered`:
    what came of them, once that is in the ledger, where it is put by one thread (`taking`)."""

    def __init__(self, step: Call, pending: list[Pending], began: float, label: int) -> None:
        self.step, self.pending, self.began, self.label = step, pending, began, label
        self.answered: Answered | None = None
        self.taking = threading.Lock()

    @property
    def done(self) -> bool:
        """Whether all are answered."""
        return all(one.done for one in self.pending)


class Calls:
    """The calls of one scenario. When `stop` is set, waiting for an answer ends with StepFailed."""

    def __init__(
        self,
        requests: Requests,
        resolve: Resolve,
        ledger: Ledger,
        *,
        heartbeat: Heartbeat,
        recorder: Recorder,
        stop: threading.Event,
    ) -> None:
        self._requests, self._resolve, self._ledger = requests, resolve, ledger
        self._heartbeat, self._recorder, self._stop = heartbeat, recorder, stop
        self._labels = itertools.count(1)

    def begin(self, step: Call) -> UnderWay:
        """Send all calls of a step."""
        if step.name is not None:
            self._ledger.begin((step.host, step.name))
        label = next(self._labels)
        messages = [{**message, "label": label} for message in step.messages(self._resolve)]
        for message in messages:
            self._foresee(step, message)
        began = time.monotonic()
        pending = self._requests.begin_calls(messages, host=step.host, scoped=True)
        calls = UnderWay(step, pending, began, label)
        self._recorder.began(calls)
        return calls

    def interrupt(self, calls: UnderWay) -> None:
        """Those that still wait end with EINTR: they are answered when this returns. An agent that does not
        answer keeps them."""
        end = {"do": "interrupt", "of": calls.label}
        deadline = time.monotonic() + INTERRUPTING
        ending = self._requests.begin("call", host=calls.step.host, scoped=True, call=end)
        for one in (ending, *calls.pending):
            with contextlib.suppress(TimeoutError, LabError):
                one.answer(max(0.0, deadline - time.monotonic()))

    def _foresee(self, step: Call, message: dict[str, Any]) -> None:
        """What it opens begins with nothing. A connect under way has a row long before it is answered."""
        if step.opens and "as" in message:
            self._ledger.renew((step.host, message["as"]))
        name = message.get("as") or message.get("fd")
        if step.verb == "connect" and isinstance(name, str):
            self._ledger.expect((step.host, name), address((message["address"], message["port"])))

    def finish(self, calls: UnderWay) -> Answered:
        """Wait for the answers, and note what they say: once, whoever asks for it."""
        frames = [self._until_answered(one, calls.step.timeout) for one in calls.pending]
        with calls.taking:
            if calls.answered is None:
                calls.answered = self._take(calls, frames)
                self._recorder.ended(calls)
            return calls.answered

    def _take(self, calls: UnderWay, frames: Sequence[Frame | AgentError]) -> Answered:
        step = calls.step
        results = [self._answer(step, one) for one in frames]
        bad = [one for one in results if not accepted(step, one)]
        first = (bad or results)[0]
        if step.name is not None:
            self._ledger.end((step.host, step.name), self._step_result(results, first, calls))
        return Answered(results, bad, first)

    def _answer(self, step: Call, frame: Frame | AgentError) -> CallResult:
        """One answer, taken into the ledger."""
        if isinstance(frame, AgentError):
            return CallResult(refused=frame.message)
        result = call_result(frame.message, frame.data)
        if result.name is not None:
            key = (step.host, result.name)
            self._ledger.learn(key, result.fd, result.local, result.peer, inode=result.inode)
            count = frame.message.get({"recv": "result", "http": "received"}.get(step.verb, ""))
            if isinstance(count, int):
                self._ledger.receive(key, frame.data, count, bool(frame.message.get("eof")))
        self._ledger.did(step.host, said(step, result))
        return result

    def _until_answered(self, one: Pending, seconds: float) -> Frame | AgentError:
        """The answer, or why there was no call; StepFailed when the run is ended meanwhile."""
        deadline = time.monotonic() + seconds + GRACE
        while True:
            try:
                return one.answer(timeout=0.5)
            except AgentGone:
                raise
            except AgentError as error:
                return error
            except TimeoutError:
                if self._stop.is_set():
                    raise StepFailed("ended") from None
                if time.monotonic() > deadline:
                    raise AgentGone(
                        "an agent does not answer", "`lab status` shows how the hosts are"
                    ) from None

    def _step_result(self, results: Sequence[CallResult], first: CallResult, calls: UnderWay) -> StepResult:
        ended = max(one.ended for one in calls.pending)
        return StepResult(
            result=first.result,
            errno=first.errno,
            timed_out=first.timed_out,
            duration=max(one.duration for one in results),
            output=first.text,
            stalled=self._heartbeat.stalled(calls.began, ended),
        )


def accepted(step: Call, result: CallResult) -> bool:
    """Whether a call ended as it had to."""
    if result.refused:
        return False
    if not step.fails:
        return result.errno is None and not result.timed_out
    return (result.errno is not None and result.errno in step.fails) or (
        result.timed_out and TIMED_OUT in step.fails
    )


def why_bad(step: Call, result: CallResult, bad: int, count: int) -> str:
    """What went wrong with the first that did."""
    many = f" ({bad} of {count} calls)" if count > 1 else ""
    if result.refused:
        return result.refused + many
    ended = f"timed out after {step.timeout:g} s" if result.timed_out else (result.errno or "succeeded")
    more = f": {result.problem}" if result.problem else ""
    if step.fails:
        return f"it must fail with {' or '.join(step.fails)}, and {ended}{many}{more}"
    return f"{ended}{many}{more}"


def said(step: Call, result: CallResult) -> str:
    """A call and what came of it, on one line."""
    outcome = result.refused or result.errno or ("timed out" if result.timed_out else "")
    if not outcome:
        outcome = f"fd {result.fd}" if result.result is None else str(result.result)[:80]
    return f"{step.text}: {outcome}"
