"""Virtual keys: how one is made, what is kept of it, and who it belongs to.

Only digests are kept. A key is 256 random bits, so an unsalted SHA-256 is the right digest: salts and slow hashes
protect secrets that can be guessed, this one cannot be, and the look-up stays one hash and one table access.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

from gateway.core.model import Caller

PREFIX = "gw-"
MAX_KEY_BYTES = 512
MAX_REVOKED = 10_000


@dataclass(frozen=True, slots=True)
class KeyRow:
    """Whom a key stands for, or stood for, where it is revoked. `expires_at` is in wall seconds, None for never."""

    caller: Caller
    expires_at: float | None
    is_revoked: bool = False


def new_key() -> str:
    """A fresh key: the prefix and 43 URL-safe characters."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> str:
    """SHA-256 of the key's UTF-8 bytes in lower-case hex: what a policy holds instead of the key."""
    return sha256(key.encode()).hexdigest()


class KeyTable:
    """Rows by the digest of their key. Immutable; a reload builds a new one, which remembers as revoked the keys that
    the one before had and that are gone: the last 10,000.

    The dictionary compares digests, not keys: what its timing could tell is a part of a hash that the asker has already
    computed. The last word is a constant-time comparison over the full width, made for unknown keys as well.
    """

    __slots__ = ("_rows",)

    _NOBODY: tuple[str, KeyRow | None] = ("0" * 64, None)

    def __init__(self, rows: Mapping[str, KeyRow], before: KeyTable | None = None) -> None:
        gone = {} if before is None else before._without(rows)
        self._rows = {known: (known, row) for known, row in (*gone.items(), *rows.items())}

    def _without(self, rows: Mapping[str, KeyRow]) -> dict[str, KeyRow]:
        """Those that `rows` has no more, the longest gone first."""
        gone = [(known, row) for known, row in self._rows.values() if row is not None and known not in rows]
        return {known: replace(row, is_revoked=True) for known, row in gone[-MAX_REVOKED:]}

    def find(self, key: str) -> KeyRow | None:
        """The key's row, expired, revoked or not; None when unknown, as is all that is not short, printable ASCII."""
        if not 0 < len(key) <= MAX_KEY_BYTES or not (key.isascii() and key.isprintable()):
            return None
        asked = digest(key)
        known, row = self._rows.get(asked, self._NOBODY)
        return row if hmac.compare_digest(known, asked) else None
