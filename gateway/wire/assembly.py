"""The events of a stream -> the answer as it would have been without streaming, as far as its words go. Bounded: once
there is enough, nothing more is taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from gateway.wire.sse import data_of

_MOST: Final = 1024  # choices, calls, items: what has more is no answer
_GROWING: Final = ("content", "refusal", "reasoning_content", "reasoning")
_WORDS_OF: Final = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
    "response.reasoning_summary_text.delta": "summary",
    "response.reasoning_text.delta": "reasoning",
}


class Assembly:
    """`max_characters`: enough of the words. One event more is taken, so that what is cut is known to be."""

    def __init__(self, shape: str, max_characters: int) -> None:
        self._take = self._item if shape == "responses" else self._choices
        self._is_response = shape == "responses"
        self._left = max_characters
        self._choice: dict[int, _Choice] = {}
        self._items: dict[int, _Item] = {}
        self._final: Mapping[str, Any] | None = None

    @property
    def is_full(self) -> bool:
        return self._left < 0

    def feed(self, frame: bytes) -> None:
        """What cannot be read adds nothing."""
        if self._left < 0:
            return
        try:
            event = orjson.loads(data_of(frame) or b"null")
        except orjson.JSONDecodeError:
            return
        if type(event) is dict:
            self._take(event)

    def document(self) -> dict[str, Any]:
        if not self._is_response:
            return {"choices": [choice.document(index) for index, choice in sorted(self._choice.items())]}
        if self._final is not None:
            return dict(self._final)
        return {"status": "failed", "output": [item.document() for _, item in sorted(self._items.items())]}

    # -- chat and legacy completions

    def _choices(self, event: Mapping[str, Any]) -> None:
        for place, choice in enumerate(_objects(event.get("choices"))):
            known = self._choice.setdefault(_index(choice, place), _Choice())
            if type(choice.get("finish_reason")) is str:
                known.reason = choice["finish_reason"]
            delta = choice.get("delta")
            if type(delta) is dict:
                self._left -= known.grow(delta)
            elif type(choice.get("text")) is str:
                known.is_text = True
                self._left -= known.add("content", choice["text"])

    # -- responses

    def _item(self, event: Mapping[str, Any]) -> None:
        """Items are told when they begin, grow, and are told again when they are done; the end tells them all."""
        kind, response = event.get("type"), event.get("response")
        if kind in ("response.completed", "response.incomplete", "response.failed") and type(response) is dict:
            if _objects(response.get("output")) or not self._items:
                self._final = response
            return
        index = event.get("output_index")
        if type(kind) is not str or type(index) is not int or not 0 <= index < _MOST:
            return
        if kind in ("response.output_item.added", "response.output_item.done") and type(event.get("item")) is dict:
            self._items[index] = _Item(event["item"])
            self._left -= _length(event["item"]) if kind.endswith("done") else 0
        elif kind in _WORDS_OF and type(event.get("delta")) is str:
            self._left -= self._items.setdefault(index, _Item({})).add(_WORDS_OF[kind], event["delta"])


class _Choice:
    def __init__(self) -> None:
        self.reason: str | None = None
        self.is_text = False
        self._words: dict[str, list[str]] = {}
        self._calls: dict[int, _Call] = {}
        self._role = "assistant"

    def grow(self, delta: Mapping[str, Any]) -> int:
        """How many characters it grew by."""
        size = 0
        if type(delta.get("role")) is str and delta["role"]:
            self._role = delta["role"]
        for name in _GROWING:
            for text in _texts(delta.get(name)):
                size += self.add(name, text)
        audio, called = delta.get("audio"), delta.get("function_call")
        if type(audio) is dict and type(audio.get("transcript")) is str:
            size += self.add("transcript", audio["transcript"])
        for place, call in enumerate(_objects(delta.get("tool_calls"))):
            size += self._calls.setdefault(_index(call, place), _Call()).grow(call)
        if type(called) is dict:
            size += self._calls.setdefault(0, _Call()).grow({"function": called})
        return size

    def add(self, name: str, text: str) -> int:
        self._words.setdefault(name, []).append(text)
        return len(text)

    def document(self, index: int) -> dict[str, Any]:
        said = {name: "".join(texts) for name, texts in self._words.items()}
        if self.is_text:
            return {"index": index, "text": said.get("content", ""), "finish_reason": self.reason}
        message: dict[str, Any] = {"role": self._role, **said}
        if "transcript" in said:
            message["audio"] = {"transcript": message.pop("transcript")}
        if self._calls:
            message["tool_calls"] = [call.document() for _, call in sorted(self._calls.items())]
        return {"index": index, "message": message, "finish_reason": self.reason}


class _Call:
    """Of a tool: `function` with its arguments, or `custom` with its input. The name comes whole, or grows."""

    def __init__(self) -> None:
        self._id: str | None = None
        self._kind, self._given = "function", "arguments"
        self._name: list[str] = []
        self._words: list[str] = []

    def grow(self, call: Mapping[str, Any]) -> int:
        if type(call.get("id")) is str:
            self._id = call["id"]
        if type(call.get("custom")) is dict:
            self._kind, self._given = "custom", "input"
        return sum(self._grown(*one) for one in self._told(call.get(self._kind)))

    def _told(self, called: Any) -> Iterator[tuple[list[str], str]]:
        for member, words in (("name", self._name), (self._given, self._words)):
            if type(called) is dict and type(called.get(member)) is str:
                yield words, called[member]

    @staticmethod
    def _grown(words: list[str], text: str) -> int:
        words.append(text)
        return len(text)

    def document(self) -> dict[str, Any]:
        told = {"name": "".join(self._name), self._given: "".join(self._words)}
        return {"id": self._id, "type": self._kind, self._kind: told}


class _Item:
    """As it was told last, with the words that came since."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self._told = told
        self._words: dict[str, list[str]] = {}

    def add(self, name: str, text: str) -> int:
        self._words.setdefault(name, []).append(text)
        return len(text)

    def document(self) -> dict[str, Any]:
        item = dict(self._told)
        said = {name: "".join(texts) for name, texts in self._words.items()}
        item |= {name: said[name] for name in ("arguments", "input") if name in said}
        content = [{"type": kind, member: said[name]} for name, kind, member in _PART_TYPES if name in said]
        if content:
            item["content"] = content
        if "summary" in said:
            item["summary"] = [{"type": "summary_text", "text": said["summary"]}]
        return item


_PART_TYPES: Final = (
    ("text", "output_text", "text"),
    ("refusal", "refusal", "refusal"),
    ("reasoning", "reasoning_text", "text"),
)


def _texts(value: Any) -> list[str]:
    """A text, or those of a list of parts."""
    if type(value) is str:
        return [value]
    return [part["text"] for part in _objects(value) if type(part.get("text")) is str]


def _index(entry: Mapping[str, Any], place: int) -> int:
    index = entry.get("index")
    return min(index, _MOST) if type(index) is int else place


def _objects(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value[:_MOST] if type(entry) is dict] if type(value) is list else []


def _length(value: Any) -> int:
    """Of all its strings."""
    if type(value) is str:
        return len(value)
    entries = value.values() if type(value) is dict else value if type(value) is list else ()
    return sum(map(_length, entries))
