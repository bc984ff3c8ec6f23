from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.callers.issuer import Issuer, IssuerError, Rights, origin
from gateway.callers.jwks import read_keys
from gateway.callers.jwt import JwtVerifier, VerifiedTokens
from gateway.core.errors import Refusal
from gateway.core.model import Caller, Names
from tests.callers.fakes import (
    AUDIENCE,
    CHECKOUT,
    ISSUER,
    JWKS_URL,
    NOW,
    ScriptedFetch,
    SettableClock,
    Signer,
    issuer_row,
    key_set,
    private_key,
    public_jwk,
)

DISCOVERY_URL = ISSUER + "/.well-known/openid-configuration"


class Scene:
    """One issuer with one key, a verifier that trusts it, and a clock to move."""

    def __init__(self, row: Issuer | None = None, *signers: Signer) -> None:
        self.signer = signers[0] if signers else Signer()
        self.clock = SettableClock()
        self.fetch = ScriptedFetch({JWKS_URL: key_set(*(signer.jwk() for signer in signers or [self.signer]))})
        self.row = row or issuer_row()
        self.verifier = JwtVerifier([self.row], self.clock, self.fetch)

    def publish(self, *signers: Signer) -> None:
        self.fetch.answers[JWKS_URL] = key_set(*(signer.jwk() for signer in signers))

    def break_issuer(self) -> None:
        self.fetch.answers[JWKS_URL] = OSError("connection refused")

    async def refusal(self, token: str) -> Refusal:
        with pytest.raises(Refusal) as caught:
            await self.verifier.verify(token)
        return caught.value

    async def code(self, token: str) -> str:
        return (await self.refusal(token)).code


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(header: dict[str, Any], claims: dict[str, Any], sign: Callable[[bytes], bytes] = lambda _: b"") -> str:
    signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{signed}.{b64(sign(signed.encode()))}"


def good_claims() -> dict[str, Any]:
    return {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "team": "research", "exp": NOW + 3600}


# --- what is believed


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "ES384", "EdDSA"])
async def test_a_token_of_a_trusted_issuer_is_its_caller(algorithm: str) -> None:
    scene = Scene(issuer_row(algorithms=(algorithm,)), Signer(algorithm))
    caller = await scene.verifier.verify(scene.signer.token())
    assert (caller.name, caller.team) == ("ada", "research")


async def test_a_token_is_for_this_gateway_when_its_audiences_include_it() -> None:
    scene = Scene()
    assert await scene.verifier.verify(scene.signer.token(aud=["other", AUDIENCE]))


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://idp.example/"},
        {"iss": "https://other.example"},
        {"iss": [ISSUER]},
        {"iss": None},
        {"aud": "other"},
        {"aud": [AUDIENCE + "x"]},
        {"aud": []},
        {"aud": {"llm-gateway": 1}},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"exp": 10**400},
        {"nbf": None},
        {"nbf": "x"},
        {"nbf": NOW + 31},
        {"iat": NOW + 31},
        {"iat": float("nan")},
    ],
)
async def test_a_signed_token_with_claims_that_do_not_hold_is_refused(claims: dict[str, Any]) -> None:
    scene = Scene()
    assert await scene.code(scene.signer.token(**claims)) == "invalid_api_key"


@pytest.mark.parametrize("claim", ["iss", "aud", "exp", "sub", "team"])
async def test_a_token_that_lacks_a_needed_claim_is_refused(claim: str) -> None:
    scene = Scene()
    assert await scene.code(scene.signer.token(without=(claim,))) == "invalid_api_key"


@pytest.mark.parametrize("value", ["", "  ", 7, None, ["ada"], {"a": 1}, True, "a\nb", "x" * 257])
@pytest.mark.parametrize("claim", ["preferred_name", "team"])
async def test_a_name_or_team_that_is_not_a_usable_string_is_refused(claim: str, value: object) -> None:
    """AUTH-06: no identity-less caller comes out of a token."""
    scene = Scene(issuer_row(name_claim="preferred_name"))
    claims: dict[str, Any] = {"preferred_name": "ada", claim: value}
    token = scene.signer.token(**claims)
    assert await scene.code(token) == "invalid_api_key"


