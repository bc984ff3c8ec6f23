"""The table: HTTP path -> API shape. A path that is not here exists only where the policy lists it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.core.errors import Refusal
from gateway.wire.chat import Chat
from gateway.wire.completions import Completions
from gateway.wire.dialect import Dialect
from gateway.wire.embeddings import Embeddings
from gateway.wire.moderations import Moderations
from gateway.wire.responses import Responses


@dataclass(frozen=True, slots=True)
class Route:
    """`dialect` is None where no body is read."""

    name: str
    dialect: Dialect | None
    methods: frozenset[str]


_POST = frozenset({"POST"})
_GET = frozenset({"GET"})

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect for dialect in (Chat(), Completions(), Responses(), Embeddings(), Moderations())
}
_EXACT: dict[str, Route] = {
    "/v1/chat/completions": Route("chat", DIALECTS["chat"], _POST),
    "/v1/completions": Route("completions", DIALECTS["completions"], _POST),
    "/v1/responses": Route("responses", DIALECTS["responses"], _POST),
    "/v1/embeddings": Route("embeddings", DIALECTS["embeddings"], _POST),
    "/v1/moderations": Route("moderations", DIALECTS["moderations"], _POST),
    "/v1/models": Route("models", None, _GET),
    "/v1/usage": Route("usage", None, _GET),
}
_MODEL = Route("models", None, _GET)
_RESPONSE = Route("responses.object", None, frozenset({"GET", "DELETE"}))
_RESPONSE_CANCEL = Route("responses.object", None, _POST)
_RESPONSE_ITEMS = Route("responses.object", None, _GET)
_RESPONSE_PATH = re.compile(r"/v1/responses/[A-Za-z0-9_.:%-]+(/cancel|/input_items)?")


def route(path: str) -> Route | None:
    """The built-in endpoint of a raw path without its query."""
    found = _EXACT.get(path)
    if found is not None:
        return found
    if path.startswith("/v1/models/") and len(path) > len("/v1/models/"):
        return _MODEL
    match = _RESPONSE_PATH.fullmatch(path)
    if match is None:
        return None
    tail = match.group(1)
    return _RESPONSE if tail is None else _RESPONSE_CANCEL if tail == "/cancel" else _RESPONSE_ITEMS


_SOUND = re.compile(r"(?:/(?:[A-Za-z0-9_.~:@!$&'()*+,=-]|%[0-9A-Fa-f]{2})+)+")
_HIDDEN = re.compile(r"%(?:2e|25|5c|0[0-9a-f]|1[0-9a-f]|7f)", re.IGNORECASE)


def refuse_odd_path(path: str) -> None:
    """A path that two parties could read in two ways: dot segments (also encoded), doubled or trailing slashes,
    backslashes, parameters, control characters. Percent-encoded characters of ids stay as they are."""
    if path in _EXACT:
        return
    if len(path) > 2048 or not _SOUND.fullmatch(path) or _HIDDEN.search(path) or _has_dots(path):
        raise Refusal("bad_request", "The path is not in its plain form.")


def _has_dots(path: str) -> bool:
    return any(segment in {".", ".."} or segment.endswith(".") for segment in path.split("/"))
