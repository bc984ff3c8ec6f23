"""`POST /v1/embeddings`."""

from __future__ import annotations

from typing import Any

from gateway.core.usage import Reported
from gateway.wire import choices, fields
from gateway.wire.dialect import NoStream, StreamState
from gateway.wire.usage import usage_of

_CHECKS: dict[str, fields.Check] = {
    "model": fields.model,
    "input": fields.string_or_list,
    "dimensions": fields.COUNT,
    "encoding_format": fields.string,
    "user": fields.string,
}


class Embeddings:
    """Implements Dialect."""

    name = "embeddings"
    known_fields = frozenset(_CHECKS)

    def validate(self, document: dict[str, Any]) -> None:
        fields.required(document, "model", "input")
        fields.check(document, _CHECKS)

    def wants_usage_injected(self, _: dict[str, Any]) -> bool:
        return False

    def with_usage(self, raw: bytes, _: dict[str, Any]) -> bytes:
        return raw

    def usage_of(self, document: Any) -> Reported:
        return usage_of(document)

    def stream_state(self) -> StreamState:
        return NoStream()

    error_event = staticmethod(choices.error_event)
