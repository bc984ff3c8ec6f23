"""The guard "shape": size, languages, scripts, code and URLs."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.core.ports import Guard
from gateway.core.span import Finding, Text, View
from gateway.guards.shape import RUN, Row, build


def row(**values: Any) -> Row:
    return Row.model_validate({"type": "shape", "action": "block", "on_error": "block", **values})


def guard(**values: Any) -> Guard:
    return build(row(**values), Path())


def view(*texts: str | Text, whole: bool = True) -> View:
    return View("input", tuple(text if isinstance(text, Text) else Text(text) for text in texts), whole)


def found(judge: Guard, text: str) -> list[str]:
    return [text[finding.start : finding.end] for finding in judge.check(view(text))]


def test_messages_are_counted_without_those_of_the_app() -> None:
    judge = guard(max_messages=2)
    talk = [Text("rules", "system"), Text("a"), Text("b", "assistant"), Text("call", "tool"), Text("d")]
    assert judge.check(view(*talk[:3])) == []
    assert judge.check(view(*talk)) == [Finding(3, 0, 4, "TOO_MANY_MESSAGES")]


def test_what_is_too_long_begins_at_the_first_character_over_the_limit() -> None:
    judge = guard(max_characters=10)
    assert judge.check(view("12345", "67890")) == []
    assert judge.check(view("12345", "67890xyz", "more")) == [Finding(1, 5, 8, "TOO_LONG")]
    assert judge.open_tail(Text("12345")) == 0


@pytest.mark.parametrize("encoding", ["o200k_base", "cl100k_base"])
def test_tokens_are_counted_over_all_texts(encoding: str) -> None:
    judge = guard(max_tokens=6, encoding=encoding)
    assert judge.check(view("one two three", "four five six")) == []
    assert judge.check(view("one two three", "four five six seven")) == [Finding(1, 13, 19, "TOO_MANY_TOKENS")]
    assert judge.check(view("one two three four five six", "x")) == [Finding(1, 0, 1, "TOO_MANY_TOKENS")]
    assert judge.check(view("\ud800" * 5)) == [] or judge.check(view("\ud800" * 5))[0].kind == "TOO_MANY_TOKENS"


@pytest.mark.parametrize("letter", ["a", " ", "\u00e9", "word "])
def test_a_text_that_is_far_too_long_is_not_counted_to_its_end(letter: str) -> None:
    judge = guard(max_tokens=100)
    start = time.process_time()
    (finding,) = judge.check(view(letter * 2_000_000))
    assert finding.kind == "TOO_MANY_TOKENS"
    assert time.process_time() - start < 0.5


GERMAN = "Das Wetter ist heute sch\u00f6n, und ich w\u00fcrde gern mit dir im Park spazieren gehen."
ENGLISH = "The weather is nice today, and I would like to go for a walk in the park with you."


def test_another_language_is_a_finding_once_the_text_is_whole_and_long_enough() -> None:
    judge = guard(languages={"allow": ["en", "fr"]})
    (finding,) = judge.check(view(ENGLISH, GERMAN))
    assert (finding.text, finding.start, finding.end, finding.kind) == (1, 0, len(GERMAN), "LANGUAGE")
    assert finding.score > 0.9
    assert judge.check(view("Guten Tag")) == []
    assert judge.check(view(GERMAN, whole=False)) == []
    assert guard(languages={"allow": ["en", "de"]}).check(view(ENGLISH, GERMAN)) == []


def test_letters_of_other_scripts_are_findings() -> None:
    judge = guard(scripts=["latin", "Greek"])
    text = "caf\u00e9 \u03b1\u03b2 \u043f\u0440 \u6f22\u5b57 \uff21\U0001d400 5 \u00b5 \u212b \u00aa! \U0001f600"
    assert found(judge, text) == ["\u043f\u0440", "\u6f22\u5b57"]
    assert found(guard(scripts=["Latin", "Greek", "Cyrillic", "Han"]), text) == []


def test_a_long_run_of_letters_is_found_in_pieces_so_that_a_stream_can_go_on() -> None:
    judge = guard(scripts=["Latin"])
    text = "a " + "\u6f22" * (RUN + 6)
    assert judge.check(view(text)) == [Finding(0, 2, RUN + 2, "SCRIPT"), Finding(0, RUN + 2, RUN + 8, "SCRIPT")]
    assert judge.open_tail(Text(text)) == 6
    assert judge.open_tail(Text(text + " ")) == 0


PYTHON = "import os\n\ndef area(width, height):\n    result = width * height\n    return result\n\nprint(area(2, 3))\n"
SQL = "SELECT name FROM users WHERE id = 3\nINSERT INTO logs VALUES (1);\nUPDATE users SET name = 'x';"
HTML = "<div>\n<p>Hello</p>\n</div>\n<br/>"
TALK = (
    "Dear all,\n\nif you want to import goods, call us: we return every call.\nClass starts at nine; bring a pen.\n\n"
    "1. Select a seat from the list\n2. Update your address\n- for children: free\n\nBest regards\n"
) * 3


def test_code_is_found_with_fences_and_without() -> None:
    judge = guard(code=True)
    fenced = "Try this:\n```python\nx\n```\nand that"
    assert found(judge, fenced) == ["```python\nx\n```"]
    assert found(judge, "open:\n~~~\nx") == ["~~~\nx"]
    assert [len(found(judge, "Look:\n" + code + "\nThat is all.")) for code in (PYTHON, SQL, HTML)] == [1, 1, 1]
    assert found(judge, TALK) == []
    assert judge.check(view(fenced, whole=False)) == []


def test_code_is_looked_for_in_linear_time() -> None:
    judge = guard(code=True)
    for text in ("select " + " " * 500_000 + "x", "(" * 500_000, "a" * 500_000, "x = 1\n" * 80_000, "```\n" * 100_000):
        start = time.process_time()
        judge.check(view(text))
        assert time.process_time() - start < 3


def test_urls_are_findings_when_no_domains_are_named() -> None:
    judge = guard(urls={})
    text = "See https://a.example/x?y=1. (www.b.example), ![i](//c.example/p.png) but // no comment, a//b or and/or."
    assert found(judge, text) == ["https://a.example/x?y=1", "www.b.example", "//c.example/p.png"]
    assert judge.check(view("https://a.example"))[0].kind == "URL"


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://good.example", True),
        ("HTTPS://Docs.GOOD.example:8443/a", True),
        ("https://good.example./", True),
        ("www.good.example/x", True),
        ("//good.example/x", True),
        ("https://user@good.example/", True),
        ("https://evilgood.example", False),
        ("https://good.example.evil.example", False),
        ("https://good.example@evil.example/", False),
        ("https://good.example:x@evil.example/", False),
        ("https://evil.example\\@good.example/", False),
        ("https://evil.example/good.example", False),
        ("https://evil.example?good.example", False),
        ("https://evil.example#good.example", False),
        ("https:\\\\evil.example", False),
        ("https:/evil.example", False),
        ("xhttps://evil.example", False),
        ("https://evil%2eexample/", False),
        ("https://g\u043eod.example/", False),
        ("https://bad.good.example/", False),
        ("https://[::1]/", False),
        ("https://%%%/", False),
        ("https://" + "a" * 300, False),
        ("odd://evil.example/", False),
    ],
)
def test_only_allowed_domains_and_their_subdomains_pass(url: str, allowed: bool) -> None:
    judge = guard(urls={"allow": ["good.example"], "deny": ["bad.good.example"]})
    kinds = {finding.kind for finding in judge.check(view(f"go to {url} now"))}
    assert kinds == (set() if allowed else {"URL_NOT_ALLOWED"})


def test_domains_are_compared_in_their_ascii_form() -> None:
    judge = guard(urls={"deny": ["b\u00fccher.example"]})
    assert found(judge, "https://xn--bcher-kva.example/ https://x.B\u00dcCHER.example https://ok.example") == [
        "https://xn--bcher-kva.example/",
        "https://x.B\u00dcCHER.example",
    ]


PIECES = st.lists(
    st.sampled_from(
        [
            "https://",
            "http:",
            "//",
            "www.",
            "good.",
            "evil.example",
            "/x",
            ".",
            ") ",
            " ",
            "\n",
            "ab",
            "\u043f",
            "\u6f22" * 40,
            "h",
            "t",
        ]
    ),
    max_size=7,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(PIECES, PIECES, st.sampled_from([{"urls": {}}, {"urls": {"allow": ["example"]}}, {"scripts": ["Latin"]}]))
def test_a_finding_that_begins_before_the_tail_stays_as_it_is_whatever_follows(
    prefix: str, rest: str, values: dict[str, Any]
) -> None:
    """GRD-03."""
    judge = guard(**values)
    closed = len(prefix) - judge.open_tail(Text(prefix))
    now, later = (sorted(judge.check(view(raw, whole=False))) for raw in (prefix, prefix + rest))
    assert [one for one in now if one.start < closed] == [one for one in later if one.start < closed]


def test_prose_flows_past_all_conditions() -> None:
    judge = guard(max_characters=9999, urls={"allow": ["a.example"]}, scripts=["Latin"], code=True)
    words = ENGLISH.split(" ")
    for count in range(1, len(words)):
        assert judge.open_tail(Text(" ".join(words[:count]))) <= len(words[count - 1])


def test_random_characters_are_no_reason_to_fail() -> None:
    judge = guard(
        max_tokens=50, languages={"allow": ["en"]}, scripts=["Latin"], code=True, urls={"allow": ["a.example"]}
    )
    chance = random.Random(1)
    for _ in range(50):
        judge.check(view("https://" + "".join(chr(chance.randrange(0x110000)) for _ in range(80))))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "limits nothing"),
        ({"max_characters": 0}, "max_characters"),
        ({"scripts": ["Klingon"]}, "Klingon"),
        ({"urls": {"allow": ["https://a.example/"]}}, "is not a domain"),
        ({"urls": {"deny": ["*.example"]}}, "is not a domain"),
        ({"encoding": "own", "max_tokens": 1}, "encoding"),
    ],
)
def test_a_wrong_row_is_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        row(**values)


def test_an_unknown_language_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match=r"no language 'english'; one of .*en"):
        guard(languages={"allow": ["english"]})
