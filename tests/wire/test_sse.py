from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire.sse import Frames, FrameTooLarge, data_of, event_of, frame, lines_of

FRAMES = [
    b'data: {"a":1}\n\n',
    b": a comment\r\n\r\n",
    "event: größe\r\ndata: 日本語 🎉\r\nid: 7\r\n\r\n".encode(),
    b"data: one\ndata: two\n\n",
    b"data:tight\r\rdata: next\r\r",
    b"retry: 10\r\n\n",
    b"data: mixed\n\r\n",
    b"data: [DONE]\n\n",
]
STREAM = b"".join(FRAMES)
SEPARATE = [*FRAMES[:4], b"data:tight\r\r", b"data: next\r\r", *FRAMES[5:]]

PIECES = st.lists(
    st.sampled_from(
        [b"\r", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b"data: x", b": note", b"event: e", "é🎉".encode(), b" ", b":"]
    ),
    max_size=30,
).map(b"".join)


def fed(chunks: list[bytes]) -> tuple[list[bytes], bytes]:
    frames = Frames()
    given_back = [piece for chunk in chunks for piece in frames.feed(chunk)]
    return given_back, frames.rest()


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


def events(pieces: list[bytes]) -> list[tuple[bytes, bytes]]:
    return [(event_of(piece), data) for piece in pieces if (data := data_of(piece)) is not None]


@pytest.mark.parametrize("place", range(len(STREAM) + 1))
def test_a_stream_cut_anywhere_in_two_gives_the_same_frames(place: int) -> None:
    assert fed([STREAM[:place], STREAM[place:]]) == (SEPARATE, b"")


def test_a_stream_fed_byte_by_byte_gives_the_same_frames() -> None:
    assert fed([STREAM[at : at + 1] for at in range(len(STREAM))]) == (SEPARATE, b"")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_a_stream_in_any_pieces_gives_the_same_frames(places: list[int]) -> None:
    assert fed(cut(STREAM, places)) == (SEPARATE, b"")


@settings(max_examples=60, deadline=None)
@given(PIECES, st.lists(st.integers(0, 200), max_size=12))
def test_any_bytes_in_any_pieces_leave_as_they_came(stream: bytes, places: list[int]) -> None:
    frames, rest = fed(cut(stream, places))
    assert b"".join(frames) + rest == stream


@settings(max_examples=60, deadline=None)
@given(PIECES, st.lists(st.integers(0, 200), max_size=12))
def test_the_events_read_do_not_depend_on_where_the_stream_was_cut(stream: bytes, places: list[int]) -> None:
    ended = stream + b"\n\n."
    assert events(fed(cut(ended, places))[0]) == events(fed([ended])[0])


@settings(max_examples=60, deadline=None)
@given(PIECES)
def test_every_frame_ends_with_a_blank_line(stream: bytes) -> None:
    for piece in fed([stream, b"."])[0]:
        assert piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").endswith(b"\n\n")


def test_several_frames_in_one_chunk_come_out_one_by_one() -> None:
    assert fed([b"data: 1\n\ndata: 2\n\ndata: 3\n\n"]) == ([b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n"], b"")


def test_blank_lines_between_frames_are_kept() -> None:
    frames, rest = fed([b"\n\n\n\ndata: 1\n\n\n\n", b"\n\ndata: 2\n\n"])
    assert b"".join(frames) + rest == b"\n\n\n\ndata: 1\n\n\n\n\n\ndata: 2\n\n"
    assert events(frames) == [(b"", b"1"), (b"", b"2")]


def test_an_empty_chunk_changes_nothing() -> None:
    frames = Frames()
    assert [*frames.feed(b"data: 1\n"), *frames.feed(b""), *frames.feed(b"\n")] == [b"data: 1\n\n"]


def test_the_rest_is_the_frame_without_its_blank_line() -> None:
    assert fed([b"data: 1\n\nda", b"ta: 2\n"]) == ([b"data: 1\n\n"], b"data: 2\n")


def test_the_rest_is_empty_when_nothing_or_only_whole_frames_came() -> None:
    assert fed([]) == ([], b"")
    assert fed([b"data: 1\n\n"]) == ([b"data: 1\n\n"], b"")


def test_a_last_frame_ended_by_lone_carriage_returns_is_the_rest() -> None:
    assert fed([b"data: 1\r\r"]) == ([], b"data: 1\r\r")


def test_an_unfinished_frame_may_be_as_large_as_the_limit_and_no_larger() -> None:
    frames = Frames(max_frame_bytes=10)
    assert frames.feed(b"data: 1234") == []
    with pytest.raises(FrameTooLarge):
        frames.feed(b"5")


def test_the_limit_counts_the_unfinished_frame_only() -> None:
    frames = Frames(max_frame_bytes=10)
    assert frames.feed(b"data: 1\n\n" * 50 + b"data: 2") == [b"data: 1\n\n"] * 50


def test_a_line_separator_of_unicode_does_not_end_a_line() -> None:
    text = "data: a\u2028b\u0085c\x0bd\x0ce\n\n".encode()
    assert fed([text]) == ([text], b"")
    assert data_of(text) == "a\u2028b\u0085c\x0bd\x0ce".encode()


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (b"data: x\n\n", b"x"),
        (b"data:x\n\n", b"x"),
        (b"data:  x\n\n", b" x"),
        (b"data: x\r\n\r\n", b"x"),
        (b"data: x\r\r", b"x"),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"data\n\n", b""),
        (b"data:\n\n", b""),
        (b": data: x\n\n", None),
        (b"datax: x\n\n", None),
        (b" data: x\n\n", None),
        (b"\n\n", None),
        (b"event: e\ndata: x\n\n", b"x"),
        (b"data: x\nid: 1\n\n", b"x"),
    ],
)
def test_data_is_the_joined_data_lines(text: bytes, data: bytes | None) -> None:
    assert data_of(text) == data


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (b"data: x\n\n", b""),
        (b"event: e\ndata: x\n\n", b"e"),
        (b"event:e\r\ndata: x\r\n\r\n", b"e"),
        (b"event: a\nevent: b\n\n", b"b"),
        (b"event: a\nevent\n\n", b""),
        (b": event: e\n\n", b""),
    ],
)
def test_the_event_is_the_value_of_the_last_event_line(text: bytes, name: bytes) -> None:
    assert event_of(text) == name


def test_lines_end_at_each_of_the_three_line_ends() -> None:
    assert lines_of(b"a\r\nb\nc\rd") == [b"a", b"b", b"c", b"d"]


def test_a_written_frame_is_read_back() -> None:
    text = frame(b'{"a":1}', "response.created")
    assert text == b'event: response.created\ndata: {"a":1}\n\n'
    assert (event_of(text), data_of(text)) == (b"response.created", b'{"a":1}')
    assert frame(b"[DONE]") == b"data: [DONE]\n\n"


@pytest.mark.parametrize("evil", ["\r", "\n", "\0"])
def test_a_frame_is_not_written_with_what_would_end_its_line(evil: str) -> None:
    with pytest.raises(ValueError, match="cannot stand"):
        frame(b"x" + evil.encode())
    with pytest.raises(ValueError, match="cannot stand"):
        frame(b"x", "e" + evil)
