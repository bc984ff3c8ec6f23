"""Outbound HTTP to one origin with one credential: a pool of connections, time-outs, no redirects, no cookies.

Proxy variables of the environment are not read. Nothing is compressed or decompressed here.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from gateway.core.errors import CLOSED, CONNECT_FAILED, CONNECT_TIMEOUT, POOL_EXHAUSTED, UpstreamFault
from gateway.core.model import Headers, Pool, Timeouts, Tls
from gateway.transport.connection import Connection, HttpReply
from gateway.transport.tls import TlsContext

_DEFAULT_PORTS = {"http": 80, "https": 443}
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})


class Http:
    """One per provider row, so that a connection never carries another provider's credential."""

    def __init__(self, origin: str, timeouts: Timeouts, pool: Pool, tls: Tls) -> None:
        parts = urlsplit(origin)
        self._host = parts.hostname or ""
        self._port = parts.port or _DEFAULT_PORTS[parts.scheme]
        self._host_line = b"host: %b\r\n" % parts.netloc.encode()
        self._timeouts = timeouts
        self._pool = pool
        self._tls = tls
        self._context = TlsContext(tls) if parts.scheme == "https" else None
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._opening = 0
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._closed = False
        # Kept, as asking asyncio for it costs a system call (CPython 3.11 checks the process id each time).
        self._loop = asyncio.get_running_loop()
        self._empty: asyncio.Future[None] | None = None

    async def send(
        self,
        method: str,
        target: str,
        headers: Headers,
        body: bytes | AsyncIterator[bytes],
        content_length: int | None,
    ) -> HttpReply:
        """Returns when the head of the answer is there. UpstreamFault when there is none; what the body's iterator
        raises passes through. A request is sent twice only when it is safe to repeat and the first connection had
        been used before and was closed without a byte."""
        length = len(body) if isinstance(body, bytes) else content_length
        head = self._head(method, target, headers, length, has_body=not isinstance(body, bytes) or bool(body))
        connection = self._reusable() or await self._acquire()
        reused = connection.used
        try:
            return await self._exchange(connection, method, head, body, length)
        except UpstreamFault as fault:
            stale = fault.kind is CLOSED and reused and not connection.received
            if not (stale and method in _REPEATABLE and isinstance(body, bytes)):
                raise
        return await self._exchange(await self._acquire(), method, head, body, length)

    async def close(self) -> None:
        self._closed = True
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        for connection in list(self._all):
            connection.abort()
        if self._all:
            self._empty = self._loop.create_future()
            await self._empty

    def _head(self, method: str, target: str, headers: Headers, length: int | None, *, has_body: bool) -> bytes:
        lines = [f"{method} {target} HTTP/1.1\r\n".encode("ascii"), self._host_line]
        lines += [b"%b: %b\r\n" % pair for pair in headers]
        if length is None:
            lines.append(b"transfer-encoding: chunked\r\n")
        elif has_body or method not in {"GET", "HEAD", "DELETE"}:
            lines.append(b"content-length: %d\r\n" % length)
        lines.append(b"\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\0" in head:
            raise ValueError("a header holds a control character")
        return head

    async def _exchange(
        self, connection: Connection, method: str, head: bytes, body: bytes | AsyncIterator[bytes], length: int | None
    ) -> HttpReply:
        try:
            reply = connection.begin(bodyless=method == "HEAD", sending=not isinstance(body, bytes))
            if isinstance(body, bytes):
                connection.write(head + body)
            else:
                connection.write(head)
                await _upload(connection, reply, body, chunked=length is None)
            await connection.head(reply)
        except BaseException:
            connection.abort()
            raise
        return reply

    # -- the pool

    def _reusable(self) -> Connection | None:
        """An idle connection, the one that was used last."""
        now = self._loop.time()
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable() and self._fresh(connection, now):
                return connection
            connection.abort()
        return None

    async def _acquire(self) -> Connection:
        while True:
            if self._closed:
                raise UpstreamFault(CONNECT_FAILED, "provider removed")
            connection = self._reusable()
            if connection is not None:
                return connection
            if len(self._all) + self._opening < self._pool.max_connections:
                return await self._open()
            handed = await self._wait_for_one()
            if handed is not None:
                return handed

    def _fresh(self, connection: Connection, now: float) -> bool:
        idle, age = now - connection.freed_at, now - connection.born_at
        return idle < self._pool.max_idle_s and age < self._pool.max_age_s

    async def _wait_for_one(self) -> Connection | None:
        """A connection, or None: try again. POOL_EXHAUSTED when none becomes free in time."""
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(self._pool.max_wait_s):
                return await waiter
        except TimeoutError:
            if waiter.done() and not waiter.cancelled():
                return waiter.result()
            raise UpstreamFault(POOL_EXHAUSTED) from None
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._give_back(waiter.result())
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _give_back(self, connection: Connection | None) -> None:
        if connection is None:
            self._wake_one()
        else:
            self._freed(connection)

    async def _open(self) -> Connection:
        self._opening += 1
        try:
            async with asyncio.timeout(self._timeouts.connect_s):
                connection = await self._connected()
        except TimeoutError:
            self._wake_one()
            raise UpstreamFault(CONNECT_TIMEOUT) from None
        except OSError as error:  # refused, unreachable, DNS, TLS
            self._wake_one()
            raise UpstreamFault(CONNECT_FAILED, type(error).__name__) from None
        finally:
            self._opening -= 1
        return connection

    async def _connected(self) -> Connection:
        context = self._context.current() if self._context is not None else None
        name = (self._tls.server_name or self._host) if context is not None else None
        connections: list[Connection] = []

        def factory() -> Connection:
            connection = Connection(self._loop, self._timeouts, self._freed, self._lost)
            connections.append(connection)
            self._all.add(connection)
            return connection

        try:
            transport, connection = await self._loop.create_connection(
                factory, self._host, self._port, ssl=context, server_hostname=name
            )
        except BaseException:
            for unfinished in connections:
                unfinished.abort()
                self._all.discard(unfinished)
            raise
        _no_delay(transport)
        return connection

    def _freed(self, connection: Connection) -> None:
        if not connection.reusable() or self._closed:
            connection.abort()
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._idle.append(connection)
        if self._sweep_timer is None:
            self._sweep_timer = self._loop.call_later(self._pool.max_idle_s, self._sweep)

    def _lost(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._empty is not None and not self._all and not self._empty.done():
            self._empty.set_result(None)
        self._wake_one()

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _sweep(self) -> None:
        now = self._loop.time()
        stale = [connection for connection in self._idle if not self._fresh(connection, now)]
        self._idle = [connection for connection in self._idle if self._fresh(connection, now)]
        for connection in stale:
            connection.abort()
        self._sweep_timer = self._loop.call_later(self._pool.max_idle_s, self._sweep) if self._idle else None


async def _upload(connection: Connection, reply: HttpReply, body: AsyncIterator[bytes], *, chunked: bool) -> None:
    """Sends the body as it comes; stops when the provider has already answered."""
    async for data in body:
        if reply.answered or connection.lost:
            return
        connection.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
        await connection.drained()
    if chunked:
        connection.write(b"0\r\n\r\n")
    connection.sent()


def _no_delay(transport: asyncio.BaseTransport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
