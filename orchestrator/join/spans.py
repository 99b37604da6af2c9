"""How long an end was in each state."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.join.tcp import NO_SIGN, Step
from orchestrator.model.events import UNKNOWN, Source, Span

PACKET_ERROR = 20e-6  # seconds between the tap and the kernel's own change of state; 13 were measured


def spans(steps: Sequence[Step], source: Source, error: float) -> tuple[Span, ...]:
    """Each step lasts until the next."""
    found: list[Span] = []
    for at, step in enumerate(steps):
        after = steps[at + 1] if at + 1 < len(steps) else None
        unsure = step.state == "ESTABLISHED" and not step.sure and after is None
        found.append(
            Span(
                state=UNKNOWN if unsure else step.state,
                began=(step.earliest + step.latest) / 2,
                ended=None if after is None else (after.earliest + after.latest) / 2,
                error=error + (step.latest - step.earliest) / 2,
                source=source,
                why=NO_SIGN if unsure else "",
            )
        )
    return tuple(found)