async def test_an_expired_token_is_refused_as_expired() -> None:
    scene = Scene()
    assert await scene.code(scene.signer.token(exp=NOW)) == "expired_api_key"
    assert await scene.code(scene.signer.token(exp=NOW - 1)) == "expired_api_key"
    assert await scene.verifier.verify(scene.signer.token(exp=NOW + 1))


async def test_an_issuer_whose_clock_is_ahead_by_half_a_minute_is_believed() -> None:
    scene = Scene()
    assert await scene.verifier.verify(scene.signer.token(nbf=NOW + 30, iat=NOW + 30))


# --- what is not believed


async def test_a_token_without_a_signature_is_refused() -> None:
    scene = Scene()
    for algorithm in ["none", "None", "NONE", ""]:
        assert await scene.code(forged({"alg": algorithm, "kid": "k1"}, good_claims())) == "invalid_api_key"
    assert scene.fetch.calls == []


async def test_a_public_key_does_not_serve_as_a_shared_secret() -> None:
    scene = Scene(None, Signer("RS256"))
    pem = (
        private_key("RS256")
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    token = forged(
        {"alg": "HS256", "kid": "k1"}, good_claims(), lambda signed: hmac.digest(pem, signed, hashlib.sha256)
    )
    assert await scene.code(token) == "invalid_api_key"


async def test_a_signature_by_another_key_is_refused() -> None:
    scene = Scene()
    assert await scene.code(Signer(number=1).token()) == "invalid_api_key"


async def test_a_changed_claim_breaks_the_signature() -> None:
    scene = Scene()
    header, _, signature = scene.signer.token().split(".")
    claims = b64(json.dumps({**good_claims(), "sub": "eve"}).encode())
    assert await scene.code(f"{header}.{claims}.{signature}") == "invalid_api_key"


async def test_an_algorithm_that_the_policy_does_not_list_is_refused() -> None:
    scene = Scene(issuer_row(algorithms=("RS256",)), Signer("RS256"))
    assert await scene.code(Signer("ES256").token()) == "invalid_api_key"


async def test_a_key_is_not_used_with_an_algorithm_other_than_its_own() -> None:
    scene = Scene(issuer_row(algorithms=("RS256", "PS256")), Signer("RS256"))
    scene.fetch.answers[JWKS_URL] = key_set(scene.signer.jwk(alg="RS256"))
    assert await scene.code(Signer("PS256", kid="k1").token()) == "invalid_api_key"


async def test_keys_carried_by_the_token_itself_are_ignored() -> None:
    scene = Scene()
    stranger = Signer(number=1)
    header = {"alg": "EdDSA", "kid": "k1", "jwk": stranger.jwk(), "jku": "https://evil.example/keys"}
    token = jwt.encode(good_claims(), stranger.key, "EdDSA", header)
    assert await scene.code(token) == "invalid_api_key"
    assert scene.fetch.calls == [JWKS_URL]


@pytest.mark.parametrize(
    "token",
    [
        "a.b.c",
        "..",
        "e30.e30.e30",
        "x" * 100_000 + ".b.c",
        f"{b64(b'[]')}.{b64(b'{}')}.AA",
        f"{b64(b'{}')}.{b64(b'[' * 5000)}.AA",
        f"{b64(b'{}')}.{b64(bytes([0xFF]))}.AA",
        forged({"alg": "EdDSA", "kid": 7}, good_claims()),
        forged({"alg": ["EdDSA"], "kid": "k1"}, good_claims()),
        forged({"alg": {}, "kid": "k1"}, good_claims()),
        forged({"alg": "EdDSA", "kid": "k1"}, good_claims()),
        forged({"alg": "EdDSA", "kid": "k1", "crit": ["b64"], "b64": False}, good_claims()),
    ],
)
async def test_junk_in_the_form_of_a_token_is_refused(token: str) -> None:
    """AUTH-06"""
    assert await Scene().code(token) == "invalid_api_key"


@pytest.mark.parametrize(
    "text", ["", "a", "a.b", "a.b.c.d", "a..c", "a.b.", ".b.c", "a.b.c=", "a.b.c\n", "a.b c.d", "é.b.c"]
)
def test_other_texts_do_not_have_the_form_of_a_token(text: str) -> None:
    assert not Scene().verifier.reads(text)


def test_three_base64url_parts_have_the_form_of_a_token() -> None:
    assert Scene().verifier.reads(Signer().token())


async def test_each_issuer_signs_for_itself_only() -> None:
    ours, theirs = Signer(), Signer(number=1)
    rows = [issuer_row(), issuer_row(issuer="https://b.example", jwks_url="https://b.example/keys")]
    fetch = ScriptedFetch({JWKS_URL: key_set(ours.jwk()), "https://b.example/keys": key_set(theirs.jwk())})
    verifier = JwtVerifier(rows, SettableClock(), fetch)
    assert await verifier.verify(ours.token())
    assert await verifier.verify(theirs.token(iss="https://b.example"))
    with pytest.raises(Refusal, match="invalid_api_key"):
        await verifier.verify(theirs.token())


# --- rights


def rights(label: str) -> Rights:
    return Rights(models=Names.of([label]), endpoints=Names.of(["/v1/chat/completions"]), labels={"row": label})


@pytest.mark.parametrize(
    ("claims", "row"),
    [
        ({"groups": ["x", "admins"]}, "admin"),
        ({"groups": "admins"}, "admin"),
        ({"scope": "read llm write", "department": "sales"}, "scoped"),
        ({"groups": ["admins"], "scope": "llm", "department": "sales"}, "admin"),
    ],
)
async def test_the_first_rights_row_that_matches_applies(claims: dict[str, Any], row: str) -> None:
    table = (
        ({"groups": "admins"}, rights("admin")),
        ({"scope": "llm", "department": "sales"}, rights("scoped")),
    )
    scene = Scene(issuer_row(rights=table))
    caller = await scene.verifier.verify(scene.signer.token(**claims))
    wanted = rights(row)
    assert caller == Caller("ada", "research", wanted.models, wanted.endpoints, wanted.labels)


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"groups": "admins users"},
        {"groups": ["admin"]},
        {"groups": [["admins"]]},
        {"groups": {"admins": True}},
        {"scope": "llm"},
        {"scope": "llms", "department": "sales"},
        {"scope": "llm", "department": ["SALES"]},
    ],
)
async def test_a_token_that_matches_no_rights_row_is_refused(claims: dict[str, Any]) -> None:
    table = (
        ({"groups": "admins"}, rights("admin")),
        ({"scope": "llm", "department": "sales"}, rights("scoped")),
    )
    scene = Scene(issuer_row(rights=table))
    assert await scene.code(scene.signer.token(**claims)) == "invalid_api_key"


