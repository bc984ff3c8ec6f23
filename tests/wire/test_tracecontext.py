"""Trace context as callers send it: the cases of the W3C's own test suite, at its level 2, and those around them."""

from __future__ import annotations

import pytest

from gateway.core.trace import TraceContext
from gateway.wire.tracecontext import MAX_STATE, parse, traceparent

TRACE, SPAN = 0x12345678901234567890123456789012, 0x1234567890123456
IDS = b"12345678901234567890123456789012-1234567890123456"
SOUND = b"00-" + IDS + b"-01"


def parsed(*parents: bytes, states: tuple[bytes, ...] = ()) -> TraceContext | None:
    headers = [(b"host", b"gateway"), *((b"traceparent", value) for value in parents)]
    return parse([*headers, *((b"tracestate", value) for value in states)])


def state(*states: bytes) -> str:
    found = parsed(SOUND, states=states)
    assert found is not None, "a tracestate never takes its traceparent with it"
    return found.state


def test_the_fields_are_read() -> None:
    assert parsed(SOUND) == TraceContext(TRACE, SPAN, sampled=True, state="", random=False)


@pytest.mark.parametrize(
    ("flags", "sampled", "random"),
    [
        (b"00", False, False),
        (b"01", True, False),
        (b"02", False, True),
        (b"03", True, True),
        (b"fc", False, False),
        (b"ff", True, True),
    ],
    ids=repr,
)
def test_flags_without_a_meaning_are_passed_over(flags: bytes, sampled: bool, random: bool) -> None:
    found = parsed(b"00-" + IDS + b"-" + flags)
    assert found is not None
    assert (found.sampled, found.random) == (sampled, random)


@pytest.mark.parametrize(
    "value", [b" " + SOUND, b"\t" + SOUND, SOUND + b" ", SOUND + b"\t", b"\t " + SOUND + b" \t"], ids=repr
)
def test_white_space_around_the_value_is_not_part_of_it(value: bytes) -> None:
    assert parsed(value) == parsed(SOUND)


@pytest.mark.parametrize("rest", [b"-01", b"-01-", b"-01-what-the-future-brings", b"-01-\n"], ids=repr)
def test_a_later_version_may_append_fields(rest: bytes) -> None:
    assert parsed(b"cc-" + IDS + rest) == parsed(SOUND)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00",
        SOUND[:-1],
        SOUND + b".",
        SOUND + b"-",
        SOUND + b"-what-the-future-brings",
        SOUND + b"\n",
        SOUND + b", " + SOUND,
        b"cc-" + IDS + b"-01.what-the-future-brings",
        b"cc-" + IDS + b"-012",
        b"ff-" + IDS + b"-01",
        b"ff-" + IDS + b"-01-more",
        b".0-" + IDS + b"-01",
        b"0.-" + IDS + b"-01",
        b"000-" + IDS + b"-01",
        b"0000-" + IDS + b"-01",
        b"0-" + IDS + b"-01",
        b"CC-" + IDS + b"-01",
        b"00-00000000000000000000000000000000-1234567890123456-01",
        b"00-.2345678901234567890123456789012-1234567890123456-01",
        b"00-1234567890123456789012345678901.-1234567890123456-01",
        b"00-123456789012345678901234567890123-1234567890123456-01",
        b"00-1234567890123456789012345678901-1234567890123456-01",
        b"00-A2345678901234567890123456789012-1234567890123456-01",
        b"00-12345678901234567890123456789012-0000000000000000-01",
        b"00-12345678901234567890123456789012-.234567890123456-01",
        b"00-12345678901234567890123456789012-123456789012345.-01",
        b"00-12345678901234567890123456789012-12345678901234567-01",
        b"00-12345678901234567890123456789012-123456789012345-01",
        b"00-12345678901234567890123456789012-123456789012345F-01",
        b"00-" + IDS + b"-.0",
        b"00-" + IDS + b"-0.",
        b"00-" + IDS + b"-0A",
        b"00-" + IDS + b"-001",
        b"00-" + IDS + b"-1",
        b"00_" + IDS + b"_01",
        "00-١2345678901234567890123456789012-1234567890123456-01".encode(),
        b"\xff" * 55,
    ],
    ids=repr,
)  # fmt: skip
def test_a_traceparent_that_is_not_sound_is_none(value: bytes) -> None:
    """HTTP-15"""
    assert parsed(value, states=(b"foo=1",)) is None


def test_two_traceparents_are_none() -> None:
    assert parsed(SOUND, SOUND) is None
    assert parsed(SOUND, SOUND.replace(b"12-", b"11-")) is None


