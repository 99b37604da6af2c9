"""When a line was written, by the time in it: lines of the real nginx; any clock, and any program."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from orchestrator.join.clock import Readings
from orchestrator.join.stamps import Clock, placed, stamps, written
from orchestrator.join.timeline import timeline
from orchestrator.model.recording import Reading, Recording, Said

S = 1_000_000_000
REAL = 1_795_840_277 * S  # 2026-11-28 04:31:17 UTC
RECORDED = json.loads((Path(__file__).parents[2] / "golden/stamps/lines.json").read_text())
HOUR = 3600.0


def steady(real: int = REAL, until: float = 100.0) -> list[Reading]:
    """A clock that shows `real` at 0."""
    return [Reading(float(t), real + round(t * S), 1e-6) for t in (0.0, until)]


def line(text: str, t: float, error: float = 0.13) -> Said:
    """One that came between t - error and t + error."""
    return Said(t=t, error=error, host="web", source="log", kind="line", text=text)


def placed_line(said: Said, readings: list[Reading], zone: int = 0) -> Said:
    """As a timeline has it."""
    (found,) = placed(
        Recording(
            lab="l", engine="namespaces", began=0, length=99, said=(said,), readings=(*readings,), zone=zone
        )
    )
    return found


@pytest.mark.parametrize("one", RECORDED, ids=[one["line"][:40] for one in RECORDED])
def test_what_nginx_and_syslog_write_is_read(one: dict[str, int | str]) -> None:
    before, after, zone = int(one["before"]), int(one["after"]), int(one["zone"])
    found = stamps(str(one["line"]))
    assert len(found) == 1
    ahead = 0 if found[0].zoned else zone * S
    assert found[0].first - ahead <= after, "it is never later"
    assert found[0].end - ahead > before, "and of this turn of the loop"
    said = line(str(one["line"]), 10.0, error=5.0)
    real = before - 10 * S
    place = placed_line(said, steady(real), zone)
    assert place.detail["stamp"] == found[0].text
    assert place.error < said.error
    assert place.t - place.error <= 10.0 + (after - before) / S
    assert place.t + place.error == pytest.approx(15.0)


@pytest.mark.parametrize(
    ("text", "first", "end"),
    [
        ("2026/11/28 04:31:17 [info] 7#7: *1 client timed out", 0, S),
        ("1795840277.250 GET / 200", 249_500_000, 251_000_000),
        ('10.0.0.1 - - [28/Nov/2026:04:31:17 +0000] "GET / HTTP/1.1" 200', 0, S),
        ('10.0.0.1 - - [28/Nov/2026:12:31:17 +0800] "GET / HTTP/1.1" 200', 0, S),
        ("2026-11-28T04:31:17+00:00 GET /", 0, S),
        ("<13>1 2026-11-28T01:01:17.123456-03:30 web app - - - hi", 123_455_500, 123_457_000),
        ("t=2026-11-28T04:31:17Z", 0, S),
        ("2026-11-28 04:31:17,500 INFO", 499_500_000, 501_000_000),
    ],
)
def test_forms_of_stamps(text: str, first: int, end: int) -> None:
    (found,) = stamps(text)
    assert (found.first - REAL, found.end - REAL) == (first, end)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "31795840277.250",
        "1795840277.2505",
        "10.1795840277.250",
        "2026/02/31 04:31:17",
        "2026/11/28 24:31:17",
        "0000-00-00T00:00:00Z",
        "2026-11-28T04:31:60Z",
        "28/Nov/2026:04:31:17",
        "١٧٩٥٨٤٠٢٧٧.٢٥٠",
        " " * 5000 + "1795840277.250",
    ],
)
def test_what_is_no_stamp(text: str) -> None:
    assert stamps(text) == []


def test_a_line_was_written_between_its_stamp_and_its_arrival() -> None:
    found = placed_line(line("1795840287.250 GET", 10.2), steady())
    assert found.t + found.error == pytest.approx(10.33)
    assert found.t - found.error == pytest.approx(10.25, abs=0.001)
    assert found.detail == {"stamp": "1795840287.250"}


def test_the_beginning_of_a_second_narrows_where_it_lies_within_the_arrival() -> None:
    text = "2026/11/28 04:31:27 [info]"  # at 10.0
    assert placed_line(line(text, 10.05), steady()).t - placed_line(line(text, 10.05), steady()).error > 9.999
    assert placed_line(line(text, 10.5), steady()) == line(text, 10.5), "it may be of the whole second"


@pytest.mark.parametrize(
    "text",
    [
        "1795840287.900 from the future",
        "1795836687.200 an hour old",
        "2026/11/28 12:31:27 [info] another zone",
        "[28/Nov/2026:03:31:27 +0000] quoted",
        "1795840287.050 cached for longer than the line was under way",
        "no time at all",
    ],
)
def test_what_contradicts_the_arrival_or_says_no_more_is_left(text: str) -> None:
    assert placed_line(line(text, 10.2), steady()) == line(text, 10.2)


def test_the_finest_counts_and_of_two_as_fine_the_first() -> None:
    text = "2026/11/28 04:31:27 upstream 1795840287.150, next 1795840287.190"
    assert placed_line(line(text, 10.1), steady()).detail["stamp"] == "1795840287.150"


def test_local_time_is_utc_or_the_computers() -> None:
    text = "2026/11/28 12:31:27 [info]"
    assert placed_line(line(text, 10.0), steady(), zone=8 * 3600).detail == {"stamp": "2026/11/28 12:31:27"}
    assert placed_line(line(text, 10.0), steady(), zone=-8 * 3600).detail == {}
    utc = "2026/11/28 04:31:27 [info]"
    assert placed_line(line(utc, 10.0), steady(), zone=8 * 3600).detail, "a program may have another TZ"
    zoned = "[28/Nov/2026:12:31:27 +0000]"
    assert placed_line(line(zoned, 10.0), steady(), zone=8 * 3600).detail == {}, "it says itself which"


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_clock_that_is_set_by_an_hour_between_two_readings(step: float) -> None:
    ahead = REAL + round(step * S)
    readings = [
        Reading(0.0, REAL, 0.0),
        Reading(10.0, REAL + 10 * S, 0.0),
        Reading(11.0, ahead + 11 * S, 0.0),
    ]
    readings.append(Reading(20.0, ahead + 20 * S, 0.0))
    for base in (REAL, ahead):
        text = f"{(base + 10 * S) // S}.400 GET"
        found = placed_line(line(text, 10.4), readings)
        assert found.t - found.error == pytest.approx(10.4, abs=0.001), "before it was set, or after"
    old = f"{(REAL + 15 * S) // S}.400 GET"
    assert placed_line(line(old, 15.4), readings).detail == {}, "no clock shows that any more"
    new = f"{(ahead + 15 * S) // S}.400 GET"
    assert placed_line(line(new, 15.4), readings).detail


def test_a_clock_that_is_set_by_little_leaves_the_error() -> None:
    ahead = REAL + S // 10
    readings = [
        Reading(0.0, REAL, 0.0),
        Reading(10.0, REAL + 10 * S, 0.0),
        Reading(11.0, ahead + 11 * S, 0.0),
    ]
    found = placed_line(line(f"{REAL // S + 10}.400 GET", 10.4), readings)
    assert found.t - found.error == pytest.approx(10.3, abs=0.001), "10.4 before it was set, 10.3 after"


@pytest.mark.parametrize(("step", "wrote"), [(0.1, 10.34), (-0.1, 10.5)])
def test_a_clock_that_was_set_by_little_is_known_where_only_one_can_be(step: float, wrote: float) -> None:
    """Between 10.35 and 10.36. By the other clock the stamp would be of a time when that was not."""
    ahead = REAL + round(step * S)
    readings = [Reading(t, REAL + round(t * S), 0.0) for t in (0.0, 10.35)]
    readings += [Reading(t, ahead + round(t * S), 0.0) for t in (10.36, 20.0)]
    real = (REAL if wrote < 10.35 else ahead) + round(wrote * S)
    found = placed_line(line(f"{real // S}.{real % S // 1_000_000:03} GET", wrote, error=0.15), readings)
    assert found.t - found.error == pytest.approx(wrote, abs=0.001)


def test_a_time_that_a_program_held_since_before_the_clock_was_set_says_nothing() -> None:
    behind = REAL - S // 2
    readings = [Reading(t, REAL + round(t * S), 0.0) for t in (0.0, 10.0)]
    readings += [Reading(t, behind + round(t * S), 0.0) for t in (10.1, 20.0)]
    held = line(
        f"{REAL // S + 9}.900 GET", 10.4, error=0.13
    )  # written at 10.35: by the clock now it is of 10.4
    assert placed_line(held, readings) == held


def test_without_a_reading_after_it_a_stamp_says_nothing() -> None:
    said = line("1795840287.250 GET", 10.2)
    assert placed_line(said, steady(until=10.3)) == said
    assert placed_line(said, []) == said


def test_other_things_that_are_said_are_left() -> None:
    note = structs.replace(line("1795840287.250", 10.2), source="note", kind="note")
    assert placed_line(note, steady()) == note


def test_a_timeline_has_it() -> None:
    said, readings = line("1795840287.250 GET", 10.2), tuple(steady())
    recording = Recording(lab="l", engine="fake", began=0.0, length=99.0, said=(said,), readings=readings)
    (event,) = timeline(recording).events
    assert event.t == pytest.approx(10.29, abs=0.001)
    assert event.error_s == pytest.approx(0.04, abs=0.001)
    assert (event.detail["text"], event.detail["stamp"]) == (said.text, "1795840287.250")


FORMS = st.sampled_from(["msec", "error", "local", "iso", "micro"])


def stamped(form: str, real: int, zone: int) -> str:
    """As a program writes it."""
    at = datetime.fromtimestamp(real // S, UTC)
    there = at.astimezone(timezone(timedelta(seconds=zone)))
    return {
        "msec": f"{real // S}.{real % S // 1_000_000:03}",
        "error": f"{there:%Y/%m/%d %H:%M:%S}",
        "local": f"[{there:%d/%b/%Y:%H:%M:%S %z}]",
        "iso": f"{there:%Y-%m-%dT%H:%M:%S%z}",
        "micro": f"{at:%Y-%m-%dT%H:%M:%S}.{real % S // 1000:06}Z",
    }[form]


@given(
    form=FORMS,
    wrote=st.floats(2, 40),
    cached=st.floats(0, 0.9),
    late=st.floats(0, 0.5),
    looks=st.floats(0, 0.5),
    steps=st.lists(
        st.tuples(st.floats(1, 45), st.sampled_from([3600, -3600, 86400, -900, 0.1, -0.1, 0.7, -1.3, 1e-4])),
        max_size=2,
    ),
    every=st.floats(1, 20),
    quarters=st.integers(-48, 56),
    real=st.integers(REAL, REAL + 2 * S),
)
def test_the_true_time_lies_in_what_is_said(
    *,
    form: str,
    wrote: float,
    cached: float,
    late: float,
    looks: float,
    steps: list[tuple[float, float]],
    every: float,
    quarters: int,
    real: int,
) -> None:
    """A clock that is set (once between two readings), a program that holds its time for a while, a line that
    comes late: when it was written is never excluded, and the arrival's bounds are only ever narrowed."""
    times = [every * n for n in range(int(60 / every) + 1)] + [60.0]
    gaps = [int(at / every) for at, _ in steps]
    steps = [one for one, gap in zip(steps, gaps, strict=True) if gaps.count(gap) == 1]

    def shown(t: float) -> int:
        return real + round(t * S) + sum(round(by * S) for at, by in steps if at <= t)

    readings = [Reading(t, shown(t), 1e-6) for t in times]
    zone = quarters * 900
    text = stamped(form, shown(max(0.0, wrote - cached)), zone)
    first, last = wrote - looks, wrote + late
    said = line(text, (first + last) / 2, (last - first) / 2)
    found = written(said, Clock(readings), {0, zone})
    assert found.t - found.error <= wrote + 1e-6
    assert found.t + found.error >= wrote - 1e-6
    assert found.error <= said.error + 1e-9
    assert found.t - found.error >= first - 1e-6
    assert found.t + found.error <= last + 1e-6


