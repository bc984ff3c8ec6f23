"""Stops asking a service that keeps failing, and finds out when it is well again."""

from __future__ import annotations

from collections.abc import Callable

from gateway.core.clock import Clock


class Breaker:
    """Closed: everyone may ask. Open, after `failures` in a row: nobody, for `pause_s` seconds. Then one trial decides.

    It never waits and never raises. Each `admit()` that says yes is followed by one of `succeed`, `fail` or `release`;
    the last is for a call that was cut off by us and so says nothing about the service. A trial that is followed by
    none of them has another one behind it after the pause. `on_state` is told each change, True for open. The event
    loop is its lock: it is for one loop's tasks, not for threads.
    """

    def __init__(
        self, failures: int, pause_s: float, clock: Clock, on_state: Callable[[bool], None] = lambda _opened: None
    ) -> None:
        self._limit = failures
        self._pause_s = pause_s
        self._clock = clock
        self._on_state = on_state
        self._in_a_row = 0
        self._paused_until = 0.0
        self._trial_until = 0.0
        self.open = False

    def admit(self) -> bool:
        if not self.open:
            return True
        now = self._clock.monotonic()
        if now < self._paused_until or now < self._trial_until:
            return False
        self._trial_until = now + self._pause_s
        return True

    def succeed(self) -> None:
        self._in_a_row = 0
        self.release()
        self._turn(False)

    def fail(self) -> None:
        """A failure opens a closed breaker at the limit, and starts the pause of an open one anew."""
        self._in_a_row += 1
        self.release()
        if self._in_a_row >= self._limit:
            self._paused_until = self._clock.monotonic() + self._pause_s
            self._turn(True)

    def release(self) -> None:
        self._trial_until = 0.0

    def _turn(self, opened: bool) -> None:
        if self.open != opened:
            self.open = opened
            self._on_state(opened)
