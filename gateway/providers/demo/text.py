"""What the demo model says: deterministic functions of the request. Pure."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import struct
from typing import Any

MAX_ECHO = 400
MAX_DEPTH = 32
MAX_VALUES = 500
_WORD = re.compile(r"\s*\S+\s*")


def count_tokens(text: str) -> int:
    """About four characters a token; a stand-in, good enough to show how usage travels."""
    return max(1, math.ceil(len(text) / 4)) if text else 0


def pieces(text: str) -> list[str]:
    """The text in the steps in which it is streamed; joined they are the text."""
    return _WORD.findall(text) or ([text] if text else [])


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict) and "text" in part)
    return ""


def images_in(content: Any) -> int:
    kinds = {"image_url", "input_image"}
    return (
        sum(isinstance(part, dict) and part.get("type") in kinds for part in content)
        if isinstance(content, list)
        else 0
    )


def reply_to(messages: list[dict[str, Any]]) -> str:
    """An answer that shows what was asked, so that a user sees what reached the provider."""
    last = messages[-1] if messages else {}
    said = text_of(last.get("content")).strip()[:MAX_ECHO]
    if last.get("role") == "tool":
        return f"The tool answered: {said}"
    images = images_in(last.get("content"))
    seen = f" I see {images} image{'s' if images > 1 else ''}." if images else ""
    return f"You said: {said}{seen} This is the demo model; it repeats what it is asked."


def limited(text: str, max_tokens: int | None, stop: list[str]) -> tuple[str, str]:
    """(the text as far as allowed, finish reason)."""
    cuts = [text.index(mark) for mark in stop if mark and mark in text]
    if cuts:
        text = text[: min(cuts)]
    if max_tokens is not None and count_tokens(text) > max_tokens:
        return text[: max_tokens * 4], "length"
    return text, "stop"


def example(schema: Any) -> Any:
    """An instance that satisfies the common parts of JSON Schema: enum, const, $ref, anyOf, types, required, bounds.
    A schema that branches into itself is followed for MAX_VALUES values; what is no schema counts as {}."""
    return _Example(_object(schema)).of(schema, 0)


class _Example:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._left = MAX_VALUES

    def of(self, given: Any, depth: int) -> Any:
        schema = _object(given)
        self._left -= 1
        if self._left <= 0 or depth > MAX_DEPTH:
            return None
        if isinstance(schema.get("$ref"), str):
            return self.of(self._referred(schema["$ref"]), depth + 1)
        if "const" in schema:
            return schema["const"]
        if _list(schema.get("enum")):
            return schema["enum"][0]
        for key in ("anyOf", "oneOf", "allOf"):
            if _list(schema.get(key)):
                return self.of(schema[key][0], depth + 1)
        return self._of_type(schema, depth)

    def _of_type(self, schema: dict[str, Any], depth: int) -> Any:
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = kind[0] if isinstance(kind, list) and kind else kind
        if kind == "object":
            properties = _object(schema.get("properties"))
            required = [name for name in _list(schema.get("required")) if isinstance(name, str)]
            names = list(properties) if depth < MAX_DEPTH // 4 else required
            return {name: self.of(properties.get(name), depth + 1) for name in names if self._left > 0}
        if kind == "array":
            count = int(min(64.0, max(1.0, _number(schema, "minItems", 1.0))))
            return [self.of(schema.get("items"), depth + 1) for _ in range(count) if self._left > 0]
        plain = {"integer": int(_within(schema)), "number": _within(schema), "boolean": True, "null": None}
        return plain.get(kind, "example") if isinstance(kind, str) else "example"

    def _referred(self, reference: str) -> Any:
        found: Any = self._root
        for part in reference.removeprefix("#/").split("/") if reference != "#" else []:
            found = _object(found).get(part)
        return found


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _within(schema: dict[str, Any]) -> float:
    """1, or the bound that is nearest to it."""
    return min(max(1.0, _number(schema, "minimum", 1.0)), _number(schema, "maximum", 2.0**53))


def _number(schema: dict[str, Any], key: str, default: float) -> float:
    value = schema.get(key)
    return float(value) if isinstance(value, int | float) and abs(value) <= 2**53 else default


def vector(text: str, dimensions: int) -> list[float]:
    """A unit vector: a hashed bag of words, so that texts that share words are near each other."""
    values = [0.0] * dimensions
    for word in re.findall(r"\w+", text.lower()) or [text]:
        digest = hashlib.sha256(word.encode()).digest()
        for start in range(0, 32, 4):
            place = int.from_bytes(digest[start : start + 3], "big") % dimensions
            values[place] += 1.0 if digest[start + 3] & 1 else -1.0
    norm = math.sqrt(sum(value * value for value in values)) or 1.0
    return [value / norm for value in values]


def packed(values: list[float]) -> str:
    """base64 of little-endian 32-bit floats, as OpenAI's encoding_format base64."""
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
