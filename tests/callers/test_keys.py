from __future__ import annotations

import hmac
import re
from collections.abc import Iterator

import pytest

from gateway.callers import keys
from gateway.callers.keys import KeyRow, KeyTable, digest, new_key
from gateway.core.model import Caller, Names
from tests.callers.fakes import CHECKOUT


def row_for(name: str) -> KeyRow:
    return KeyRow(Caller(name, "team", Names.of(["*"]), Names.of(["*"]), {}), None)


def contents(value: object) -> Iterator[str]:
    """Every string reachable from the value's own state."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield from contents(key)
            yield from contents(member)
    elif isinstance(value, tuple | list | set | frozenset):
        for member in value:
            yield from contents(member)
    elif isinstance(value, str):
        yield value
    else:
        for slot in getattr(type(value), "__slots__", ()):
            yield from contents(getattr(value, slot))


def test_a_new_key_is_256_random_bits_behind_a_prefix() -> None:
    made = {new_key() for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch(r"gw-[A-Za-z0-9_-]{43}", key) for key in made)


def test_a_digest_is_the_sha_256_of_the_key_in_lower_case_hex() -> None:
    assert digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_key_finds_its_row_and_only_its_own() -> None:
    known = {new_key(): row_for(f"caller-{number}") for number in range(100)}
    table = KeyTable({digest(key): row for key, row in known.items()})
    assert all(table.find(key) is row for key, row in known.items())


def test_a_hundred_thousand_random_keys_are_all_unknown() -> None:
    """AUTH-16: the full width of the hash decides."""
    key = new_key()
    table = KeyTable({digest(key): KeyRow(CHECKOUT, None)})
    assert all(table.find(new_key()) is None for _ in range(100_000))


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key[:-1],
        lambda key: key + "A",
        lambda key: key[:20] + "x" * (len(key) - 20),
        lambda key: "x" + key[1:],
        lambda key: key.upper(),
        lambda key: " " + key,
        lambda key: key + " ",
        digest,
    ],
)
def test_a_key_that_differs_anywhere_is_unknown(change: object) -> None:
    """AUTH-16: keys that share a prefix share nothing else; the stored digest is no key either."""
    key = "gw-" + "aB3" * 14 + "c"
    table = KeyTable({digest(key): KeyRow(CHECKOUT, None)})
    assert callable(change)
    assert table.find(key) is not None
    assert table.find(change(key)) is None


@pytest.mark.parametrize(
    "key", ["", " " * 600, "x" * 513, "x" * 100_000, "gw-\x00", "gw-\r\nx", "gw-\udc80", "gw-\x7f", "gw-é", "\u2028"]
)
def test_what_cannot_be_a_key_is_unknown_even_if_its_digest_is_listed(key: str) -> None:
    """AUTH-06: the empty string, an unprintable or a 100 kB key is nobody's."""
    listed = digest(key.encode(errors="surrogateescape").decode(errors="replace"))
    assert KeyTable({listed: KeyRow(CHECKOUT, None)}).find(key) is None


def test_a_key_of_512_bytes_can_be_known() -> None:
    key = "x" * 512
    assert KeyTable({digest(key): KeyRow(CHECKOUT, None)}).find(key) == KeyRow(CHECKOUT, None)


def test_a_table_remembers_the_keys_of_those_before_it_as_revoked_until_they_come_back() -> None:
    """LOG-08"""
    first, second = new_key(), new_key()
    both = KeyTable({digest(first): row_for("first"), digest(second): row_for("second")})
    one = KeyTable({digest(second): row_for("second")}, both)
    none = KeyTable({}, one)
    back = KeyTable({digest(first): row_for("renamed")}, none)

    def shown(table: KeyTable) -> list[tuple[str, bool]]:
        rows = [table.find(first), table.find(second)]
        return [(row.caller.name, row.is_revoked) for row in rows if row is not None]

    assert shown(both) == [("first", False), ("second", False)]
    assert shown(one) == [("first", True), ("second", False)]
    assert shown(none) == [("first", True), ("second", True)]
    assert shown(back) == [("renamed", False), ("second", True)]


def test_only_the_last_ten_thousand_revoked_keys_are_remembered() -> None:
    early, late = new_key(), new_key()
    table = KeyTable({digest(early): row_for("early")})
    table = KeyTable({digest(str(number)): row_for("many") for number in range(keys.MAX_REVOKED)}, table)
    table = KeyTable({digest(late): row_for("late")}, table)
    table = KeyTable({}, table)
    assert table.find(late) is not None
    assert table.find(early) is None


def test_the_all_zero_digest_stands_for_nobody() -> None:
    assert KeyTable({}).find("0" * 64) is None


def test_known_and_unknown_keys_take_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """AUTH-09: the look-up is by digest, and one constant-time comparison over the full width ends every look-up."""
    compared: list[tuple[str, str]] = []

    class Recorder:
        @staticmethod
        def compare_digest(known: str, asked: str) -> bool:
            compared.append((known, asked))
            return hmac.compare_digest(known, asked)

    monkeypatch.setattr(keys, "hmac", Recorder)
    key = new_key()
    wrong = ["x" + key[1:], key[:-1] + "!", new_key()]
    table = KeyTable({digest(key): KeyRow(CHECKOUT, None)})
    for asked in [key, *wrong]:
        table.find(asked)
    assert [asked for _, asked in compared] == [digest(asked) for asked in [key, *wrong]]
    assert {len(known) for known, _ in compared} == {64}


def test_a_table_holds_digests_and_no_keys() -> None:
    """AUTH-10: nothing that the table keeps contains a key or a piece of one."""
    key = new_key()
    table = KeyTable({digest(key): KeyRow(CHECKOUT, None)})
    kept = list(contents(table))
    assert digest(key) in kept
    assert not any(key[start : start + 8] in text for text in kept for start in range(len(key) - 7))
    assert key not in repr(table)