@given(st.text(), st.floats(-10, 100), st.floats(0, 10))
def test_any_line(text: str, t: float, error: float) -> None:
    found = placed_line(line(text, t, error), steady())
    assert found.error <= error + 1e-9


def test_readings_are_kept_where_the_clock_moved() -> None:
    readings = Readings()
    for second in range(1000):
        ahead = HOUR if second >= 500 else 0.0
        readings.mapping([second * S, REAL + round((second + ahead) * S), second * S, 100])
    assert [one.monotonic // S for one in readings.kept] == [0, 499, 500, 999]


@given(st.lists(st.integers(-60_000, 60_000), min_size=1, max_size=50))
def test_between_kept_readings_the_clock_is_known(moves: list[int]) -> None:
    """To 0.1 ms of one of the two around it."""
    readings, offset, all_of_them = Readings(), 0, []
    for second, by in enumerate(moves):
        offset += by
        all_of_them.append((second * S, offset))
        readings.mapping([second * S, REAL + second * S + offset, second * S, 0])
    kept = [(one.monotonic, one.real - REAL - one.monotonic) for one in readings.kept]
    for at, offset in all_of_them:
        around = [max(one for one in kept if one[0] <= at), min(one for one in kept if one[0] >= at)]
        assert any(abs(offset - one[1]) <= 100_000 for one in around)
