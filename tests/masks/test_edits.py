"""Findings become edits; documents and JSON source stay sound (GRD-18)."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.span import Finding, Piece, Span
from gateway.masks.edits import Edit, JsonState, apply, border, decoded, mask_edits, merge, pieces_after

TEXTS = st.text(st.sampled_from('ab1 "\\/{}[]:,é\n\U0001f600\u20ac'), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def ranges(draw: st.DrawFn, length: int) -> list[tuple[int, int]]:
    """In order, without overlap, none empty."""
    cuts = sorted(draw(st.sets(st.integers(0, length), max_size=6)))
    return list(zip(cuts[::2], cuts[1::2], strict=False))


@st.composite
def sources(draw: st.DrawFn) -> str:
    return json.dumps(draw(VALUES), ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))


def masked(text: str, places: list[tuple[int, int]], new: str) -> str:
    return apply(text, mask_edits(text, places, lambda _i, _value: new, JsonState()))


def test_findings_that_overlap_or_touch_are_one_of_the_best_kind() -> None:
    found = [
        (Finding(0, 4, 9, "PHONE_NUMBER", 0.4), "a"),
        (Finding(0, 0, 5, "EMAIL_ADDRESS", 0.9), "b"),
        (Finding(0, 9, 12, "URL", 0.5), "c"),
        (Finding(0, 13, 15, "DATE_TIME", 0.5), "d"),
        (Finding(1, 0, 20, "IBAN_CODE", 0.5), "e"),
    ]
    wanted = [
        (Finding(0, 0, 12, "EMAIL_ADDRESS", 0.9), "b"),
        (Finding(0, 13, 15, "DATE_TIME", 0.5), "d"),
        (Finding(1, 0, 20, "IBAN_CODE", 0.5), "e"),
    ]
    assert merge(found) == wanted
    assert merge(reversed(found)) == wanted


def test_of_equal_scores_the_longest_finding_gives_the_kind() -> None:
    ((finding, source),) = merge([(Finding(0, 0, 5, "URL"), 1), (Finding(0, 3, 12, "EMAIL_ADDRESS"), 2)])
    assert (finding.kind, source) == ("EMAIL_ADDRESS", 2)


def test_an_inner_finding_does_not_shorten_the_outer_one() -> None:
    ((finding, _),) = merge([(Finding(0, 0, 20, "URL"), 1), (Finding(0, 3, 5, "X"), 2), (Finding(0, 19, 25, "Y"), 3)])
    assert (finding.start, finding.end) == (0, 25)


def test_a_finding_that_may_still_be_touched_is_not_released() -> None:
    merged = merge([(Finding(0, 2, 5, "X"), 1), (Finding(0, 8, 12, "X"), 1)])
    assert [border(merged, limit) for limit in (1, 2, 3, 5, 6, 8, 10, 12, 13)] == [1, 2, 2, 2, 6, 8, 8, 8, 13]


@pytest.mark.parametrize(
    "edits", [[Edit(3, 5, ""), Edit(4, 6, "")], [Edit(5, 6, ""), Edit(1, 2, "")], [Edit(2, 99, "")]]
)
def test_edits_that_cannot_be_meant_are_refused(edits: list[Edit]) -> None:
    with pytest.raises(ValueError, match="in order"):
        apply("0123456789", edits)


def test_an_edit_does_not_show_its_text() -> None:
    assert "canary" not in repr(Edit(0, 1, "canary"))


def test_what_is_written_stands_in_the_piece_where_the_finding_begins() -> None:
    pieces = (Piece(("a",), 0, 5), Piece(("b",), 6, 10), Piece(("c",), 10, 15), Piece(("d",), 16, 18))
    span = Span("01234\n6789abcde\nfg", "user", "content", pieces)
    after = pieces_after(span, [Edit(3, 12, "[X]"), Edit(13, 14, "!")])
    assert after == {("a",): "012[X]", ("b",): "", ("c",): "c!e"}


def test_a_finding_that_begins_between_two_pieces_is_written_in_the_next() -> None:
    span = Span("01\n34", "user", "content", (Piece(("a",), 0, 2), Piece(("b",), 3, 5)))
    assert pieces_after(span, [Edit(2, 4, "[X]")]) == {("b",): "[X]4"}
    assert pieces_after(span, [Edit(2, 3, "[X]")]) == {}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text("abcdefgh", max_size=6), max_size=5), st.data())
def test_pieces_together_are_the_edited_text(parts: list[str], data: Any) -> None:
    text, pieces = "", []
    for number, part in enumerate(parts):
        pieces.append(Piece((number,), len(text), len(text) + len(part)))
        text += part
    edits = [Edit(start, end, "[X]") for start, end in data.draw(ranges(len(text)))]
    after = pieces_after(Span(text, "user", "content", tuple(pieces)), edits)
    assert "".join(after.get((number,), part) for number, part in enumerate(parts)) == apply(text, edits)


@pytest.mark.parametrize(
    ("source", "covered", "wanted"),
    [
        ('{"a":"x 1234 y"}', "1234", '{"a":"x \\"N\\" y"}'),
        ('{"a":1234}', "1234", '{"a":"\\"N\\""}'),
        ('{"a":-1234.5}', "1234", '{"a":"-\\"N\\".5"}'),
        ('["a","b"]', '"a","b"', '["\\"N\\"","\\"N\\""]'),
        ('{"a":"b","c":2}', '"a":"b",', '{"\\"N\\"":"\\"N\\"","c":2}'),
        ('["a\\u0040b"]', "u0040b", '["a\\"N\\""]'),
        ('["a\\\\n"]', "n", '["a\\\\\\"N\\""]'),
        ('["\\ud83d\\ude00x"]', "ude00", '["\\"N\\"x"]'),
        ("[1,2]", ",", "[1,2]"),
        ('["open', "pen", '["o\\"N\\"'),
    ],
)
def test_json_is_edited_in_its_strings_and_bare_values_only(source: str, covered: str, wanted: str) -> None:
    """GRD-18."""
    start = source.index(covered)
    assert masked(source, [(start, start + len(covered))], '"N"') == wanted


@settings(max_examples=200, deadline=None)
@given(sources(), st.sampled_from(["[X_1]", '"\\', "", "\n\U0001f600"]), st.data())
def test_valid_json_stays_valid_and_keeps_its_shape(source: str, new: str, data: Any) -> None:
    """GRD-18."""
    places = data.draw(ranges(len(source)))
    after = json.loads(masked(source, places, new))
    before = json.loads(source)
    assert type(after) is type(before) or isinstance(after, str)
    if isinstance(before, list):
        assert len(after) == len(before)


@settings(max_examples=200, deadline=None)
@given(sources())
def test_of_a_document_that_is_covered_only_the_structure_stays(source: str) -> None:
    """GRD-18: what strings and bare values said is gone."""
    assert re.sub(r'"#?"|[\s{}\[\],:]', "", masked(source, [(0, len(source))], "#")) == ""


@settings(max_examples=200, deadline=None)
@given(sources(), st.data())
def test_every_part_that_is_covered_is_told_decoded(source: str, data: Any) -> None:
    places = data.draw(ranges(len(source)))
    told: list[tuple[int, str]] = []

    def write(index: int, value: str) -> str:
        told.append((index, value))
        return value

    after = json.loads(apply(source, mask_edits(source, places, write, JsonState())))
    assert [index for index, _ in told] == sorted(index for index, _ in told)
    assert all(value for _, value in told)
    if isinstance(after, str) and isinstance(json.loads(source), str):
        assert after == json.loads(source)


@settings(max_examples=150, deadline=None)
@given(sources() | TEXTS, st.data())
def test_the_state_of_json_is_the_same_for_every_cut(source: str, data: Any) -> None:
    cut = data.draw(st.integers(0, len(source)))
    other = data.draw(st.integers(cut, len(source)))
    parts = JsonState().feed(source[:cut]).feed(source[cut:other]).feed(source[other:])
    assert parts == JsonState().feed(source)


@settings(max_examples=150, deadline=None)
@given(sources(), st.data())
def test_a_source_that_is_cut_where_nothing_is_pending_is_edited_like_the_whole(source: str, data: Any) -> None:
    places = data.draw(ranges(len(source)))
    cut = data.draw(st.integers(0, len(source)))
    cut -= JsonState().feed(source[:cut]).pending
    if not any(start < cut < end for start, end in places):
        state = JsonState().feed(source[:cut])
        head = masked(source[:cut], [(s, e) for s, e in places if e <= cut], "[X]")
        late = [(s - cut, e - cut) for s, e in places if s >= cut]
        tail = apply(source[cut:], mask_edits(source[cut:], late, lambda _i, _v: "[X]", state))
        assert head + tail == masked(source, places, "[X]")


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.booleans())
def test_decoded_source_says_what_the_string_says_and_where(text: str, ascii_only: bool) -> None:
    source = json.dumps(text, ensure_ascii=ascii_only)
    plain, starts = decoded(source, JsonState())
    assert plain == f'"{text}"'
    assert len(starts) == len(plain) + 1
    for at, character in enumerate(plain[1:-1], 1):
        assert json.loads(f'"{source[starts[at] : starts[at + 1]]}"') == character
