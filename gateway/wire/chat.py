"""`POST /v1/chat/completions`."""

from __future__ import annotations

from typing import Any

from gateway.core.usage import Reported
from gateway.wire import choices, fields
from gateway.wire.dialect import StreamState, lacks_stream_usage, with_stream_usage
from gateway.wire.usage import usage_of

_CHECKS: dict[str, fields.Check] = {
    "model": fields.model,
    "messages": fields.objects,
    "stream": fields.boolean,
    "stream_options": fields.object_,
    "max_tokens": fields.COUNT,
    "max_completion_tokens": fields.COUNT,
    "n": fields.integer(1, 128),
    "temperature": fields.number(0, 2),
    "top_p": fields.number(0, 1),
    "presence_penalty": fields.number(-2, 2),
    "frequency_penalty": fields.number(-2, 2),
    "top_logprobs": fields.integer(0, 20),
    "logprobs": fields.boolean,
    "seed": fields.SEED,
    "stop": fields.string_or_strings,
    "tools": fields.objects,
    "functions": fields.objects,
    "tool_choice": fields.string_or_object,
    "response_format": fields.object_,
    "metadata": fields.object_,
    "logit_bias": fields.object_,
    "user": fields.string,
    "parallel_tool_calls": fields.boolean,
    "store": fields.boolean,
}


class Chat:
    """Implements Dialect."""

    name = "chat"
    known_fields = frozenset(_CHECKS) | {
        "audio",
        "function_call",
        "modalities",
        "moderation",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning_effort",
        "safety_identifier",
        "service_tier",
        "verbosity",
        "web_search_options",
    }

    def validate(self, document: dict[str, Any]) -> None:
        fields.required(document, "model", "messages")
        fields.check(document, _CHECKS)
        messages = document["messages"]
        if not messages:
            raise fields.wrong_value("messages", "a list of at least one message")
        for index, message in enumerate(messages):
            # One text and no calls: most messages are such, and need no closer look.
            is_plain = type(message.get("content")) is str and type(message.get("role")) is str
            if not is_plain or "tool_calls" in message:
                _message(message, f"messages[{index}]")

    def wants_usage_injected(self, document: dict[str, Any]) -> bool:
        return lacks_stream_usage(document)

    def with_usage(self, raw: bytes, document: dict[str, Any]) -> bytes:
        return with_stream_usage(raw, document)

    def usage_of(self, document: Any) -> Reported:
        return usage_of(document)

    def stream_state(self) -> StreamState:
        return choices.ChoicesState()

    error_event = staticmethod(choices.error_event)


def _message(message: dict[str, Any], param: str) -> None:
    role = message.get("role")
    if role is None:
        raise fields.missing(f"{param}.role")
    fields.string(role, f"{param}.role")
    content = message.get("content")
    if type(content) is list:
        for index, part in enumerate(content):
            _part(part, f"{param}.content[{index}]")
    elif content is not None and type(content) is not str:
        raise fields.wrong_type(f"{param}.content", "a string, a list of parts, or null")
    if message.get("tool_calls") is not None:
        fields.objects(message["tool_calls"], f"{param}.tool_calls")


def _part(part: Any, param: str) -> None:
    fields.object_(part, param)
    fields.string(part.get("type"), f"{param}.type")
