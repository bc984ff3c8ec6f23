"""What one event of a Responses stream adds."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Final

from gateway.core.span import Delta, Path
from gateway.wire.choice_deltas import whole_deltas
from gateway.wire.payloads import is_base64
from gateway.wire.responses_spans import EVENT
from gateway.wire.spans import walk

# The kinds of what grows, by a word in the event's type; (kind, escaped). What is not here is content.
_KINDS: Final = (
    ("function_call_arguments", "arguments", True),
    ("mcp_call_arguments", "arguments", True),
    ("mcp_call.arguments", "arguments", True),
    ("custom_tool_call_input", "arguments", False),
    ("code_interpreter_call_code", "arguments", False),
    ("shell_call_command", "arguments", False),
    ("shell_call_output", "result", False),
    ("reasoning", "reasoning", False),
    ("refusal", "refusal", False),
)
_SOUND: Final = frozenset({"response.audio.delta", "response.output_audio.delta"})


def response_deltas(event: Mapping[str, Any]) -> list[Delta]:
    """Events whose type ends in ``.delta`` grow a text, those of tomorrow included; all others repeat texts whole."""
    kind = event.get("type")
    spans = walk(event, EVENT, role="assistant", keys=False).spans
    if type(kind) is not str or not kind.endswith(".delta"):
        return whole_deltas(spans, _name(event))
    rest = [span for span in spans if not (span.pieces and span.pieces[0].path[0] == "delta")]
    return _grown(event, kind) + whole_deltas(rest, _name(event))


def _grown(event: Mapping[str, Any], kind: str) -> list[Delta]:
    """`delta` is a string, or an object with a string for each of several texts (standard output and error)."""
    said, escaped = next(((said, escaped) for word, said, escaped in _KINDS if word in kind), ("content", False))
    role = "tool" if said == "result" else "assistant"
    lane = _lane(event, kind)
    return [
        Delta((lane, path), "", role, "media", path, whole=True)
        if kind in _SOUND and is_base64(text)
        else Delta((lane, path), text, role, said, path, escaped)
        for path, text in _strings(event.get("delta"))
    ]


def _strings(delta: Any) -> list[tuple[Path, str]]:
    """Every string in the delta with its path, empty ones left out."""
    found: list[tuple[Path, str]] = []
    pending: list[tuple[Any, Path]] = [(delta, ("delta",))]
    while pending:
        value, path = pending.pop()
        if type(value) is str and value:
            found.append((path, value))
        elif type(value) is dict:
            pending += [(entry, (*path, name)) for name, entry in value.items()]
        elif type(value) is list:
            pending += [(entry, (*path, index)) for index, entry in enumerate(value)]
    return found


def _lane(event: Mapping[str, Any], kind: str) -> Hashable:
    """The item by its place in the output, and the part by its place in the item. Ids only where there is no place:
    some providers draw a new id for every event, which would tear a text into lanes."""
    index = event.get("output_index")
    item = index if type(index) is int else str(event.get("item_id"))
    parts = ("content_index", "summary_index", "command_index")
    return (kind, item, *(event[name] for name in parts if type(event.get(name)) is int))


def _name(event: Mapping[str, Any]) -> Hashable:
    number = event.get("sequence_number")
    return (str(event.get("type")), number if type(number) is int else -1)