async def test_no_rights_rows_let_nobody_in() -> None:
    scene = Scene(issuer_row(rights=()))
    assert await scene.code(scene.signer.token()) == "invalid_api_key"


# --- verified tokens


async def test_a_verified_token_is_known_for_a_minute() -> None:
    scene = Scene()
    token = scene.signer.token()
    caller = await scene.verifier.verify(token)
    scene.clock.pass_time(59.9)
    assert scene.verifier.known(token) is caller
    scene.clock.pass_time(0.1)
    assert scene.verifier.known(token) is None


async def test_a_verified_token_is_not_known_beyond_its_own_end() -> None:
    scene = Scene()
    token = scene.signer.token(exp=NOW + 10)
    await scene.verifier.verify(token)
    scene.clock.pass_time(10)
    assert scene.verifier.known(token) is None
    assert await scene.code(token) == "expired_api_key"


async def test_a_refused_token_is_not_remembered() -> None:
    scene = Scene()
    token = Signer(number=1).token()
    await scene.refusal(token)
    assert scene.verifier.known(token) is None


async def test_tokens_that_share_a_prefix_do_not_share_a_caller() -> None:
    """AUTH-16: tokens of one issuer begin alike for far more than 20 characters."""
    scene = Scene()
    tokens = {name: scene.signer.token(sub=name) for name in ["ada", "bob"]}
    assert len({token[:20] for token in tokens.values()}) == 1
    for _ in range(2):
        assert {name: (await scene.verifier.verify(token)).name for name, token in tokens.items()} == {
            "ada": "ada",
            "bob": "bob",
        }


