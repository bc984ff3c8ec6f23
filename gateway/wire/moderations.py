"""`POST /v1/moderations`. The model is optional in OpenAI's API; here the policy must know what is asked for."""

from __future__ import annotations

from typing import Any

from gateway.core.usage import Reported
from gateway.wire import choices, fields
from gateway.wire.dialect import NoStream, StreamState
from gateway.wire.usage import usage_of

_CHECKS: dict[str, fields.Check] = {"model": fields.model, "input": fields.string_or_list}


class Moderations:
    """Implements Dialect."""

    name = "moderations"
    known_fields = frozenset(_CHECKS)

    def validate(self, document: dict[str, Any]) -> None:
        fields.required(document, "input")
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
