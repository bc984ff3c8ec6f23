"""Where text is in `POST /v1/chat/completions`: requests, answers, chunks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.wire import fields
from gateway.wire.chat import Chat
from gateway.wire.common_spans import (
    ANNOTATIONS,
    CALLS,
    CHOICE,
    ERROR,
    FORMAT,
    PARTS,
    PLACE,
    ROLES,
    TOOLS,
    ids,
    role_of,
)
from gateway.wire.spans import ANY, CONTENT, ID, LOGPROBS, MEDIA, NAME, REASONING, REFUSAL, SEALED, TEXT
from gateway.wire.things import Thing

_PART_TYPES: Final = frozenset(
    {"text", "refusal", "image_url", "input_audio", "file"}
    # what providers with this shape take besides; the rules of a part cover them
    | {"input_text", "output_text", "video_url", "audio_url", "document", "thinking", "tool_use", "tool_result"}
)


def _speaker(message: Mapping[str, Any], role: str, _: str) -> tuple[str, str]:
    role = role_of(message, role)
    return role, "result" if role == "tool" else "content"


_THOUGHTS = Thing(
    ids(["type", "id", "format", "index"])
    | {"text": REASONING, "summary": REASONING, "data": SEALED, "signature": SEALED},
    bare=REASONING,
)
_SPOKEN = Thing(ids(["id", "expires_at"]) | {"transcript": TEXT, "data": MEDIA}, bare=ID)
MESSAGES: Final = Thing(
    {
        **ids(["role", "tool_call_id", "cache_control", "prefix", "id"]),
        **{"content": PARTS, "name": NAME, "refusal": REFUSAL, "audio": _SPOKEN, "annotations": ANNOTATIONS},
        **{"reasoning_content": REASONING, "reasoning": REASONING, "reasoning_details": _THOUGHTS},
        **{"tool_calls": CALLS, "function_call": CALLS.members["function"]},
    },
    _speaker,
)
_PREDICTION = Thing({"type": ID, "content": PARTS}, lambda _, role, __: (role, "content"))

REQUEST: Final = Thing(
    {
        **ids(Chat.known_fields),
        **dict.fromkeys(["user", "safety_identifier", "prompt_cache_key", "metadata", "logit_bias", "stop"], ANY),
        **{"messages": MESSAGES, "prediction": _PREDICTION, "tools": TOOLS, "functions": TOOLS},
        **{"tool_choice": CHOICE, "function_call": Thing({"name": NAME}, bare=ID), "response_format": FORMAT},
        "web_search_options": Thing({"search_context_size": ID, "user_location": PLACE}),
    }
)

CHOICES: Final = Thing(
    {
        **ids(["index", "finish_reason", "native_finish_reason", "stop_reason", "content_filter_results"]),
        **{"message": MESSAGES, "delta": MESSAGES, "text": CONTENT, "logprobs": LOGPROBS, "error": ERROR},
    },
    lambda _, role, __: (role, "content"),
)
ANSWER: Final = Thing(
    {
        **ids(["id", "object", "created", "model", "system_fingerprint", "service_tier", "usage", "moderation"]),
        **ids(["obfuscation", "prompt_filter_results", "provider", "x_groq", "request_id"]),
        **{"choices": CHOICES, "error": ERROR, "citations": CONTENT, "search_results": CONTENT, "metadata": ANY},
    }
)


def refuse_unreadable(document: Mapping[str, Any]) -> None:
    """Refusal: a role or a type of content part whose meaning nobody here knows (GRD-06, GRD-07)."""
    for index, message in enumerate(document["messages"]):
        param = f"messages[{index}]"
        role = message.get("role")
        if type(role) is not str or role not in ROLES:
            raise fields.wrong_value(f"{param}.role", "one of " + ", ".join(ROLES))
        refuse_parts(message.get("content"), f"{param}.content", _PART_TYPES)
    prediction = document.get("prediction")
    if type(prediction) is dict:
        refuse_parts(prediction.get("content"), "prediction.content", _PART_TYPES)


def refuse_parts(content: Any, param: str, known: frozenset[str]) -> None:
    """Refusal for an unknown type in a list of parts, and in the content of its parts."""
    pending = [(content, param)]
    while pending:
        parts, param = pending.pop()
        for index, part in enumerate(parts if type(parts) is list else []):
            if type(part) is dict:
                kind = part.get("type")
                if type(kind) is not str or kind not in known:
                    raise fields.wrong_value(f"{param}[{index}].type", "one of " + ", ".join(sorted(known)))
                pending.append((part.get("content"), f"{param}[{index}].content"))


def schema_of(document: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, bool]:
    """(the JSON Schema that the answer was asked to follow, whether it was asked to be some JSON object)."""
    wanted = document.get("response_format")
    if type(wanted) is not dict:
        return None, False
    named = wanted.get("json_schema")
    schema = named.get("schema") if type(named) is dict and wanted.get("type") == "json_schema" else None
    return (schema if type(schema) is dict else None), wanted.get("type") == "json_object"