def test_a_hundred_thousand_random_tokens_share_no_entry() -> None:
    """AUTH-16"""
    remembered = VerifiedTokens(limit=200_000)
    tokens = [f"{b64(b'same header for all')}.{number}.sig" for number in range(100_000)]
    for token in tokens:
        remembered.put(token, CHECKOUT, until=1.0)
    assert len(remembered) == len(tokens)
    assert remembered.get(tokens[0][:-1], now=0.0) is None


def test_the_oldest_verified_token_is_forgotten_first() -> None:
    remembered = VerifiedTokens(limit=2)
    for token in ["a", "b", "a", "c"]:
        remembered.put(token, CHECKOUT, until=1.0)
    assert [remembered.get(token, now=0.0) for token in "abc"] == [CHECKOUT, None, CHECKOUT]
    assert len(remembered) == 2


# --- key sets from a URL


async def test_keys_are_fetched_once_and_used_for_five_minutes() -> None:
    scene = Scene()
    await scene.verifier.verify(scene.signer.token(sub="a"))
    scene.clock.pass_time(300)
    await scene.verifier.verify(scene.signer.token(sub="b"))
    assert len(scene.fetch.calls) == 1
    scene.clock.pass_time(1)
    await scene.verifier.verify(scene.signer.token(sub="c"))
    assert len(scene.fetch.calls) == 2


async def test_a_withdrawn_key_stops_working_once_the_set_is_fetched_again() -> None:
    scene = Scene()
    await scene.verifier.verify(scene.signer.token(sub="a"))
    scene.publish(Signer(kid="k2", number=2))
    scene.clock.pass_time(301)
    assert await scene.code(scene.signer.token(sub="b")) == "invalid_api_key"


async def test_a_new_key_is_found_without_waiting_for_the_set_to_age() -> None:
    scene = Scene()
    await scene.verifier.verify(scene.signer.token())
    rotated = Signer(kid="k2", number=2)
    scene.publish(scene.signer, rotated)
    scene.clock.pass_time(10)
    assert await scene.verifier.verify(rotated.token())


async def test_unknown_key_ids_cause_one_fetch_in_ten_seconds() -> None:
    scene = Scene()
    await scene.verifier.verify(scene.signer.token())
    for second in range(21):
        assert await scene.code(Signer(kid=f"made-up-{second}").token()) == "invalid_api_key"
        scene.clock.pass_time(1)
    assert len(scene.fetch.calls) == 3


async def test_a_cold_start_under_load_fetches_the_keys_once() -> None:
    """AUTH-08: 500 concurrent calls with 50 tokens."""
    scene = Scene()
    scene.fetch.open.clear()
    tokens = [scene.signer.token(sub=f"caller-{number}") for number in range(50)]
    calls = [asyncio.create_task(scene.verifier.verify(token)) for token in tokens * 10]
    await scene.fetch.called.wait()
    scene.fetch.open.set()
    callers = await asyncio.gather(*calls)
    assert len(scene.fetch.calls) == 1
    assert [caller.name for caller in callers] == [f"caller-{number}" for number in range(50)] * 10


