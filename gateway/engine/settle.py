"""Phase 8: the Record is closed and told to the sinks. Exactly once per call, on every way out; it never fails."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.model import Record
from gateway.core.ports import Sink


def settle(record: Record, sinks: Sequence[Sink], ended: float) -> None:
    """`ended`: a reading of the monotonic clock."""
    record.duration_s = ended - record.started
    for sink in sinks:
        sink.record(record)
