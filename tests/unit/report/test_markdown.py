"""Markdown: what was said stands there as it was said, whatever characters it has."""

from __future__ import annotations

import pytest

from orchestrator.report.markdown import Anchors, block, code, table, text


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("client_header_timeout", "client_header_timeout"),  # no emphasis within a word
        ("_this_ and *that*", r"\_this\_ and \*that\*"),
        ("[info] <b> a|b `c`", r"\[info\] \<b\> a\|b \`c\`"),
        ("&lt; & &#60;", r"\&lt; & \&#60;"),
        ("two\nlines\x1b[31m", r"two\\nlines\\x1b\[31m"),
    ],
)
def test_text_means_nothing_but_itself(said: str, written: str) -> None:
    assert text(said) == written


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("a", "`a`"),
        ("", ""),
        ("a `b` c", "``a `b` c``"),
        ("`b`", "`` `b` ``"),
        ("a|b", r"`a\|b`"),
        ("a\nb", "`a\\nb`"),
    ],
)
def test_code_ends_where_it_ends(said: str, written: str) -> None:
    assert code(said) == written


def test_a_block_has_a_longer_fence_than_what_is_in_it() -> None:
    assert list(block(["a", "````", "b"])) == ["`````text", "a", "````", "b", "`````"]
    assert list(block([])) == ["```text", "```"]


def test_a_table() -> None:
    assert list(table(("A", "B"), [("1", "2")])) == ["| A | B |", "|---|---|", "| 1 | 2 |"]


def test_anchors_are_those_of_github() -> None:
    """As its headings get them: docs.github.com, "Section links"."""
    anchors = Anchors()
    found = [anchors.of(one) for one in ("All of them", "a[plain]", "body.yaml", "a[plain]", "All of them")]
    assert found == ["all-of-them", "aplain", "bodyyaml", "aplain-1", "all-of-them-1"]
