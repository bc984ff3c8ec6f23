"""How far a long export is, for a person who waits at a terminal."""

from __future__ import annotations

import sys
import time

_PAUSE_S = 0.5


class Progress:
    """Says nothing when it is quick, when standard error is no terminal, and when the rows themselves are shown."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown = sys.stderr.isatty() and not sys.stdout.isatty()
        self._began = self._told = time.monotonic()
        self._number = 0

    def step(self) -> None:
        self._number += 1
        if self._shown and time.monotonic() - self._told >= _PAUSE_S:
            self._told = time.monotonic()
            print(f"\r{self._line()}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._told > self._began:
            print(f"\r{self._line()}", file=sys.stderr)

    def _line(self) -> str:
        return f"{self._number} {self._what}, {self._number / max(time.monotonic() - self._began, 1e-9):.0f} a second"
