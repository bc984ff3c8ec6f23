"""Byte-exact rewriting of JSON: values at given places change, every other byte stays as it was written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from gateway.core.span import Path

# Possessive, for the reason told in edit.py. Colons need no token: in an object, the string after "{" or "," is a key.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[{}\[\],]', re.DOTALL)
_LEAD: Final = b" \t\r\n:"  # what stands between a key and its value
_BLANK: Final = b" \t\r\n"
_QUOTE, _OBJECT, _LIST, _COMMA = b'"{[,'
_HERE: Final = None  # in a tree of paths: the path that ends at this node; keys are never None


def replace_strings(raw: bytes, texts: Mapping[Path, str]) -> bytes:
    """`raw`, a valid JSON document with unique keys, in which the strings at these paths are `texts`.

    KeyError: there is nothing at a path, or something that is no string.
    """
    if not texts:
        return raw
    places = _places(raw, texts)
    for path, (start, _) in places.items():
        if raw[start] != _QUOTE:
            raise KeyError(path)
    return _patched(raw, [(*places[path], orjson.dumps(text)) for path, text in texts.items()])


def remove_members(raw: bytes, paths: Iterable[Path]) -> bytes:
    """`raw` in which the values at these paths, of any kind, are null. KeyError as above."""
    wanted = set(paths)
    if not wanted:
        return raw
    return _patched(raw, [(start, end, b"null") for start, end in _places(raw, wanted).values()])


def _patched(raw: bytes, patches: list[tuple[int, int, bytes]]) -> bytes:
    """Each (start, end, new bytes) applied. One that lies within another is gone with it."""
    parts: list[bytes] = []
    done = 0
    for start, end, value in sorted(patches, key=lambda patch: (patch[0], -patch[1])):
        if start < done:
            continue
        parts += raw[done:start], value
        done = end
    parts.append(raw[done:])
    return b"".join(parts)


class _Open:
    """An object or a list whose end was not read yet, with the wanted paths that go through it."""

    __slots__ = ("node", "start", "step", "wanted")

    def __init__(self, node: dict[Any, Any], step: int | None, start: int) -> None:
        self.node = node
        self.read(step, start)

    def read(self, step: str | int | None, start: int) -> None:
        """`step`: key or index of the value that comes, None where a key comes; its search begins at `start`."""
        self.step = step
        self.start = start
        self.wanted: dict[Any, Any] | None = None if step is None else self.node.get(step)

    def advance(self, start: int) -> None:
        """To the next value of a list, or the next key of an object."""
        self.read(self.step + 1 if isinstance(self.step, int) else None, start)


def _places(raw: bytes, paths: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    """Where the value of each path begins and ends, blanks excluded, in one pass. KeyError for the first not found."""
    wanted = list(paths)
    found: dict[Path, tuple[int, int]] = {}
    top = _Open({0: _tree(wanted)}, 0, 0)  # as if the document were the only entry of a list
    stack: list[_Open] = []
    skipped = 0  # levels that are open below a value that no path goes through
    for match in _TOKEN.finditer(raw):
        byte = raw[match.start()]
        if byte == _QUOTE:
            if not skipped and top.step is None:
                top.read(_key(match.group()), match.end())
        elif byte in (_OBJECT, _LIST):
            if skipped or top.wanted is None:
                skipped += 1
            else:
                stack.append(top)
                top = _Open(top.wanted, None if byte == _OBJECT else 0, match.end())
        elif byte != _COMMA and skipped:
            skipped -= 1
        elif not skipped:
            _note(raw, top, match.start(), found)
            if byte == _COMMA:
                top.advance(match.end())
            else:
                top = stack.pop()
    _note(raw, top, len(raw), found)
    missing = [path for path in wanted if path not in found]
    if missing:
        raise KeyError(missing[0])
    return found


def _note(raw: bytes, top: _Open, end: int, found: dict[Path, tuple[int, int]]) -> None:
    """The value that was being read ends before `end`."""
    if top.wanted is None or _HERE not in top.wanted:
        return
    start = top.start
    while start < end and raw[start] in _LEAD:
        start += 1
    while end > start and raw[end - 1] in _BLANK:
        end -= 1
    if start < end:  # else an empty list, which has no first entry
        found[top.wanted[_HERE]] = (start, end)


def _tree(paths: Iterable[Path]) -> dict[Any, Any]:
    """The paths as nested dicts, step by step; `_HERE` maps to the path that ends at a node."""
    root: dict[Any, Any] = {}
    for path in paths:
        node = root
        for step in path:
            node = node.setdefault(step, {})
        node[_HERE] = path
    return root


def _key(token: bytes) -> str:
    key: str = orjson.loads(token)
    return key
