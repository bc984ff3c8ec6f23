"""The real guards behind the real gate: the text that leaves depends on the text alone, and not on how it was cut."""

import asyncio
import json
import random
from functools import cache
from pathlib import Path

import orjson
import pytest

from gateway.core.clock import SystemClock
from gateway.core.span import Context
from gateway.engine.judge import Judge
from gateway.engine.output import Output
from gateway.masks.vault import Vault
from gateway.policy.load import load
from gateway.wire.sse import data_of, frame
from tests.guards.pii_corpus import luhn
from tests.guards.secret_samples import drawn

POLICY = b"""
providers: {demo: {shape: demo}}
models: {m: {targets: [{provider: demo}]}}
guards:
  personal: {type: pii, action: mask, on_error: block}
  secrets: {type: secrets, action: mask, on_error: block}
  names: {type: words, words: [Falcon, Blue Heron], kind: CODE_NAME, ignore_case: true, action: mask, on_error: block}
  numbers: {type: patterns, patterns: {ORDER: 'order [0-9]{4}-[0-9]{2}'}, action: mask, on_error: block}
guard_sets:
  default: {output: [personal, secrets, names, numbers], unreadable: allow}
"""
CARD = "411111111111111" + luhn("411111111111111")
IBAN = "DE89 3704 0044 0532 0130 00"


@cache
def guards():
    return load((("policy.yaml", POLICY),), Path(), {}).guard_sets["default"]


@cache
def token() -> str:
    from gateway.guards.secret_rules_all import rules

    return next(drawn(rule, 1)[1] for rule in rules() if rule.kind == "GITHUB_TOKEN")


def texts() -> dict[str, tuple[str, tuple[str, ...]]]:
    """name -> (text, the values in it that must not leave)."""
    mail, phone = "jane.roe@mail.example.org", "+1 212-555-0123"
    block = "-----BEGIN PRIVATE" + " KEY-----\n" + "MIIEcanary" * 12 + "\n-----END PRIVATE KEY-----"
    return {
        "mail": (f"Write to {mail}, or to nobody.", (mail,)),
        "mail at the end": (f"Her address: {mail}", (mail,)),
        "phone": (f"You may call {phone} until five.", (phone,)),
        "card": (f"Pay with {CARD[:4]} {CARD[4:8]} {CARD[8:12]} {CARD[12:]} please", (CARD[8:12] + " " + CARD[12:],)),
        "account": (f"The account is {IBAN}. Thanks!", (IBAN,)),
        "token": (f"export T={token()} # keep it", (token(),)),
        "assignment": ('password = "q8Zr-canary-71Lx" and more', ("q8Zr-canary-71Lx",)),
        "key block": (f"It is\n{block}\nas you asked.", ("MIIEcanaryMIIE",)),
        "words": ("About falcon and the blue  heron, Blue Heron too.", ("falcon", "Blue Heron")),
        "pattern": ("It is order 2024-17, not order 202417.", ("2024-17",)),
        "neighbours": (f"{mail}{phone} {mail} falcon", (mail, "falcon")),
        "disguised": (
            "ask fal\u200bcon or f\u0430lcon, \u2014 d\u00e9j\u00e0 vu \U0001f600 falcon",
            ("fal\u200bcon", "falcon"),
        ),
        "nothing": ("Order the parts for line 3 by Friday; C4 and S3 are done, 100 % sure.", ()),
    }


def cuts(text: str):
    """One character a chunk, every cut in two, and pieces of 1 to 40 characters."""
    yield list(text)
    for at in range(1, len(text)):
        yield [text[:at], text[at:]]
    for seed in range(20):
        rng, at, pieces = random.Random(seed), 0, []
        while at < len(text):
            size = rng.randint(1, 40)
            pieces.append(text[at : at + size])
            at += size
        yield pieces


def output(vault: Vault | None = None) -> Output:
    judge = Judge.of(guards(), "output", Context(), SystemClock())
    return Output("chat", guards(), judge, vault or Vault(b"k"), Vault(b"k"), lambda: False)


def event(delta) -> bytes:
    return frame(orjson.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}))


def through(pieces, wrap, unwrap, vault=None) -> str:
    gate = output(vault)
    left: list[bytes] = []
    for piece in pieces:
        left += gate.frames([event(wrap(piece))])
    left += asyncio.run(gate.end())
    assert len(left) == len(pieces)
    return "".join(unwrap(orjson.loads(data_of(one))["choices"][0]["delta"]) for one in left)


def content(pieces, vault=None) -> str:
    return through(pieces, lambda piece: {"content": piece}, lambda delta: delta["content"], vault)


@pytest.mark.parametrize("name", texts())
def test_what_leaves_does_not_depend_on_the_chunks_and_shows_no_value(name):
    """GRD-03, GRD-18, I1, I4"""
    text, values = texts()[name]
    expected = content([text])
    assert (expected == text) is not bool(values)
    for value in values:
        assert value not in expected
    for pieces in cuts(text):
        assert content(pieces) == expected


def arguments(pieces, vault=None) -> str:
    def wrap(piece):
        return {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}

    return through(pieces, wrap, lambda delta: delta["tool_calls"][0]["function"]["arguments"], vault)


@pytest.mark.parametrize("name", texts())
def test_tool_arguments_stay_json_and_show_no_value_however_they_are_cut(name):
    """GRD-04, GRD-18: also inside of escapes."""
    text, values = texts()[name]
    for source in (json.dumps({"note": text, "n": 1}), json.dumps({"note": text}, ensure_ascii=False)):
        expected = arguments([source])
        said = json.loads(expected)["note"]
        assert (said == text) is not bool(values)
        for value in values:
            assert value not in said
        for pieces in cuts(source):
            assert arguments(pieces) == expected


def test_a_number_that_is_masked_in_arguments_becomes_a_string():
    """GRD-18"""
    source = json.dumps({"card": int(CARD), "ok": True})
    for pieces in cuts(source):
        assert json.loads(arguments(pieces)) == {"card": "[CREDIT_CARD_1]", "ok": True}


def test_stand_ins_are_restored_however_they_are_cut_and_whatever_the_model_made_of_them():
    vault = Vault(b"k")
    value = 'jane "J" roe@mail.example.org'
    made = vault.stand_in("EMAIL_ADDRESS", value, "placeholder")
    for spelled in (made, made.lower(), made.replace("_", " "), made.replace("_", "\\_")):
        text = f"I wrote to {spelled}, and [PHONE_NUMBER_1] is not mine."
        expected = f"I wrote to {value}, and [PHONE_NUMBER_1] is not mine."
        assert content([text], vault) == expected
        for pieces in cuts(text):
            assert content(pieces, vault) == expected
    source = json.dumps({"to": made})
    for pieces in cuts(source):
        assert json.loads(arguments(pieces, vault)) == {"to": value}
