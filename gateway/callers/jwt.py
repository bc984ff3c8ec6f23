"""Callers who present a JSON Web Token (RFC 7519): from the token to a Caller.

A token is read in this order: its issuer is looked up in the policy, its key in the issuer's key set (RFC 7517), the
signature, issuer and audience are checked by PyJWT, the dates against the gateway's clock, and then its claims become a
name, a team and rights. Nothing but `iss`, `alg` and `kid` is believed before the signature holds, and these three only
choose among what the policy allows. Symmetric algorithms and "none" do not exist here (RFC 8725 §3.1).

While an issuer can be reached, a key that it withdraws stops working after at most MAX_AGE_S (how old its key set gets)
plus VERIFIED_S (how long a verified token is remembered).
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import math
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from gateway.core.clock import Clock
from gateway.core.errors import Refusal
from gateway.core.model import Caller, Names

ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})

LEEWAY_S = 30.0
VERIFIED_S = 60.0
MAX_VERIFIED = 10_000
MAX_TOKEN_CHARS = 8192
MAX_NAME_CHARS = 256

MAX_AGE_S = 300.0
STALE_S = 24 * 3600.0
REFETCH_S = 10.0
RETRY_S = 5
FETCH_TIMEOUT_S = 5.0
MAX_JWKS_BYTES = 256 * 1024
MIN_RSA_BITS = 2048

_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_LATEST_DATE = 1e11  # about the year 5138; also turns away NaN and infinity, which Python's JSON reader lets through
_PUBLIC_MEMBERS = frozenset({"kty", "crv", "x", "y", "n", "e"})
_DEFAULT_PORTS = {"https": 443, "http": 80}
_CHECKED_BY_PYJWT: Any = {
    "require": ["exp", "iss", "aud"],
    "verify_exp": False,  # the dates are ours: PyJWT reads the system's clock and takes no other
    "verify_nbf": False,
    "verify_iat": False,
}
_log = logging.getLogger(__name__)

Fetch = Callable[[str], Awaitable[bytes]]
"""The body that a URL answers with 200; raises for anything else. Bounded in size, follows no redirects."""

KeyId = tuple[str | None, str]
"""`kid` (None when the token or key has none) and `alg`."""

Keys = Mapping[KeyId, jwt.PyJWK]


class IssuerError(ValueError):
    """An issuer's row, key file, discovery document or key set cannot be used."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"issuer {name}: {problem}")


@dataclass(frozen=True, slots=True)
class Rights:
    """What a caller may do, as a row of the policy says it."""

    models: Names
    endpoints: Names
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Issuer:
    """One row of the policy's issuers. `issuer` is the exact `iss`. Exactly one of `jwks_file`, `jwks_url`, `discover`.

    `rights` are pairs of conditions (claim name to wanted value, all must hold) and what they give; the first that
    matches applies. Raises IssuerError for what can never work or never be safe.
    """

    name: str
    issuer: str
    audience: str
    jwks_file: Path | None
    jwks_url: str | None
    discover: bool
    algorithms: tuple[str, ...]
    name_claim: str
    team_claim: str
    rights: tuple[tuple[Mapping[str, str], Rights], ...]

    def __post_init__(self) -> None:
        if not (self.issuer and self.audience):
            raise IssuerError(self.name, "issuer and audience must not be empty")
        if not self.algorithms or not ALGORITHMS.issuperset(self.algorithms):
            raise IssuerError(self.name, f"algorithms must be of {', '.join(sorted(ALGORITHMS))}")
        if (self.jwks_file is not None) + (self.jwks_url is not None) + self.discover != 1:
            raise IssuerError(self.name, "exactly one of jwks_file, jwks_url and discover is needed")
        if self.jwks_url is not None:
            origin(self.name, self.jwks_url)
        if self.discover:
            origin(self.name, self.issuer)


