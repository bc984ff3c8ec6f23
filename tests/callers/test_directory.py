from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gateway.callers.directory import Directory
from gateway.callers.jwt import JwtVerifier
from gateway.callers.keys import KeyRow, KeyTable, digest, new_key
from gateway.core.errors import Refusal
from gateway.core.model import Caller
from gateway.core.ports import Authenticator
from tests.callers.fakes import CHECKOUT, JWKS_URL, NOW, ScriptedFetch, SettableClock, Signer, issuer_row, key_set

KEY = new_key()


class BrokenTable(KeyTable):
    def find(self, key: str) -> KeyRow | None:
        raise OSError


class BrokenVerifier(JwtVerifier):
    async def verify(self, token: str) -> Caller:
        raise ZeroDivisionError


def no_issuers() -> JwtVerifier:
    return JwtVerifier([], SettableClock(), ScriptedFetch({}))


def directory(
    expires_at: float | None = None,
    *,
    keys: KeyTable | None = None,
    tokens: JwtVerifier | None = None,
    on_revoked: Callable[[str, str], None] = lambda *_: None,
) -> Directory:
    table = keys or KeyTable({digest(KEY): KeyRow(CHECKOUT, expires_at)})
    return Directory(table, tokens or no_issuers(), SettableClock(), on_revoked)


async def refusal(asked: Directory, credential: str) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await asked.authenticate(credential)
    return caught.value


async def test_a_known_key_is_its_caller() -> None:
    authenticator: Authenticator = directory()
    assert await authenticator.authenticate(KEY) is CHECKOUT


def test_a_known_key_needs_no_waiting() -> None:
    with pytest.raises(StopIteration) as done:
        directory().authenticate(KEY).send(None)
    assert done.value.value is CHECKOUT


@pytest.mark.parametrize(
    "credential",
    ["", "Bearer", " ", "\t\r\n", "x" * 100_000, "gw-unknown", "a.b.c", "é", "\udc80", "null", digest(KEY)],
)
async def test_an_unknown_credential_is_refused_and_never_anonymous(credential: str) -> None:
    """AUTH-06: unknown, empty, blank, over-long, ill-formed."""
    no = await refusal(directory(), credential)
    assert (no.code, no.status) == ("invalid_api_key", 401)
    assert no.message == "The API key is not known to this gateway."


@pytest.mark.parametrize("seconds_ago", [0, 1, 1e6])
async def test_an_expired_key_is_refused_as_such(seconds_ago: float) -> None:
    """AUTH-06"""
    no = await refusal(directory(expires_at=NOW - seconds_ago), KEY)
    assert (no.code, no.status) == ("expired_api_key", 401)


async def test_a_key_works_until_it_expires() -> None:
    assert await directory(expires_at=NOW + 1).authenticate(KEY) is CHECKOUT


async def test_a_revoked_key_is_unknown_to_the_next_table() -> None:
    """AUTH-06"""
    assert (await refusal(directory(keys=KeyTable({})), KEY)).code == "invalid_api_key"


async def test_the_use_of_a_revoked_key_is_told_and_answered_like_that_of_an_unknown_one() -> None:
    """LOG-08"""
    told: list[tuple[str, str]] = []
    table = KeyTable({}, KeyTable({digest(KEY): KeyRow(CHECKOUT, None)}))
    asked = directory(keys=table, on_revoked=lambda *said: told.append(said))
    revoked, unknown = await refusal(asked, KEY), await refusal(asked, new_key())
    assert (revoked.code, revoked.status, revoked.message) == (unknown.code, unknown.status, unknown.message)
    assert told == [(CHECKOUT.name, digest(KEY))]


async def test_a_key_table_that_breaks_is_not_the_callers_fault() -> None:
    """AUTH-06: a store that raises means 503, never 401 and never a caller."""
    no = await refusal(directory(keys=BrokenTable({})), KEY)
    assert (no.code, no.status, no.retry_after_s) == ("authentication_unavailable", 503, 5)


async def test_a_verifier_that_breaks_is_not_the_callers_fault() -> None:
    """AUTH-06"""
    asked = directory(tokens=BrokenVerifier([issuer_row()], SettableClock(), ScriptedFetch({})))
    no = await refusal(asked, "a.b.c")
    assert (no.code, no.retry_after_s) == ("authentication_unavailable", 5)
    assert await asked.authenticate(KEY) is CHECKOUT


async def test_tokens_go_to_the_issuers_and_everything_else_to_the_key_table() -> None:
    clock, signer = SettableClock(), Signer()
    fetch = ScriptedFetch({JWKS_URL: key_set(signer.jwk())})
    asked = directory(tokens=JwtVerifier([issuer_row()], clock, fetch))
    caller = await asked.authenticate(signer.token())
    assert (caller.name, caller.team) == ("ada", "research")
    assert await asked.authenticate(KEY) is CHECKOUT
    assert (await refusal(asked, "two.parts")).message == "The API key is not known to this gateway."
    assert (await refusal(asked, "a.b.c")).message.startswith("The token")


async def test_a_caller_who_hangs_up_is_not_answered_with_a_refusal() -> None:
    fetch = ScriptedFetch({JWKS_URL: key_set(Signer().jwk())})
    fetch.open.clear()
    asked = directory(tokens=JwtVerifier([issuer_row()], SettableClock(), fetch))
    waiting = asyncio.create_task(asked.authenticate(Signer().token()))
    await fetch.called.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    fetch.open.set()
    assert (await asked.authenticate(Signer().token())).name == "ada"
    assert len(fetch.calls) == 1
