"""The ledger of many nodes, on PostgreSQL. The server's clock tells who is alive: nodes need not agree on the time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from time import monotonic
from typing import Any

import asyncpg

from gateway.core.accounts import Ask, Claim, Entry, Outcome, Query, Seed, Total
from gateway.core.ports import LedgerDown, LedgerUnusable
from gateway.ledgers import postgres_queries as queries
from gateway.ledgers.postgres_connect import CONNECT_S, connect
from gateway.ledgers.postgres_rows import entry_of
from gateway.ledgers.postgres_schema import HELD, migrate, require_current
from gateway.ledgers.postgres_writer import DEADLINE_S, Writer

_LONG_S = 30.0
"""Of what adds up many rows: seeds after loss, reports, recovery."""
_SILENT_S, _COME_BACK_S = 20.0, 20.0
"""A process that was silent for so long, by the server's clock, or that has just begun, cannot tell who is dead: the
server may have been away, or its clock has stepped. It gives the others so long to say that they live. Both are longer
than the time between two beats; who is dead has missed at least two."""
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

_ADVICE = "check the address, the user with its rights and its password or certificate, and that the server runs"

# How long ago the last one was, in seconds; NULL at the first.
_BEAT = """
WITH last AS (SELECT beat_at FROM gateway.nodes WHERE node = $1)
INSERT INTO gateway.nodes VALUES ($1, now()) ON CONFLICT (node) DO UPDATE SET beat_at = excluded.beat_at
RETURNING extract(epoch FROM now() - (SELECT beat_at FROM last))::float8
"""

_ALIVE = "SELECT node FROM gateway.nodes WHERE beat_at > now() - interval '45 seconds'"
_LIVES = f"SELECT $1 IN ({_ALIVE})"

# What has ended may still be named there, and is extended without any effect.
_EXTEND = """
INSERT INTO gateway.extensions (attempt, at, nano, tokens) SELECT attempt, $2, $3, $4 FROM gateway.running
WHERE attempt = $1
"""

_CLOSE_DEAD = f"""
WITH dead AS (
    SELECT i.attempt, {HELD} AS nano FROM gateway.running r JOIN gateway.intents i ON i.attempt = r.attempt
    WHERE i.node NOT IN ({_ALIVE})
), closed AS (
    INSERT INTO gateway.outcomes (attempt, at, state, cost_nano)
    SELECT attempt, $1, 'unknown', nano FROM dead ORDER BY attempt
    ON CONFLICT DO NOTHING RETURNING attempt
), gone AS (
    DELETE FROM gateway.running WHERE attempt IN (SELECT attempt FROM dead)
)
SELECT count(*) FROM closed
"""  # noqa: S608 - our names

# Calls that were sent are done, without a reply to repeat; the others may be made anew. The clock may have stepped back
# between the claim and the first attempt.
_CLOSE_CLAIMS = f"""
UPDATE gateway.idempotency k SET done = true
WHERE NOT done AND node NOT IN ({_ALIVE})
    AND EXISTS (SELECT FROM gateway.intents i WHERE i.at >= k.at - 3600 AND i.call = k.call)
