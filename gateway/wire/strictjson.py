"""JSON (RFC 8259), read strictly: what could be read in two ways is refused.

orjson refuses bad UTF-8, byte order marks, lone surrogates, NaN, infinities and syntax extensions by itself. What it
lets pass, a key that stands twice, is found by counting: outside of strings every colon belongs to one member, and the
parsed tree has fewer members than there were colons exactly when a key was repeated.
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
    cleaned = raw.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in raw else raw
    structure = b"".join(cleaned.split(b'"')[::2])
    if structure.count(b",") + structure.count(b"[") + structure.count(b"{") > max_values:
        raise Refusal("too_many_values", f"The document has more than {max_values} values.")
    if b"\\u0000" in cleaned:
        raise Refusal("invalid_encoding", "Strings must not contain the character NUL.")
    document = _loaded(raw)
    members, depth = _measured(document)
    if depth > max_depth:
        raise _too_deep(max_depth)
    if members != structure.count(b":"):
        raise Refusal("duplicate_key", "A key stands twice in the same object.", param=_repeated_key(raw))
    return document


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
    level = [document] if isinstance(document, dict | list) else []
    while level:
        depth += 1
        below: list[Any] = []
        for container in level:
            if type(container) is dict:
                members += len(container)
                below += [value for value in container.values() if type(value) is dict or type(value) is list]
            else:
                below += [value for value in container if type(value) is dict or type(value) is list]
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
