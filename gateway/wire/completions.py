"""`POST /v1/completions`, the legacy shape."""

from __future__ import annotations

from typing import Any

from gateway.core.usage import Reported
from gateway.wire import choices, fields
from gateway.wire.dialect import StreamState, lacks_stream_usage, with_stream_usage
from gateway.wire.usage import usage_of

_CHECKS: dict[str, fields.Check] = {
    "model": fields.model,
    "prompt": fields.string_or_list,
    "stream": fields.boolean,
    "stream_options": fields.object_,
    "max_tokens": fields.integer(0, 2**31 - 1),
    "n": fields.integer(1, 128),
    "best_of": fields.integer(0, 20),
    "temperature": fields.number(0, 2),
    "top_p": fields.number(0, 1),
    "presence_penalty": fields.number(-2, 2),
    "frequency_penalty": fields.number(-2, 2),
    "logprobs": fields.integer(0, 5),
    "seed": fields.SEED,
    "stop": fields.string_or_strings,
    "suffix": fields.string,
    "echo": fields.boolean,
    "user": fields.string,
    "logit_bias": fields.object_,
}


class Completions:
    """Implements Dialect."""

    name = "completions"
    known_fields = frozenset(_CHECKS)

    def validate(self, document: dict[str, Any]) -> None:
        fields.required(document, "model")
        fields.check(document, _CHECKS)

    def wants_usage_injected(self, document: dict[str, Any]) -> bool:
        return lacks_stream_usage(document)

    def with_usage(self, raw: bytes, document: dict[str, Any]) -> bytes:
        return with_stream_usage(raw, document)

    def usage_of(self, document: Any) -> Reported:
        return usage_of(document)

    def stream_state(self) -> StreamState:
        return choices.ChoicesState()

    error_event = staticmethod(choices.error_event)
