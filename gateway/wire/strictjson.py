"""JSON (RFC 8259), read strictly: what could be read in two ways is refused.

orjson refuses bad UTF-8, byte order marks, lone surrogates, NaN, infinities and syntax extensions by itself. What it
lets pass is a key that stands twice. A body without blanks, as most clients write it, has none when the document
written again is the same bytes. In any other they are found by counting: outside of strings every colon belongs to one
member, and the parsed tree has fewer members than there were colons exactly when a key was repeated.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from gateway.core.errors import Refusal

MAX_DEPTH = 128
MAX_VALUES = 1_000_000
_MAX_SHOWN_KEY = 64


def parse(raw: bytes, *, max_depth: int = MAX_DEPTH, max_values: int = MAX_VALUES) -> Any:
    """The document. Refusal: invalid_json, invalid_encoding, duplicate_key, too_deep, too_many_values."""
    if len(raw) > max_values and _values(_structure(raw)) > max_values:  # each takes a byte at least
        raise Refusal("too_many_values", f"The document has more than {max_values} values.")
    if b"\\" in raw and b"\\u0000" in raw and b"\\u0000" in _without_escapes(raw):  # the cheapest look first
        raise Refusal("invalid_encoding", "Strings must not contain the character NUL.")
    document = _loaded(raw)
    is_shallow = _brackets(raw) <= max_depth  # without a look at the tree
    if is_shallow and orjson.dumps(document) == raw:
        return document
    members, depth = _measured(document)
    if depth > max_depth:
        raise _too_deep(max_depth)
    if (is_shallow or orjson.dumps(document) != raw) and members != _structure(raw).count(b":"):
        raise Refusal("duplicate_key", "A key stands twice in the same object.", param=_repeated_key(raw))
    return document


def _brackets(raw: bytes) -> int:
    """How many open, those in strings counted in. `bytes.count` takes the bytes one by one, and twice as long."""
    return 2 * len(raw) - len(raw.replace(b"{", b"")) - len(raw.replace(b"[", b""))


def _without_escapes(raw: bytes) -> bytes:
    """Without escaped backslashes and quotes: a quote that is left begins or ends a string."""
    return raw.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in raw else raw


def _structure(raw: bytes) -> bytes:
    """What stands outside of strings."""
    return b"".join(_without_escapes(raw).split(b'"')[::2])


def _values(structure: bytes) -> int:
    return structure.count(b",") + structure.count(b"[") + structure.count(b"{")


def _loaded(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        reason = str(error)
    if "depth" in reason or "recursion" in reason.lower():
        raise _too_deep(MAX_DEPTH)
    if not _is_utf8(raw) or "surrogate" in reason or "byte order mark" in reason or b"\0" in raw:
        raise Refusal("invalid_encoding", "The body must be UTF-8 text without a byte order mark.")
    raise Refusal("invalid_json", "The body is not valid JSON.")


def _too_deep(max_depth: int) -> Refusal:
    return Refusal("too_deep", f"The document is nested more than {max_depth} levels deep.")


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _measured(document: Any) -> tuple[int, int]:
    """(members in all objects, levels of nesting)."""
    members = depth = 0
    level = [document] if type(document) is dict or type(document) is list else []
    while level:
        depth += 1
        below: list[Any] = []
        for container in level:
            if type(container) is dict:
                members += len(container)
            for value in container.values() if type(container) is dict else container:
                kind = type(value)
                if kind is dict or kind is list:
                    below.append(value)
        level = below
    return members, depth


def _repeated_key(raw: bytes) -> str | None:
    """The first repeated key, read again by a slower parser; only for the message."""
    found: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                found.append(key)
            seen.add(key)

    json.loads(raw, object_pairs_hook=note)
    return found[0] if found and len(found[0]) <= _MAX_SHOWN_KEY else None