def origin(name: str, url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL that keys may be fetched from: https, or http that stays on this machine.

    Raises IssuerError for any other. `name` is the issuer's, for the message.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise IssuerError(name, "a key URL is malformed") from error
    if not host or "@" in parts.netloc or "\\" in url or not url.isascii() or parts.fragment:
        raise IssuerError(name, "a key URL needs a host, and neither credentials nor a fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise IssuerError(name, "a key URL must be https; http is for loopback only")
    return parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme]


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
        self._entries: dict[bytes, tuple[Caller, float]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, token: str, now: float) -> Caller | None:
        entry = self._entries.get(_fingerprint(token))
        return entry[0] if entry and now < entry[1] else None

    def put(self, token: str, caller: Caller, until: float) -> None:
        key = _fingerprint(token)
        self._entries.pop(key, None)
        if len(self._entries) >= self._limit:
            del self._entries[next(iter(self._entries))]
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
    return Caller(name, team, rights.models, rights.endpoints, rights.labels)


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


class KeySource(Protocol):
    async def find(self, wanted: KeyId) -> jwt.PyJWK | None:
        """The issuer's key, None when the issuer has no such key; Refusal when that cannot be said now."""


class LocalKeys:
    """The key set of a file, as it was when the policy was loaded."""

    def __init__(self, issuer: Issuer, path: Path) -> None:
        try:
            self._keys = read_keys(issuer, path.read_bytes())
        except OSError as error:
            raise IssuerError(issuer.name, "jwks_file cannot be read") from error

    async def find(self, wanted: KeyId) -> jwt.PyJWK | None:
        return self._keys.get(wanted)


@dataclass(frozen=True, slots=True)
class KeySet:
    """Keys and the monotonic time at which they were fetched."""

    keys: Keys
    fetched_at: float


_NO_KEYS = KeySet({}, -math.inf)


class RemoteKeys:
    """The key set of an issuer, fetched from its URL, kept MAX_AGE_S and fetched again for a key it does not hold.

    At most one fetch is in flight, and one starts at most every REFETCH_S, or every RETRY_S while the issuer fails.
    Then the keys at hand serve for up to STALE_S, and what they cannot decide is a 503: a key they lack may be new.
    """

    def __init__(self, issuer: Issuer, clock: Clock, fetch: Fetch, key_set: KeySet | None = None) -> None:
        self.key_set = key_set or _NO_KEYS
        self._issuer = issuer
        self._fetch = fetch
        self._clock = clock
        self._tried_at = -math.inf
        self._failing = False
        self._flight: asyncio.Task[None] | None = None

    def serves(self, issuer: Issuer) -> bool:
        """Whether another version of the issuer's row would lead to the same keys."""
        mine = self._issuer
        return (mine.issuer, mine.jwks_url, mine.algorithms) == (issuer.issuer, issuer.jwks_url, issuer.algorithms)

    async def find(self, wanted: KeyId) -> jwt.PyJWK | None:
        if not (wanted in self.key_set.keys and self._is_current()):
            await self._refresh()
        key = self.key_set.keys.get(wanted)
        if self._age_s() > STALE_S or (key is None and self._failing):
            raise _unavailable()
        return key

    def _is_current(self) -> bool:
        """While the issuer fails, only the call that tries again waits for it; the others use what is at hand."""
        return self._age_s() <= MAX_AGE_S or (self._failing and not self._may_fetch())

    def _may_fetch(self) -> bool:
        return self._clock.monotonic() - self._tried_at >= (RETRY_S if self._failing else REFETCH_S)

    def _age_s(self) -> float:
        return self._clock.monotonic() - self.key_set.fetched_at

    async def _refresh(self) -> None:
        """A task of its own, because callers who hang up must not take the fetch away from those who still wait."""
        if self._flight is None or self._flight.done():
            if not self._may_fetch():
                return
            self._tried_at = self._clock.monotonic()
            self._flight = asyncio.create_task(self._load())
        await asyncio.shield(self._flight)

    async def _load(self) -> None:
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                keys = read_keys(self._issuer, await self._fetch(await self._keys_url()))
        except Exception as error:
            self._failing = True
            _log.warning("keys of issuer %s cannot be fetched: %s: %s", self._issuer.name, type(error).__name__, error)
        else:
            self._failing = False
            self.key_set = KeySet(keys, self._clock.monotonic())

    async def _keys_url(self) -> str:
        """The URL of the key set, by OpenID Connect Discovery 1.0 §4 unless the policy gives it.

        Discovery must name the same issuer (§4.3) and stay on its origin: it may not point us at another machine.
        """
        issuer = self._issuer
        if issuer.jwks_url is not None:
            return issuer.jwks_url
        document = _json_object(
            issuer, await self._fetch(issuer.issuer.rstrip("/") + "/.well-known/openid-configuration")
        )
        if document.get("issuer") != issuer.issuer:
            raise IssuerError(issuer.name, "its discovery document names another issuer")
        url = document.get("jwks_uri")
        if not isinstance(url, str) or origin(issuer.name, url) != origin(issuer.name, issuer.issuer):
            raise IssuerError(issuer.name, "its jwks_uri is on another origin; set jwks_url if that is right")
        return url


def _key_source(issuer: Issuer, clock: Clock, fetch: Fetch, previous: JwtVerifier | None) -> KeySource:
    if issuer.jwks_file is not None:
        return LocalKeys(issuer, issuer.jwks_file)
    return RemoteKeys(issuer, clock, fetch, previous.fetched(issuer) if previous else None)


def read_keys(issuer: Issuer, document: bytes) -> Keys:
    """The signing keys of a JWK set that the issuer's algorithms can use. Raises IssuerError when there is none.

    A key that names its `alg` is for that one only; one that does not is for every allowed algorithm it fits. Other
    members of the set (encryption keys, unknown types, symmetric keys) are passed over, as RFC 7517 §5 asks.
    """
    listed = _json_object(issuer, document).get("keys")
    if not isinstance(listed, list):
        raise IssuerError(issuer.name, "its key set has no list of keys")
    keys = {key_id: key for jwk in listed for key_id, key in _signing_keys(jwk, issuer.algorithms)}
    if not keys:
        raise IssuerError(issuer.name, "its key set has no usable key")
    return keys


def _signing_keys(jwk: object, algorithms: tuple[str, ...]) -> Iterator[tuple[KeyId, jwt.PyJWK]]:
    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig":
        return
    kid = jwk.get("kid")
    if kid is not None and not isinstance(kid, str):
        return
    for algorithm in algorithms:
        key = _public_key(jwk, algorithm) if jwk.get("alg", algorithm) == algorithm else None
        if key is not None:
            yield (kid, algorithm), key


def _public_key(jwk: Mapping[str, object], algorithm: str) -> jwt.PyJWK | None:
    """The key for this algorithm, None when it does not fit. A private half, published by mistake, is not taken in."""
    try:
        key = jwt.PyJWK({name: value for name, value in jwk.items() if name in _PUBLIC_MEMBERS}, algorithm)
        key.Algorithm.prepare_key(key.key)  # an elliptic curve that belongs to another algorithm shows only here
    except jwt.PyJWTError:
        return None
    too_short = isinstance(key.key, RSAPublicKey) and key.key.key_size < MIN_RSA_BITS
    return None if too_short else key


def _json_object(issuer: Issuer, document: bytes) -> dict[str, Any]:
    if len(document) > MAX_JWKS_BYTES:
        raise IssuerError(issuer.name, "its key document is too large")
    try:
        value = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise IssuerError(issuer.name, "its key document is not JSON") from error
    if not isinstance(value, dict):
        raise IssuerError(issuer.name, "its key document is not a JSON object")
    return value


def _refused() -> Refusal:
    return Refusal("invalid_api_key", "The token is not from an issuer that this gateway trusts, or not meant for it.")


def _unavailable() -> Refusal:
    return Refusal(
        "authentication_unavailable",
        "The issuer's keys cannot be fetched now, so the token could not be checked: try again shortly.",
        retry_after_s=RETRY_S,
    )
