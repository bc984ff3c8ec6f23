"""What all OTLP messages are made of: fields, attributes, and the levels around spans and metrics.

A message is the concatenation of its fields, each a tag byte (number << 3 | wire type) and a value; texts, bytes and
messages carry their length. So the pieces are joined, and what comes back time and again (tags, keys, lengths) is made
once. Text is UTF-8 whatever it holds: a lone surrogate becomes "?" (HTTP-15). Field numbers: common.proto v1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any

from gateway.core.trace import Value

Scope = tuple[str, str]
"""Name and version of what made the spans."""


def _long_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_VARINTS = tuple(map(_long_varint, range(2048)))
# What leads to a short text as an attribute's value: KeyValue.value, its length, AnyValue.string_value, its length.
_TEXTS = tuple(bytes((0x12, size + 2, 0x0A, size)) for size in range(126))
_INTS = tuple(b"\x12%c\x18%b" % (len(number) + 1, number) for number in _VARINTS)
_DOUBLE = Struct("<3sd")


def varint(value: int) -> bytes:
    """Sizes and most counts of tokens are found in the table; most costs in nano-dollars have three bytes."""
    if value < 2048:
        return _VARINTS[value]
    if 1 << 14 <= value < 1 << 21:
        return bytes((value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14))
    return _long_varint(value)


def field(tag: bytes, body: bytes) -> bytes:
    return tag + varint(len(body)) + body


def text_field(tag: bytes, text: str) -> bytes:
    """A field that is left out when empty, as proto3 does."""
    return field(tag, text.encode("utf-8", "replace")) if text else b""


@lru_cache(maxsize=2048)
def _key(key: str) -> bytes:
    return field(b"\x0a", key.encode("utf-8", "replace"))


def _string_value(value: str) -> bytes:
    return field(b"\x12", field(b"\x0a", value.encode("utf-8", "replace")))


def _int_value(value: int) -> bytes:
    if 0 <= value < len(_INTS):
        return _INTS[value]
    if -(1 << 63) <= value < 1 << 63:
        body = varint(value) if value >= 0 else _long_varint(value + (1 << 64))
        return b"\x12%c\x18%b" % (len(body) + 1, body)
    return _string_value(str(value))  # exact, where int64 has no room


def _bool_value(value: bool) -> bytes:
    return b"\x12\x02\x10\x01" if value else b"\x12\x02\x10\x00"


def _float_value(value: float) -> bytes:
    return _DOUBLE.pack(b"\x12\x09\x21", value)


def _other_value(values: Sequence[str]) -> bytes:
    """A list of texts. A kind of str, such as a StrEnum, is a text all the same."""
    if isinstance(values, str):
        return _string_value(values)
    items = b"".join([field(b"\x0a", text_field(b"\x0a", str(item)) or b"\x0a\x00") for item in values])
    return field(b"\x12", field(b"\x2a", items))


_VALUES: dict[type, Callable[[Any], bytes]] = {
    str: _string_value,
    int: _int_value,
    bool: _bool_value,
    float: _float_value,
}


def add_attributes(out: list[bytes], tag: bytes, attributes: Mapping[str, Value]) -> None:
    """Adds them as fields `tag`. Texts are most of what a span costs, and most of them are the same in span after span:
    an operation, a model, a caller. So they are kept, but for keys that take ever new values."""
    pieces = [
        (_KEPT.get(key, _NONE_KEPT).get(value) or _text(key, value)) if type(value) is str else _other(key, value)
        for key, value in attributes.items()
    ]
    if pieces:
        out.append(tag + tag.join(pieces))


_MAX_KEYS = 512
_MAX_TEXTS = 64
_NONE_KEPT: dict[str, bytes] = {}
_KEPT: dict[str, dict[str, bytes]] = {}
"""Attributes with their length in front, by key and text; of a key with too many texts, none."""


def _other(key: str, value: Value) -> bytes:
    head, body = _key(key), _VALUES.get(type(value), _other_value)(value)
    return varint(len(head) + len(body)) + head + body


def _text(key: str, text: str) -> bytes:
    head, body = _key(key), text.encode("utf-8", "replace")
    size = len(body)
    if size >= len(_TEXTS):
        return field(b"", head + _string_value(text))
    made = varint(len(head) + 4 + size) + head + _TEXTS[size] + body
    kept = _KEPT.get(key)
    if kept is None:
        if len(_KEPT) < _MAX_KEYS:
            _KEPT[key] = {text: made}
    elif kept is not _NONE_KEPT:
        kept[text] = made
        if len(kept) > _MAX_TEXTS:
            _KEPT[key] = _NONE_KEPT
    return made


def request(resource: Mapping[str, Value], scope: Scope, items: list[bytes]) -> bytes:
    """The three levels around spans and metrics are numbered alike: request, resource's, scope's."""
    described: list[bytes] = []
    add_attributes(described, b"\x0a", resource)
    maker = text_field(b"\x0a", scope[0]) + text_field(b"\x12", scope[1])
    scoped = field(b"\x0a", maker) + b"".join([field(b"\x12", item) for item in items])
    return field(b"\x0a", field(b"\x0a", b"".join(described)) + field(b"\x12", scoped))
