"""One HTTP/1.1 connection to a provider (RFC 9112), one exchange at a time.

llhttp parses in its strict mode. Whatever is unsound about an answer ends the connection: it is never used again, so
that nothing a provider sent too much can be taken for the answer to somebody else's request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httptools

from gateway.core.errors import (
    BAD_FRAMING,
    CLOSED,
    FIRST_BYTE_TIMEOUT,
    IDLE_TIMEOUT,
    TOTAL_TIMEOUT,
    FaultKind,
    UpstreamFault,
)
from gateway.core.model import Headers, Timeouts

MAX_BUFFERED_BYTES = 256 * 1024
MAX_HEAD_BYTES = 64 * 1024
MAX_INTERIM_ANSWERS = 8
MAX_DRAINED_BYTES = 64 * 1024
DRAIN_S = 0.1

_SWITCHING_PROTOCOLS = 101
_BODYLESS = frozenset({204, 304})


class HttpReply:
    """Implements `core.ports.UpstreamReply`. `framed` is False when only the close of the connection ends the body, so
    that its end does not prove that it is whole."""

    __slots__ = (
        "_chunks",
        "_closed",
        "_connection",
        "_fault",
        "_size",
        "_touched",
        "_waiter",
        "answered",
        "ended",
        "framed",
        "headers",
        "status",
    )

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._chunks: list[bytes] = []
        self._size = 0
        self._fault: UpstreamFault | None = None
        self._touched = False
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None
        self.status = 0
        self.headers: Headers = []
        self.framed = True
        self.answered = False
        self.ended = False

    async def read(self) -> bytes:
        self._touched = True
        while not self._chunks:
            if self._fault is not None:
                raise self._fault
            if self.ended or self._closed:
                return b""
            await self._connection.more(self)
        return self._take()

    def complete(self) -> bytes | None:
        if not self.ended or self._touched or self._fault is not None:
            return None
        self._touched = True
        return self._take()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._chunks.clear()
        if not self.ended and self._fault is None:
            self._connection.abandon(self)

    # -- fed by the connection

    def feed(self, data: bytes) -> int:
        """The number of bytes now held."""
        if not self._closed:
            self._chunks.append(data)
        self._size += len(data)
        return self._size

    def fail(self, fault: UpstreamFault) -> None:
        if not self.ended and self._fault is None:
            self._fault = fault

    def news(self) -> asyncio.Future[None]:
        """Done when something has been fed. The state that is waited for stands in the reply and not in its
        connection: that may already serve the next exchange when the one who waits here comes to run."""
        self._waiter = self._connection.loop.create_future()
        return self._waiter

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def waiting(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    @property
    def fault(self) -> UpstreamFault | None:
        return self._fault

    @property
    def closed(self) -> bool:
        return self._closed

    def _take(self) -> bytes:
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._size = 0
        self._connection.resume(self)
        return data


class Connection(asyncio.Protocol):
    """`on_free(connection)` is told when an exchange has ended and the connection may be used again or not
    (`reusable`), `on_lost(connection)` when it is gone."""

    __slots__ = (
        "_aborted", "_due", "_due_kind", "_header_bytes", "_interim", "_keep", "_lengths", "_on_free",
        "_on_lost", "_parser", "_paused", "_reading_paused", "_reply", "_sending", "_surplus", "_timeouts",
        "_timer", "_timer_at", "_total_due", "_transfer", "_transport", "_write_waiter", "bodyless",
        "born_at", "freed_at", "loop", "lost", "received", "used",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timeouts: Timeouts,
        on_free: Callable[[Connection], None],
        on_lost: Callable[[Connection], None],
    ) -> None:
        self.loop = loop
        self._timeouts = timeouts
        self._on_free = on_free
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._reply: HttpReply | None = None
        self._write_waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._reading_paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._due = self._total_due = 0.0
        self._due_kind: FaultKind = FIRST_BYTE_TIMEOUT
        self._keep = False
        self._surplus = False
        self._sending = False
        self._interim = 0
        self._header_bytes = 0
        self._lengths: list[bytes] = []
        self._transfer = False
        self.bodyless = False
        self.born_at = self.freed_at = self.loop.time()
        self.lost = self._aborted = False
        self.received = False
        self.used = False

    # -- one exchange, called by the pool's user

    def begin(self, *, bodyless: bool, sending: bool) -> HttpReply:
        """A new exchange. `bodyless`: the answer has a head only (HEAD). `sending`: the request is streamed, and until
        `sent` the connection cannot be used again."""
        reply = self._reply = HttpReply(self)
        self._parser = httptools.HttpResponseParser(self)
        self._keep = self._surplus = self._transfer = False
        self._interim = self._header_bytes = 0
        self._lengths = []
        self.received = False
        self.bodyless = bodyless
        self._sending = sending
        self._total_due = self.loop.time() + self._timeouts.total_s
        return reply

    def sent(self) -> None:
        self._sending = False

    def write(self, data: bytes) -> None:
        if self._transport is None:
            raise UpstreamFault(CLOSED, "closed while the request was sent")
        self._transport.write(data)

    async def drained(self) -> None:
        """Waits until the provider takes more of the request."""
        if self._paused and not self.lost:
            self._write_waiter = self.loop.create_future()
            self._expect(self._timeouts.idle_s, IDLE_TIMEOUT)
            await self._write_waiter

    async def head(self, reply: HttpReply) -> None:
        """Returns when the status and the headers are there."""
        self._expect(self._timeouts.first_byte_s, FIRST_BYTE_TIMEOUT)
        while not reply.answered:
            if reply.fault is not None:
                raise reply.fault
            await reply.news()

    def more(self, reply: HttpReply) -> asyncio.Future[None]:
        """Done when there is news for `reply`, within the time between two reads."""
        self._expect(self._timeouts.idle_s, IDLE_TIMEOUT)
        return reply.news()

    def resume(self, reply: HttpReply) -> None:
        if self._reading_paused and self._reply is reply and self._transport is not None:
            self._reading_paused = False
            self._transport.resume_reading()

    def abandon(self, reply: HttpReply) -> None:
        """The rest of the answer is not wanted: a short one is read to its end, so that the connection can be kept."""
        if self._reply is not reply:
            return
        self.resume(reply)
        self.loop.call_later(DRAIN_S, self._abort_if_still, reply)

    def _abort_if_still(self, reply: HttpReply) -> None:
        if self._reply is reply:
            self.abort()

    def abort(self) -> None:
        self._aborted = True  # the loss is told later, and until then an answer may still arrive
        if self._transport is not None:
            self._transport.abort()

    def reusable(self) -> bool:
        return (
            not (self.lost or self._aborted)
            and self._keep
            and not self._surplus
            and not self._sending
            and self._reply is None
        )

    # -- waiting, with one timer that is set anew only when it would fire too late

    def _expect(self, seconds: float, kind: FaultKind) -> None:
        due = self.loop.time() + seconds
        if due > self._total_due:
            due, kind = self._total_due, TOTAL_TIMEOUT
        self._due, self._due_kind = due, kind
        if self._timer is None or self._timer_at > due:
            self._arm(due)

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self.loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        awaited = self._write_waiter is not None or (self._reply is not None and self._reply.waiting)
        if not awaited:
            return
        if self.loop.time() < self._due:
            self._arm(self._due)
            return
        self._fail(UpstreamFault(self._due_kind))

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._write_waiter is not None and not self._write_waiter.done():
            self._write_waiter.set_result(None)
        self._write_waiter = None

    def data_received(self, data: bytes) -> None:
        self.received = True
        if self._reply is None:  # bytes that nobody asked for: the next call must not get them
            self._surplus = True
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(UpstreamFault(BAD_FRAMING, type(error).__name__))
            return
        reply = self._reply
        if reply is not None:  # a callback may have ended the exchange
            reply.wake()
            if reply.ended:
                self._free()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost = True
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        reply = self._reply
        if reply is not None:
            self._end_at_close(reply, exc)
            reply.wake()
            self._reply = None
        self.resume_writing()
        self._on_lost(self)

    def _end_at_close(self, reply: HttpReply, exc: BaseException | None) -> None:
        """A body that names no length ends with its connection, if that ended in order."""
        if reply.answered and not reply.framed and exc is None and reply.fault is None:
            reply.ended = True
        else:
            reply.fail(UpstreamFault(CLOSED, "reset" if exc is not None else "closed early"))

    def _fail(self, fault: UpstreamFault) -> None:
        self._keep = False
        if self._reply is not None:
            self._reply.fail(fault)
            self._reply.wake()
        self.abort()

    def _free(self) -> None:
        self._reply = None
        self._parser = None
        self.used = True
        self.freed_at = self.loop.time()
        self._on_free(self)

    # -- llhttp's callbacks

    def on_message_begin(self) -> None:
        reply = self._reply
        if reply is None or reply.answered:
            self._surplus = True
            return
        self._lengths = []
        self._transfer = False
        reply.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reply is None or self._reply.answered:
            return
        self._header_bytes += len(name) + len(value) + 4
        if self._header_bytes > MAX_HEAD_BYTES:
            raise _Unsound("head too large")
        name = name.lower()
        if name == b"content-length":
            self._lengths.append(value)
        elif name == b"transfer-encoding":
            if value.strip().lower() != b"chunked" or self._transfer:
                raise _Unsound("transfer-encoding")
            self._transfer = True
        self._reply.headers.append((name, value))

    def on_headers_complete(self) -> None:
        reply = self._reply
        if reply is None or reply.answered:
            return
        status = self._parser.get_status_code()
        if len(self._lengths) + self._transfer > 1:
            raise _Unsound("two framings")
        if status == _SWITCHING_PROTOCOLS:
            raise _Unsound("switching protocols")
        if status < 200:  # interim
            self._interim += 1
            if self._interim > MAX_INTERIM_ANSWERS:
                raise _Unsound("too many interim answers")
            return
        reply.status = status
        reply.framed = bool(self._transfer or self._lengths) or status in _BODYLESS or self.bodyless
        self._keep = bool(self._parser.should_keep_alive()) and reply.framed and not self.bodyless
        reply.answered = True
        if self.bodyless:
            reply.ended = True

    def on_body(self, data: bytes) -> None:
        reply = self._reply
        if reply is None or self._surplus:
            return
        held = reply.feed(data)
        if reply.closed:
            if held > MAX_DRAINED_BYTES:
                self.abort()
        elif held > MAX_BUFFERED_BYTES and not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._reply is not None and self._reply.answered:
            self._reply.ended = True


class _Unsound(Exception):
    """Raised inside llhttp's callbacks, which turn it into HttpParserCallbackError."""
