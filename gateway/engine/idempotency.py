"""One charge for one `Idempotency-Key`, however often it is sent.

The first answer is kept for 24 hours and repeated. It is sealed under a key that is made of what the caller sends and
of the process's own secret, so that what lies in the ledger can be opened only while its owner asks for it again.
Answers that were streamed or are large are not kept: the second call is told so, and nothing is charged.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.core.accounts import Claim
from gateway.core.errors import Refusal
from gateway.core.model import Call, Headers
from gateway.core.ports import Client, Ledger, LedgerDown
from gateway.engine import headers as header_rules

MAX_KEPT_BYTES = 1 << 20
_MAX_KEY_BYTES = 255
_NONCE = bytes(12)  # a key seals one answer once


class Kept:
    """An answer from before."""

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class Keeping:
    """A Client whose key has its answer before it has: once answered it may ask again, of any process, and is answered
    the same. `charged`: whether the call cost something, once that is known for good."""

    def __init__(self, client: Client, claim: Idempotency, charged: Callable[[], Awaitable[bool]]) -> None:
        self._client = client
        self._claim = claim
        self._charged = charged
        self.method = client.method
        self.target = client.target
        self.headers = client.headers
        self.content_length = client.content_length
        self.read_body = client.read_body
        self.stream_body = client.stream_body
        self.start = client.start
        self.write = client.write
        self.finish = client.finish
        self.abort = client.abort

    @property
    def started(self) -> bool:
        return self._client.started

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        await self._claim.keep((status, headers, body), charged=await self._charged())
        await self._client.answer(status, headers, body)


class Idempotency:
    """The claim of one call on its key."""

    def __init__(self, ledger: Ledger, secret: bytes, call: Call, key: bytes) -> None:
        scope = b"\0".join((call.caller.team.encode(), call.caller.name.encode(), key))
        self._ledger = ledger
        self._name = hmac.digest(secret, b"name\0" + scope, "sha256").hex()
        self._seal = AESGCM(hmac.digest(secret, b"seal\0" + scope, "sha256"))
        self._body = _digest(call)
        self._asked: asyncio.Future[Claim] | None = None
        self._kept: asyncio.Future[None] | None = None

    @classmethod
    def of(cls, ledger: Ledger, secret: bytes, call: Call) -> Idempotency | None:
        """None where the caller sent no key, or the body is not one that the gateway reads."""
        key = header_rules.value_of(call.headers, b"idempotency-key")
        if key is None or call.document is None:
            return None
        if not 0 < len(key) <= _MAX_KEY_BYTES:
            raise Refusal("invalid_value", "An Idempotency-Key has 1 to 255 characters.", param="Idempotency-Key")
        return cls(ledger, secret, call, key)

    async def claim(self, call_id: str, at: float) -> Kept | None:
        """The answer from before, or None: this call is the first. Refusal 409, 422, 503."""
        # Beside the call: when that is cancelled meanwhile, the key is taken, and `keep` has to know.
        self._asked = asyncio.ensure_future(self._ledger.claim(self._name, self._body, call_id, at))
        try:
            claim = await asyncio.shield(self._asked)
        except LedgerDown:
            raise Refusal("ledger_unavailable", "Usage cannot be written down now.", retry_after_s=5) from None
        if claim.state == "new":
            return None
        if claim.state == "running":
            message = "A request with this Idempotency-Key is running."
            raise Refusal("idempotency_in_progress", message, param="Idempotency-Key", retry_after_s=1)
        if claim.state == "different":
            message = "This Idempotency-Key was used with another request."
            raise Refusal("idempotency_mismatch", message, param="Idempotency-Key")
        kept = self._opened(claim.reply)
        if kept is None:
            message = "This Idempotency-Key was used; its answer was charged once and is not kept."
            raise Refusal("idempotency_key_used", message, param="Idempotency-Key")
        return kept

    async def keep(self, answer: tuple[int, Headers, bytes] | None, *, charged: bool) -> None:
        """What the first call came to; told again, it stays. Nothing charged: the key is free again."""
        try:
            if self._asked is None or (await self._asked).state != "new":
                return
            if self._kept is None:
                reply = self._sealed(answer) if charged else None
                self._kept = asyncio.ensure_future(self._ledger.keep(self._name, reply))
            await asyncio.shield(self._kept)
        except LedgerDown:
            return  # the key stays taken: nothing is charged twice

    def _sealed(self, answer: tuple[int, Headers, bytes] | None) -> bytes:
        if answer is None or len(answer[2]) > MAX_KEPT_BYTES:
            return b""
        status, headers, body = answer
        head = orjson.dumps([status, [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers]])
        return self._seal.encrypt(_NONCE, head + b"\n" + body, self._body.encode())

    def _opened(self, sealed: bytes) -> Kept | None:
        if not sealed:
            return None
        try:
            head, _, body = self._seal.decrypt(_NONCE, sealed, self._body.encode()).partition(b"\n")
        except InvalidTag:  # the process's secret is another one by now
            return None
        status, pairs = orjson.loads(head)
        return Kept(status, [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs], body)


def _digest(call: Call) -> str:
    body = call.body if isinstance(call.body, bytes) else b""
    return hashlib.sha256(b"\0".join((call.method.encode(), call.path.encode(), body))).hexdigest()
