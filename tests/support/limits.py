"""Limits of tests that guard against work without bound; how long things take is measured in bench/."""

from __future__ import annotations

# Seconds of CPU. Bad input is refused within a second, see docs/benchmarks.md (half of that for the largest
# case); where processors share a core it takes twice that. What is guarded against, an alias bomb say, takes
# minutes.
BLOW_UP = 6.0
