"""The guard "words": lists of any length, whole words or not, and what a stream holds for them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.core.span import Finding, Text, View
from gateway.guards.normal import Folded
from gateway.guards.words import LONGEST, Row, Words, build


def row(**values: Any) -> Row:
    return Row.model_validate({"type": "words", "action": "block", "on_error": "block", **values})


def found(guard: Any, text: str, **values: Any) -> list[str]:
    return [text[finding.start : finding.end] for finding in guard.check(View("input", (Text(text, **values),)))]


def test_entries_come_from_the_row_and_from_files(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# names\nAcme Corp\n\n  Initech  \n", "utf-8")
    guard = build(row(words=["globex"], files=["list.txt"], kind="COMPETITOR"), tmp_path)
    text = Text("Globex, acme corp and INITECH; not names")
    assert guard.check(View("output", (Text("nothing"), text))) == [
        Finding(1, 0, 6, "COMPETITOR"),
        Finding(1, 8, 17, "COMPETITOR"),
        Finding(1, 22, 29, "COMPETITOR"),
    ]


def test_whole_words_stand_between_other_characters_than_letters_and_digits() -> None:
    guard = Words(["ass", "c++"], "WORD")
    assert found(guard, "class ass, assassin ass_ \u00e9ass ass\u0301 -ass-") == ["ass", "ass"]
    assert found(guard, "c++17 and c++") == ["c++", "c++"]


def test_parts_of_words_are_found_when_asked_for() -> None:
    assert found(Words(["ass"], "WORD", whole_words=False), "class assassin") == ["ass", "ass", "ass"]


def test_case_counts_when_asked_for() -> None:
    assert found(Words(["Bell"], "WORD", ignore_case=False), "bell Bell BELL") == ["Bell"]


def test_case_is_ignored_in_every_script_and_offsets_stay() -> None:
    guard = Words(["stra\u00dfe", "\u03bf\u03b4\u03cc\u03c2", "i\u0307stanbul"], "WORD")
    assert found(guard, "\u0130\u0130 STRA\u1e9eE \u039f\u0394\u038c\u03a3") == [
        "STRA\u1e9eE",
        "\u039f\u0394\u038c\u03a3",
    ]


def test_a_longer_entry_does_not_hide_a_shorter_one() -> None:
    assert found(Words(["foo", "foo bar"], "WORD"), "foo barn, foo bar") == ["foo", "foo", "foo bar"]


def test_folded_views_are_read_and_mapped_to_the_raw_text() -> None:
    text = Text("xx b\u200bad")
    text.views = (Folded(text.raw), Folded("xx bad", (0, 1, 2, 3, 5, 6), (1, 2, 3, 4, 6, 7)))
    assert Words(["bad"], "WORD").check(View("input", (text,))) == [Finding(0, 3, 7, "WORD")]
    text.views = (Folded(text.raw), Folded("xx ba", (0, 1, 2, 3, 5), (1, 2, 3, 4, 6)))
    assert Words(["bad"], "WORD").open_tail(text) == 4


@pytest.mark.parametrize(
    ("text", "held"),
    [("an ac", 2), ("an acme c", 6), ("an acme corp", 9), ("an acme corp.", 0), ("mac", 3), ("an a ", 0), ("", 0)],
)
def test_only_what_an_entry_begins_with_is_held(text: str, held: int) -> None:
    """GRD-03."""
    assert Words(["acme corp", "bad"], "WORD").open_tail(Text(text)) == held


def test_an_entry_that_nothing_can_change_is_not_held() -> None:
    guard = Words(["acme", "acme corp"], "WORD", whole_words=False)
    assert [guard.open_tail(Text(text)) for text in ("acme corp.", "acme.", "acme ", "macm")] == [0, 0, 5, 4]


ENTRIES = st.lists(
    st.text(alphabet="abA \u00df\u03a3-", min_size=1, max_size=5).filter(str.strip), min_size=1, max_size=6
)
TEXTS = st.text(alphabet="abAB \u00df\u03c3\u03c2\u0301\u200b\u0430-", max_size=12)


@settings(max_examples=400, deadline=None)
@given(ENTRIES, TEXTS, TEXTS, st.booleans(), st.booleans())
def test_a_word_that_begins_before_the_tail_stays_as_it_is_whatever_follows(
    entries: list[str], prefix: str, rest: str, ignore_case: bool, whole_words: bool
) -> None:
    """GRD-03."""
    guard = Words(entries, "WORD", ignore_case=ignore_case, whole_words=whole_words)
    closed = len(prefix) - guard.open_tail(Text(prefix))
    now, later = (guard.check(View("output", (Text(raw),), whole=False)) for raw in (prefix, prefix + rest))
    assert [one for one in now if one.start < closed] == [one for one in later if one.start < closed]


def test_a_hundred_thousand_entries_cost_no_more_than_a_few() -> None:
    few = Words(["canary one", "canary two"], "WORD")
    many = Words([f"canary {number:x} word" for number in range(100_000)], "WORD")
    text = "ordinary prose about canaries and other birds. " * 4000 + "canary beef word"
    took = []
    for guard in (few, many):
        view = View("input", (Text(text, views=(Folded(text),)),))
        start = time.process_time()
        findings = guard.check(view)
        took.append(time.process_time() - start)
    assert [text[one.start : one.end] for one in findings] == ["canary beef word"]
    assert took[1] < 10 * took[0] + 0.1


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "no words"),
        ({"words": ["a"], "kind": "bad kind"}, "kind"),
        ({"words": [1]}, "words"),
        ({"words": ["a"], "more": 1}, "more"),
    ],
)
def test_a_wrong_row_is_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        row(**values)


def test_wrong_lists_are_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("# nothing\n\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    for values, says in (
        ({"files": ["none.txt"]}, "cannot be read"),
        ({"files": ["empty.txt"]}, "blanks and comments only"),
        ({"files": ["latin.txt"]}, "not UTF-8 at byte 3"),
        ({"files": ["../list.txt"]}, "outside the policy folder"),
        ({"words": ["x" * (LONGEST + 1)]}, "shorten it"),
    ):
        with pytest.raises(ValueError, match=says):
            build(row(**values), tmp_path)
