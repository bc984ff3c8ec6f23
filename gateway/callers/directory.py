"""Who is asking: the one place that turns a credential into a Caller, or into the reason why not.

Three answers and no fourth: a proven Caller, a 401 that says the credential is bad, a 503 that says it could not be
decided. A failure of the gateway's own parts is never told as 401, since clients drop credentials on it.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.callers.jwt import JwtVerifier
from gateway.callers.keys import KeyTable, digest
from gateway.core.clock import Clock
from gateway.core.errors import Refusal
from gateway.core.model import Caller

RETRY_AFTER_S = 5


class Directory:
    """Implements `gateway.core.ports.Authenticator`: tokens go to the issuers if there are any, all else is a key.

    `authenticate` suspends only where an issuer's keys have to be fetched; a key never waits. `on_revoked` is told
    whose key was shown that is revoked, and its digest.
    """

    def __init__(
        self, keys: KeyTable, tokens: JwtVerifier, clock: Clock, on_revoked: Callable[[str, str], None]
    ) -> None:
        self._keys = keys
        self._tokens = tokens
        self._clock = clock
        self._on_revoked = on_revoked

    async def authenticate(self, credential: str) -> Caller:
        """Raises Refusal: `invalid_api_key`, `expired_api_key`, `authentication_unavailable`."""
        try:
            if self._tokens.reads(credential):
                return await self._tokens.verify(credential)
            return self._holder(credential)
        except Refusal:
            raise
        except Exception as error:
            raise Refusal(
                "authentication_unavailable",
                "The API key could not be checked now: try again shortly.",
                retry_after_s=RETRY_AFTER_S,
            ) from error

    def _holder(self, key: str) -> Caller:
        row = self._keys.find(key)
        if row is not None and row.is_revoked:
            self._on_revoked(row.caller.name, digest(key))
        if row is None or row.is_revoked:
            raise Refusal("invalid_api_key", "The API key is not known to this gateway.")
        if row.expires_at is not None and self._clock.wall() >= row.expires_at:
            raise Refusal("expired_api_key", "The API key has expired: ask the gateway's operator for a new one.")
        return row.caller
