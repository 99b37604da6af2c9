"""An expectation on a running lab, from its beginning to its verdict: which looks it asks for, and when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from threading import Event

import msgspec

from orchestrator.model.runs import worst
from orchestrator.model.steps import Expectation
from orchestrator.scenarios import checks, happened, lasted, timing
from orchestrator.scenarios.observation import Judgement, Observation
from orchestrator.scenarios.observer import PAUSE, Observer
from orchestrator.scenarios.past import Past
from orchestrator.scenarios.timing import Look

PAUSE_OF_PAST = 0.020  # seconds between two looks at what has happened, which packets reach so late anyway


class Expecting:
    """One expectation. `settle`: takes what has ended into the ledger, before each look. `stop`: when set,
    the looking ends."""

    def __init__(
        self, step: Expectation, observer: Observer, past: Past, settle: Callable[[], None], stop: Event
    ) -> None:
        self._step, self._observer, self._past = step, observer, past
        self._settle, self._stop = settle, stop
        self._began = time.monotonic()

    def judged(self) -> Judgement:
        """The verdict, when it is known."""
        judgement = self._within() if self._step.lasting is None else self._lasting(self._step.lasting)
        if self._stop.is_set() and judgement.verdict == "unknown":
            judgement = msgspec.structs.replace(judgement, why="ended before it was known")
        return judgement

    def _within(self) -> Judgement:
        step = self._step

        def judge(seen: Observation) -> Judgement:
            return checks.judge(step, seen)

        if not step.happened:
            return timing.within(judge, self._looks(step), self._began, step.within)
        looks = self._looks_at_the_past()
        if any(check.field != checks.COUNT for check in step.seen):
            return timing.within(judge, looks, self._began, step.within)
        return timing.happened(judge, looks, self._began, step.within)

    def _lasting(self, seconds: float) -> Judgement:
        """What looks can tell is looked at all the while, what happened is asked at the end."""
        step, parts = self._step, []
        now = step if not step.happened else msgspec.structs.replace(step, checks=step.seen)
        if now.checks:
            looked = timing.lasting(
                lambda seen: checks.judge(now, seen), self._looks(now), self._began, seconds
            )
            if looked.verdict == "fail":
                return looked
            parts.append(looked)
        else:
            self._stop.wait(seconds)
        if lasted.tells(now) or step.happened:
            seen = self._look_at_the_past().seen
            parts = [lasted.judge(now, one, seen, self._began) for one in parts]
            if step.happened:
                parts.append(timing.stood(happened.judge(step, seen), self._began))
        return parts[0] if len(parts) == 1 else together(parts)

    def _looks(self, step: Expectation) -> Iterator[Look[Observation]]:
        """One look after the other, until the run is ended; each knows of all that has ended before it."""
        while True:
            self._settle()
            yield self._observer.look(step)
            if self._stop.is_set():
                return
            time.sleep(PAUSE)

    def _looks_at_the_past(self) -> Iterator[Look[Observation]]:
        """No more than half of the time is spent on them."""
        while True:
            look = self._look_at_the_past()
            yield look
            if self._stop.wait(max(PAUSE_OF_PAST, look.ended - look.began)):
                yield self._look_at_the_past()
                return

    def _look_at_the_past(self) -> Look[Observation]:
        """The tables first: they are in the record, too, and say which rows there are."""
        self._settle()
        look = self._observer.look(self._step)
        recorded = self._past.until_now(look.seen.descriptors)
        return Look(look.began, time.monotonic(), msgspec.structs.replace(look.seen, recorded=recorded))


def together(parts: list[Judgement]) -> Judgement:
    """One verdict of several."""
    verdict = worst(tuple(one.verdict for one in parts))
    return Judgement(
        verdict=verdict,
        expected=", ".join(one.expected for one in parts),
        observed=", ".join(one.observed for one in parts),
        evidence=tuple(line for one in parts for line in one.evidence),
        why=next((one.why for one in parts if one.verdict == "unknown"), "") if verdict == "unknown" else "",
    )
