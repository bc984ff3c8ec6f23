"""When a text of a stream is complete, so that the gate need not hold its end: where its choice has finished, where its
item is done, and where the same choice goes on with another text (from reasoning to content, from content to a call).

The last is believed once for each text: one that goes on after it was taken for complete is held until its end.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from gateway.core.span import Delta

Ends = Callable[[Hashable], bool]


class Lanes:
    """The lanes of one stream; see `wire/texts.py: stream_deltas` for their names."""

    def __init__(self) -> None:
        self._current: dict[Hashable, Hashable] = {}
        self._believed: set[Hashable] = set()

    def left(self, deltas: Sequence[Delta]) -> Ends | None:
        """Which lanes are complete because the next event says something else."""
        complete: set[Hashable] = set()
        for delta in deltas:
            if delta.whole or not delta.text:
                continue
            group = _group(delta.lane)
            before = self._current.get(group)
            if before is not None and before != delta.lane and before not in self._believed:
                self._believed.add(before)
                complete.add(before)
            self._current[group] = delta.lane
        return complete.__contains__ if complete else None


def finished(event: Mapping[str, Any]) -> Ends | None:
    """Which lanes are complete after this event."""
    choices = event.get("choices")
    if isinstance(choices, list):
        groups = {("choices", _index(choice, at)) for at, choice in enumerate(choices) if _has_finished(choice)}
        return (lambda lane: _group(lane) in groups) if groups else None
    kind, item = event.get("type"), event.get("output_index")
    if isinstance(kind, str) and kind.endswith(".done") and isinstance(item, int):
        return lambda lane: _item(lane) == item
    return None


def _has_finished(choice: Any) -> bool:
    return isinstance(choice, dict) and isinstance(choice.get("finish_reason"), str)


def _index(choice: Mapping[str, Any], at: int) -> int:
    index = choice.get("index")
    return index if type(index) is int else at


def _group(lane: Hashable) -> Hashable:
    """Texts of one group come one after the other: a choice's, or a response's."""
    return lane[:2] if isinstance(lane, tuple) and lane[:1] == ("choices",) else "response"


def _item(lane: Hashable) -> Any:
    """The place of a Responses lane's item in the output: lanes are ((kind, item, ...), path)."""
    named = isinstance(lane, tuple) and len(lane) == 2 and isinstance(lane[0], tuple) and len(lane[0]) > 1
    return lane[0][1] if named else None  # type: ignore[index]
