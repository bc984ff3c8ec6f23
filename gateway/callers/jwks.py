"""An issuer's public keys (RFC 7517): from a file, or from a URL, kept fresh and tolerant of an issuer that is down."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from gateway.callers.issuer import Issuer, IssuerError, origin
from gateway.core.clock import Clock
from gateway.core.errors import Refusal

MAX_AGE_S = 300.0
STALE_S = 24 * 3600.0
REFETCH_S = 10.0
RETRY_S = 5
FETCH_TIMEOUT_S = 5.0
MAX_JWKS_BYTES = 256 * 1024
MIN_RSA_BITS = 2048

_PUBLIC_MEMBERS = frozenset({"kty", "crv", "x", "y", "n", "e"})
_log = logging.getLogger(__name__)

Fetch = Callable[[str], Awaitable[bytes]]
"""The body that a URL answers with 200; raises for anything else. Bounded in size, follows no redirects."""

KeyId = tuple[str | None, str]
"""`kid` (None when the token or key has none) and `alg`."""

Keys = Mapping[KeyId, jwt.PyJWK]


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


def _unavailable() -> Refusal:
    return Refusal(
        "authentication_unavailable",
        "The issuer's keys cannot be fetched now, so the token could not be checked: try again shortly.",
        retry_after_s=RETRY_S,
    )
