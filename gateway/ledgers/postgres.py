"""The ledger of many nodes, on PostgreSQL. The server's clock tells who is alive: nodes need not agree on the time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg

from gateway.core.accounts import Ask, Claim, Entry, Intent, Outcome, Query, Seed, Total
from gateway.core.ports import LedgerDown, LedgerUnusable
from gateway.ledgers import postgres_queries as queries
from gateway.ledgers.postgres_rows import entry_of
from gateway.ledgers.postgres_schema import migrate, require_current
from gateway.ledgers.postgres_writer import DEADLINE_S, Writer

_CONNECT_S = 2.0
_LONG_S = 30.0
"""Of what adds up many rows: seeds after loss, reports, recovery."""
_CONNECTIONS = 4
_PAGE = 1000
_ROLL_UP_AT_ONCE = 10_000
_DAY_S = 86400.0
_ROLLING = 7161_2004
"""The advisory lock of roll-ups; corrections share it, so that none is lost between the sum and the removal."""

_SETTINGS = {
    "application_name": "gateway",
    "synchronous_commit": "on",
    "statement_timeout": str(int(_LONG_S * 1000)),
    "work_mem": "32MB",  # sums over a month of rows
}

_ADVICE = "check the address, the user and its password, and that the server runs"

_BEAT = """
INSERT INTO gateway.nodes VALUES ($1, now()) ON CONFLICT (node) DO UPDATE SET beat_at = excluded.beat_at
"""

_CLOSE_DEAD = """
WITH dead AS (
    SELECT i.attempt, i.reserved_nano FROM gateway.running r JOIN gateway.intents i ON i.attempt = r.attempt
    WHERE i.node NOT IN (SELECT node FROM gateway.alive)
), closed AS (
    INSERT INTO gateway.outcomes (attempt, at, state, cost_nano)
    SELECT attempt, $1, 'unknown', reserved_nano FROM dead ORDER BY attempt
    ON CONFLICT DO NOTHING RETURNING attempt
), gone AS (
    DELETE FROM gateway.running WHERE attempt IN (SELECT attempt FROM dead)
)
SELECT count(*) FROM closed
"""

# Calls that were sent are done, without a reply to repeat; the others may be made anew.
_CLOSE_CLAIMS = """
UPDATE gateway.idempotency k SET done = true
WHERE NOT done AND node NOT IN (SELECT node FROM gateway.alive)
    AND EXISTS (SELECT FROM gateway.intents i WHERE i.at >= k.at AND i.call = k.call)
