"""What lines do to packets: sums, order, parts, rates."""

from __future__ import annotations

import random
import statistics

import pytest

from orchestrator.daemon.effects import BACKLOG, LOST, Fate, Line, damage, fate

PACKETS = 20_000


def sent(lines: list[Line], count: int, every: float = 0.001, length: int = 1000) -> list[Fate]:
    """The fates of packets of one sender, one after the other."""
    chance = random.Random(7)
    return [fate(lines, at * every, length, b"mac", chance, probe=False) for at in range(count)]


def test_delays_of_lines_add_up() -> None:
    assert sent([Line(delay=0.02), Line(delay=0.03)], 1) == [Fate(0.05)]


def test_jitter_is_uniform_about_the_delay_and_never_negative() -> None:
    held = [
        one.due - at * 0.001
        for at, one in enumerate(sent([Line(delay=0.03, jitter=0.01)], PACKETS))
        if one.due
    ]
    assert min(held) >= 0.02
    assert max(held) <= 0.04
    assert statistics.mean(held) == pytest.approx(0.03, abs=0.0003)
    assert statistics.stdev(held) == pytest.approx(0.01 / 3**0.5, rel=0.02)
    assert min(one.due or 0.0 for one in sent([Line(delay=0.001, jitter=0.01)], 100)) >= 0.0


@pytest.mark.parametrize("part", [0.02, 0.5, 1.0])
def test_parts_are_as_asked(part: float) -> None:
    lost = sum(one == LOST for one in sent([Line(loss=part)], PACKETS))
    twice = sum(one.twice for one in sent([Line(duplicate=part)], PACKETS))
    damaged = sum(one.damaged for one in sent([Line(corrupt=part)], PACKETS))
    most = 4 * (PACKETS * part * (1 - part)) ** 0.5
    for seen in (lost, twice, damaged):
        assert abs(seen - PACKETS * part) <= most


def test_what_is_reordered_is_not_delayed() -> None:
    fates = sent([Line(delay=0.1, reorder=0.25)], PACKETS)
    early = [(at, one) for at, one in enumerate(fates) if one.overtakes]
    assert 0.2 < len(early) / PACKETS < 0.3
    assert all(one.due == pytest.approx(at * 0.001) for at, one in early)


def test_a_rate_is_a_clock_for_each_sender() -> None:
    line, chance = Line(rate=100_000.0), random.Random(7)
    first = [fate([line], 0.0, 1000, b"one", chance, probe=False).due for _ in range(3)]
    assert first == pytest.approx([0.01, 0.02, 0.03])
    assert fate([line], 0.0, 1000, b"two", chance, probe=False).due == pytest.approx(0.01)
    assert fate([line], 1.0, 1000, b"one", chance, probe=False).due == pytest.approx(1.01)


def test_more_than_a_second_does_not_wait_for_a_line() -> None:
    fates = sent([Line(rate=100_000.0)], 200, every=0.0)
    kept = [one for one in fates if one != LOST]
    assert len(kept) == pytest.approx(BACKLOG * 100, abs=1)
    assert fates[-1] == LOST


def test_a_probe_is_held_and_nothing_else() -> None:
    line = Line(delay=0.02, loss=1.0, corrupt=1.0, duplicate=1.0, reorder=1.0)
    assert fate([line], 0.0, 100, b"", random.Random(7), probe=True) == Fate(0.02)


@pytest.mark.parametrize(("packet", "header"), [(b"\x45" + bytes(59), 20), (b"\x60" + bytes(79), 40)])
def test_one_bit_behind_the_ip_header_is_another(packet: bytes, header: int) -> None:
    for seed in range(50):
        other = damage(packet, random.Random(seed))
        changed = [at for at in range(len(packet)) if packet[at] != other[at]]
        assert len(changed) == 1
        assert changed[0] >= header
        assert (packet[changed[0]] ^ other[changed[0]]).bit_count() == 1
    assert damage(packet[:header], random.Random(1)) == packet[:header]
