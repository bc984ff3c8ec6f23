"""Phase 8: the Record is closed and told to the sinks. Exactly once per call, on every way out; it never fails."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.clock import Clock
from gateway.core.model import Record
from gateway.core.ports import Sink


def settle(record: Record, sinks: Sequence[Sink], clock: Clock) -> None:
    record.duration_s = clock.monotonic() - record.started
    for sink in sinks:
        sink.record(record)
