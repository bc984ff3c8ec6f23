"""The words that a model wrote, for counting: content, refusals, reasoning, calls of tools; of every choice.

Members are read by name, so that what pads or describes an answer (`obfuscation`, ids, log-probabilities) is not
counted. Where a text is told again as a whole, it is read once: as it grows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from gateway.wire.sse import data_of

_CHOICES: Final = frozenset({"chat", "completions"})
_SOUND: Final = frozenset({"response.audio.delta", "response.output_audio.delta"})
# Texts below an item of a Responses answer, or a part of one.
_WRITTEN: Final = ("name", "arguments", "input", "code", "text", "refusal", "thinking", "transcript")
_LISTED: Final = ("content", "summary", "thinking")


def text_of(shape: str, frame: bytes) -> str:
    """What one frame of a stream adds; "" where there is nothing to read."""
    data = data_of(frame)
    if not data or data == b"[DONE]":
        return ""
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError:
        return ""
    if type(event) is not dict:
        return ""
    if shape in _CHOICES:
        return "".join(_chosen(event, "delta"))
    return "".join(_grown(event)) if shape == "responses" else ""


def text_of_document(shape: str, document: Any) -> str:
    """Of a whole answer."""
    if type(document) is not dict:
        return ""
    if shape in _CHOICES:
        return "".join(_chosen(document, "message"))
    return "".join(_below(document.get("output"))) if shape == "responses" else ""


def _chosen(document: Mapping[str, Any], member: str) -> Iterator[str]:
    choices = document.get("choices")
    for choice in choices if type(choices) is list else ():
        if type(choice) is not dict:
            continue
        message = choice.get(member)
        if type(message) is dict:
            yield from _message(message)
        elif type(choice.get("text")) is str:
            yield choice["text"]


def _message(message: Mapping[str, Any]) -> Iterator[str]:
    for name, value in message.items():
        if type(value) is str:
            # Servers that send the reasoning under both names send it twice.
            if name in {"content", "refusal", "reasoning_content"} or (
                name == "reasoning" and not message.get("reasoning_content")
            ):
                yield value
        elif name == "tool_calls" and type(value) is list:
            for call in value:
                yield from _call(call)
        elif name == "function_call":
            yield from _strings(value)
        elif name in {"content", "audio"}:
            yield from _below(value)


def _call(call: Any) -> Iterator[str]:
    if type(call) is dict:
        yield from _strings(call.get("function"))
        yield from _strings(call.get("custom"))


def _grown(event: Mapping[str, Any]) -> Iterator[str]:
    kind = event.get("type")
    if type(kind) is not str:
        return
    if kind.endswith(".delta"):
        delta = event.get("delta")
        if type(delta) is str and kind not in _SOUND and "call_output" not in kind:
            yield delta
    elif kind == "response.output_item.added":
        item = event.get("item")
        if type(item) is dict and type(item.get("name")) is str:
            yield item["name"]


def _below(value: Any) -> Iterator[str]:
    """Texts of a part or an item, or of a list of them, to a depth that answers have."""
    pending = [(value, 0)]
    while pending:
        here, depth = pending.pop()
        if type(here) is list:
            pending += [(entry, depth) for entry in reversed(here)]
        elif type(here) is dict and depth < 4:
            yield from _strings(here)
            pending += [(here[name], depth + 1) for name in _LISTED if type(here.get(name)) is list]


def _strings(holder: Any) -> Iterator[str]:
    if type(holder) is dict:
        for name in _WRITTEN:
            value = holder.get(name)
            if type(value) is str:
                yield value
