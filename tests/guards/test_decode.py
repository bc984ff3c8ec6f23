"""Escapes and runs: what they say, where, and what is no escape and no run."""

from __future__ import annotations

import base64
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.guards import decode


def runs(text: str) -> list[decode.Part]:
    return list(decode.hidden(text, decode.shape(text)))


def escapes(text: str) -> list[decode.Part]:
    found = [decode.escape_parts(match) for match in decode.ESCAPE.finditer(text)]
    return [part for parts in found if parts for part in parts]


@given(st.text(st.characters(codec="utf-8"), min_size=4, max_size=200))
def test_percent_escapes_say_their_characters_one_by_one(text: str) -> None:
    octets = text.encode()
    found = escapes("".join(f"%{octet:02x}" for octet in octets))
    assert "".join(said for said, _, _ in found) == text
    assert [end - start for _, start, end in found] == [3 * len(char.encode()) for char in text]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("&amp;", "&"), ("&#64;", "@"), ("&#64", "@"), ("&#x40;", "@"), ("&eacute;", "é"), (r"\u0040", "@"), (r"\u{1F600}", "😀"),
        (r"\ud83d\ude00", "😀"), (r"\x40\xc3\xa9", "@é"), ("=68=69=20=41", "hi A"), ("%f0%9f%98%80", "😀"),
    ],
)  # fmt: skip
def test_escapes_are_read(text: str, says: str) -> None:
    found = escapes(text)
    assert "".join(said for said, _, _ in found) == says
    assert (found[0][1], found[-1][2]) == (0, len(text))


@pytest.mark.parametrize(
    "text",
    [
        "100% sure",
        "R&D",
        "a & b;",
        "?page=20&size=40",
        r"\ud83d",
        r"\u{FFFFFFF}",
        "&nosuchthing;",
        r"\u12",
    ],
)
def test_what_is_no_escape_says_nothing(text: str) -> None:
    assert escapes(text) == []


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode], ids=["standard", "URL-safe"])
@pytest.mark.parametrize("padding", [True, False])
@given(text=st.text(st.sampled_from("abcdefgh ?>ÿé日😀@."), min_size=12, max_size=300))
def test_base64_of_readable_text_is_found(encode: object, padding: bool, text: str) -> None:
    run = encode(text.encode()).decode()  # type: ignore[operator]
    run = run if padding else run.rstrip("=")
    assert runs(f"data: {run}.") == [(text, 6, 6 + len(run))]


def test_hex_of_readable_text_is_found() -> None:
    text = "call anna, canary"
    assert runs(text.encode().hex()) == [(text, 0, 34)]
    assert runs("0x" + text.encode().hex().upper()) == [(text, 0, 36)]


def test_short_runs_and_other_bytes_are_not_read() -> None:
    assert runs(base64.b64encode(b"short text").decode().rstrip("=")) == []
    assert runs(Random(7).randbytes(600).hex()) == []
    assert runs(base64.b64encode(Random(7).randbytes(3000)).decode()) == []


def test_a_key_inside_a_path_is_read_by_itself() -> None:
    run = base64.b64encode(b"anna canary here").decode().rstrip("=")
    assert runs(f"/v1/keys/{run}") == [("anna canary here", 9, 9 + len(run))]


def test_wrapped_base64_is_one_run() -> None:
    text = "A long text that goes over several lines of base64, as mail and the command line tool wrap it. " * 3
    wrapped = base64.encodebytes(text.encode()).decode()
    assert [said for said, _, _ in runs(wrapped)] == [text]
    assert [said for said, _, _ in runs(wrapped.replace("\n", "\r\n"))] == [text]


def test_a_long_run_is_read_in_blocks_of_four_kilobytes() -> None:
    text = "ordinary words, again and again. " * 1000
    found = runs(base64.b64encode(text.encode()).decode())
    assert "".join(said for said, _, _ in found) == text
    assert max(len(said) for said, _, _ in found) <= 4096


@given(st.text(st.characters(codec=None)))
def test_the_shape_has_a_byte_for_each_character(text: str) -> None:
    assert len(decode.shape(text)) == len(text)
    runs(text)
