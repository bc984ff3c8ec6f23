"""Stops asking a store that keeps failing, and finds out when it is well again."""

from __future__ import annotations

from collections.abc import Callable

from gateway.core.clock import Clock


class Breaker:
    """Closed: everyone may ask. Open, after `failures` in a row: one probe every `pause_s` seconds, whoever comes
    first. `on_state` is told each change, True for open. For the tasks of one loop, not for threads."""

    def __init__(self, failures: int, pause_s: float, clock: Clock, on_state: Callable[[bool], None]) -> None:
        self._limit = failures
        self._pause_s = pause_s
        self._clock = clock
        self._on_state = on_state
        self._in_a_row = 0
        self._probe_at = 0.0
        self.open = False

    def admit(self) -> bool:
        """A probe that ends without an answer is followed by the next one after the pause."""
        if not self.open:
            return True
        now = self._clock.monotonic()
        if now < self._probe_at:
            return False
        self._probe_at = now + self._pause_s
        return True

    def succeed(self) -> None:
        self._in_a_row = 0
        self._turn(False)

    def fail(self) -> None:
        self._in_a_row += 1
        if self._in_a_row >= self._limit and not self.open:
            self._probe_at = self._clock.monotonic() + self._pause_s
            self._turn(True)

    def _turn(self, opened: bool) -> None:
        if self.open != opened:
            self.open = opened
            self._on_state(opened)
