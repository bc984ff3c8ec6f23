"""Which calls leave spans, decided at their end, when everything is known. Ledger and metrics tell of all of them.

A rule that keeps wins over all. Then a trusted caller's own decision holds, so that its trace is whole or not there at
all. What is left is sampled by trace id in the way of OpenTelemetry's consistent probability sampling: the low 56 bits
are the randomness, so that whoever samples the same trace at the same ratio, or a higher one, keeps it too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.core.model import Names, Record
from gateway.core.rules import Outcome

_RANDOMNESS: Final = 1 << 56
_BROKEN: Final = frozenset({"failed", "cut"})


@dataclass(frozen=True, slots=True)
class Keep:
    """Calls that are kept whatever the ratio. `slower_than_s` and `dearer_than_nano` None: no such rule."""

    errors: bool = True
    blocked: bool = True
    masked: bool = False
    slower_than_s: float | None = None
    dearer_than_nano: int | None = None
    callers: Names = Names(frozenset())


class Sampler:
    def __init__(self, ratio: float, keep: Keep) -> None:
        if not 0 <= ratio <= 1:
            raise ValueError("a ratio from 0 to 1")
        self._threshold = round((1 - ratio) * _RANDOMNESS)
        self._keep = keep

    def decide(self, record: Record) -> str:
        """Why the call is kept: error, blocked, masked, slow, dear, caller, parent (its caller sampled it), ratio. "":
        it is not."""
        if record.trace is None:
            return ""
        reason = self._kept(record)
        if reason:
            return reason
        if record.trace.sampled is not None:
            return "parent" if record.trace.sampled else ""
        return "ratio" if record.trace.trace_id % _RANDOMNESS >= self._threshold else ""

    def _kept(self, record: Record) -> str:
        keep = self._keep
        if keep.errors and (record.status >= 500 or record.outcome in _BROKEN):
            return "error"
        if record.verdicts:
            if keep.blocked and (record.error == "guard_blocked" or _enforced(record, "block")):
                return "blocked"
            if keep.masked and _enforced(record, "mask"):
                return "masked"
        if keep.slower_than_s is not None and record.duration_s > keep.slower_than_s:
            return "slow"
        if keep.dearer_than_nano is not None and _cost_nano(record) > keep.dearer_than_nano:
            return "dear"
        return "caller" if record.caller in keep.callers else ""


def _enforced(record: Record, outcome: Outcome) -> bool:
    return any(verdict.enforced and verdict.outcome == outcome for verdict in record.verdicts)


def _cost_nano(record: Record) -> int:
    return sum(attempt.cost_nano or 0 for attempt in record.attempts)
