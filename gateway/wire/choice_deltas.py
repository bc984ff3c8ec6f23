"""What one event of a stream of `choices` adds (chat and legacy completions), and how any event is told as a whole."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Final

from gateway.core.span import Delta, Path, Span
from gateway.wire.spans import walk
from gateway.wire.things import Thing

# Members of a delta that come whole: each list entry is a text of its own.
_WHOLE: Final = frozenset({"annotations", "citations", "search_results", "images", "error"})
_APART: Final = frozenset({"choices", "tool_calls"})  # lists in which another position is another text


def choice_deltas(event: Mapping[str, Any], rule: Thing) -> list[Delta]:
    """Whatever stands in a choice's `delta` or `text` grows from event to event, members that nobody knows included;
    everything else is whole."""
    grown: list[Delta] = []
    for number, span in enumerate(walk(event, rule, role="assistant", keys=False).spans):
        grown += _deltas(event, span, number)
    return grown


def whole_deltas(spans: Iterable[Span], event: Hashable = None) -> list[Delta]:
    """Each text complete, in a lane of its own (`event`: what tells this event from others). The path is empty where
    the text can be judged and not rewritten: names of members, what a data URI holds."""
    return [
        Delta(("whole", event, index, path), text, span.role, span.kind, path, span.escaped, whole=True)
        for index, span in enumerate(spans)
        for path, text in _places(span)
    ]


def _places(span: Span) -> list[tuple[Path, str]]:
    return [(piece.path, span.text[piece.start : piece.end]) for piece in span.pieces] or [((), span.text)]


def _deltas(event: Mapping[str, Any], span: Span, number: int) -> list[Delta]:
    path = span.pieces[0].path if span.pieces else ()
    if span.kind == "media" or not _grows(path):
        return whole_deltas([span], number)
    return [
        Delta(_lane(event, piece), text, span.role, span.kind, piece, span.escaped) for piece, text in _places(span)
    ]


def _grows(path: Path) -> bool:
    if len(path) < 3 or path[0] != "choices":
        return False
    return path[2] == "text" or (path[2] == "delta" and not _WHOLE.intersection(path[3:]))


def _lane(event: Mapping[str, Any], path: Path) -> Hashable:
    """The place, in which entries of a list are known by their `index`. Without one, choices and tool calls are told
    apart by their position, and other entries (parts of a content) are one text in their order."""
    lane: list[str | int] = []
    value: Any = event
    for step in path:
        value = value[step]
        index = value.get("index") if isinstance(step, int) and type(value) is dict else None
        if isinstance(step, int):
            step = index if type(index) is int else step if lane[-1] in _APART else "*"  # noqa: PLW2901
        lane.append(step)
    return tuple(lane)
