"""Callers who present a JSON Web Token (RFC 7519): from the token to a Caller.

A token is read in this order: its issuer is looked up in the policy, its key in the issuer's key set (RFC 7517), the
signature, issuer and audience are checked by PyJWT, the dates against the gateway's clock, and then its claims become a
name, a team and rights. Nothing but `iss`, `alg` and `kid` is believed before the signature holds, and these three only
choose among what the policy allows. Symmetric algorithms and "none" do not exist here (RFC 8725 §3.1).

While an issuer can be reached, a key that it withdraws stops working after at most MAX_AGE_S (how old its key set gets)
plus VERIFIED_S (how long a verified token is remembered).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

import jwt

from gateway.callers.issuer import Issuer, IssuerError
from gateway.callers.jwks import Fetch, KeySet, KeySource, LocalKeys, RemoteKeys
from gateway.core.clock import Clock
from gateway.core.errors import Refusal
from gateway.core.model import Caller

LEEWAY_S = 30.0
VERIFIED_S = 60.0
MAX_VERIFIED = 10_000
MAX_TOKEN_CHARS = 8192
MAX_NAME_CHARS = 256


_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_LATEST_DATE = 1e11  # about the year 5138; also turns away NaN and infinity, which Python's JSON reader lets through
_CHECKED_BY_PYJWT: Any = {
    "require": ["exp", "iss", "aud"],
    "verify_exp": False,  # the dates are ours: PyJWT reads the system's clock and takes no other
    "verify_nbf": False,
    "verify_iat": False,
}


class JwtVerifier:
    """The tokens of all issuers of one policy. Key files are read here, key URLs when the first token needs them.

    `previous` is the verifier of the policy before: key sets already fetched from the same place are taken over, so
    that a reload while an issuer is down locks nobody out. Verified tokens are not: their rights may have changed.
    Raises IssuerError.
    """

    def __init__(
        self, issuers: Iterable[Issuer], clock: Clock, fetch: Fetch, previous: JwtVerifier | None = None
    ) -> None:
        self._clock = clock
        self._verified = VerifiedTokens(MAX_VERIFIED)
        self._trusted: dict[str, tuple[Issuer, KeySource]] = {}
        for issuer in issuers:
            if issuer.issuer in self._trusted:
                raise IssuerError(issuer.name, "another row has the same issuer")
            self._trusted[issuer.issuer] = issuer, _key_source(issuer, clock, fetch, previous)

    def reads(self, credential: str) -> bool:
        """Whether a credential is to be judged here: there are issuers, and it is three dotted base64url parts."""
        return bool(self._trusted) and _TOKEN.fullmatch(credential) is not None

    def known(self, token: str) -> Caller | None:
        """The caller of a token that was verified a moment ago."""
        return self._verified.get(token, self._clock.monotonic())

    async def verify(self, token: str) -> Caller:
        """Raises Refusal: `invalid_api_key`, `expired_api_key`, `authentication_unavailable`."""
        return self.known(token) or await self._prove(token)

    def fetched(self, issuer: Issuer) -> KeySet | None:
        """The key set at hand for an issuer whose keys come from a URL, if they came from where this row says."""
        _, source = self._trusted.get(issuer.issuer, (None, None))
        return source.key_set if isinstance(source, RemoteKeys) and source.serves(issuer) else None

    async def _prove(self, token: str) -> Caller:
        header, unproven = _unverified(token)
        issuer, source = self._issuer_of(unproven)
        if header.get("alg") not in issuer.algorithms:
            raise _refused()
        key = await source.find((header.get("kid"), header["alg"]))
        if key is None:
            raise _refused()
        claims = _verified_claims(token, key, issuer)
        now = self._clock.wall()
        remaining_s = _valid_until(claims, now) - now
        caller = caller_from(issuer, claims)
        self._verified.put(token, caller, self._clock.monotonic() + min(remaining_s, VERIFIED_S))
        return caller

    def _issuer_of(self, claims: Mapping[str, object]) -> tuple[Issuer, KeySource]:
        name = claims.get("iss")
        if not isinstance(name, str) or name not in self._trusted:
            raise _refused()
        return self._trusted[name]


class VerifiedTokens:
    """Callers of verified tokens, each until its own monotonic time. The oldest goes when `limit` is reached.

    The key is the full SHA-256 of the token: tokens of one issuer share long prefixes, and a cut or weak key would hand
    one caller's identity to another (CVE-2026-35030). The tokens themselves are not kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # A plain dictionary whose front is deleted again and again is searched from its first entry that ever was.
        self._entries: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, token: str, now: float) -> Caller | None:
        entry = self._entries.get(_fingerprint(token))
        return entry[0] if entry and now < entry[1] else None

    def put(self, token: str, caller: Caller, until: float) -> None:
        key = _fingerprint(token)
        self._entries.pop(key, None)
        if len(self._entries) >= self._limit:
            self._entries.popitem(last=False)
        self._entries[key] = caller, until


