"""The calls that end in one turn of the event loop, told to the sinks together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from structlog.typing import FilteringBoundLogger

from gateway.core.bugs import place
from gateway.core.model import Record
from gateway.core.ports import Sink


class Turn:
    """Implements Sink. Sink by sink, as the same code over record after record costs much less than between calls,
    where all else pushes it out of the processor's caches. Nothing waits longer than its turn."""

    def __init__(self, sinks: Sequence[Sink], log: FilteringBoundLogger) -> None:
        self._sinks = sinks
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._ended: list[Record] = []

    def record(self, record: Record) -> None:
        if not self._ended:
            self._loop.call_soon(self.flush)
        self._ended.append(record)

    def flush(self) -> None:
        ended, self._ended = self._ended, []
        for sink in self._sinks:
            for record in ended:
                try:
                    sink.record(record)
                except Exception as bug:  # the others are told all the same
                    self._log.error("bug", call=record.call_id, error=type(bug).__name__, at=place(bug))