async def test_an_aged_set_is_fetched_once_for_all_who_wait() -> None:
    """AUTH-08"""
    scene = Scene()
    await scene.verifier.verify(scene.signer.token())
    scene.clock.pass_time(301)
    scene.fetch.open.clear()
    scene.fetch.called.clear()
    calls = [asyncio.create_task(scene.verifier.verify(scene.signer.token(sub=str(number)))) for number in range(100)]
    await scene.fetch.called.wait()
    assert not any(call.done() for call in calls)
    scene.fetch.open.set()
    await asyncio.gather(*calls)
    assert len(scene.fetch.calls) == 2


async def test_no_keys_yet_is_unavailable_and_never_unauthorised() -> None:
    """AUTH-07"""
    scene = Scene()
    scene.break_issuer()
    no = await scene.refusal(scene.signer.token())
    assert (no.code, no.status, no.retry_after_s) == ("authentication_unavailable", 503, 5)


async def test_a_failing_issuer_is_asked_again_after_the_time_that_callers_were_told() -> None:
    """AUTH-07"""
    scene = Scene()
    scene.break_issuer()
    for _ in range(3):
        await scene.refusal(scene.signer.token())
    assert len(scene.fetch.calls) == 1
    scene.publish(scene.signer)
    scene.clock.pass_time(5)
    assert await scene.verifier.verify(scene.signer.token())


async def test_while_the_issuer_is_down_its_known_keys_serve_for_a_day() -> None:
    """AUTH-07: known token, new token by a known key, token by an unknown key, bad token."""
    scene = Scene()
    await scene.verifier.verify(scene.signer.token())
    scene.break_issuer()
    scene.clock.pass_time(24 * 3600)
    token = scene.signer.token(exp=NOW + 1e6)
    assert await scene.verifier.verify(token)
    assert scene.verifier.known(token)
    assert await scene.code(Signer(kid="k2", number=2).token()) == "authentication_unavailable"
    assert await scene.code(Signer(number=1).token(exp=NOW + 1e6)) == "invalid_api_key"
    scene.clock.pass_time(61)
    assert await scene.code(token) == "authentication_unavailable"


async def test_known_keys_serve_at_once_while_a_failing_issuer_is_asked_again() -> None:
    """AUTH-07: an issuer that hangs delays the one call that asks it, not all."""
    scene = Scene()
    await scene.verifier.verify(scene.signer.token())
    scene.break_issuer()
    scene.clock.pass_time(301)
    await scene.verifier.verify(scene.signer.token(sub="b"))
    scene.clock.pass_time(5)
    scene.fetch.open.clear()
    scene.fetch.called.clear()
    asking = asyncio.create_task(scene.verifier.verify(scene.signer.token(sub="c")))
    await scene.fetch.called.wait()
    assert (await scene.verifier.verify(scene.signer.token(sub="d"))).name == "d"
    assert not asking.done()
    scene.fetch.open.set()
    assert (await asking).name == "c"


async def test_an_issuer_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """AUTH-07"""
    monkeypatch.setattr("gateway.callers.jwks.FETCH_TIMEOUT_S", 0.02)
    scene = Scene()
    scene.fetch.open.clear()
    assert await scene.code(scene.signer.token()) == "authentication_unavailable"


