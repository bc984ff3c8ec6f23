"""How masked values are written. All values here are made up or from ranges that are reserved for examples."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.masks import operators
from gateway.masks.operators import fake, fakes, hashed, last4

KEY = b"canary key of a caller"
EXAMPLES = [
    ("EMAIL_ADDRESS", "jane.roe@corp.example"),
    ("PHONE_NUMBER", "+44 (20) 7946-0123"),
    ("PHONE_NUMBER", "(212) 736-5000"),
    ("CREDIT_CARD", "4929 1234 5678 9019"),
    ("IBAN_CODE", "GB82 WEST 1234 5698 7654 32"),
    ("IP_ADDRESS", "10.20.30.40"),
    ("IP_ADDRESS", "fd00::17"),
    ("PERSON", "Jane Mary Roe"),
    ("LOCATION", "Springfield"),
    ("ORGANIZATION", "Umbrella Corporation"),
    ("EMPLOYEE_ID", "Xy-1234-Ab77"),
]


def shares(value: str, text: str) -> bool:
    return any(value[at : at + 4] in text for at in range(len(value) - 3))


def luhn(number: str) -> bool:
    digits = [int(c) for c in number if c.isdigit()][::-1]
    return sum(d if at % 2 == 0 else sum(divmod(2 * d, 10)) for at, d in enumerate(digits)) % 10 == 0


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("4929 1234 5678 9019", "**** **** **** 9019"),
        ("078-05-1120", "***-**-1120"),
        ("1234567", "*******"),
        ("12-34", "*****"),
        ("pass!word$9xyz", "**********9xyz"),
    ],
)
def test_last4_shows_four_and_nothing_of_short_values(value: str, wanted: str) -> None:
    assert last4("X", value, KEY) == wanted


@given(st.text(max_size=40))
def test_last4_never_shows_more_than_four_letters_or_digits(value: str) -> None:
    """GRD-18."""
    shown = last4("X", value, KEY)
    assert len(shown) == len(value)
    assert sum(c.isalnum() for c in shown) <= 4


def test_a_hash_depends_on_key_kind_and_value_and_is_short() -> None:
    shown = hashed("EMAIL_ADDRESS", "jane.roe@corp.example", KEY)
    assert re.fullmatch(r"\[EMAIL_ADDRESS:[0-9a-f]{6}\]", shown)
    others = [
        ("EMAIL_ADDRESS", "jane.roe@corp.example", b"other"),
        ("EMAIL_ADDRESS", "j@corp.example", KEY),
        ("URL", "jane.roe@corp.example", KEY),
    ]
    assert shown not in {hashed(*other) for other in others}
    assert shown == hashed("EMAIL_ADDRESS", "jane.roe@corp.example", KEY)


def test_kinds_of_policies_are_written_like_kinds() -> None:
    assert [operators.tag(kind) for kind in ("Employee-ID", "a b", "", "_X_", "É")] == [
        "EMPLOYEE_ID",
        "A_B",
        "VALUE",
        "X",
        "VALUE",
    ]


@pytest.mark.parametrize(("kind", "value"), EXAMPLES)
def test_fakes_are_the_same_for_a_key_and_share_nothing_with_the_value(kind: str, value: str) -> None:
    """GRD-18."""
    made = fake(kind, value, KEY)
    assert made is not None
    assert made == fake(kind, value, KEY)
    assert not shares(value.lower(), made.lower())
    assert len({fake(kind, value, bytes([n])) for n in range(9)}) > 3


def first(kind: str, value: str) -> str:
    made = fake(kind, value, KEY)
    assert made is not None
    return made


def test_fakes_keep_the_shape_and_lie_in_reserved_ranges() -> None:
    assert re.fullmatch(r"[a-z.]+\d\d@(example\.(com|org|net)|mail\.test|post\.invalid)", first(*EXAMPLES[0]))
    assert re.fullmatch(r"\+99 \(9\d\) \d{4}-\d{4}", first(*EXAMPLES[1]))
    assert re.fullmatch(r"\([2-9]\d\d\) 555-01\d\d", first(*EXAMPLES[2]))
    card = first(*EXAMPLES[3])
    assert re.fullmatch(r"(4000 00|4111 11|4242 42|5555 55)\d\d \d{4} \d{4}", card)
    assert luhn(card)
    iban = first(*EXAMPLES[4])
    assert re.fullmatch(r"ZZ\d\d [A-Z]{4} \d{4} \d{4} \d{4} \d\d", iban)
    bare = iban.replace(" ", "")
    assert int("".join(str(int(c, 36)) for c in bare[4:] + bare[:4])) % 97 == 1
    assert ipaddress.ip_address(first(*EXAMPLES[5])).is_private  # Python calls the ranges for documentation so
    assert ipaddress.ip_address(first(*EXAMPLES[6])) in ipaddress.ip_network("2001:db8::/32")
    assert len(first(*EXAMPLES[7]).split()) == 3
    assert re.fullmatch(r"[A-Z][a-z]-\d{4}-[A-Z][a-z]\d\d", first(*EXAMPLES[10]))


@given(st.integers(13, 19), st.integers(0, 10**19))
def test_every_fake_card_passes_luhn(length: int, number: int) -> None:
    for _, made in zip(range(3), fakes("CREDIT_CARD", f"{number:0{length}d}"[:length], KEY), strict=False):
        assert len(made) == length
        assert luhn(made)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([kind for kind, _ in EXAMPLES]),
    st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9+/-]{8,80}", fullmatch=True),
)
def test_no_fake_shares_four_characters_with_any_value(kind: str, value: str) -> None:
    """GRD-18."""
    for _, made in zip(range(3), fakes(kind, value, KEY), strict=False):
        assert not shares(value, made)


def test_short_values_have_no_fake_as_it_would_be_found_by_chance() -> None:
    assert fake("PIN", "1234", KEY) is None


def test_long_values_have_fakes_too() -> None:
    value = "".join(chr(97 + (at * at + at // 7) % 26) for at in range(5000))
    assert fake("TOKEN", value, KEY) is not None
