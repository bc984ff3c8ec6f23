"""How many tokens a request has, counted: for answers without usage, and for limits that its bytes do not fit.

The texts are counted exactly where the vocabulary is known. What stands around them follows OpenAI's cookbook, pictures
the providers' rules; the sum is an estimate. What a provider holds or looks up is not in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.core.span import Path
from gateway.tokens.images import image_tokens
from gateway.tokens.tokenizer import Tokenizer
from gateway.tokens.tools import tool_tokens
from gateway.wire.texts import request_spans

_MESSAGE: Final = 4  # the marks around one, and its role
_NAME: Final = 1
_REPLY: Final = 3  # every answer is begun with a role
_AT_ONCE: Final = 50
"""Entries of a list (messages, items) that are walked through before the loop gets its turn."""
_CONVERSATIONS: Final = frozenset({"chat", "responses"})
# The members whose texts a model reads; tools are counted by rules of their own.
_READ: Final = frozenset(
    {"messages", "input", "instructions", "prompt", "suffix", "prediction", "response_format", "text"}
)

_LINKS: Final = frozenset({"image_url", "video_url", "audio_url", "file_url", "url"})


async def estimate_input(document: Mapping[str, Any], endpoint: str, model: str, tokenizer: Tokenizer) -> int:
    """`endpoint`: the name of the shape. `model`: the upstream's. Large inputs are counted piece by piece."""
    tokens = _REPLY if endpoint in _CONVERSATIONS else 0
    for number, part in enumerate(_slices(document)):
        if number:
            await asyncio.sleep(0)
        around, texts = _taken_apart(part, endpoint, model)
        tokens += around + (await tokenizer.count_all(texts, model)).tokens
    return tokens


def _slices(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What takes about a millisecond to walk through at a time: the document without its long lists, and then these."""
    long = {
        name: value
        for name, value in document.items()
        if type(value) is list and len(value) > _AT_ONCE and type(value[0]) is not int
    }
    yield {name: value for name, value in document.items() if name not in long}
    for name, value in long.items():
        for start in range(0, len(value), _AT_ONCE):
            yield {name: value[start : start + _AT_ONCE]}


def _taken_apart(document: Mapping[str, Any], endpoint: str, model: str) -> tuple[int, list[str]]:
    """(tokens that are no text, the texts)."""
    tokens, texts = 0, _texts(endpoint, document)
    for member in ("tools", "functions"):
        around, defined = tool_tokens(document.get(member), model)
        tokens += around
        texts += defined
    tokens += sum(_around(item) for item in _items(document, endpoint))
    tokens += sum(image_tokens(url, detail, model) for url, detail in _pictures(document))
    tokens += _tokens_given(document.get("input")) + _tokens_given(document.get("prompt"))
    return tokens, texts


def _texts(endpoint: str, document: Mapping[str, Any]) -> list[str]:
    return [
        span.text
        for span in request_spans(endpoint, document)
        if span.kind != "media" and span.pieces and _is_read(span.pieces[0].path)
    ]


def _is_read(path: Path) -> bool:
    return path[0] in _READ and _LINKS.isdisjoint(path)


def _items(document: Mapping[str, Any], endpoint: str) -> list[Any]:
    items = document.get("messages" if endpoint == "chat" else "input") if endpoint in _CONVERSATIONS else None
    return items if type(items) is list else [items] if type(items) is str else []


def _around(item: Any) -> int:
    return _MESSAGE + (_NAME if type(item) is dict and "name" in item else 0)


def _pictures(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(URL, detail) of each. Chat wraps the URL in an object, Responses does not; a stored file has none."""
    for member in ("messages", "input"):
        items = document.get(member)
        for item in items if type(items) is list else ():
            if type(item) is not dict:
                continue
            for parts in ([item], item.get("content"), item.get("output")):
                for part in parts if type(parts) is list else [parts]:
                    if type(part) is dict and part.get("type") in ("image_url", "input_image", "computer_screenshot"):
                        yield _picture(part)


def _picture(part: Mapping[str, Any]) -> tuple[str, str]:
    link = part.get("image_url")
    holder = link if type(link) is dict else part
    url = link.get("url") if type(link) is dict else link
    detail = holder.get("detail")
    return url if type(url) is str else "", detail if type(detail) is str else ""


def _tokens_given(value: Any) -> int:
    """Tokens in place of text: a list of integers, or a list of such lists."""
    if type(value) is not list or not value:
        return 0
    if type(value[0]) is int:
        return len(value)
    return sum(len(entry) for entry in value if type(entry) is list)
