"""The PII guard: presidio's findings, faster; our defaults on top; safe in a stream."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st
from presidio_analyzer import Pattern, PatternRecognizer

from gateway.core.span import Finding, Text, View
from gateway.guards.pii import LEFT_CONTEXT, Row, build
from gateway.guards.pii_engine import Engine
from gateway.guards.pii_loose import loosen
from gateway.guards.pii_recognizers import passes_luhn
from gateway.guards.pii_registry import known_languages, plain, recognizers, stop_words
from gateway.guards.pii_shadow import Shadow
from tests.guards.pii_corpus import Maker, luhn, ordinary_prose, texts

CARD = "4" + "1" * 14
CARD += luhn(CARD)
PHONE = "+1 212 555 0123"


def row(**more: Any) -> Row:
    return Row.model_validate({"type": "pii", "action": "mask", "on_error": "block", **more})


@cache
def default_guard() -> Any:
    return build(row(), Path())


def found(text: str, guard: Any = None, **more: Any) -> list[tuple[str, str]]:
    """Kinds and values."""
    guard = guard or (build(row(**more), Path()) if more else default_guard())
    return [(one.kind, text[one.start : one.end]) for one in guard.check(View("input", (Text(text),)))]


def kinds(text: str, **more: Any) -> set[str]:
    return {kind for kind, _ in found(text, **more)}


# --- the same as presidio


@cache
def both(language: str) -> tuple[Engine, Any]:
    owners = recognizers(language)
    return Engine(owners, stop_words(language)), plain(language, owners)


def differing(language: str, made: Iterator[str]) -> list[int]:
    """Which texts have other findings than with presidio."""
    ours, theirs = both(language)
    return [
        number
        for number, text in enumerate(made)
        if sorted(map(tuple, ours.find(text)))
        != sorted((one.entity_type, one.start, one.end, one.score) for one in theirs.analyze(text, language))
    ]


def test_the_findings_are_those_of_plain_presidio_on_1500_texts() -> None:
    assert differing("en", texts(1_200, seed=20)) == []
    for language in sorted(known_languages() - {"en"}):
        assert differing(language, texts(30, seed=21)) == []


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("0123456789 -.()+/:@abXZ_#,\n\u00e9\u0663\u212a\u2011\u00a0"), max_size=60))
def test_the_findings_are_those_of_plain_presidio_on_any_mixture_of_signs(text: str) -> None:
    assert differing("en", iter([text])) == []


def test_a_custom_recogniser_beside_presidios_finds_what_it_finds_there() -> None:
    own = PatternRecognizer("STAFF", patterns=[Pattern("staff", r"\bE-\d{4}\b", 0.3)], context=["badge"])
    owners = [*recognizers("en"), own]
    text = "badge E-1234; money people quarter budget report agreement revenue E-5678"
    expected = plain("en", owners).analyze(text, "en", entities=["STAFF"])
    assert sorted(one.score for one in expected) == [0.3, pytest.approx(0.65)]
    ours = [one for one in Engine(owners, stop_words("en")).find(text) if one.kind == "STAFF"]
    assert sorted(map(tuple, ours)) == sorted((one.entity_type, one.start, one.end, one.score) for one in expected)


@pytest.mark.parametrize("owner", recognizers("en"), ids=lambda owner: owner.name)
def test_loosened_patterns_miss_nothing(owner: Any) -> None:
    maker = Maker(5)
    made = " ".join(maker.value() for _ in range(300)) + " \u0663\u0664 \u212a9 \u00e9\u0131"
    shadow = Shadow(made)
    for pattern in getattr(owner, "patterns", ()):
        loose = loosen(pattern.regex, owner.global_regex_flags)
        if next(iter(owner_matches(owner, pattern, made)), None):
            assert re2.search(loose.main.encode(), shadow.ascii)


def owner_matches(owner: Any, pattern: Any, text: str) -> Any:
    import regex

    return regex.finditer(pattern.regex, text, owner.global_regex_flags)


def test_nothing_asks_the_network() -> None:
    """tldextract would fetch the public suffix list; an audit hook sees every socket and every name lookup."""
    asked: list[str] = []
    sys.addaudithook(lambda event, _: asked.append(event) if event.startswith("socket.") else None)
    text = "write to a@example.co.uk, see https://example.com/a and www.example.org"
    guard = build(row(entities=["EMAIL_ADDRESS", "URL"]), Path())
    assert {"EMAIL_ADDRESS", "URL"} <= {kind for kind, _ in found(text, guard)}
    assert differing("en", iter([text])) == []
    assert asked == []


# --- our defaults


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("mail jo.doe@example.com today", "EMAIL_ADDRESS", "jo.doe@example.com"),
        ("mail 10086@163.com or", "EMAIL_ADDRESS", "10086@163.com"),
        ("mail qa@test.com or", "EMAIL_ADDRESS", "qa@test.com"),
        (f"call {PHONE} now", "PHONE_NUMBER", PHONE),
        ("my phone is 2125550123", "PHONE_NUMBER", "2125550123"),
        (f"pay with {CARD}.", "CREDIT_CARD", CARD),
        ("SSN 219-09-1234", "US_SSN", "219-09-1234"),
        ("from 203.0.113.9 at noon", "IP_ADDRESS", "203.0.113.9"),
    ],
)
def test_personal_data_is_found_by_default(text: str, kind: str, value: str) -> None:
    """GRD-01: the guard reports what it is for, with its place."""
    assert (kind, value) in found(text)


@pytest.mark.parametrize(
    "text",
    [
        "Store it in S3, on a C4 node of EKS, under H1 and D3: an INTRODUCTORY offer for the public",
        "the public S3 bucket, the license H1 and the duplicate C4",
        "import os.path  # see main.py, README.md, index.js and setup.sh",
        "self.name.is_valid() or foo.com_handler(x) and obj.info",
        "git clone git@github.com:acme/tool.git and diff old@main.py",
        "version 1.2.3.4, v10.20.30.40, pkg==1.2.3.4 and Chrome/120.0.0.0",
        "released 10.12.24 and v1.2.24 on 2024-01-15",
        "std::vector and a::b and dead::beef at 127.0.0.1",
        "order 2125550123 took 1700000000 ms, ratio 0." + CARD,
        "row 12 34 56 78 has 1,200,345.50 and 40 %",
    ],
)
def test_known_traps_are_no_findings(text: str) -> None:
    """GRD-05: ordinary text of developers passes."""
    assert found(text) == []


@pytest.mark.parametrize(
    "text", ["public S3", "license S3 and C4 INTRODUCTORY", "H1 permit"], ids=["public", "license", "permit"]
)
def test_licence_numbers_do_not_match_short_names_even_when_listed(text: str) -> None:
    assert found(text, entities=["US_DRIVER_LICENSE"]) == []


def test_a_context_word_has_to_be_a_whole_word() -> None:
    assert found("driver license A1234567", entities=["US_DRIVER_LICENSE"]) == [("US_DRIVER_LICENSE", "A1234567")]
    assert found("republic A1234567", entities=["US_DRIVER_LICENSE"]) == []


def test_urls_when_listed_are_pages_and_not_files() -> None:
    text = (
        "see https://example.py/x, www.example.com, shop.example.org; not main.py, README.md, com.acme.app, foo.com_x"
    )
    assert [value for _, value in found(text, entities=["URL"])] == [
        "https://example.py/x,",
        "www.example.com",
        "shop.example.org",
    ]


def test_dates_when_listed_are_no_versions() -> None:
    assert [value for _, value in found("v1.2.24 on 2024-01-15", entities=["DATE_TIME"])] == ["2024-01-15"]


def test_entities_of_low_precision_are_off_unless_listed() -> None:
    text = "on 2024-01-15, passport 123456789, https://example.com/a"
    assert kinds(text) == set()
    assert kinds(text, entities=["DATE_TIME", "US_PASSPORT", "URL"]) == {"DATE_TIME", "US_PASSPORT", "URL"}


# --- the row


def test_languages_bring_their_recognisers() -> None:
    nif = "12345678Z"
    assert kinds(f"mi NIF es {nif}") == set()
    assert kinds(f"mi NIF es {nif}", languages=["en", "es"]) == {"ES_NIF"}
    assert len(found(f"pay with {CARD}.", languages=["en", "es", "it", "pl"])) == 1


def test_allowed_values_are_no_findings() -> None:
    text = "mail help@example.com or jo@example.com or jo@example.org"
    assert len(found(text)) == 3
    assert len(found(text, allow=["help@example.com"])) == 2
    assert found(text, allow_patterns=[r"(?i).*@example\.com"]) == [("EMAIL_ADDRESS", "jo@example.org")]
    assert len(found(text, allow_patterns=["example"])) == 3


def test_context_can_be_off_and_the_threshold_decides() -> None:
    text = "my phone is 212-555-0123"
    assert kinds(text, score_threshold=0.7) == {"PHONE_NUMBER"}
    assert kinds(text, score_threshold=0.7, context=False) == set()


def test_recognisers_of_the_policy_find_with_context_and_checksum() -> None:
    own = {"name": "MEMBER_NO", "patterns": [{"regex": r"\bM-\d{6}\b", "score": 0.2}], "context": ["member"]}
    assert kinds("member M-123456", recognizers=[own]) == {"MEMBER_NO"}
    assert kinds("part M-123456", recognizers=[own]) == set()
    good = "12345" + luhn("12345")
    bad = "12345" + str((int(good[-1]) + 1) % 10)
    checked = {"name": "MEMBER_NO", "patterns": [{"regex": r"\bM-\d{6}\b", "score": 0.2}], "checksum": "luhn"}
    assert found(f"M-{good} M-{bad}", recognizers=[checked]) == [("MEMBER_NO", f"M-{good}")]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"entities": ["EMAIL"]}, "EMAIL is not found in en; choose of"),
        ({"entities": ["ES_NIF"]}, "add its language to `languages`"),
        ({"languages": ["xx"]}, "xx is not known; choose of"),
        ({"allow_patterns": ["(?<=a)b"]}, "leave out lookarounds"),
        ({"recognizers": [{"name": "X", "patterns": [{"regex": "(", "score": 0.5}]}]}, "not a pattern of RE2"),
        ({"recognizers": [{"name": "x", "patterns": [{"regex": "a", "score": 0.5}]}]}, "should match pattern"),
        ({"recognizers": [{"name": "X", "patterns": []}]}, "at least 1 item"),
        ({"score_threshold": 0.0}, "greater than 0"),
        ({"entity": []}, "Extra inputs"),
    ],
)
def test_a_wrong_row_says_what_is_wrong(more: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build(row(**more), Path())


def test_a_name_recogniser_takes_its_place_beside_the_patterns() -> None:
    from gateway.guards.pii import PiiGuard
    from gateway.guards.pii_engine import Match

    class Names:
        def find(self, text: str) -> list[Match]:
            at = text.find("Ada")
            return [Match("PERSON", at, at + 3, 0.9)] if at >= 0 else []

        def patterns(self) -> list[str]:
            return [r"\bAda\b"]

    assert found("dear Ada", PiiGuard([Names()])) == [("PERSON", "Ada")]


def test_luhn_needs_digits() -> None:
    assert passes_luhn(CARD)
    assert not passes_luhn("x0")
    assert not passes_luhn("")


# --- in a stream


def test_ordinary_prose_flows_at_once() -> None:
    prose = ordinary_prose(2_000)
    held = [default_guard().open_tail(Text(prose[:end])) for end in range(1, len(prose), 3)]
    assert sum(held) / len(held) < 8
    assert max(held) < 40


def settled(text: str, cut: int) -> tuple[list[Finding], list[Finding]]:
    """The findings that begin before the open tail of `text[:cut]`: of the whole text, and of the beginning alone."""
    guard = default_guard()
    closed = cut - guard.open_tail(Text(text[:cut]))
    whole, part = (guard.check(View("output", (Text(one),))) for one in (text, text[:cut]))
    return sorted(one for one in whole if one.start < closed), sorted(one for one in part if one.start < closed)


def parts() -> st.SearchStrategy[str]:
    maker = Maker(9)
    pieces = [make() for make in (maker.value, maker.near, maker.word) for _ in range(150)]
    signs = st.sampled_from(
        [" ", " ", "  ", "\n", ": ", ", ", ".", "-", "/", "(", ")", "+", "=", "_", "@", "v", " ext. ", "::", ""]
    )
    return st.lists(st.tuples(st.sampled_from(pieces), signs), max_size=12).map(
        lambda made: "".join(a + b for a, b in made)
    )


@settings(max_examples=150, deadline=None)
@given(parts(), st.data())
def test_what_was_released_is_never_found_later(text: str, data: st.DataObject) -> None:
    """GRD-12: findings do not depend on where a stream is cut."""
    cut = data.draw(st.integers(0, len(text)))
    whole, part = settled(text, cut)
    assert whole == part
    assert all(one.end <= cut for one in whole)


def test_a_value_split_at_any_character_is_held() -> None:
    for value in (
        f"phone {PHONE}",
        f"card {CARD}",
        "mail jo.doe@example.com",
        "iban DE89 3704 0044 0532 0130 00",
        "ssn 219-09-1234",
    ):
        text = f"well, my {value}, thanks"
        for cut in range(len(text)):
            assert settled(text, cut)[0] == settled(text, cut)[1]


@settings(max_examples=60, deadline=None)
@given(parts(), parts())
def test_a_window_with_its_left_context_sees_what_the_whole_text_sees(before: str, after: str) -> None:
    """What was released is needed no further back than `LEFT_CONTEXT`, if a window begins where nothing is open."""
    filler = "so then the people went on with their work and nothing else was said about that matter at all. "
    text = before + filler * 3 + after
    window = len(before) + len(filler) * 3 - LEFT_CONTEXT
    guard = default_guard()
    whole = [one for one in guard.check(View("output", (Text(text),))) if one.start >= window + LEFT_CONTEXT]
    part = guard.check(View("output", (Text(text[window:]),)))
    assert sorted(whole) == sorted(
        Finding(0, one.start + window, one.end + window, one.kind, one.score)
        for one in part
        if one.start >= LEFT_CONTEXT
    )


@pytest.mark.parametrize("prose", ["It is ", "We met at ", "They went on ", "He was there as "])
def test_short_words_of_prose_hold_nothing(prose):
    assert default_guard().open_tail(Text(prose)) == 0


@pytest.mark.parametrize(("text", "count"), [("AB 12 34 56 C", 1), ("ab123456c", 1), ("it is 12 34 56 a", 0)])
def test_two_small_letters_and_a_blank_are_a_word_and_no_insurance_number(text, count):
    assert len(default_guard().check(View("input", (Text(text),)))) == count
