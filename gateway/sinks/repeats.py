"""Lines that say the same again and again: the first few of a second are told, of the others the last one, with how
many it stands for. So a storm is a few lines long and no line of it is uncounted.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Hashable

import structlog
from structlog.typing import EventDict, FilteringBoundLogger

FEW = 5
WINDOW_S = 1.0
_CALL = "call"
_KIND = ("event", "error", "at", "logger", "asked", "work", "signal")
"""What makes a line of the same kind: the event, the error and the place."""

Tell = Callable[[int], None]
"""Writes a line; it is given how many others were left out."""


class Repeats:
    """Counts by kind, over all threads. A window begins with the first line after the end of the one before.

    What is held back is told once the window is over: by a timer where the loop runs, else with the next line of any
    kind; `close` tells the rest.
    """

    def __init__(self, window_s: float = WINDOW_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._window_s = window_s
        self._clock = clock
        self._lock = threading.Lock()
        self._ends = 0.0
        self._seen: dict[Hashable, int] = {}
        self._held: dict[Hashable, Tell] = {}

    def hold(self, kind: Hashable, tell: Tell) -> bool:
        """Whether this line is held back: `tell` is called for the last such one. False: it is to be written now."""
        now = self._clock()
        if now >= self._ends:
            self.close()
        with self._lock:
            if not self._seen:
                self._ends = now + self._window_s
            seen = self._seen[kind] = self._seen.get(kind, 0) + 1
            if seen <= FEW:
                return False
            if not self._held:
                self._close_after(self._ends - now)
            self._held[kind] = tell
            return True

    def close(self) -> None:
        """Ends the window, whether or not its time is over."""
        with self._lock:
            seen, self._seen = self._seen, {}
            held, self._held = self._held, {}
        for kind, tell in held.items():
            tell(seen[kind] - FEW - 1)

    def _close_after(self, seconds: float) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # another thread, or none runs yet
            return
        loop.call_later(seconds, self._close_window, self._held)

    def _close_window(self, held: dict[Hashable, Tell]) -> None:
        """Unless the next one has begun."""
        if held is self._held:
            self.close()


class RepeatedLines:
    """A structlog processor, the first one. It holds lines back for `log`, which writes what it is given.

    The lines of calls pass: they are what was asked for, and each is bounded.
    """

    def __init__(self, repeats: Repeats, log: FilteringBoundLogger) -> None:
        self._repeats = repeats
        self._log = log

    def __call__(self, _: object, level: str, event: EventDict) -> EventDict:
        def tell(others: int) -> None:
            getattr(self._log, level)(**event, **({"repeated": others} if others else {}))

        if event["event"] != _CALL and self._repeats.hold(tuple(event.get(name) for name in _KIND), tell):
            raise structlog.DropEvent
        return event
