"""Values come back in the answer: in every spelling, in streams, in JSON, and only those of the call."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.masks.edits import JsonState, apply, mask_edits
from gateway.masks.restore import Restorer
from gateway.masks.vault import Vault

KEY = b"canary key of a caller"
MAIL = "jane.roe@corp.example"


def vault_of(count: int = 1, operator: str = "placeholder", stable: bool = False) -> Vault:
    vault = Vault(KEY, stable)
    for number in range(1, count + 1):
        vault.stand_in("EMAIL_ADDRESS", MAIL if number == 1 else f"mail{number}@corp.example", operator)
    return vault


def restored(vault: Vault, text: str, escaped: bool = False) -> str:
    return apply(text, Restorer(vault).edits(text, escaped))


@pytest.mark.parametrize(
    "written",
    [
        "[EMAIL_ADDRESS_1]",
        "[email_address_1]",
        "[Email Address 1]",
        "[ EMAIL ADDRESS  1 ]",
        "[EMAIL-ADDRESS-1]",
        "[EMAIL\u2011ADDRESS\u20111]",
        "[EMAIL_ADDRESS1]",
        "[EMAILADDRESS_1]",
        "\uff3bEMAIL_ADDRESS_1\uff3d",
        "\u3010EMAIL_ADDRESS_1\u3011",
        "\\[EMAIL\\_ADDRESS\\_1\\]",
        "[EMAIL\\_ADDRESS\\_1]",
        "EMAIL_ADDRESS_1",
        "EMAIL\\_ADDRESS\\_1",
    ],
)
def test_models_spell_placeholders_in_many_ways(written: str) -> None:
    assert restored(vault_of(), f"Write to {written}, please.") == f"Write to {MAIL}, please."


@pytest.mark.parametrize(
    "text",
    [
        "[EMAIL_ADDRESS_12]",
        "[email address 1 2]",
        "[EMAIL_ADDRESS_2]",
        "EMAIL_ADDRESS_12 EMAIL_ADDRESS_1X MY_EMAIL_ADDRESS_1 EMAIL_ADDRESS_1_2",
        "email_address_1 = email address 1",
        "[EMAIL_ADDRESS]",
        "[PERSON_1]",
        "[EMAIL.ADDRESS.1]",
    ],
)
def test_what_is_no_stand_in_of_this_call_stays(text: str) -> None:
    """Number 1 is not in number 12; loose words need their brackets; a placeholder that the user made up is his."""
    assert restored(vault_of(), text) == text


def test_several_in_one_pair_of_brackets_come_back_each() -> None:
    vault = vault_of(2)
    assert (
        restored(vault, "[EMAIL_ADDRESS_1, EMAIL_ADDRESS_2] [EMAIL_ADDRESS_1")
        == f"[{MAIL}, mail2@corp.example] [{MAIL}"
    )


def test_twelve_values_come_back_each_as_itself() -> None:
    vault = vault_of(12)
    assert (
        restored(vault, "[EMAIL_ADDRESS_12] [EMAIL_ADDRESS_1] EMAIL_ADDRESS_11")
        == f"mail12@corp.example {MAIL} mail11@corp.example"
    )


def test_a_backslash_that_the_user_wrote_before_a_value_stays() -> None:
    assert restored(vault_of(), "C:\\[EMAIL_ADDRESS_1]") == f"C:\\{MAIL}"


def test_words_of_scripts_without_blanks_may_stand_beside() -> None:
    assert restored(vault_of(), "\u6211\u7684EMAIL_ADDRESS_1\u3002") == f"\u6211\u7684{MAIL}\u3002"


def test_a_value_that_looks_like_a_placeholder_is_not_restored_again() -> None:
    vault = Vault(KEY)
    vault.stand_in("NOTE", "see [NOTE_2]", "placeholder")
    vault.stand_in("NOTE", "canary", "placeholder")
    assert restored(vault, "[NOTE_1]") == "see [NOTE_2]"


@pytest.mark.parametrize(
    ("kind", "value"), [("PERSON", "Jane Roe"), ("IP_ADDRESS", "10.1.2.3"), ("CREDIT_CARD", "4929 1234 5678 9019")]
)
def test_fakes_come_back_where_they_stand_as_whole_words(kind: str, value: str) -> None:
    vault = Vault(KEY)
    made = vault.stand_in(kind, value, "fake")
    assert restored(vault, f"({made}), x{made} {made}9 {made}.") == f"({value}), x{made} {made}9 {value}."


def test_an_answer_without_masks_costs_nothing_and_changes_nothing() -> None:
    restorer = Restorer(Vault(KEY))
    assert not restorer
    assert restorer.edits("[EMAIL_ADDRESS_1]") == []
    assert restorer.open_tail("[EMAIL") == 0


def test_a_restorer_shows_nothing() -> None:
    assert repr(Restorer(vault_of())) == "Restorer(****)"


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ('{"to": "[NOTE_1]"}', 'a "b"\\\n'),
        ('{"to": "\\\\[NOTE\\\\_1\\\\]"}', 'a "b"\\\n'),
        ('{"to": "\\u005bNOTE_1\\u005d"}', 'a "b"\\\n'),
        ('{"to": "\\nNOTE_1"}', '\na "b"\\\n'),
        ('{"to": [NOTE 1]}', 'a "b"\\\n'),
        ('{"to": NOTE_1}', 'a "b"\\\n'),
    ],
)
def test_arguments_of_tools_get_the_value_escaped(source: str, wanted: str) -> None:
    """Complaint 58."""
    vault = Vault(KEY)
    vault.stand_in("NOTE", 'a "b"\\\n', "placeholder")
    assert json.loads(restored(vault, source, escaped=True)) == {"to": wanted}


def test_a_fake_number_that_a_model_wrote_bare_comes_back_bare() -> None:
    vault = Vault(KEY)
    made = vault.stand_in("CREDIT_CARD", "4929123456789019", "fake")
    assert restored(vault, f'{{"card": {made}}}', escaped=True) == '{"card": 4929123456789019}'


@pytest.mark.parametrize(
    "text", ["The cat sat", "see [the docs", "a [link](x) and", "I said [1", "what [email is", "x = a[i", "e-mail"]
)
def test_prose_flows_at_once(text: str) -> None:
    assert Restorer(vault_of(3)).open_tail(text) == 0


@pytest.mark.parametrize(
    "tail",
    [
        "[",
        "\\",
        "\\[",
        "[email ",
        "[EMAIL_ADDRESS_1",
        "[EMAIL_ADDRESS_1 ",
        "EMAIL",
        "EMAIL\\",
        "EMAIL_ADDRESS_1",
        "\uff3bE",
    ],
)
def test_what_may_become_a_stand_in_is_held(tail: str) -> None:
    assert Restorer(vault_of(3)).open_tail(f"Write to {tail}") == len(tail)


def test_what_is_held_is_bounded() -> None:
    restorer = Restorer(vault_of(3))
    assert max(restorer.open_tail("[EMAIL" + " " * n) for n in range(200)) < 64
    assert restorer.open_tail("[EMAIL" + " " * 200) == 0


def streamed(restorer: Restorer, parts: list[str], escaped: bool) -> str:
    """As the gate does it: release what is before the open tail, edit it, keep the rest."""
    out, held, before, state = "", "", "", JsonState()
    for number, part in enumerate(parts):
        held += part
        last = number == len(parts) - 1
        end = len(held) - (0 if last else restorer.open_tail(held, escaped, before=before, state=state))
        edits = restorer.edits(held, escaped, before=before, state=state)
        assert not any(edit.start < end < edit.end for edit in edits)
        out += apply(held[:end], [edit for edit in edits if edit.end <= end])
        before, state = (before + held[:end])[-1:], state.feed(held[:end])
        held = held[end:]
    return out


@st.composite
def answers(draw: st.DrawFn) -> tuple[Restorer, str]:
    vault = Vault(KEY, draw(st.booleans()))
    made = [
        vault.stand_in("EMAIL_ADDRESS", MAIL, "placeholder"),
        *(vault.stand_in("IPV4", f"10.0.0.{n}", "placeholder") for n in range(12)),
        *(vault.stand_in("PERSON", name, "fake") for name in ('Jane "J" Roe', "Jo Doe", "Al")),
        vault.stand_in("NOTE", 'a "b"\\\n[IPV4_1]', "fake"),
        vault.stand_in("PIN", "12345678", "fake"),
    ]
    spelled = [
        *made,
        *(one.strip("[]") for one in made),
        *(one.replace("_", "\\_").replace("]", "\\]") for one in made),
    ]
    pieces = st.one_of(
        st.sampled_from(spelled),
        st.sampled_from(spelled).flatmap(lambda one: st.integers(0, len(one)).map(lambda at: one[:at])),
        st.sampled_from(spelled).map(lambda one: one.lower().replace("_", " ")),
        st.text(st.sampled_from('[]\\_ -1AEIx",.:{}\n\u00e9\u6211'), max_size=4),
    )
    return Restorer(vault), "".join(draw(st.lists(pieces, max_size=8)))


@st.composite
def cut(draw: st.DrawFn, text: str) -> list[str]:
    places = sorted(draw(st.sets(st.integers(0, len(text)), max_size=12))) if draw(st.booleans()) else range(len(text))
    borders = [0, *places, len(text)]
    return [text[a:b] for a, b in pairwise(borders)]


@settings(max_examples=200, deadline=None)
@given(answers(), st.data())
def test_every_chunking_of_a_stream_gives_the_same_text(answer: tuple[Restorer, str], data: Any) -> None:
    """Complaint 57."""
    restorer, text = answer
    assert streamed(restorer, data.draw(cut(text)), False) == apply(text, restorer.edits(text))


@settings(max_examples=200, deadline=None)
@given(answers(), st.sampled_from(["source", "ascii", "raw"]), st.data())
def test_every_chunking_of_json_source_gives_the_same_text(answer: tuple[Restorer, str], form: str, data: Any) -> None:
    """Complaint 58, with cuts inside escape sequences."""
    restorer, text = answer
    source = text if form == "raw" else json.dumps({"a": text, "b": [text]}, ensure_ascii=form == "ascii")
    whole = apply(source, restorer.edits(source, escaped=True))
    assert streamed(restorer, data.draw(cut(source)), True) == whole
    if form != "raw":
        assert json.loads(whole)["a"] == apply(text, restorer.edits(text))


@st.composite
def masked_texts(draw: st.DrawFn) -> tuple[str, list[tuple[int, int]]]:
    text = draw(st.text(max_size=40) | st.text(st.sampled_from("[]\\_ X1aKIND-"), max_size=40))
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
    return text, list(zip(cuts[::2], cuts[1::2], strict=False))


@settings(max_examples=200, deadline=None)
@given(masked_texts(), st.booleans())
def test_masked_and_restored_is_the_text_itself(masked: tuple[str, list[tuple[int, int]]], stable: bool) -> None:
    text, places = masked
    vault = Vault(KEY, stable, text)
    sent = apply(text, mask_edits(text, places, lambda _, value: vault.stand_in("X", value, "placeholder")))
    assert restored(vault, sent) == text


@settings(max_examples=300, deadline=None)
@given(masked_texts(), st.booleans(), st.booleans())
def test_masked_and_restored_arguments_say_the_same(
    masked: tuple[str, list[tuple[int, int]]], ascii_only: bool, number: bool
) -> None:
    text, places = masked
    source = json.dumps({"a": text, "b": 12345678} if number else {"a": text}, ensure_ascii=ascii_only)
    shifted = [(start + 7, end + 7) for start, end in places if end + 7 <= len(source)]
    vault = Vault(KEY, False, text)
    edits = mask_edits(source, shifted, lambda _, value: vault.stand_in("X", value, "placeholder"), JsonState())
    sent = apply(source, edits)
    json.loads(sent)
    after = json.loads(restored(vault, sent, escaped=True))
    assert {key: str(value) for key, value in after.items()} == {
        key: str(value) for key, value in json.loads(source).items()
    }


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["jane.roe@corp.example", "4929 1234 5678 9019", "Jane Roe", "10.1.2.3"]),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(["placeholder", "fake"]),
    st.booleans(),
)
def test_masked_whole_words_come_back_with_every_operator_that_can_be_undone(
    values: list[str], operator: str, stable: bool
) -> None:
    kinds = {"j": "EMAIL_ADDRESS", "4": "CREDIT_CARD", "J": "PERSON", "1": "IP_ADDRESS"}
    text = "From: " + ", ".join(values) + "!"
    vault = Vault(KEY, stable, text)
    sent = text
    for value in sorted(set(values), key=len, reverse=True):
        sent = sent.replace(value, vault.stand_in(kinds[value[0]], value, operator))
    assert not any(value[at : at + 4] in sent for value in values for at in range(len(value) - 3))
    assert restored(vault, sent) == text
