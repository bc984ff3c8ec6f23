"""The thread that writes: one transaction a batch, and what became of each of its items."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Protocol

from gateway.core.accounts import Intent, Outcome
from gateway.core.ports import LedgerDown

Job = Callable[[sqlite3.Connection], Any]
Item = tuple[Intent | Outcome | Job, "asyncio.Future[Any]"]
_ROWS = (Intent, Outcome)


class Table(Protocol):
    """Where rows go, inside a transaction."""

    def insert(self, intents: list[Intent], outcomes: list[Outcome]) -> None: ...

    def rolled_back(self) -> None: ...


class Batch:
    """One transaction's worth of items. The thread fills in what became of them: a result or a failure for each
    future, and the outcomes that are to be tried again. `down`: the database did not take them."""

    def __init__(self, items: list[Item]) -> None:
        self.items = items
        self.told: list[tuple[asyncio.Future[Any], Any]] = []
        self.stuck: list[Item] = []
        self.down = False


class Committer:
    """`written` is called with each batch, in the thread."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        table: Table,
        batches: SimpleQueue[Batch | None],
        written: Callable[[Batch], None],
    ) -> None:
        self._connection = connection
        self._table = table
        self._batches = batches
        self._written = written

    def run(self) -> None:
        while batch := self._batches.get():
            self._write(batch, batch.items)
            self._written(batch)
        self._connection.close()

    def _write(self, batch: Batch, items: list[Item]) -> None:
        try:
            batch.told += self._transaction(items)
        except Exception as failure:
            self._roll_back()
            if _is_down(failure):
                batch.down = True
                batch.stuck += [item for item in items if isinstance(item[0], Outcome)]
                down = LedgerDown(f"the ledger cannot take rows now: {failure}")
                batch.told += [(future, down) for what, future in items if not isinstance(what, Outcome)]
            elif len(items) == 1:
                batch.told.append((items[0][1], failure))
            else:  # one of them is at fault, and the others must not suffer
                for item in items:
                    self._write(batch, [item])

    def _transaction(self, items: list[Item]) -> list[tuple[asyncio.Future[Any], Any]]:
        """Jobs come last: they see every row that was put before them."""
        self._connection.execute("BEGIN IMMEDIATE")
        intents = [what for what, _ in items if isinstance(what, Intent)]
        outcomes = [what for what, _ in items if isinstance(what, Outcome)]
        self._table.insert(intents, outcomes)
        told = [
            (future, None if isinstance(what, _ROWS) else _result(what, self._connection)) for what, future in items
        ]
        self._connection.execute("COMMIT")
        return told

    def _roll_back(self) -> None:
        """What cannot be rolled back now is before the next batch, which cannot begin otherwise."""
        self._table.rolled_back()
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")


def _result(job: Job, connection: sqlite3.Connection) -> Any:
    """A job that raises something of its own has written nothing: that is its result."""
    try:
        return job(connection)
    except sqlite3.Error:
        raise
    except Exception as failure:
        return failure


def _is_down(failure: Exception) -> bool:
    """The database, rather than a value: full, locked, an error of the disk, damaged."""
    return isinstance(failure, sqlite3.OperationalError) or type(failure) is sqlite3.DatabaseError
