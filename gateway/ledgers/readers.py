"""Reads beside the event loop: each thread has a connection of its own, and each read is of one snapshot."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gateway.core.ports import LedgerDown

THREADS = 2

T = TypeVar("T")


class Readers:
    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="ledger-read")
        self._own = threading.local()
        self._connections: list[sqlite3.Connection] = []

    async def read(self, what: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, what)

    async def close(self) -> None:
        await asyncio.to_thread(self._pool.shutdown)
        for connection in self._connections:
            connection.close()

    def _read(self, what: Callable[[sqlite3.Connection], T]) -> T:
        try:
            connection = self._connection()
            connection.execute("BEGIN")
            try:
                return what(connection)
            finally:
                connection.execute("ROLLBACK")
        except sqlite3.DatabaseError as failure:
            raise LedgerDown(f"the ledger cannot be read: {failure}") from failure

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = self._connect()
            self._connections.append(connection)
        return connection
