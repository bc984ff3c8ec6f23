"""What a stream holds back for patterns: enough for every pattern and cut, and little of ordinary prose."""

from __future__ import annotations

import re
import time

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core.span import Text
from gateway.guards.normal import Folded
from gateway.guards.reach import COPIES, Reach, shortest

LEAVES = st.sampled_from(
    ["a", "b", "1", " ", r"\d", r"\w", r"\W", r"\s", "[ab]", "[^a]", ".", "[^\\W1]", r"\n", "-", "K"]
)
ANCHORS = st.sampled_from([r"\b", r"\B", "^", "$", r"\A", r"\Z", "(?<=a)", "(?<!1)", "(?<! b)"])


def _grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    repeat = st.sampled_from(["*", "+", "?", "*?", "+?", "??", "{2}", "{1,3}", "{2,}", "{0,2}?", "*+", "{1,2}+"])
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda many: f"(?:{'|'.join(many)})"),
        st.tuples(inner, repeat).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
        inner.map(lambda one: f"(?={one})"),
        inner.map(lambda one: f"(?!{one})"),
        inner.map(lambda one: f"(?>{one})"),
        inner.map(lambda one: f"(?i:{one})"),
        st.tuples(inner, inner).map(
            lambda pair: f"(?P<g>{pair[0]}){pair[1]}(?P=g)" if "(?P<g>" not in "".join(pair) else pair[0]
        ),
    )


PATTERNS = st.recursive(LEAVES | ANCHORS, _grow, max_leaves=6)
TEXTS = st.text(alphabet="aabbA11 -\nkK\u212a\u00e9\u0661", max_size=14)
FLAGS = st.sampled_from([0, re.IGNORECASE, re.MULTILINE, re.DOTALL, re.IGNORECASE | re.MULTILINE | re.DOTALL])


def valid(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def before(pattern: re.Pattern[str], text: str, end: int) -> list[tuple[int, int]]:
    return [match.span() for match in pattern.finditer(text) if match.start() < end]


@settings(max_examples=500, deadline=None)
@given(PATTERNS.filter(valid), FLAGS, TEXTS, TEXTS)
@example(r"ab$", 0, "ab\n", "a")
@example(r"a\b", 0, "a", "b")
@example(r"(?:a|ab)(?=1)", 0, "ab", "1")
@example(r"(a|b)(?:\1){2}1", 0, "aaa", "1")
@example(r"(?i)k", 0, "\u212a", "")
def test_a_match_that_begins_before_the_tail_stays_as_it_is_whatever_follows(
    pattern: str, flags: int, prefix: str, rest: str
) -> None:
    """GRD-03."""
    compiled = re.compile(pattern, flags)
    closed = len(prefix) - Reach.of([pattern], flags=flags).open_tail(Text(prefix))
    assert before(compiled, prefix, closed) == before(compiled, prefix + rest, closed)


@settings(max_examples=150, deadline=None)
@given(st.lists(PATTERNS.filter(valid), min_size=1, max_size=4), TEXTS)
def test_many_patterns_hold_what_the_longest_of_them_holds(patterns: list[str], text: str) -> None:
    assert Reach.of(patterns).held(text) == max(Reach.of([pattern]).held(text) for pattern in patterns)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "1", "[ab]", r"\d", "[^a]"]), min_size=1, max_size=6), TEXTS)
def test_a_plain_pattern_holds_exactly_what_it_could_begin_with(elements: list[str], text: str) -> None:
    """Two engines agree: the partial matching of `regex` finds the same beginning."""
    partial = regex.compile("".join(elements), regex.V0)
    begins = (at for at in range(len(text)) if (found := partial.match(text, at, partial=True)) and found.partial)
    assert Reach.of(["".join(elements)]).held(text) == len(text) - next(begins, len(text))


EMAIL = r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,255}\.[A-Za-z]{2,24}\b"
CARD = r"\b(?:\d[ -]?){12,18}\d\b"
IBAN = r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"
PHONE = r"\+\d{1,3}[ -]?(?:\(\d{1,4}\)[ -]?)?\d{2,4}(?:[ -]\d{2,4}){1,4}\b"
PROSE = (
    "It was a bright day in April, and the clocks were striking. We met 3 friends at the station; the train (late, as "
    "ever) left from platform 12 at 9.30. Nobody minded: there was coffee, and somebody had brought a cake.\n"
) * 4


def test_prose_is_held_for_one_word_at_most() -> None:
    reach = Reach.of([EMAIL, CARD, IBAN, PHONE], flags=re.IGNORECASE | re.MULTILINE | re.DOTALL)
    for end in range(len(PROSE)):
        words = re.split(r"[^\w.-]", PROSE[:end])
        digits = re.search(r"[\d -]*$", PROSE[:end])
        assert digits is not None
        assert reach.held(PROSE[:end]) <= max(len(words[-1]), len(digits[0]))


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("write to jane", 4),
        ("write to jane.doe@exam", 13),
        ("write to jane@example.com", 16),
        ("write to jane@example.com ", 0),
        ("card 4111 1111 11", 12),
        ("a number: 4111", 4),
        ("a number: 4111 and", 3),
        ("call +1 555 2", 8),
        ("done. ", 0),
        ("", 0),
    ],
)
def test_what_could_still_become_a_value_is_held(text: str, held: int) -> None:
    assert Reach.of([EMAIL, CARD, IBAN, PHONE]).held(text) == held


def test_a_pattern_without_an_end_is_followed_up_to_the_limit() -> None:
    reach = Reach.of([r"BEGIN[\s\S]+END"], limit=50)
    assert reach.held("BEGIN" + "x" * 45) == 50
    assert reach.held("BEGIN" + "x" * 46) == 0


def test_a_long_repetition_is_followed_over_its_whole_width() -> None:
    reach = Reach.of([rf"k\d{{{COPIES * 4}}}"], limit=10)
    assert reach.held("k" + "1" * (COPIES * 4 - 1)) == COPIES * 4


def test_offsets_are_those_of_the_raw_text() -> None:
    text = Text("one @@x@@")
    text.views = (Folded(text.raw), Folded("one x", (0, 1, 2, 3, 6), (1, 2, 3, 4, 7)))
    assert Reach.of(["xy"]).open_tail(text) == 3


def test_a_pattern_that_cannot_be_spelled_out_is_refused() -> None:
    with pytest.raises(re.error, match="too large"):
        Reach.of(["(?:(?:(?:a{100}){100}){100})"])


@pytest.mark.parametrize(("pattern", "least"), [("a+", 1), ("a*", 0), (r"\b", 0), ("ab|c", 1)])
def test_the_shortest_match_is_known(pattern: str, least: int) -> None:
    assert shortest(pattern) == least


def test_a_frame_of_prose_costs_microseconds() -> None:
    """The bound is ten times what it takes, for machines that are busy."""
    reach = Reach.of([EMAIL, CARD, IBAN, PHONE, *(rf"\bcanary{n}[-_][A-Za-z0-9]{{20,100}}\b" for n in range(36))])
    window = PROSE[:300]
    reach.held(window)
    start = time.process_time()
    for _ in range(1000):
        reach.held(window)
    assert (time.process_time() - start) / 1000 < 200e-6


def test_what_is_remembered_is_bounded() -> None:
    reach = Reach.of([EMAIL])
    for number in range(30_000):
        reach.held(chr(0x100 + number) + "a@b")
    assert reach.held("jane@exam") == 9
