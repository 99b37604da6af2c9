"""Which ids a lab gets: nobody else's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.daemon import ids

SPAN = st.tuples(st.integers(1_899_000_000, 2_099_000_000), st.integers(1, 50_000_000))


def test_subordinate_ids_by_name_and_by_number() -> None:
    text = "daemon:100000:65536\nmia:165536:65536\n1007:300000:65536\n"
    assert ids.subordinate(text, "mia", 1001) == (165536, 65536)
    assert ids.subordinate(text, "other", 1007) == (300000, 65536)
    assert ids.subordinate(text, "other", 1008) is None


def test_bad_lines_and_small_spans_are_passed_over() -> None:
    assert ids.subordinate("mia:1\nmia:x:y\nmia:5:10\nmia:200000:100000\n", "mia", 1) == (200000, ids.RANGE)


@given(st.lists(SPAN, max_size=6))
def test_a_free_range_is_free(taken: list[ids.Span]) -> None:
    first = ids.free_range(taken, [(0, 4_294_967_295)])
    assert first is None or all(first + ids.RANGE <= s[0] or s[0] + s[1] <= first for s in taken)


def test_no_room_in_a_small_map() -> None:
    assert ids.free_range([], [(0, 65536)]) is None


def test_one_id_is_single() -> None:
    assert ids.single(5, 6).single
    assert not ids.IdMap((1, 65536), (1, 65536), "kernel").single
