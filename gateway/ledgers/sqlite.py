"""The ledger in one SQLite file: one thread writes, two read, and the event loop waits for none of them."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from gateway.core.accounts import Ask, Claim, Entry, Intent, Outcome, Query, Seed, Total
from gateway.core.ports import LedgerDown
from gateway.ledgers import sqlite_keys as keys
from gateway.ledgers import sqlite_reads as reads
from gateway.ledgers import sqlite_upkeep as upkeep
from gateway.ledgers.committer import Job
from gateway.ledgers.readers import Readers
from gateway.ledgers.rows import rolled_before
from gateway.ledgers.sqlite_files import connect, lock_file, open_reader, open_writer
from gateway.ledgers.sqlite_insert import SqliteTable
from gateway.ledgers.writer import Writer


async def open_sqlite(
    path: Path, *, node: str, sync: Literal["full", "normal"] = "full", lock: bool = True, read_only: bool = False
) -> SqliteLedger:
    """LedgerUnusable when it cannot be used. `lock`: keeps other processes away; without it the processes are those of
    one supervisor that holds the lock. `sync` full: acknowledged rows survive the loss of power; normal: the end of
    the process."""
    if read_only:
        (await asyncio.to_thread(open_reader, path)).close()
        return SqliteLedger(path, node)
    held = lock_file(path) if lock else None
    try:
        connection = await asyncio.to_thread(open_writer, path, sync, alone=lock)
        born = await asyncio.to_thread(_begin, connection, node, lock)
    except BaseException:
        if held is not None:
            os.close(held)
        raise
    return SqliteLedger(path, node, connection, born, held)


def _begin(connection: sqlite3.Connection, node: str, alone: bool) -> int:
    """Whoever holds the lock knows that no other process lives."""
    connection.execute("BEGIN IMMEDIATE")
    if alone:
        connection.execute("DELETE FROM nodes")
    upkeep.beat(connection, node)
    born = upkeep.last_intent(connection)
    connection.execute("COMMIT")
    return born


class SqliteLedger:
    """See `core.ports.Ledger`. Without a connection to write with it is there to be read."""

    def __init__(
        self,
        path: Path,
        node: str,
        connection: sqlite3.Connection | None = None,
        born: int = 0,
        held: int | None = None,
    ) -> None:
        self._node = node
        self._born = born
        self._held = held
        self._writer = Writer(connection, SqliteTable(connection)) if connection else None
        self._put = self._writer.put if self._writer else _refuse
        self._readers = Readers(partial(connect, path, read_only=True))

    def intend(self, intent: Intent) -> asyncio.Future[None]:
        return self._put(intent)

    def conclude(self, outcome: Outcome) -> asyncio.Future[None]:
        return self._put(outcome)

    async def extend(self, attempt: str, nano: int, tokens: int, at: float) -> None:
        await self._put(partial(upkeep.extend, attempt=attempt, nano=nano, tokens=tokens, at=at))

    @property
    def up(self) -> bool:
        return self._writer is not None and self._writer.up

    @property
    def waiting(self) -> int:
        return self._writer.waiting if self._writer else 0

    async def close_orphan(self, attempt: str, at: float) -> int | None:
        job = partial(upkeep.close_orphan, node=self._node, born=self._born, attempt=attempt, at=at)
        cost: int | None = await self._put(job)
        return cost

    async def recover(self, at: float) -> int:
        count: int = await self._put(partial(upkeep.recover, node=self._node, born=self._born, at=at))
        return count

    async def beat(self, at: float) -> None:  # noqa: ARG002 - the processes share a better clock
        await self._put(partial(upkeep.beat, node=self._node))

    async def seed(self, ask: Ask) -> Seed:
        """What was handed in before is in it."""
        if ask.limit.unit != "usd":
            return Seed(0)
        if self._writer:
            await self._put(_nothing)
        return await self._readers.read(partial(reads.seed, ask=ask))

    async def entry(self, attempt: str) -> Entry | None:
        return await self._readers.read(partial(reads.entry, attempt=attempt))

    async def entries(self, query: Query) -> AsyncIterator[Entry]:
        after, full = (query.since_at, -1), True
        while full:
            found, after = await self._readers.read(partial(reads.page, query=query, after=after))
            for entry in found:
                yield entry
            full = len(found) == reads.PAGE

    async def totals(self, query: Query, by: Sequence[str]) -> list[Total]:
        return await self._readers.read(partial(reads.totals, query=query, by=by))

    async def correct(self, attempt: str, delta_nano: int, reason: str, at: float) -> None:
        await self._put(partial(upkeep.correct, attempt=attempt, delta_nano=delta_nano, reason=reason, at=at))

    async def roll_up(self, before_at: float) -> int:
        count, full = 0, True
        while full:
            more: int = await self._put(partial(upkeep.roll_up, before_at=rolled_before(before_at)))
            count, full = count + more, more == upkeep.SLICE
        return count

    async def claim(self, key: str, body: str, call: str, at: float) -> Claim:
        claim: Claim = await self._put(partial(keys.claim, node=self._node, key=key, body=body, call=call, at=at))
        return claim

    async def keep(self, key: str, reply: bytes | None) -> None:
        await self._put(partial(keys.keep, key=key, reply=reply))

    async def own(self, things: Sequence[str], team: str, caller: str, provider: str, at: float) -> None:
        await self._put(partial(keys.own, things=things, team=team, caller=caller, provider=provider, at=at))

    async def owners(self, things: Sequence[str]) -> dict[str, tuple[str, str, str]]:
        return await self._readers.read(partial(keys.owners, things=things))

    async def close(self) -> None:
        await self._readers.close()  # the last connection to close tidies the log away, and readers may not write
        try:
            if self._writer:
                await self._writer.close()
        finally:
            if self._held is not None:
                os.close(self._held)
                self._held = None


def _refuse(what: Intent | Outcome | Job) -> asyncio.Future[Any]:  # noqa: ARG001
    raise LedgerDown("the ledger was opened to be read")


def _nothing(connection: sqlite3.Connection) -> None:
    """A job that is done when all rows before it are."""
