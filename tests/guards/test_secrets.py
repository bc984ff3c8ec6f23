"""The guard "secrets": what it finds, what it leaves alone, what a stream must hold. No secret stands here: they are drawn."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.core.span import Finding, Text, View
from gateway.guards.entropy import named, shannon, stands_in
from gateway.guards.secret_rules_all import rules
from gateway.guards.secret_rules_judges import UNPROVEN, aws_key_id
from gateway.guards.secrets import Row, Secrets, build
from tests.guards.secret_samples import drawn, private_key, some, spoiled, stand_in

RULES = rules()
BY_NAME = {rule.name: rule for rule in RULES}


def guard(**parameters: object) -> Secrets:
    row = Row.model_validate({"type": "secrets", "action": "mask", "on_error": "block", **parameters})
    built = build(row, Path())
    assert isinstance(built, Secrets)
    return built


GUARD = guard()


def found(text: str, of: Secrets = GUARD, **about: object) -> list[Finding]:
    return of.check(View("input", (Text(text, **about),)))  # type: ignore[arg-type]


def values(text: str, of: Secrets = GUARD) -> list[tuple[str, str]]:
    return [(finding.kind, text[finding.start : finding.end]) for finding in found(text, of)]


def test_there_are_at_least_150_rules_each_with_a_name_of_its_own():
    assert len(RULES) >= 150
    assert len(BY_NAME) == len(RULES)


@pytest.mark.parametrize("name", BY_NAME)
def test_each_rule_finds_what_is_built_by_its_format(name):
    for seed in range(3):
        text, secret = drawn(BY_NAME[name], seed)
        place = text.index(secret)
        alone = Secrets([BY_NAME[name]], GUARD._allowed)
        assert [(hit.start, hit.end) for hit in found(text, alone)] == [(place, place + len(secret))]
        among = found(f"{text}\nthere")
        assert any(hit.start <= place and hit.end >= place + len(secret) for hit in among)


@pytest.mark.parametrize("name", BY_NAME)
def test_each_rule_leaves_near_misses_alone(name):
    alone = Secrets([BY_NAME[name]], GUARD._allowed)
    text, secret = drawn(BY_NAME[name], 0)
    assert found(stand_in(text, secret), alone) == []
    if name not in OPEN_ENDED:
        assert found(spoiled(text, secret), alone) == []


OPEN_ENDED = {
    "private-key",
    "putty-key",
    "database-url",
    "url-password",
    "connection-string",
    "jdbc-password",
    "curl-user",
    "netrc-password",
    "basic-auth",
}  # a third of it is a secret as well


@pytest.mark.parametrize(
    "harmless",
    [
        'password = "changeme"',
        "api_key: ${OPENAI_API_KEY}",
        "api_key: env:OPENAI_API_KEY",
        "API_KEY=<your-key>",
        "token = secrets.token_urlsafe(32)",
        "token: xxxxxxxxxxxxxxxxxxxxxxxx",
        "sk-...",
        "secret_name = my-service-credentials-v2",
        "postgres://user:" + "password@localhost/db",
        "https://user:${PASSWORD}@host/",
        "Basic understanding of Bearer tokens is assumed.",
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A\n-----END PUBLIC KEY-----",
        'if "-----BEGIN RSA PRIVATE' + ' KEY-----" in text and "-----END RSA PRIVATE KEY-----" in text:',
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
        "id: 123e4567-e89b-12d3-a456-426614174000",
        "the token is refreshed every 24 hours, the key is rotated",
        "AKIAIOSFODNN7" + "EXAMPLE",
    ],
)
def test_stand_ins_and_ordinary_text_are_no_secrets(harmless):
    assert values(harmless) == []


def test_a_private_key_is_found_as_a_whole_block_in_all_its_shapes():
    rng = random.Random(1)
    for label in ("RSA PRIVATE", "PRIVATE", "OPENSSH PRIVATE", "EC PRIVATE", "ENCRYPTED PRIVATE"):
        block = private_key(rng, label)
        assert values(f"a\n{block}\nb") == [("PRIVATE_KEY", block)]
        joined = block.replace("\n", "\\n")
        assert values(f'"private_key": "{joined}\\n"') == [("PRIVATE_KEY", joined)]


def test_an_unfinished_private_key_is_a_finding_from_its_header_on_and_is_held():
    text = "look: " + private_key(random.Random(2))[:200]
    (finding,) = found(text)
    assert (finding.start, finding.end, finding.kind) == (6, len(text), "PRIVATE_KEY")
    assert GUARD.open_tail(Text(text)) == len(text) - 6


def test_no_more_than_16_kb_of_an_endless_block_is_held():
    text = private_key(random.Random(3), lines=400)[:-40]
    assert len(text) > 20_000
    assert GUARD.held(text) < 1_000
    assert found(text)[0].end == 16_384


def test_a_secret_that_base64_wraps_is_found():
    """GRD-09"""
    _, secret = drawn(BY_NAME["github-personal"], 5)
    wrapped = base64.b64encode(f"the key is {secret} ok?".encode()).decode()
    assert "GITHUB_TOKEN" in {finding.kind for finding in found(f"decode {wrapped} please")}


def test_a_secret_in_json_escapes_is_found_in_its_raw_place():
    """GRD-04"""
    _, secret = drawn(BY_NAME["github-personal"], 6)
    escaped = "".join(f"\\u{ord(character):04x}" for character in secret)
    text = f'{{"a": "{escaped}"}}'
    (finding,) = found(text, escaped=True)
    assert text[finding.start : finding.end] == escaped


def test_a_checksum_that_holds_makes_it_certain():
    text, secret = drawn(BY_NAME["github-personal"], 7)
    last = "a" if secret[-1] != "a" else "b"
    assert found(text)[0].score == 1.0
    assert found(text.replace(secret, secret[:-1] + last))[0].score == UNPROVEN


def test_an_aws_key_id_holds_an_account_number():
    number = 123_456_789_012
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    bits = (1 << 49 | number << 9) % (1 << 50)
    body = "".join(digits[bits >> 5 * place & 31] for place in range(9, -1, -1))
    assert aws_key_id("AKIA" + body + "QTZ5KD") == 1.0


def test_only_and_except_choose_kinds():
    text = drawn(BY_NAME["github-personal"], 1)[0] + " " + drawn(BY_NAME["stripe-secret-key"], 1)[0]
    assert {finding.kind for finding in found(text, guard(only=["STRIPE_KEY"]))} == {"STRIPE_KEY"}
    assert "STRIPE_KEY" not in {finding.kind for finding in found(text, guard(**{"except": ["STRIPE_KEY"]}))}


def test_an_unknown_kind_names_the_nearest():
    with pytest.raises(ValidationError, match="GITHUB_TOKEN"):
        guard(only=["GITHUB_TOKENS"])


def test_allowed_values_and_patterns_are_no_findings():
    text, secret = drawn(BY_NAME["github-personal"], 8)
    assert found(text, guard(allow=[secret])) == []
    assert found(text, guard(allow_patterns=["ghp_.*"])) == []
    assert found(text, guard(allow_patterns=["gh"])) != []


def test_min_entropy_is_the_floor_of_given_values():
    text = 'client_secret = "' + some(random.Random(4), 24) + '"'
    assert found(text) != []
    assert found(text, guard(min_entropy=6.0)) == []


def test_own_rules_find_their_own_format_in_any_script():
    own = [{"kind": "HOUSE_KEY", "pattern": r"\bhaus-(é?[a-z0-9]{8})\b", "keywords": ["Haus-"], "min_entropy": 2.0}]
    assert values("der haus-éa1b2c3d4 hier", guard(rules=own)) == [("HOUSE_KEY", "éa1b2c3d4")]
    assert values("der haus-aaaaaaaa hier", guard(rules=own)) == []


@pytest.mark.parametrize("pattern", [r"(a)\1", r"(?=a)b", "a*", "("])
def test_own_patterns_that_re2_refuses_or_that_match_nothing_are_refused(pattern):
    """GRD-13"""
    with pytest.raises(ValidationError, match="secrets:"):
        guard(rules=[{"kind": "X", "pattern": pattern}])


def test_no_message_quotes_an_own_pattern_or_an_allowed_value():
    with pytest.raises(ValidationError) as refused:
        guard(rules=[{"kind": "X", "pattern": r"canary(a)\1"}])
    assert all("canary" not in error["msg"] for error in refused.value.errors())


def test_ordinary_prose_flows():
    prose = (
        "The quick brown fox jumps over the lazy dog. It is said that nothing can stop it; we shall see how it goes on "
    )
    held = [GUARD.open_tail(Text(prose[:end])) for end in range(1, len(prose))]
    assert max(held) <= 20


def test_entropy_knows_what_people_write():
    assert shannon("") == 0
    assert shannon("abcd") == 2
    assert named("my-service.v2") and not named("a8Kd92lQpz")
    assert stands_in("<token>") and not stands_in("a8Kd92lQpz")


FRAGMENTS = [
    " ",
    "\n",
    "password",
    " = ",
    '"',
    "datadog",
    " api key is ",
    ": ",
    "Bearer ",
    "Basic ",
    "eyJ",
    ".",
    "-----",
    "hello",
    "Server=db;",
    "Pwd=",
    "machine ",
    "login ",
    "https://u:",
    "@h",
    "Authorization: ",
    "token",
    "-----BEGIN ",
    "PRIVATE KEY",
    "-----END ",
    "curl -u a:",
    "\u200b",
    "é",
    ",",
    "ghp_",
]
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(FRAGMENTS),
        st.text("abcXYZ019+/=-_ \n\"'", max_size=40),
        st.builds(lambda rule, seed: drawn(rule, seed)[0], st.sampled_from(RULES), st.integers(0, 3)),
    ),
    max_size=8,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.data())
def test_what_a_stream_releases_holds_the_same_findings_as_the_whole(text, data):
    """GRD-03"""
    cut = data.draw(st.integers(0, len(text)))
    prefix = text[:cut]
    released = cut - GUARD.open_tail(Text(prefix))
    whole = [finding for finding in found(text) if finding.start < released]
    assert whole == [finding for finding in found(prefix) if finding.start < released]
    assert all(finding.end <= released for finding in whole)
