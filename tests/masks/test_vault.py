"""One vault a call: what it gives, and that it shows nothing."""

from __future__ import annotations

import copy
import pickle
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.masks.vault import Vault

KEY = b"canary key of a caller"
MAIL = "jane.roe@corp.example"


def placeholder(vault: Vault, kind: str, value: str) -> str:
    return vault.stand_in(kind, value, "placeholder")


def test_distinct_values_are_numbered_by_kind_in_order_of_appearance() -> None:
    vault = Vault(KEY)
    kinds = [
        ("EMAIL_ADDRESS", "a@x.example"),
        ("EMAIL_ADDRESS", "b@x.example"),
        ("PERSON", "Jo"),
        ("EMAIL_ADDRESS", "a@x.example"),
    ]
    assert [placeholder(vault, *one) for one in kinds] == [
        "[EMAIL_ADDRESS_1]",
        "[EMAIL_ADDRESS_2]",
        "[PERSON_1]",
        "[EMAIL_ADDRESS_1]",
    ]


def test_values_that_differ_in_case_are_different_so_that_each_comes_back_as_it_was() -> None:
    vault = Vault(KEY)
    assert placeholder(vault, "EMAIL_ADDRESS", MAIL) != placeholder(vault, "EMAIL_ADDRESS", MAIL.upper())


@pytest.mark.parametrize(
    "written",
    ["[EMAIL_ADDRESS_1]", "email address 1", "[Email\\_Address-1\\]", "EMAILADDRESS12", "［EMAIL ADDRESS 1］"],
)
def test_what_stands_in_the_conversation_in_any_spelling_is_no_stand_in(written: str) -> None:
    vault = Vault(KEY, avoid=f"my {written} and more")
    assert placeholder(vault, "EMAIL_ADDRESS", MAIL) == "[EMAIL_ADDRESS_2]"


def test_kinds_whose_spellings_meet_do_not_share_a_placeholder() -> None:
    vault = Vault(KEY)
    given_ = [placeholder(vault, kind, f"value {kind}") for kind in ("A_B", "AB", "A_B_1", "IPV4", "IPV")]
    words = [re.sub(r"[\[\]_]", "", one) for one in given_]
    assert len(set(words)) == len(words)


def test_stable_placeholders_are_equal_over_calls_of_one_key_in_any_order() -> None:
    first, second, other = Vault(KEY, stable=True), Vault(KEY, stable=True), Vault(b"another caller", stable=True)
    shown = placeholder(first, "EMAIL_ADDRESS", MAIL)
    placeholder(second, "EMAIL_ADDRESS", "somebody@else.example")
    assert re.fullmatch(r"\[EMAIL_ADDRESS_[A-Z2-7]{6}\]", shown)
    assert placeholder(second, "EMAIL_ADDRESS", MAIL) == shown
    assert placeholder(other, "EMAIL_ADDRESS", MAIL) != shown


def test_a_stable_placeholder_that_the_user_wrote_is_not_given() -> None:
    shown = placeholder(Vault(KEY, stable=True), "EMAIL_ADDRESS", MAIL)
    assert placeholder(Vault(KEY, stable=True, avoid=shown.lower()), "EMAIL_ADDRESS", MAIL) != shown


def test_all_operators_are_given_and_unknown_ones_refused_without_the_value() -> None:
    vault = Vault(KEY)
    made = {
        name: vault.stand_in("EMAIL_ADDRESS", MAIL, name, "(gone)")
        for name in ("replace", "remove", "last4", "hash", "fake")
    }
    assert (made["replace"], made["remove"], made["last4"]) == ("(gone)", "", "****.***@****.***mple")
    assert made["hash"].startswith("[EMAIL_ADDRESS:")
    assert made["fake"].count("@") == 1
    with pytest.raises(ValueError, match="use placeholder") as caught:
        vault.stand_in("EMAIL_ADDRESS", MAIL, "rot13")
    assert MAIL not in str(caught.value)


def test_only_placeholders_and_fakes_can_be_restored() -> None:
    vault = Vault(KEY)
    for operator in ("replace", "remove", "last4", "hash"):
        vault.stand_in("EMAIL_ADDRESS", MAIL, operator, "x")
    assert vault.pairs() == []


def test_two_values_never_share_a_fake_and_get_placeholders_when_fakes_run_out() -> None:
    vault = Vault(KEY)
    made = [vault.stand_in("IP_ADDRESS", f"10.{n // 250}.{n % 250}.7", "fake") for n in range(900)]
    assert len(set(made)) == 900
    assert any(one.startswith("[IP_ADDRESS_") for one in made)


def test_a_fake_that_stands_in_the_conversation_is_not_given() -> None:
    shown = Vault(KEY).stand_in("PERSON", "Jane Roe", "fake")
    assert Vault(KEY, avoid=f"I met {shown} today").stand_in("PERSON", "Jane Roe", "fake") != shown


def test_a_vault_shows_and_gives_away_nothing() -> None:
    """Complaint 59: maps that are shared or stored leak values into other calls."""
    vault = Vault(KEY, avoid="canary conversation")
    placeholder(vault, "EMAIL_ADDRESS", MAIL)
    (pair,) = vault.pairs()
    for thing in (vault, pair, [vault, pair]):
        assert not re.search("canary|jane|EMAIL", f"{thing!r} {thing!s} {thing}")
        for give in (pickle.dumps, copy.copy, copy.deepcopy):
            if not (isinstance(thing, list) and give is copy.copy):
                with pytest.raises(TypeError):
                    give(thing)
    assert not hasattr(vault, "__dict__")


def test_vaults_share_nothing() -> None:
    """Complaint 59."""
    first, second = Vault(KEY), Vault(KEY)
    placeholder(first, "EMAIL_ADDRESS", MAIL)
    assert second.pairs() == []
    assert placeholder(second, "EMAIL_ADDRESS", "other@corp.example") == "[EMAIL_ADDRESS_1]"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(min_size=4, max_size=20), min_size=1, max_size=8),
    st.booleans(),
    st.sampled_from(["placeholder", "fake", "hash", "remove"]),
)
def test_no_stand_in_holds_four_characters_of_its_value(values: list[str], stable: bool, operator: str) -> None:
    """GRD-18."""
    vault = Vault(KEY, stable, " ".join(values))
    for value in values:
        made = vault.stand_in("KIND", value, operator)
        assert not any(value[at : at + 4] in made for at in range(len(value) - 3))
