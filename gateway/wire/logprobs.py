"""Log-probabilities repeat the answer in tokens. They stay only where they say what the answer says, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.core.span import Path

MAX_TOKEN_CHARACTERS = 64


def repeat_their_text(document: Any, path: Path) -> bool:
    """Whether the tokens at `path` are, one after the other, a text that stands beside them, and their alternatives are
    single words."""
    beside = document
    for step in path[:-1]:
        beside = beside[step]
    listed = beside[path[-1]]
    said = "".join(_tokens(listed))
    texts = (text for name, entry in _members(beside) if name != path[-1] for text in _strings(entry))
    return all(map(_is_word, _words(listed))) and (not said or any(text == said for text in texts))


def _tokens(listed: Any) -> Iterator[str]:
    """In chat {"content": [{"token"}], "refusal": ...}, in completions {"tokens": [...]}, in responses [{"token"}]."""
    if isinstance(listed, list):
        yield from (
            entry["token"] for entry in listed if isinstance(entry, dict) and isinstance(entry.get("token"), str)
        )
    elif isinstance(listed, dict):
        yield from (token for token in listed.get("tokens") or () if isinstance(token, str))
        for name in ("content", "refusal"):
            yield from _tokens(listed.get(name))


def _is_word(text: str) -> bool:
    return len(text) <= MAX_TOKEN_CHARACTERS and len(text.split()) <= 1


def _members(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _words(value: Any) -> Iterator[str]:
    """All strings, names of members too: completions list alternatives by name."""
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, str):
            yield one
        for name, entry in _members(one):
            if isinstance(name, str):
                yield name
            pending.append(entry)


def _strings(value: Any) -> Iterator[str]:
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, str):
            yield one
        else:
            pending += [entry for _, entry in _members(one)]