"""  # noqa: S608 - our names
_FREE_CLAIMS = f"DELETE FROM gateway.idempotency WHERE NOT done AND node NOT IN ({_ALIVE})"  # noqa: S608 - our names

_CLAIM = """
INSERT INTO gateway.idempotency AS k (key, body, call, node, at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (key) DO UPDATE SET body = $2, call = $3, node = $4, at = $5, done = false, reply = ''
    WHERE k.at <= $5 - 86400
RETURNING key
"""

# In order, so that two that write the same ids do not wait for each other.
_OWN = """
INSERT INTO gateway.things SELECT thing, $2::text, $3::text, $4::text, $5::float8 FROM unnest($1::text[]) AS thing
ORDER BY thing ON CONFLICT DO NOTHING
"""
_OWNERS = "SELECT thing, team, caller, provider FROM gateway.things WHERE thing = ANY ($1)"

_OLD = """
SELECT i.attempt FROM gateway.intents i JOIN gateway.outcomes o ON o.attempt = i.attempt
WHERE i.at < $1 ORDER BY i.at LIMIT $2
"""


async def open_postgres(dsn: str, *, node: str, read_only: bool = False) -> PostgresLedger:
    """`node` names this process and no other that lives. LedgerUnusable when there is no such database to be reached,
    another version's tables are in it, or the user may not write to them."""
    settings = _SETTINGS | ({"default_transaction_read_only": "on"} if read_only else {})
    try:
        connection = await connect(dsn, read_only=read_only, server_settings=settings)
        try:
            if read_only:
                await require_current(connection)
            else:
                await migrate(connection)
                await connection.execute(_BEAT, node)
        finally:
            await connection.close(timeout=CONNECT_S)
        pool = await asyncpg.create_pool(
            dsn, min_size=0, max_size=_CONNECTIONS, connect=connect, reset=_as_it_is,
            read_only=read_only, server_settings=settings,
        )  # fmt: skip
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise LedgerUnusable(f"the ledger's PostgreSQL cannot be used: {type(error).__name__}; {_ADVICE}") from error
    return PostgresLedger(pool, Writer(dsn, settings), node)


async def _as_it_is(connection: asyncpg.Connection) -> None:
    """Nothing is set on a connection that the next one must not find; so no question is asked to reset it."""


class PostgresLedger:
    def __init__(self, pool: asyncpg.Pool, writer: Writer, node: str) -> None:
        self._pool = pool
        self._writer = writer
        self._node = node
        self._knows_from = monotonic() + _COME_BACK_S
        self.intend, self.conclude = writer.intend, writer.conclude

    @contextlib.asynccontextmanager
    async def _connection(self, within_s: float = DEADLINE_S) -> AsyncIterator[Any]:
        """A connection for so long; then it is cut, whatever the server does. One to a server that takes no writes any
        more is not used again: another may take them."""
        try:
            async with self._pool.acquire(timeout=CONNECT_S) as connection:
                timer = asyncio.get_running_loop().call_later(within_s, connection.terminate)
                try:
                    yield connection
                except asyncpg.ReadOnlySQLTransactionError:
                    connection.terminate()
                    raise
                finally:
                    timer.cancel()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise LedgerDown(f"the ledger did not answer: {type(error).__name__}") from error

    async def extend(self, attempt: str, nano: int, tokens: int, at: float) -> None:
        async with self._connection() as connection:
            await connection.execute(_EXTEND, attempt, at, nano, tokens)

    @property
    def up(self) -> bool:
        return self._writer.up

    @property
    def waiting(self) -> int:
        return self._writer.waiting

    async def close_orphan(self, attempt: str, at: float) -> int | None:
        entry = await self.entry(attempt)
        if entry is not None and entry.outcome is None:
            if await self._may_live(entry.intent.origin.node):
                return None
            await self._close_open(entry, at)
            entry = await self.entry(attempt)
        if entry is None or entry.outcome is None:
            return 0
        return (entry.outcome.cost_nano or 0) + entry.corrected_nano

    async def _may_live(self, node: str) -> bool:
        """Also while nobody can tell: see `_SILENT_S`."""
        async with self._connection() as connection:
            return not await self._beats(connection) or bool(await connection.fetchval(_LIVES, node))

    async def _close_open(self, entry: Entry, at: float) -> None:
        """By way of the writer: an outcome that waits there comes first."""
        held_nano = entry.intent.reserved_nano + entry.extended_nano
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self.conclude(Outcome(entry.intent.attempt, at, "unknown", held_nano))
        except TimeoutError:
            raise LedgerDown("the ledger takes no rows") from None

    async def recover(self, at: float) -> int:
        """Nothing for a while after the start and after an outage: see `_SILENT_S`."""
        async with self._connection(_LONG_S) as connection, connection.transaction():
            if not await self._beats(connection):
                return 0
            closed = await connection.fetchval(_CLOSE_DEAD, at)
            await connection.execute(_CLOSE_CLAIMS)
            await connection.execute(_FREE_CLAIMS)
            return int(closed)

    async def beat(self, at: float) -> None:  # noqa: ARG002 - the server's clock counts
        async with self._connection() as connection:
            await self._beats(connection)

    async def _beats(self, connection: asyncpg.Connection) -> bool:
        """Whether the others have had time to do so too, in case none could."""
        silent_s, now = await connection.fetchval(_BEAT, self._node), monotonic()
        if silent_s is not None and silent_s > _SILENT_S:
            self._knows_from = now + _COME_BACK_S
        return now >= self._knows_from

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

    async def own(self, things: Sequence[str], team: str, caller: str, provider: str, at: float) -> None:
        async with self._connection() as connection:
            await connection.execute(_OWN, things, team, caller, provider, at)

    async def owners(self, things: Sequence[str]) -> dict[str, tuple[str, str, str]]:
        async with self._connection() as connection:
            rows = await connection.fetch(_OWNERS, things)
        return {row["thing"]: (row["team"], row["caller"], row["provider"]) for row in rows}

    async def close(self) -> None:
        try:
            await self._writer.close()
        finally:
            try:
                async with asyncio.timeout(CONNECT_S):
                    await self._pool.close()
            except TimeoutError:
                self._pool.terminate()


async def _roll_up_some(connection: asyncpg.Connection, day: float) -> int:
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _ROLLING)
    await connection.execute("UPDATE gateway.meta SET rolled_before = greatest(rolled_before, $1)", day)
    attempts = [row["attempt"] for row in await connection.fetch(_OLD, day, _ROLL_UP_AT_ONCE)]
    await connection.execute(queries.SUM_UP, attempts)
    for table in ("intents", "extensions", "outcomes", "corrections"):
        await connection.execute(f"DELETE FROM gateway.{table} WHERE attempt = ANY ($1)", attempts)  # noqa: S608
    await connection.execute("DELETE FROM gateway.idempotency WHERE at < $1", day)
    await connection.execute("DELETE FROM gateway.things WHERE at < $1", day)
    return len(attempts)
