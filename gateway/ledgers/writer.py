"""Group commit: a thread writes, and what is handed in while it does goes into the next transaction.

A sync is the dear part of a commit, and waking a thread the next dear one. So a commit begins no sooner than `GATHER_S`
after the last one did, and outcomes, for which no caller waits, ride with the next intent or go after `LINGER_S`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from queue import SimpleQueue
from typing import Any

from gateway.core.accounts import Intent, Outcome
from gateway.core.ports import LedgerDown
from gateway.ledgers.committer import Batch, Committer, Item, Job, Table

GATHER_S = 0.0005
LINGER_S = 0.010
RETRY_S = 0.25


class Writer:
    """The event loop's side: collects, hands over one batch at a time, tells the futures."""

    def __init__(self, connection: sqlite3.Connection, table: Table) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Item] = []
        self._stuck = False
        self._writing = 0  # items of the batch that the thread has
        self.up = True
        self._closing = False
        self._begun = 0.0
        self._due_at = 0.0
        self._timer: asyncio.Handle | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._batches: SimpleQueue[Batch | None] = SimpleQueue()
        thread = Committer(connection, table, self._batches, self._written)
        self._thread = threading.Thread(target=thread.run, name="ledger", daemon=True)
        self._thread.start()

    def put(self, what: Intent | Outcome | Job) -> asyncio.Future[Any]:
        """Done when it is durable, with what a job returned. While outcomes are stuck nothing else is let in: what
        little room there is belongs to calls that cost something already."""
        future = self._loop.create_future()
        if self._closing or (self._stuck and not isinstance(what, Outcome)):
            _fail(future, LedgerDown("the ledger cannot take rows now"))
            return future
        self._waiting.append((what, future))
        if not self._writing:
            self._hand_over_at(self._due(isinstance(what, Outcome)))
        return future

    @property
    def waiting(self) -> int:
        return len(self._waiting) + self._writing

    async def close(self) -> None:
        """LedgerDown when outcomes are left that could not be written."""
        self._closing = True
        await self._idle.wait()
        if self._waiting:
            self._hand_over()
            await self._idle.wait()
        self._batches.put(None)
        await asyncio.to_thread(self._thread.join)
        if self._timer:
            self._timer.cancel()
        left, self._waiting = self._waiting, []
        if left:
            for _, future in left:
                _fail(future, LedgerDown("the ledger cannot take rows now"))
            raise LedgerDown(f"{len(left)} outcomes could not be written: recovery charges their reservations")

    def _due(self, may_linger: bool) -> float:
        if self._stuck:
            return self._begun + RETRY_S
        return self._loop.time() + LINGER_S if may_linger else self._begun + GATHER_S

    def _hand_over_at(self, due: float) -> None:
        if self._timer:
            if self._due_at <= due:
                return
            self._timer.cancel()
        self._due_at = due
        self._timer = self._loop.call_at(due, self._hand_over)

    def _hand_over(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        items, self._waiting = self._waiting, []
        self._begun = self._loop.time()
        self._writing = len(items)
        self._idle.clear()
        self._batches.put(Batch(items))

    def _written(self, batch: Batch) -> None:
        """Called by the thread; the loop is woken once for all of them. A loop that has ended waits for none."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._done, batch)

    def _done(self, batch: Batch) -> None:
        for future, result in batch.told:
            if isinstance(result, Exception):
                _fail(future, result)
            elif not future.done():
                future.set_result(result)
        self._writing = 0
        self.up = not batch.down
        self._stuck = bool(batch.stuck)
        if self._stuck:
            self._refuse_newcomers()
            self._waiting = batch.stuck + self._waiting
        self._idle.set()
        if self._waiting and not self._closing:
            self._hand_over_at(self._due(all(isinstance(what, Outcome) for what, _ in self._waiting)))

    def _refuse_newcomers(self) -> None:
        for what, future in self._waiting:
            if not isinstance(what, Outcome):
                _fail(future, LedgerDown("the ledger cannot take rows now"))
        self._waiting = [item for item in self._waiting if isinstance(item[0], Outcome)]


def _fail(future: asyncio.Future[Any], failure: Exception) -> None:
    if not future.done():
        future.set_exception(failure)
        future.exception()  # seen, also when nobody waits for it