async def test_a_failed_fetch_is_logged_without_the_token(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.break_issuer()
    token = scene.signer.token()
    await scene.refusal(token)
    assert "keys of issuer corp-idp cannot be fetched: OSError: connection refused" in caplog.text
    assert token not in caplog.text


@pytest.mark.parametrize(
    "answer",
    [b"", b"<html>", b"[]", b"{}", b'{"keys": {}}', key_set(), b'{"keys": ["x"]}', b" " * 300_000, b"[" * 9999],
)
async def test_an_unusable_key_set_never_replaces_a_good_one(answer: bytes) -> None:
    """AUTH-07"""
    scene = Scene()
    await scene.verifier.verify(scene.signer.token())
    scene.fetch.answers[JWKS_URL] = answer
    scene.clock.pass_time(301)
    assert await scene.verifier.verify(scene.signer.token(sub="b"))


async def test_a_reload_takes_over_fetched_keys_and_no_verified_tokens() -> None:
    """AUTH-07: a policy change while the issuer is down locks nobody out."""
    scene = Scene()
    token = scene.signer.token()
    await scene.verifier.verify(token)
    scene.break_issuer()
    reloaded = JwtVerifier([issuer_row(rights=(({}, rights("new")),))], scene.clock, scene.fetch, scene.verifier)
    assert reloaded.known(token) is None
    assert (await reloaded.verify(token)).labels == {"row": "new"}


async def test_a_reload_does_not_take_over_keys_from_another_place() -> None:
    scene = Scene()
    await scene.verifier.verify(scene.signer.token())
    moved = issuer_row(jwks_url="https://idp.example/other")
    fetch = ScriptedFetch({"https://idp.example/other": key_set(Signer(number=1).jwk())})
    reloaded = JwtVerifier([moved], scene.clock, fetch, scene.verifier)
    with pytest.raises(Refusal, match="invalid_api_key"):
        await reloaded.verify(scene.signer.token())


# --- discovery


def discovery(jwks_uri: object = JWKS_URL, issuer: object = ISSUER) -> bytes:
    return json.dumps({"issuer": issuer, "jwks_uri": jwks_uri}).encode()


async def test_discovery_leads_to_the_keys() -> None:
    scene = Scene(issuer_row(discover=True))
    scene.fetch.answers[DISCOVERY_URL] = discovery()
    assert await scene.verifier.verify(scene.signer.token())
    assert scene.fetch.calls == [DISCOVERY_URL, JWKS_URL]


@pytest.mark.parametrize(
    "document",
    [
        discovery("https://evil.example/keys"),
        discovery("http://idp.example/keys"),
        discovery("https://idp.example:8443/keys"),
        discovery("https://idp.example@evil.example/keys"),
        discovery("https://idp.example\\@evil.example/keys"),
        discovery("https://idp.example.evil.example/keys"),
        discovery("https://[::1/keys"),
        discovery("https://idp.example:x/keys"),
        discovery("http://127.0.0.1/keys"),
        discovery("file:///etc/passwd"),
        discovery(None),
        discovery([JWKS_URL]),
        discovery(issuer="https://idp.example/"),
        discovery(issuer="https://evil.example"),
        b"{}",
        b"[]",
    ],
)
async def test_discovery_cannot_lead_elsewhere(document: bytes) -> None:
    scene = Scene(issuer_row(discover=True))
    scene.fetch.answers[DISCOVERY_URL] = document
    assert await scene.code(scene.signer.token()) == "authentication_unavailable"
    assert scene.fetch.calls == [DISCOVERY_URL]


@pytest.mark.parametrize(
    "url", ["https://a.example/k", "http://127.0.0.1:9000/k", "http://[::1]/k", "http://localhost/k"]
)
def test_keys_may_be_fetched_over_https_or_from_this_machine(url: str) -> None:
    assert origin("corp-idp", url)


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example/k",
        "http://10.0.0.1/k",
        "http://127.0.0.1.evil.example/k",
        "http://localhost.evil.example/k",
        "ftp://localhost/k",
        "/keys",
        "",
        "https://",
        "https://user:pw@a.example/k",
        "https://a.example/k#f",
        "https://bücher.example/k",
    ],
)
def test_keys_may_not_be_fetched_from_elsewhere(url: str) -> None:
    with pytest.raises(IssuerError, match="corp-idp: a key URL"):
        origin("corp-idp", url)
    with pytest.raises(IssuerError):
        issuer_row(issuer=url, discover=True)