def test_other_names_are_other_headers() -> None:
    assert parse([(b"trace-parent", SOUND), (b"trace.parent", SOUND), (b"tracestate", b"foo=1")]) is None


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ((b"foo=1,bar=2",), "foo=1,bar=2"),
        ((b"foo=1,bar=2", b"rojo=1,congo=2", b"baz=3"), "foo=1,bar=2,rojo=1,congo=2,baz=3"),
        ((b"",), ""),
        ((b"foo=1", b""), "foo=1"),
        ((b"", b"foo=1"), "foo=1"),
        ((b"foo=1,,bar=2, ,",), "foo=1,bar=2"),
        ((b"foo=1 \t , \t bar=2, \t baz=3",), "foo=1,bar=2,baz=3"),
        ((b" foo=1",), "foo=1"),
        ((b"\t foo=1 \t",), "foo=1"),
        ((b"foo= 1",), "foo= 1"),
        ((b"foo=1,foo=2",), "foo=1"),
        ((b"foo=1", b"foo=1"), "foo=1"),
        ((b"tenant@system=1",), "tenant@system=1"),
        ((b"foo@=1,foo@@bar=2,0foo=3",), "foo@=1,foo@@bar=2,0foo=3"),
        ((b"z" * 256 + b"=1",), "z" * 256 + "=1"),
        ((b"foo=" + b"v" * 256,), "foo=" + "v" * 256),
        ((b"abcdefghijklmnopqrstuvwxyz0123456789_-*/@=1",), "abcdefghijklmnopqrstuvwxyz0123456789_-*/@=1"),
    ],
    ids=repr,
)  # fmt: skip
def test_a_sound_tracestate_is_kept_in_its_order(sent: tuple[bytes, ...], found: str) -> None:
    assert state(*sent) == found


def test_every_character_that_a_value_may_hold_is_kept() -> None:
    value = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")
    assert state(f"foo={value}".encode()) == f"foo={value}"


@pytest.mark.parametrize(
    "sent",
    [
        b"foo",
        b"=1",
        b"foo =1",
        b"FOO=1",
        b"foo.bar=1",
        b"@foo=1,bar=2",
        b"_foo=1",
        b"foo=bar=baz",
        b"foo=,bar=3",
        b"foo=1\t2",
        b"foo=1\n",
        b"foo=\xe9",
        b"foo=\x7f",
        b"foo=1;bar=2,baz",
        b"foo=1," + b"z" * 257 + b"=1",
        b"foo=" + b"v" * 257,
    ],
    ids=repr,
)
def test_a_tracestate_that_is_not_sound_is_dropped_whole(sent: bytes) -> None:
    """HTTP-15"""
    assert not state(sent)
    assert not state(b"sound=1", sent)


def test_more_than_32_members_are_too_many() -> None:
    members = [f"bar{number:02}={number}".encode() for number in range(33)]
    assert state(*members[:32]).count(",") == 31
    assert not state(*members)


def test_a_tracestate_of_512_characters_is_kept() -> None:
    text = ",".join(f"k{number}={'v' * 124}" for number in range(3)) + f",last={'v' * 123}"
    assert len(text) == MAX_STATE
    assert state(text.encode()) == text
    assert state(text.encode() + b"v") == text.rpartition(",")[0]


def test_what_is_longer_loses_its_long_members_first_and_then_the_last() -> None:
    long = [f"long{number}={'v' * 150}" for number in range(3)]
    short = [f"s{number:02}={'v' * 40}" for number in range(6)]
    assert state(",".join([*long[:2], *short, long[2]]).encode()) == ",".join([long[0], *short])
    many = [f"s{number:02}={'v' * 60}" for number in range(9)]
    assert state(",".join(many).encode()) == ",".join(many[:7])


def test_a_member_that_alone_is_too_long_leaves_nothing() -> None:
    assert not state(b"z" * 256 + b"=" + b"v" * 256)


def test_a_tracestate_of_any_length_stays_within_its_bounds() -> None:
    for length in range(1, 300, 7):
        found = state(*(f"k{number}={'v' * min(length, 256)}".encode() for number in range(32)))
        assert len(found) <= MAX_STATE
        assert all(member.startswith("k") for member in filter(None, found.split(",")))


@pytest.mark.parametrize(
    ("sampled", "random", "flags"),
    [(False, False, b"00"), (True, False, b"01"), (False, True, b"02"), (True, True, b"03")],
)
def test_what_is_written_is_what_is_read(sampled: bool, random: bool, flags: bytes) -> None:
    written = traceparent(TRACE, SPAN, sampled, random)
    assert written == b"00-" + IDS + b"-" + flags
    assert parsed(written) == TraceContext(TRACE, SPAN, sampled, "", random)


def test_small_ids_are_written_with_all_their_digits() -> None:
    assert traceparent(1, 2, sampled=False) == b"00-00000000000000000000000000000001-0000000000000002-00"
