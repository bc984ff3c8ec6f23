"""The most tokens that a request can have, from its size and its shape. No text is read: it is asked for every call.

A vocabulary of bytes has no token of less than one byte, and JSON writes no text in fewer bytes than it has. What
stands around a message (role, marks) is shorter in tokens than in JSON. What can be more than its bytes are pictures,
and what the provider adds or looks up by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

PREAMBLE: Final = 128
"""Tokens that providers put before any request."""
PREAMBLE_OF_TOOLS: Final = 1024
"""The same where there are tools: some explain their use at length."""

_PICTURES: Final = frozenset({"image_url", "input_image", "image", "computer_screenshot"})
_FETCHED: Final = frozenset({"file", "input_file", "document", "video_url", "input_video", "audio_url"})
# Tools that the caller runs: what they say comes back in a request of its own.
_LOCAL: Final = frozenset({"function", "custom", "namespace", "local_shell", "apply_patch"})
_STORED: Final = frozenset(
    {"previous_response_id", "conversation", "web_search_options", "search_parameters", "plugins"}
)
_LIMITS: Final = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "completions": ("max_tokens",),
    "responses": ("max_output_tokens",),
}
_SEVERAL: Final = frozenset({"n", "best_of", "prompt"})
_WITHOUT_OUTPUT: Final = frozenset({"embeddings", "moderations"})


class Bound(NamedTuple):
    """`tokens` of all but the `pictures`, of which each has as many as the model gives one (`images.most_per_image`).
    `unseen`: the request also names what the provider holds, fetches or looks up, and nothing here covers that."""

    tokens: int
    pictures: int
    unseen: bool


def input_bound(body_bytes: int, document: Mapping[str, Any]) -> Bound:
    """`body_bytes`: of the body as it is sent, so that only pictures elsewhere and their sizes are left open."""
    pictures = 0
    unseen = not _STORED.isdisjoint(document) and any(document.get(name) is not None for name in _STORED)
    unseen = unseen or type(document.get("prompt")) is dict
    for name in ("messages", "input"):
        items = document.get(name)
        if type(items) is list and items and type(items[0]) is not int:  # integers are tokens, and may be many
            found, refers = _items(items)
            pictures += found
            unseen = unseen or refers
    tools = document.get("tools")
    if not tools and not document.get("functions"):
        return Bound(body_bytes + PREAMBLE, pictures, unseen)
    return Bound(body_bytes + PREAMBLE + PREAMBLE_OF_TOOLS, pictures, unseen or _hosted(tools))


def _items(items: list[Any]) -> tuple[int, bool]:
    """(pictures, whether something is referred to) of messages, items, or the parts of a moderation."""
    pictures, refers = 0, False
    for item in items:
        if type(item) is not dict:
            continue
        if len(item) == 2 and "role" in item and type(item.get("content")) is str:
            continue  # the common message
        if "type" in item:
            kind = item["type"]
            pictures += type(kind) is str and kind in _PICTURES
            refers = refers or kind == "item_reference"
        for name in ("content", "output"):
            parts = item.get(name)
            if type(parts) is list or type(parts) is dict:
                found, fetched = _parts(parts if type(parts) is list else [parts])
                pictures += found
                refers = refers or fetched
        if "audio" in item:  # what the model said before, by its id
            refers = refers or item["audio"] is not None
    return pictures, refers


def _parts(parts: list[Any]) -> tuple[int, bool]:
    kinds = [part.get("type") for part in parts if type(part) is dict]
    pictures = sum(type(kind) is str and kind in _PICTURES for kind in kinds)
    return pictures, any(type(kind) is str and kind in _FETCHED for kind in kinds)


def _hosted(tools: Any) -> bool:
    """Any that the provider runs, those of tomorrow included."""
    kinds = [tool.get("type", "function") for tool in tools if type(tool) is dict] if type(tools) is list else []
    return not all(type(kind) is str and kind in _LOCAL for kind in kinds)


def output_limit(document: Mapping[str, Any], endpoint: str) -> int | None:
    """The most output tokens that were asked for, all choices together; None where no limit was asked for. Reasoning is
    within it at OpenAI, and not everywhere."""
    if endpoint in _WITHOUT_OUTPUT:
        return 0
    most = _most(document, _LIMITS.get(endpoint, ()))
    return None if most is None else most * choices_of(document)


def choices_of(document: Mapping[str, Any]) -> int:
    """How many texts are written, those included that `best_of` throws away: they are paid for."""
    if _SEVERAL.isdisjoint(document):
        return 1
    return (_most(document, ("n", "best_of")) or 1) * _prompts(document.get("prompt"))


def _prompts(prompt: Any) -> int:
    """Completions take several in one request: strings, or lists of tokens."""
    return len(prompt) if type(prompt) is list and prompt and type(prompt[0]) is not int else 1


def _most(document: Mapping[str, Any], names: Sequence[str]) -> int | None:
    """The largest count among these members; None where there is none."""
    most = None
    for name in names:
        count = document.get(name)
        if type(count) is int and count >= 0 and (most is None or count > most):
            most = count
    return most