# --- key sets from a file


async def test_keys_from_a_file_need_no_fetch(tmp_path: Path) -> None:
    scene = Scene()
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(scene.signer.jwk()))
    verifier = JwtVerifier([issuer_row(jwks_file=path)], scene.clock, scene.fetch)
    assert await verifier.verify(scene.signer.token())
    with pytest.raises(Refusal, match="invalid_api_key"):
        await verifier.verify(Signer(kid="k2", number=2).token())
    assert scene.fetch.calls == []


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"keys": []}', b"[" * 9999])
def test_a_key_file_that_cannot_be_used_stops_the_load(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "jwks.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(IssuerError, match="issuer corp-idp: "):
        JwtVerifier([issuer_row(jwks_file=path)], SettableClock(), ScriptedFetch({}))


# --- reading key sets


def test_keys_that_cannot_sign_for_us_are_passed_over() -> None:
    good = Signer(kid="good")
    small = public_jwk(rsa.generate_private_key(65537, 1024))
    others = [
        "text",
        {},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "symmetric"},
        {"kty": "RSA", "n": 7, "e": [], "kid": "junk"},
        {"kty": "EC", "crv": "P-256", "x": None, "y": {}, "kid": "junk"},
        {"kty": "OKP", "crv": "X25519", "x": "AA", "kid": "junk"},
        {"kty": ["RSA"], "kid": "junk"},
        {**small, "kid": "small"},
        Signer("ES384", kid="another curve").jwk(),
        Signer(kid="encryption").jwk(use="enc"),
        Signer(kid="another algorithm").jwk(alg="ES512"),
        {**Signer().jwk(), "kid": 7},
    ]
    assert set(read_keys(issuer_row(), key_set(*others, good.jwk()))) == {("good", "EdDSA")}


def test_a_key_without_an_algorithm_serves_all_that_fit_it() -> None:
    row = issuer_row(algorithms=("RS256", "PS512", "ES256", "EdDSA"))
    assert set(read_keys(row, key_set(Signer("RS256").jwk()))) == {("k1", "RS256"), ("k1", "PS512")}


def test_a_private_key_published_by_mistake_is_used_by_its_public_half() -> None:
    private: Any = private_key("EdDSA")
    members = jwt.algorithms.OKPAlgorithm.to_jwk(private, as_dict=True)
    assert "d" in members
    key = read_keys(issuer_row(), key_set({**members, "kid": "k1"}))["k1", "EdDSA"]
    assert not hasattr(key.key, "sign")


async def test_a_token_without_a_key_id_is_for_a_key_without_one() -> None:
    nameless = Signer(kid=None)
    scene = Scene(None, nameless)
    assert await scene.verifier.verify(nameless.token())
    assert await Scene().code(nameless.token()) == "invalid_api_key"


# --- rows


@pytest.mark.parametrize("algorithms", [(), ("HS256",), ("none",), ("RS256", "HS512"), ("rs256",)])
def test_only_asymmetric_algorithms_can_be_listed(algorithms: tuple[str, ...]) -> None:
    with pytest.raises(IssuerError, match="algorithms must be of"):
        issuer_row(algorithms=algorithms)


def test_an_issuer_has_exactly_one_place_for_its_keys() -> None:
    with pytest.raises(IssuerError, match="exactly one"):
        issuer_row(jwks_url=JWKS_URL, discover=True)


def test_an_issuer_without_a_name_to_trust_is_refused() -> None:
    with pytest.raises(IssuerError, match="must not be empty"):
        issuer_row(issuer="")


def test_two_rows_for_one_issuer_are_refused() -> None:
    with pytest.raises(IssuerError, match="another row"):
        JwtVerifier([issuer_row(), issuer_row()], SettableClock(), ScriptedFetch({}))
