"""Group commit: one statement and one transaction for everything that was handed in while the last one was written.

A batch whose commit was not seen is in doubt. Its outcomes are written again, which changes nothing when they are
there. Its intents are refused, and must then not exist: `voided` outcomes are queued for them, which hold even when the
server takes the intents after them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from gateway.core.accounts import Intent, Outcome
from gateway.core.ports import LedgerDown
from gateway.ledgers.postgres_connect import connect
from gateway.ledgers.postgres_rows import NOT_STORABLE, Row, row_of_intent, row_of_outcome, storable

DEADLINE_S = 2.0
"""Of one batch, with the connection if there is none: how long a call waits for a server that hangs."""
_FIRST_REST_S, _LONGEST_REST_S = 0.05, 1.0
_BATCH = 2000
_PLANNED_ONCE = {"plan_cache_mode": "force_generic_plan"}
_GONE = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError)

# An outcome needs its intent, in the table or in this batch; one that voids does not: see above.
# Outcomes go in by the order of their ids and before `running` is touched, as in `recover`: so no two wait for each
# other.
_APPEND = """
WITH beginning AS (
    SELECT * FROM unnest($1::gateway.intents[])
), ending AS (
    SELECT * FROM unnest($2::gateway.outcomes[])
), began AS (
    INSERT INTO gateway.intents SELECT * FROM beginning ON CONFLICT DO NOTHING RETURNING attempt
), ran AS (
    INSERT INTO gateway.running SELECT attempt FROM began WHERE attempt NOT IN (SELECT attempt FROM ending)
    ON CONFLICT DO NOTHING
), ended AS (
    INSERT INTO gateway.outcomes SELECT * FROM ending
    WHERE state = 'voided' OR attempt IN (SELECT attempt FROM beginning)
        OR EXISTS (SELECT FROM gateway.intents i WHERE i.attempt = ending.attempt)
    ON CONFLICT DO NOTHING RETURNING attempt
), gone AS (
    DELETE FROM gateway.running WHERE attempt = ANY (ARRAY(SELECT attempt FROM ending))
)
SELECT count(*) FROM ended
"""


class Writer:
    def __init__(self, dsn: str, settings: Mapping[str, str]) -> None:
        self._dsn = dsn
        self._settings = {**settings, "statement_timeout": str(int(DEADLINE_S * 1000)), **_PLANNED_ONCE}
        self._loop = asyncio.get_running_loop()
        self._connected_to: tuple[asyncpg.Connection, PreparedStatement] | None = None
        self._intents: list[tuple[Intent, asyncio.Future[None]]] = []
        self._outcomes: list[tuple[Outcome, asyncio.Future[None]]] = []
        self._resting = False
        self._committing = 0
        self.up = True
        self._work, self._closing = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._run())

    def intend(self, intent: Intent) -> asyncio.Future[None]:
        future = self._loop.create_future()
        if self._resting or self._closing.is_set():
            _refuse(future, LedgerDown("the ledger was not reachable a moment ago"))
        else:
            self._intents.append((intent, future))
            self._work.set()
        return future

    def conclude(self, outcome: Outcome) -> asyncio.Future[None]:
        future = self._loop.create_future()
        if self._closing.is_set():
            _refuse(future, LedgerDown("the ledger is closed"))
        else:
            self._outcomes.append((outcome, future))
            self._work.set()
        return future

    @property
    def waiting(self) -> int:
        return len(self._intents) + len(self._outcomes) + self._committing

    async def close(self) -> None:
        self._closing.set()
        self._work.set()
        await self._task
        if self._connected_to is not None:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._connected_to[0].close(timeout=DEADLINE_S)
        if self._outcomes:
            raise LedgerDown(f"{len(self._outcomes)} outcomes could not be written")

    async def _run(self) -> None:
        rest = _FIRST_REST_S
        while True:
            await self._work.wait()
            self._work.clear()
            last = self._closing.is_set()
            written = self.up = await self._write()
            if last:
                return
            if written:
                rest = _FIRST_REST_S
            else:
                await self._rest(rest)
                rest = min(2 * rest, _LONGEST_REST_S)

    async def _rest(self, rest_s: float) -> None:
        """Intents are refused at once meanwhile. Afterwards the next one tries, or an outcome that waits."""
        self._resting = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(rest_s):
                await self._closing.wait()
        self._resting = False

    async def _write(self) -> bool:
        """Writes what waits, to the last row; False when the server did not take it."""
        while self._intents or self._outcomes:
            intents, outcomes = self._intents[:_BATCH], self._outcomes[:_BATCH]
            del self._intents[:_BATCH]
            self._committing = len(intents)  # outcomes stay where they are until they are durable
            try:
                await self._commit([row for row, _ in intents], [row for row, _ in outcomes])
            except Exception as error:  # whatever it is: nobody may wait for ever
                self._failed(intents, error)
                return False
            finally:
                self._committing = 0
            del self._outcomes[: len(outcomes)]
            _settle(intents)
            _settle(outcomes)
        return True

    async def _commit(self, intents: list[Intent], outcomes: list[Outcome]) -> None:
        """A connection that turns out to be lost is replaced once: nobody need notice that a server restarted."""
        give_up_at = self._loop.time() + DEADLINE_S
        connection, statement = await self._connected()
        try:
            await self._append(connection, statement, intents, outcomes)
        except _GONE as lost:
            if self._loop.time() >= give_up_at:
                raise
            self._disconnect()
            try:
                connection, statement = await self._connected()
            except LedgerDown:
                raise lost from None
            await self._append(connection, statement, intents, outcomes)

    async def _connected(self) -> tuple[asyncpg.Connection, PreparedStatement]:
        """LedgerDown: nothing was sent."""
        if self._connected_to is None or self._connected_to[0].is_closed():
            try:
                async with asyncio.timeout(DEADLINE_S):
                    self._connected_to = await self._connect()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                raise LedgerDown(type(error).__name__) from error
        return self._connected_to

    async def _connect(self) -> tuple[asyncpg.Connection, PreparedStatement]:
        connection = await connect(self._dsn, read_only=False, server_settings=self._settings)
        try:
            return connection, await connection.prepare(_APPEND)
        except BaseException:
            connection.terminate()
            raise

    async def _append(
        self,
        connection: asyncpg.Connection,
        statement: PreparedStatement,
        intents: list[Intent],
        outcomes: list[Outcome],
    ) -> None:
        timer = self._loop.call_later(DEADLINE_S, connection.terminate)
        try:
            try:
                await statement.fetchval(*_rows(intents, outcomes))
            except NOT_STORABLE:
                await statement.fetchval(*_rows(map(storable, intents), map(storable, outcomes)))
        finally:
            timer.cancel()

    def _disconnect(self) -> None:
        if self._connected_to is not None:
            self._connected_to[0].terminate()
            self._connected_to = None

    def _failed(self, intents: list[tuple[Intent, asyncio.Future[None]]], error: Exception) -> None:
        self._disconnect()
        if _in_doubt(error):
            withdrawn = [Outcome(row.attempt, row.at, "voided") for row, _ in intents]
            self._outcomes += [(outcome, self._loop.create_future()) for outcome in withdrawn]
        for _, future in intents + self._intents:
            _refuse(future, LedgerDown(f"the ledger did not take the row: {type(error).__name__}"))
        self._intents.clear()
        if self._outcomes:
            self._work.set()


def _rows(intents: Iterable[Intent], outcomes: Iterable[Outcome]) -> tuple[list[Row], list[Row]]:
    first: dict[str, Outcome] = {}
    for outcome in outcomes:
        first.setdefault(outcome.attempt, outcome)
    return [row_of_intent(row) for row in intents], [row_of_outcome(first[attempt]) for attempt in sorted(first)]


def _in_doubt(error: Exception) -> bool:
    """Whether the batch can have been committed: it was sent, and the server has not refused it."""
    return isinstance(error, _GONE) or not isinstance(error, LedgerDown | asyncpg.PostgresError)


def _settle(written: Iterable[tuple[object, asyncio.Future[None]]]) -> None:
    for _, future in written:
        if not future.done():
            future.set_result(None)


def _refuse(future: asyncio.Future[None], error: LedgerDown) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # seen, so that a future nobody waits for does not complain
