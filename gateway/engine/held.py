"""A reply that is read for its meaning before it passes, and passes as it came."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson

from gateway.core.errors import UpstreamFault
from gateway.core.model import Headers
from gateway.core.ports import UpstreamReply
from gateway.engine import headers as header_rules
from gateway.engine.tasks import for_size
from gateway.wire.encodings import ReplyDecoder

_MAX_READ_BYTES = 1 << 20


class Held:
    """Implements UpstreamReply: one of which as much was read as can be read for its meaning."""

    def __init__(self, reply: UpstreamReply, body: bytes, *, whole: bool) -> None:
        self.status = reply.status
        self.headers = reply.headers
        self.close = reply.close
        self._reply = reply
        self._body = body
        self._is_whole = whole

    @classmethod
    async def of(cls, reply: UpstreamReply) -> Held:
        body = reply.complete()
        if body is not None:
            return cls(reply, body, whole=True)
        pieces: list[bytes] = []
        size = 0
        while size <= _MAX_READ_BYTES:
            piece = await reply.read()
            if not piece:
                return cls(reply, b"".join(pieces), whole=True)
            pieces.append(piece)
            size += len(piece)
        return cls(reply, b"".join(pieces), whole=False)

    async def document(self) -> Mapping[str, Any]:
        """Empty, where it is no JSON object or too long."""
        coding = (header_rules.value_of(self.headers, b"content-encoding") or b"identity").decode("latin-1").lower()
        return await for_size(len(self._body), partial(_read, self._body, coding)) if self._is_whole else {}

    async def read(self) -> bytes:
        body, self._body = self._body, b""
        return body or (b"" if self._is_whole else await self._reply.read())

    def complete(self) -> bytes | None:
        if not self._is_whole:
            return None
        body, self._body = self._body, b""
        return body


def is_json(headers: Headers) -> bool:
    kind = header_rules.value_of(headers, b"content-type") or b""
    return kind.partition(b";")[0].strip().lower() == b"application/json"


def _read(body: bytes, coding: str) -> Mapping[str, Any]:
    try:
        plain = body if coding == "identity" else ReplyDecoder(coding, _MAX_READ_BYTES).feed(body)
        document = orjson.loads(plain)
    except (UpstreamFault, orjson.JSONDecodeError):
        return {}
    return document if type(document) is dict else {}
