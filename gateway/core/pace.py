"""How evenly a stream comes: the times between its chunks, counted in the buckets of the GenAI conventions."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS = tuple(round(0.01 * 2**power, 2) for power in range(14))
"""Seconds, inclusive upper ends: those of the conventions' durations."""


class Pace:
    """`row` is that of a histogram: a count a bucket, the overflow, the sum of the seconds. Made at the first chunk."""

    __slots__ = ("_last", "row")

    def __init__(self, now: float) -> None:
        self._last = now
        self.row = [0.0] * (len(BOUNDS) + 2)

    def chunk(self, now: float) -> None:
        """A further one; `now` is a reading of the monotonic clock."""
        gap, self._last = now - self._last, now
        self.row[bisect_left(BOUNDS, gap)] += 1
        self.row[-1] += gap
