"""One request and its answer on a caller's connection: bytes in with limits, bytes out with back-pressure.

It stands in for both of aiohttp's request and response objects, which cost more than the rest of the hop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from gateway.core.errors import Refusal
from gateway.core.model import Headers

if TYPE_CHECKING:
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.streams import StreamReader

    from gateway.server.connection import Connection

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_STATUS_LINES = {status: b"HTTP/1.1 %d %s\r\n" % (status, reason) for status, reason in _REASONS.items()}
_BODYLESS = frozenset({204, 304})


class Exchange:
    """Implements `core.ports.Client`."""

    __slots__ = (
        "_chunked", "_closing", "_connection", "_head", "_keep_alive", "_payload", "_silent",
        "content_length", "headers", "method", "started", "target",
    )  # fmt: skip

    def __init__(self, message: RawRequestMessage, payload: StreamReader, connection: Connection) -> None:
        self._payload = payload
        self._connection = connection
        self._keep_alive = not message.should_close
        self._chunked = False
        self._head = b""
        self.method = message.method
        self.target = message.path
        self.headers: Headers = [(name.lower(), value) for name, value in message.raw_headers]
        given = dict(self.headers)
        # aiohttp's parser has already refused a length that is not one plain number.
        self.content_length = int(given[b"content-length"]) if b"content-length" in given else None
        self.started = False
        # Whatever is odd about the framing is refused later; the connection must not outlive it.
        self._closing = b"upgrade" in given or (b"transfer-encoding" in given and not _is_chunked(self.headers))
        self._silent = self.method == "HEAD"

    # -- what the connection asks of it

    def _cancel(self, error: BaseException) -> None:
        self._payload.set_exception(error)

    @property
    def keep_alive(self) -> bool:
        return self._keep_alive and not self._closing

    # -- in

    @property
    def remote(self) -> str:
        """The address of the other side; "" once it is gone."""
        transport = self._connection.transport
        peer = None if transport is None else transport.get_extra_info("peername")
        return str(peer[0]) if peer else ""

    async def read_body(self, max_bytes: int) -> bytes:
        payload = self._payload
        self._refuse_announced(max_bytes)
        if payload.is_eof() and payload.exception() is None:  # arrived together with the head: the common case
            body = payload.read_nowait(-1)
            if len(body) > max_bytes:
                raise self._too_large(max_bytes)
            return body
        return b"".join([chunk async for chunk in self.stream_body(max_bytes)])

    async def stream_body(self, max_bytes: int) -> AsyncIterator[bytes]:
        self._refuse_announced(max_bytes)
        self._continue()
        received = 0
        loop = asyncio.get_running_loop()
        began = loop.time()
        limits = self._connection.limits
        while True:
            late_at = began + limits.body_timeout_s + (received / limits.body_min_rate if limits.body_min_rate else 1e9)
            try:
                async with asyncio.timeout_at(min(late_at, loop.time() + limits.body_timeout_s)):
                    chunk = await self._payload.readany()
            except TimeoutError:
                self._closing = True
                raise Refusal("request_timeout", "The request body did not arrive in time.") from None
            except (RequestPayloadError, HttpProcessingError):
                self._closing = True
                raise Refusal("bad_request", "The request body is not framed as its headers say.") from None
            if not chunk:
                return
            received += len(chunk)
            if received > max_bytes:
                raise self._too_large(max_bytes)
            yield chunk

    def _refuse_announced(self, max_bytes: int) -> None:
        if self.content_length is not None and self.content_length > max_bytes:
            raise self._too_large(max_bytes)

    def _too_large(self, max_bytes: int) -> Refusal:
        self._closing = True
        return Refusal("body_too_large", f"The request body is larger than {max_bytes} bytes.")

    def _continue(self) -> None:
        """A caller that waits for 100 (RFC 9110 §10.1.1) gets it only now: after its key and its path were accepted."""
        if any(name == b"expect" and value.lower() == b"100-continue" for name, value in self.headers):
            self._transport().write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # -- out

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        head = self._begin(status, headers, len(body))
        self._send(head if self._silent else head + body)
        if self._connection.writing_paused:
            await self._drain()

    async def start(self, status: int, headers: Headers, length: int | None) -> None:
        self._head = self._begin(status, headers, length)

    async def write(self, data: bytes) -> None:
        if self._silent:
            data = b""
        elif self._chunked and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self._head:
            data, self._head = self._head + data, b""
        self._send(data)
        if self._connection.writing_paused:
            await self._drain()

    async def finish(self) -> None:
        tail = b"0\r\n\r\n" if self._chunked and not self._silent else b""
        self._send(self._head + tail)
        self._head = b""
        if self._connection.writing_paused:
            await self._drain()

    def abort(self) -> None:
        self._closing = True
        if self._connection.transport is not None:
            self._connection.transport.abort()

    def _begin(self, status: int, headers: Headers, length: int | None) -> bytes:
        """The answer's head."""
        if self.started:
            raise RuntimeError("the answer has already begun")
        self.started = True
        if self._connection.draining or not self._payload.is_eof():
            self._closing = True
        self._silent = self._silent or status in _BODYLESS
        self._chunked = length is None
        lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status]
        lines += [b"%b: %b\r\n" % pair for pair in headers]
        lines += (_framing(status, length), self._connection.date_line())
        lines.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        return b"".join(lines)

    def _send(self, data: bytes) -> None:
        if data:
            self._transport().write(data)

    def _transport(self) -> asyncio.Transport:
        transport = self._connection.transport
        if transport is None:
            raise ConnectionResetError("the caller has closed the connection")
        return transport

    async def _drain(self) -> None:
        async with asyncio.timeout(self._connection.limits.write_timeout_s):
            await self._connection._drain_helper()


def _framing(status: int, length: int | None) -> bytes:
    if status in _BODYLESS:
        return b""
    if length is None:
        return b"transfer-encoding: chunked\r\n"
    return b"content-length: %d\r\n" % length


def _is_chunked(headers: Headers) -> bool:
    """Whether every transfer coding is that one."""
    return all(value.lower() == b"chunked" for name, value in headers if name == b"transfer-encoding")


def http_date(seconds: float) -> bytes:
    """IMF-fixdate, RFC 9110 §5.6.7."""
    return formatdate(seconds, usegmt=True).encode()
