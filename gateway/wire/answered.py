"""What an answer says about itself: its id, and why each of its choices ended. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from gateway.wire.sse import data_of

_MAX_ID = 200
_MAX_CHOICES = 128
_ENDED = {"completed": "stop", "failed": "error", "cancelled": "error"}


class Said(NamedTuple):
    """`reasons` in the order of the choices."""

    id: str = ""
    reasons: tuple[str, ...] = ()


def said(shape: str, document: Any) -> Said:
    if type(document) is not dict:
        return Said()
    name = document.get("id")
    name = name if type(name) is str and len(name) <= _MAX_ID else ""
    return Said(name, _response(document) if shape == "responses" else _choices(document))


def said_in(shape: str, frames: Iterable[bytes]) -> Said:
    """The same of the frames of a stream; frames that cannot be read say nothing."""
    name, reasons = "", dict[int, str]()
    for frame in frames:
        event = _parsed(frame)
        if shape == "responses":
            found = said(shape, event.get("response"))
            reasons = dict(enumerate(found.reasons)) or reasons
        else:
            found = said(shape, event)
            reasons |= {index: reason for index, reason in _indexed(event) if reason}
        name = found.id or name
    return Said(name, tuple(reason for _, reason in sorted(reasons.items())))


def _choices(document: dict[str, Any]) -> tuple[str, ...]:
    found = _indexed(document)
    if len(found) > 1:
        found.sort()
    return tuple([reason or "error" for _, reason in found])


def _indexed(document: dict[str, Any]) -> list[tuple[int, str]]:
    choices = document.get("choices")
    found: list[tuple[int, str]] = []
    if type(choices) is not list:
        return found
    for place, choice in enumerate(choices[:_MAX_CHOICES]):
        if type(choice) is dict:
            index, reason = choice.get("index"), choice.get("finish_reason")
            found.append((index if type(index) is int else place, reason[:32] if type(reason) is str else ""))
    return found


def _response(document: dict[str, Any]) -> tuple[str, ...]:
    status = document.get("status")
    if status == "incomplete":
        details = document.get("incomplete_details")
        reason = details.get("reason") if type(details) is dict else None
        return (reason[:32] if type(reason) is str else "length",)
    return (_ENDED[status],) if status in _ENDED else ()


def _parsed(frame: bytes) -> dict[str, Any]:
    try:
        event = orjson.loads(data_of(frame) or b"null")
    except orjson.JSONDecodeError:
        return {}
    return event if type(event) is dict else {}
