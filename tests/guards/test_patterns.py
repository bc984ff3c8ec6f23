"""The guard "patterns": RE2 only, named findings, linear time, and what a stream holds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.core.span import Finding, Text, View
from gateway.guards.normal import Folded
from gateway.guards.patterns import Patterns, Row, build, encodable


def row(**values: Any) -> Row:
    return Row.model_validate({"type": "patterns", "action": "mask", "on_error": "block", **values})


def plain(raw: str) -> View:
    return View("output", (Text(raw, views=(Folded(raw),)),), whole=False)


def test_findings_are_named_by_the_pattern_that_matched(tmp_path: Path) -> None:
    guard = build(row(patterns={"TICKET": r"\bTK-\d{4}\b", "ROOM": r"room \d+"}), tmp_path)
    view = View("input", (Text("room 12"), Text("\u00e9t\u00e9 TK-1234, room 7, TK-12345")))
    assert guard.check(view) == [Finding(0, 0, 7, "ROOM"), Finding(1, 4, 11, "TICKET"), Finding(1, 13, 19, "ROOM")]


def test_case_is_ignored_when_asked_for() -> None:
    assert not Patterns({"T": "tk-1"}).check(plain("TK-1"))
    assert Patterns({"T": "tk-1"}, ignore_case=True).check(plain("TK-1")) == [Finding(0, 0, 4, "T")]


def test_folded_views_are_read_and_mapped_to_the_raw_text() -> None:
    text = Text("x T\u200bK1")
    text.views = (Folded(text.raw), Folded("x TK1", (0, 1, 2, 4, 5), (1, 2, 3, 5, 6)))
    assert Patterns({"T": r"TK\d"}).check(View("input", (text,))) == [Finding(0, 2, 6, "T")]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        (r"(a)\1", "RE2 refuses"),
        (r"a(?=b)", "RE2 refuses"),
        (r"(?<!a)b", "RE2 refuses"),
        (r"(?:a{1000}){1000}", "RE2 refuses"),
        (r"(", "RE2 refuses"),
        (r"a*", "matches the empty text"),
        (r"\b", "matches the empty text"),
        (r"x|^", "matches the empty text"),
        (r"[[:alpha:]]+", "write the characters out"),
        (r"a{,3}b", "write .0,n. for"),
        (r"\p{Greek}+", "RE2 shares with Python"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_by_name(pattern: str, says: str) -> None:
    """GRD-13."""
    with pytest.raises(ValueError, match=rf"patterns\.THIS: .*{says}"):
        Patterns({"FINE": "a", "THIS": pattern})


def test_a_row_needs_patterns_with_names() -> None:
    for patterns in ({}, {"lower": "a"}, {"A": 1}):
        with pytest.raises(ValidationError, match="patterns"):
            row(patterns=patterns)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(a*)*b", r"^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_patterns_that_make_others_hang_are_fast(pattern: str) -> None:
    """GRD-13: one megabyte, a worker's second is not touched."""
    guard = Patterns({"EVIL": pattern})
    view = plain("a" * 1_000_000 + "!")
    start = time.process_time()
    assert not guard.check(view)
    guard.open_tail(view.texts[0])
    assert time.process_time() - start < 1


def test_a_search_for_every_character_stops_at_its_time() -> None:
    """GRD-13: every match is found at once, but only after RE2 has read to the end."""
    with pytest.raises(TimeoutError, match="EVIL"):
        Patterns({"EVIL": r"a[^x]*x|a"}, seconds=0.2).check(plain("a" * 300_000))


def test_halves_of_surrogate_pairs_are_no_reason_to_fail() -> None:
    assert Patterns({"T": r"TK\d"}).check(plain("\ud800 TK1")) == [Finding(0, 2, 5, "T")]
    assert encodable("a\ud800b") == "a\ufffdb"


LEAVES = st.sampled_from(
    ["a", "b", "k", "1", " ", r"\d", r"\w", r"\W", r"\s", r"\S", "[ab]", "[^a]", ".", r"\n", r"\b", r"\B", "$", "^"]
)


def _grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    repeat = st.sampled_from(["*", "+", "?", "*?", "+?", "{2}", "{1,3}", "{2,}"])
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda many: f"(?:{'|'.join(many)})"),
        st.tuples(inner, repeat).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
        inner.map(lambda one: f"(?is:{one})"),
        inner.map(lambda one: f"(?m:{one})"),
    )


TEXTS = st.text(alphabet="aabkK1 -\n\v\u0301\u200b\u0430\u00e9\u212a\u0661\u00a0", max_size=12)


@settings(max_examples=500, deadline=None)
@given(st.recursive(LEAVES, _grow, max_leaves=6), st.booleans(), TEXTS, TEXTS)
def test_a_match_that_begins_before_the_tail_stays_as_it_is_whatever_follows(
    pattern: str, ignore_case: bool, prefix: str, rest: str
) -> None:
    """GRD-03, with RE2's own classes and cases."""
    try:
        guard = Patterns({"P": pattern}, ignore_case=ignore_case)
    except ValueError as refused:
        assert "empty" in str(refused) or "RE2" in str(refused)
        return
    closed = len(prefix) - guard.open_tail(Text(prefix))
    now, later = (guard.check(View("output", (Text(raw),), whole=False)) for raw in (prefix, prefix + rest))
    assert [one for one in now if one.start < closed] == [one for one in later if one.start < closed]


@settings(max_examples=150, deadline=None)
@given(st.lists(LEAVES.filter(lambda leaf: leaf not in {r"\b", r"\B", "$", "^"}), min_size=1, max_size=4), TEXTS)
def test_the_set_of_all_patterns_misses_none(patterns: list[str], raw: str) -> None:
    guard = Patterns({f"P{index}": pattern for index, pattern in enumerate(patterns)})
    alone = [
        Finding(0, *match.span(), f"P{index}")
        for index, pattern in enumerate(patterns)
        for match in re2.finditer(pattern, raw)
    ]
    assert guard.check(plain(raw)) == sorted(alone)
