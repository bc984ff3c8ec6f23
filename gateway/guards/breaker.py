"""Stops asking a service that keeps failing, and finds out when it is well again."""

from __future__ import annotations

from gateway.core.clock import Clock


class Breaker:
    """Closed: everyone may ask. Open, after `failures` in a row: nobody, for `pause_s` seconds. Then one trial decides.

    It never waits and never raises. Each `admit()` that says yes is followed by exactly one of `succeed`, `fail` or
    `release`; the last is for a call that was cut off by us and so says nothing about the service. The event loop is
    its lock: it is for one loop's tasks, not for threads.
    """

    def __init__(self, failures: int, pause_s: float, clock: Clock) -> None:
        self._limit = failures
        self._pause_s = pause_s
        self._clock = clock
        self._in_a_row = 0
        self._opened: float | None = None
        self._trial = False

    @property
    def open(self) -> bool:
        """Whether the service counts as broken; a trial may be running."""
        return self._opened is not None

    def admit(self) -> bool:
        if self._opened is None:
            return True
        if self._trial or self._clock.monotonic() - self._opened < self._pause_s:
            return False
        self._trial = True
        return True

    def succeed(self) -> None:
        self._in_a_row = 0
        self._opened = None
        self._trial = False

    def fail(self) -> None:
        """A failure opens a closed breaker at the limit, and starts the pause of an open one anew."""
        self._in_a_row += 1
        self._trial = False
        if self._in_a_row >= self._limit:
            self._opened = self._clock.monotonic()

    def release(self) -> None:
        self._trial = False
