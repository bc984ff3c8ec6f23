"""What an API shape knows about itself, and what the shapes share."""

from __future__ import annotations

from typing import Any, Protocol

import orjson

from gateway.core.errors import Refusal
from gateway.core.usage import Reported
from gateway.wire.edit import add_member, set_member

# Fields by which callers of other gateways or SDK wrappers choose the upstream, or smuggle fields past a check.
# Refused, not ignored: an app that sends one believes that it works.
REFUSED_FIELDS = frozenset(
    {"api_base", "base_url", "api_key", "api_version", "api_type", "custom_llm_provider", "custom_host", "organization"}
    | {"extra_headers", "extra_body", "extra_query", "litellm_params", "azure_endpoint", "aws_access_key_id", "headers"}
    | {"aws_secret_access_key", "vertex_credentials", "__proto__", "constructor", "proxy", "mock_response"}
)


class StreamState(Protocol):
    """What is known of one stream so far."""

    usage: Reported  # with the model and the tier that serve it
    ended: bool  # an end mark was seen: the answer is complete
    done: bool  # nothing may follow: the stream can be ended now

    def observe(self, frame: bytes) -> bool:
        """Takes one frame. True when it holds nothing but usage, so that it can be hidden."""


class Dialect(Protocol):
    """One API shape."""

    name: str
    known_fields: frozenset[str]

    def validate(self, document: dict[str, Any]) -> None:
        """Refusal that names the field."""

    def wants_usage_injected(self, document: dict[str, Any]) -> bool:
        """Whether usage comes only when asked for, and the caller did not ask."""

    def with_usage(self, raw: bytes, document: dict[str, Any]) -> bytes:
        """The body with the request for usage added."""

    def usage_of(self, document: Any) -> Reported:
        """The token counts of a whole answer, and the model and tier that served it."""

    def stream_state(self) -> StreamState: ...

    def error_event(self, refusal: Refusal, call_id: str, state: StreamState | None) -> bytes:
        """One frame that tells the caller that the stream broke."""


def refuse_upstream_choice(document: dict[str, Any]) -> None:
    if not REFUSED_FIELDS.isdisjoint(document):
        name = min(document.keys() & REFUSED_FIELDS)
        raise Refusal("refused_field", "The provider is chosen by the gateway's policy; remove this field.", param=name)


def error_object(refusal: Refusal, call_id: str) -> dict[str, Any]:
    error: dict[str, Any] = {
        "message": refusal.message,
        "type": refusal.type,
        "param": refusal.param,
        "code": refusal.code,
        "request_id": call_id,
    }
    if refusal.limit is not None:
        error["limit"] = refusal.limit
    return error


class NoStream:
    """Shapes that never stream: an event stream has no end mark to wait for."""

    def __init__(self) -> None:
        self.usage = Reported()
        self.ended = True
        self.done = False

    def observe(self, _: bytes) -> bool:
        return False


def with_stream_usage(raw: bytes, document: dict[str, Any]) -> bytes:
    options = document.get("stream_options")
    if "stream_options" not in document:
        return add_member(raw, "stream_options", b'{"include_usage":true}')
    merged = {**options, "include_usage": True} if type(options) is dict else {"include_usage": True}
    return set_member(raw, "stream_options", orjson.dumps(merged))


def lacks_stream_usage(document: dict[str, Any]) -> bool:
    if document.get("stream") is not True:
        return False
    options = document.get("stream_options")
    return type(options) is not dict or options.get("include_usage") is not True