def _fingerprint(token: str) -> bytes:
    return sha256(token.encode()).digest()


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims as the token states them, proven by nothing."""
    if len(token) > MAX_TOKEN_CHARS:
        raise _refused()
    try:
        parts = jwt.decode_complete(token, options={"verify_signature": False})
    except jwt.PyJWTError as error:
        raise _refused() from error
    return parts["header"], parts["payload"]


def _verified_claims(token: str, key: jwt.PyJWK, issuer: Issuer) -> dict[str, Any]:
    """The claims, once the signature, `iss` and `aud` hold and `exp` is there."""
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            audience=issuer.audience,
            issuer=issuer.issuer,
            options=_CHECKED_BY_PYJWT,
        )
    except jwt.PyJWTError as error:
        raise _refused() from error


def _valid_until(claims: Mapping[str, object], now: float) -> float:
    """Wall seconds at which the token ends (RFC 7519 §4.1.4). Refuses it when that is past or its start still ahead.

    The leeway is for an issuer whose clock is ahead of ours; no token outlives its own `exp`.
    """
    starts = max(_date(claims.get("nbf", 0)), _date(claims.get("iat", 0)))
    ends = _date(claims["exp"])
    if now >= ends:
        raise Refusal("expired_api_key", "The token has expired: ask its issuer for a new one.")
    if starts > now + LEEWAY_S:
        raise Refusal("invalid_api_key", "The token is not valid yet.")
    return ends


def _date(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LATEST_DATE:
        raise Refusal("invalid_api_key", "A date in the token is not a number of seconds.")
    return float(value)


def caller_from(issuer: Issuer, claims: Mapping[str, object]) -> Caller:
    """The caller that proven claims describe. Raises Refusal when they name nobody or match no rights row."""
    rights = next((rights for when, rights in issuer.rights if _all_hold(when, claims)), None)
    if rights is None:
        raise Refusal("invalid_api_key", "The token is genuine but the gateway's policy gives it no rights.")
    name, team = _name(claims.get(issuer.name_claim)), _name(claims.get(issuer.team_claim))
    return Caller(
        name,
        team,
        rights.models,
        rights.endpoints,
        rights.labels,
        rights.guards,
        rights.trace_mode,
        rights.trusted,
    )


def _name(claim: object) -> str:
    """Names reach logs and metrics, so they are bounded and printable."""
    if not isinstance(claim, str) or not claim.strip() or not claim.isprintable() or len(claim) > MAX_NAME_CHARS:
        raise Refusal("invalid_api_key", "The token lacks a usable claim for the caller's name or team.")
    return claim


def _all_hold(when: Mapping[str, str], claims: Mapping[str, object]) -> bool:
    return all(wanted in _values(claim, claims.get(claim)) for claim, wanted in when.items())


def _values(claim: str, value: object) -> list[object]:
    """A claim as the list of its values; `scope` is a space-separated string (RFC 8693 §4.2)."""
    if isinstance(value, list):
        return value
    if claim == "scope" and isinstance(value, str):
        return [*value.split(" ")]
    return [value]


def _key_source(issuer: Issuer, clock: Clock, fetch: Fetch, previous: JwtVerifier | None) -> KeySource:
    if issuer.jwks_file is not None:
        return LocalKeys(issuer, issuer.jwks_file)
    return RemoteKeys(issuer, clock, fetch, previous.fetched(issuer) if previous else None)


def _refused() -> Refusal:
    return Refusal("invalid_api_key", "The token is not from an issuer that this gateway trusts, or not meant for it.")
