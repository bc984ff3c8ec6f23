"""The caller's connection: aiohttp's HTTP/1.1 server with the limits that it lacks.

aiohttp has no time-out for a header block and no cap on connections (its timers are keep-alive, lingering close and
shutdown). Both are here; the body's deadlines are in `exchange`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from gateway.core.errors import CODES, Refusal
from gateway.server.errors import refusal_body, refusal_headers
from gateway.server.exchange import Exchange, http_date

if TYPE_CHECKING:
    from aiohttp.streams import StreamReader

Handler = Callable[[Exchange], Awaitable[None]]

MAX_LINE_BYTES = 16_384
MAX_HEADER_BYTES = 16_384
MAX_HEADERS = 128


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Seconds and counts, as in Settings."""

    max_connections: int
    header_timeout_s: float
    body_timeout_s: float
    body_min_rate: int
    idle_timeout_s: float
    write_timeout_s: float


class Connection(RequestHandler):
    """One caller's TCP connection. Adds the header deadline, the connection cap and errors in OpenAI's shape."""

    __slots__ = ("_header_timer", "_listener", "date_line")

    def __init__(self, listener: Listener, **options: Any) -> None:
        super().__init__(listener, **options)
        self._listener = listener
        self.date_line = listener.date_line
        self._header_timer: asyncio.TimerHandle | None = None

    @property
    def limits(self) -> ConnectionLimits:
        return self._listener.limits

    @property
    def draining(self) -> bool:
        return self._listener.draining

    async def start(self) -> None:
        """The requests of this connection, one after the other, in its one task. aiohttp's own loop makes a task and a
        writer for each, and asks what it answers for things that an Exchange does not have."""
        try:
            while not self._force_close:
                if not self._messages:
                    await self._requested()
                message, payload = self._messages.popleft()
                self._make_room()
                if isinstance(message, _ErrInfo):
                    self._refuse_malformed(message)
                    return
                exchange = Exchange(message, payload, self)
                await self._handled(exchange)
                self._keepalive = exchange.keep_alive
                if not payload.is_eof():
                    await self._linger(payload)
                if not self._keepalive or self._close:
                    break
                self._await_next()
        except asyncio.CancelledError:
            self.force_close()
            raise
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    async def _requested(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _make_room(self) -> None:
        """For what waits behind this request, where the other side has sent many at once."""
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()

    async def _handled(self, exchange: Exchange) -> None:
        self._request_in_progress = True
        self._current_request = exchange  # type: ignore[assignment]  # only its `_cancel` is called
        try:
            await self._listener.handle(exchange)
        except ConnectionError:
            self.force_close()
        except Exception as bug:
            self.log_exception("unhandled", exc_info=bug)
            self.force_close()
        finally:
            self._request_in_progress, self._current_request = False, None
            if self._handler_waiter is not None:
                self._handler_waiter.set_result(None)

    async def _linger(self, payload: StreamReader) -> None:
        """Reads on for a moment what nobody wants, so that the other side, which still sends, sees its answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._lingering_time):
                while not payload.is_eof() and not self._force_close:
                    await payload.readany()
        if not payload.is_eof():
            self.close()

    def _await_next(self) -> None:
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._listener.full():
            self._refuse(Refusal("overloaded", "Too many open connections.", retry_after_s=1))
            return
        self._arm()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self._disarm()
        elif data and self._header_timer is None and self._waits_for_request():
            self._arm()

    def _waits_for_request(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    def _arm(self) -> None:
        self._header_timer = self._loop.call_later(self.limits.header_timeout_s, self._header_late)

    def _disarm(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _header_late(self) -> None:
        self._header_timer = None
        if self._waits_for_request():
            self._refuse(Refusal("request_timeout", "The request's headers did not arrive in time."))

    def _refuse(self, refusal: Refusal) -> None:
        """Answers outside of any exchange and closes."""
        if self.transport is not None:
            self.transport.write(raw_refusal(refusal))
        self.force_close()

    def _refuse_malformed(self, error: _ErrInfo) -> None:
        if isinstance(error.exc, LineTooLong):
            self._refuse(Refusal("headers_too_large", "A request line or header is too long."))
        else:
            self._refuse(Refusal("bad_request", "The request is not valid HTTP/1.1."))


def raw_refusal(refusal: Refusal) -> bytes:
    status, _ = CODES[refusal.code]
    body = refusal_body(refusal, "")
    head = [b"HTTP/1.1 %d \r\n" % status]
    head += [b"%b: %b\r\n" % pair for pair in refusal_headers(refusal)]
    head.append(b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body))
    return b"".join(head) + body


class Listener(web.Server):
    """Makes a Connection for every accepted socket and hands each request to `handle`."""

    def __init__(self, handle: Handler, limits: ConnectionLimits, wall: Callable[[], float] = time.time) -> None:
        super().__init__(handle, handler_cancellation=True)  # type: ignore[arg-type]  # called by `Connection.start`
        self.handle = handle
        self.limits = limits
        self.draining = False
        self._wall = wall
        self._date: tuple[int, bytes] = (0, b"")

    def __call__(self) -> RequestHandler:
        return Connection(
            self,
            loop=self._loop,
            keepalive_timeout=self.limits.idle_timeout_s,
            access_log=None,
            auto_decompress=False,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            lingering_time=2.0,
        )

    def full(self) -> bool:
        return len(self._connections) > self.limits.max_connections

    def date_line(self) -> bytes:
        now = int(self._wall())
        if now != self._date[0]:
            self._date = (now, b"date: %b\r\n" % http_date(now))
        return self._date[1]

    def drain(self) -> None:
        """From now on every answer closes its connection."""
        self.draining = True

    def close_idle(self) -> None:
        """Closes the connections on which nothing runs."""
        for connection in list(self._connections):
            if connection._waiter is not None:
                connection.force_close()
