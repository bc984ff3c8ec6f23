"""The one place that reads time: durations from `monotonic`, timestamps from `wall`."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds on a clock that never steps; for durations and deadlines."""

    def wall(self) -> float:
        """Seconds since the Unix epoch; for timestamps and expiry dates only."""


class SystemClock:
    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