"""
_FREE_CLAIMS = "DELETE FROM gateway.idempotency WHERE NOT done AND node NOT IN (SELECT node FROM gateway.alive)"

_CLAIM = """
INSERT INTO gateway.idempotency AS k (key, body, call, node, at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (key) DO UPDATE SET body = $2, call = $3, node = $4, at = $5, done = false, reply = ''
    WHERE k.at <= $5 - 86400
RETURNING key
"""

_OLD = """
SELECT i.attempt FROM gateway.intents i JOIN gateway.outcomes o ON o.attempt = i.attempt
WHERE i.at < $1 ORDER BY i.at LIMIT $2
"""


async def open_postgres(dsn: str, *, node: str, read_only: bool = False) -> PostgresLedger:
    """`node` names this process and no other that lives. LedgerUnusable when there is no such database to be reached,
    or another version's tables are in it."""
    settings = _SETTINGS | ({"default_transaction_read_only": "on"} if read_only else {})
    try:
        connection = await asyncpg.connect(dsn, timeout=_CONNECT_S, server_settings=settings)
        try:
            await (require_current if read_only else migrate)(connection)
        finally:
            await connection.close(timeout=_CONNECT_S)
        pool = await asyncpg.create_pool(
            dsn, min_size=1, max_size=_CONNECTIONS, timeout=_CONNECT_S, server_settings=settings, reset=_as_it_is
        )
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise LedgerUnusable(f"the ledger's PostgreSQL cannot be used: {type(error).__name__}; {_ADVICE}") from error
    ledger = PostgresLedger(pool, Writer(dsn, settings), node)
    if not read_only:
        await ledger.beat(0.0)
    return ledger


async def _as_it_is(connection: asyncpg.Connection) -> None:
    """Nothing is set on a connection that the next one must not find; so no question is asked to reset it."""


class PostgresLedger:
    def __init__(self, pool: asyncpg.Pool, writer: Writer, node: str) -> None:
        self._pool = pool
        self._writer = writer
        self._node = node
        self.intend, self.conclude = writer.intend, writer.conclude

    @contextlib.asynccontextmanager
    async def _connection(self, within_s: float = DEADLINE_S) -> AsyncIterator[Any]:
        """A connection for so long; then it is cut, whatever the server does."""
        try:
            async with self._pool.acquire(timeout=_CONNECT_S) as connection:
                timer = asyncio.get_running_loop().call_later(within_s, connection.terminate)
                try:
                    yield connection
                finally:
                    timer.cancel()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise LedgerDown(f"the ledger did not answer: {type(error).__name__}") from error

    @property
    def up(self) -> bool:
        return self._writer.up

    @property
    def waiting(self) -> int:
        return self._writer.waiting

    async def close_orphan(self, attempt: str, at: float) -> int:
        entry = await self.entry(attempt)
        if entry is not None and entry.outcome is None:
            await self._close_open(entry.intent, at)
            entry = await self.entry(attempt)
        if entry is None or entry.outcome is None:
            return 0
        return (entry.outcome.cost_nano or 0) + entry.corrected_nano

    async def _close_open(self, intent: Intent, at: float) -> None:
        """By way of the writer: an outcome that waits there comes first."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self.conclude(Outcome(intent.attempt, at, "unknown", intent.reserved_nano))
        except TimeoutError:
            raise LedgerDown("the ledger takes no rows") from None

    async def recover(self, at: float) -> int:
        async with self._connection(_LONG_S) as connection, connection.transaction():
            await connection.execute(_BEAT, self._node)
            closed = await connection.fetchval(_CLOSE_DEAD, at)
            await connection.execute(_CLOSE_CLAIMS)
            await connection.execute(_FREE_CLAIMS)
            return int(closed)

    async def beat(self, at: float) -> None:  # noqa: ARG002 - the server's clock counts
        async with self._connection() as connection:
            await connection.execute(_BEAT, self._node)

    async def seed(self, ask: Ask) -> Seed:
        if ask.limit.unit != "usd":
            return Seed(0)
        statement, values = queries.seed(ask)
        async with self._connection(_LONG_S) as connection:
            row = await connection.fetchrow(statement, *values)
        return Seed(row["spent"], dict(zip(row["attempts"] or (), row["reserved"] or (), strict=True)))

    async def entry(self, attempt: str) -> Entry | None:
        async with self._connection() as connection:
            row = await connection.fetchrow(queries.ENTRY, attempt)
        return entry_of(row) if row else None

    async def entries(self, query: Query) -> AsyncIterator[Entry]:
        """Each page is a question of its own, so that a long export neither holds a connection nor a snapshot."""
        after = (query.since_at, "")
        while True:
            statement, values = queries.page(query, after, _PAGE)
            async with self._connection(_LONG_S) as connection:
                rows = await connection.fetch(statement, *values)
            for row in rows:
                entry = entry_of(row)
                yield entry
            if len(rows) < _PAGE:
                return
            after = (entry.intent.at, entry.intent.attempt)

    async def totals(self, query: Query, by: Sequence[str]) -> list[Total]:
        statement, values = queries.totals(query, by)
        async with self._connection(_LONG_S) as connection:
            rows = await connection.fetch(statement, *values)
        return sorted(map(queries.total_of, rows), key=lambda total: total.group)

    async def correct(self, attempt: str, delta_nano: int, reason: str, at: float) -> None:
        async with self._connection() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", _ROLLING)
            if await connection.fetchval("SELECT 1 FROM gateway.intents WHERE attempt = $1", attempt) is None:
                raise KeyError(attempt)
            await connection.execute(
                "INSERT INTO gateway.corrections (attempt, at, delta_nano, reason) VALUES ($1, $2, $3, $4)",
                attempt, at, delta_nano, reason,
            )  # fmt: skip

    async def roll_up(self, before_at: float) -> int:
        """Whole days only; piece by piece, each in a short transaction."""
        day, rolled = before_at // _DAY_S * _DAY_S, 0
        while True:
            async with self._connection(_LONG_S) as connection, connection.transaction():
                piece = await _roll_up_some(connection, day)
            rolled += piece
            if piece < _ROLL_UP_AT_ONCE:
                return rolled

    async def claim(self, key: str, body: str, call: str, at: float) -> Claim:
        async with self._connection() as connection:
            while True:
                if await connection.fetchval(_CLAIM, key, body, call, self._node, at) is not None:
                    return Claim("new")
                row = await connection.fetchrow("SELECT * FROM gateway.idempotency WHERE key = $1", key)
                if row is None:  # freed in between
                    continue
                if row["body"] != body:
                    return Claim("different")
                return Claim("done", row["reply"]) if row["done"] else Claim("running")

    async def keep(self, key: str, reply: bytes | None) -> None:
        async with self._connection() as connection:
            if reply is None:
                await connection.execute("DELETE FROM gateway.idempotency WHERE key = $1", key)
            else:
                await connection.execute(
                    "UPDATE gateway.idempotency SET done = true, reply = $2 WHERE key = $1", key, reply
                )

    async def own(self, thing: str, team: str, caller: str, provider: str, at: float) -> None:
        async with self._connection() as connection:
            await connection.execute(
                "INSERT INTO gateway.things VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                thing, team, caller, provider, at,
            )  # fmt: skip

    async def owner(self, thing: str) -> tuple[str, str, str] | None:
        async with self._connection() as connection:
            row = await connection.fetchrow("SELECT team, caller, provider FROM gateway.things WHERE thing = $1", thing)
        return tuple(row) if row else None

    async def close(self) -> None:
        try:
            await self._writer.close()
        finally:
            try:
                async with asyncio.timeout(_CONNECT_S):
                    await self._pool.close()
            except TimeoutError:
                self._pool.terminate()


async def _roll_up_some(connection: asyncpg.Connection, day: float) -> int:
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _ROLLING)
    await connection.execute("UPDATE gateway.meta SET rolled_before = greatest(rolled_before, $1)", day)
    attempts = [row["attempt"] for row in await connection.fetch(_OLD, day, _ROLL_UP_AT_ONCE)]
    await connection.execute(queries.SUM_UP, attempts)
    for table in ("intents", "outcomes", "corrections"):
        await connection.execute(f"DELETE FROM gateway.{table} WHERE attempt = ANY ($1)", attempts)  # noqa: S608
    await connection.execute("DELETE FROM gateway.idempotency WHERE at < $1", day)
    await connection.execute("DELETE FROM gateway.things WHERE at < $1", day)
    return len(attempts)
