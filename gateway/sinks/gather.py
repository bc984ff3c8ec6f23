"""The calls that have ended, told to the sinks some at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence, Sized
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from gateway.core.bugs import place
from gateway.core.model import Record
from gateway.core.ports import Sink

MOST = 64
LONGEST_S = 0.05


class BatchSink(Sink, Protocol):
    def flush(self) -> None:
        """What was recorded since the last time is a batch. Must not block and must not raise."""


class Gather:
    """Implements Sink. Tells sink by sink, as the same code over record after record costs a fraction of what it costs
    between calls, where all else pushes it out of the processor's caches.

    Told at once where no other call runs; else `MOST` together, which takes a millisecond or two, and none later
    than `LONGEST_S`. Whoever asks the sinks what they know flushes first.
    """

    def __init__(self, sinks: Sequence[BatchSink], running: Sized, log: FilteringBoundLogger) -> None:
        """`running`: the calls that run now; one that ends may still be among them."""
        self._sinks = sinks
        self._running = running
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._ended: list[Record] = []
        self._due: asyncio.TimerHandle | None = None

    def record(self, record: Record) -> None:
        self._ended.append(record)
        if len(self._ended) >= MOST or len(self._running) <= 1:
            self.flush()
        elif self._due is None:
            self._due = self._loop.call_later(LONGEST_S, self.flush)

    def flush(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        ended, self._ended = self._ended, []
        if not ended:
            return
        for sink in self._sinks:
            for record in ended:
                try:
                    sink.record(record)
                except Exception as bug:  # the others are told all the same
                    self._log.error("bug", call=record.call_id, error=type(bug).__name__, at=place(bug))
            try:
                sink.flush()
            except Exception as bug:
                self._log.error("bug", sink=type(sink).__name__, error=type(bug).__name__, at=place(bug))
