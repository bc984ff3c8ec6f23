"""A wall clock for the gateway's processes that steps, as one does that is set by hand or by a virtual machine."""

from __future__ import annotations

import os
import struct
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

_INTERPRETER = Path(__file__).parent / "stepped"
_BEFORE_S = 2.0


class SteppedClock:
    """Right until it is told to `step`; durations are right always. Times are wall seconds."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(struct.pack("d", 0.0))
        self._file = file
        self._steps = [(time.time(), 0.0)]

    @property
    def environ(self) -> dict[str, str]:
        """For a process that is to have this clock."""
        path = os.pathsep.join(filter(None, (str(_INTERPRETER), os.environ.get("PYTHONPATH"))))
        return {"PYTHONPATH": path, "CHAOS_CLOCK": str(self._file)}

    def step(self, offset_s: float) -> None:
        """From now on it is wrong by so much."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("d", offset_s))
        self._steps.append((time.time(), offset_s))

    def right(self, shown: float) -> float:
        """When it showed this. Should it have shown it twice, which takes a run as long as a step: the first time."""
        return min((self._missed_by(shown, period), shown - period[1]) for period in self._periods())[1]

    def _periods(self) -> list[tuple[float, float, float]]:
        """(from, offset, until)"""
        ends = [*self._steps, (float("inf"), 0.0)]
        return [(at, offset, until) for (at, offset), (until, _) in pairwise(ends)]

    @staticmethod
    def _missed_by(shown: float, period: tuple[float, float, float]) -> float:
        """A time that was read just as it stepped is a little outside of its period."""
        at, offset, until = period
        return max(0.0, at - (shown - offset), (shown - offset) - until)


def offsets(now: float) -> list[float]:
    """Where a clock is worth setting to: an hour off, and just before a day and a month end."""
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    midnight = today + timedelta(days=1)
    month = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    return [0.0, 3600.0, -3600.0, *(end.timestamp() - _BEFORE_S - now for end in (midnight, month))]
