"""Where text is in `POST /v1/responses`: requests, answers, typed events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.wire import fields
from gateway.wire.chat_spans import refuse_parts
from gateway.wire.common_spans import (
    ANNOTATIONS,
    CHOICE,
    ERROR,
    FORMAT,
    PART,
    PARTS,
    REASONED,
    RESULTS,
    ROLES,
    TOOLS,
    ids,
    role_of,
)
from gateway.wire.responses import Responses
from gateway.wire.spans import (
    ANY,
    ARGUMENTS,
    CALLED,
    CONTENT,
    ID,
    LOGPROBS,
    MEDIA,
    NAME,
    REASONING,
    REFUSAL,
    RESULT,
    SEALED,
    TEXT,
    Words,
)
from gateway.wire.things import Thing

_ROLES: Final = frozenset(ROLES) - {"tool", "function"}
_PART_TYPES: Final = frozenset(
    {"input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text", "input_image", "input_file"}
    | {"input_audio", "output_audio", "computer_screenshot"}
)


def _speaker(item: Mapping[str, Any], role: str, _: str) -> tuple[str, str]:
    """A message has a role; what tools answer is told by the name of the type; the rest is the model's own."""
    kind = item.get("type")
    if type(kind) is not str or kind == "message":
        return role_of(item, role), "content"
    if kind.endswith("_output"):
        return "tool", "result"
    if kind == "reasoning":
        return "assistant", "reasoning"
    return ("assistant" if kind.endswith("_call") else role), "content"


_ACTION = Thing(ids(["type", "button", "keys", "timeout_ms", "max_output_length"]), bare=ID, rest=CALLED)
_SAFETY = Thing(ids(["id", "code"]) | {"message": CONTENT})
_FAILURE = Thing(ids(["code", "type", "param"]) | {"message": RESULT}, bare=RESULT)
_FOUND = Thing(
    ids(["file_id", "score"]) | {"filename": NAME, "text": RESULT, "attributes": RESULT},
    lambda _, __, ___: ("tool", "result"),
)
ITEMS: Final = Thing(
    {
        **ids(
            ["type", "id", "role", "status", "call_id", "phase", "execution", "caller", "container_id", "created_by"]
        ),
        **ids(["approval_request_id", "approve", "fingerprint", "max_output_length", "size", "quality", "background"]),
        **ids(["output_format", "environment", "created_by", "index", "recipient", "object"]),
        **{"content": PARTS, "summary": REASONED, "encrypted_content": SEALED, "name": NAME, "namespace": NAME},
        **{"arguments": ARGUMENTS, "input": CALLED, "code": CALLED, "queries": CALLED, "reason": TEXT},
        **{"action": _ACTION, "actions": _ACTION, "operation": _ACTION, "results": _FOUND},
        **{"output": RESULTS, "outputs": RESULTS, "error": _FAILURE, "result": MEDIA, "revised_prompt": TEXT},
        **{"tools": TOOLS, "server_label": NAME, "text": TEXT, "refusal": REFUSAL, "image_url": MEDIA},
        **{"pending_safety_checks": _SAFETY, "acknowledged_safety_checks": _SAFETY},
    },
    _speaker,
    bare=CONTENT,
)
_TEXT = Thing({"format": FORMAT, "verbosity": ID})
_ASKED: Final = {  # what a request says and an answer repeats
    **ids(Responses.known_fields),
    **dict.fromkeys(["user", "safety_identifier", "prompt_cache_key", "metadata"], ANY),
    "instructions": Thing(ITEMS.members, lambda _, __, ___: ("system", "content"), bare=Words("content", "system")),
    **{"tools": TOOLS, "tool_choice": CHOICE, "text": _TEXT},
    "prompt": Thing({"id": ID, "version": ID, "variables": Thing({}, bare=CONTENT, rest=PART)}),
}


def _asked(_: Mapping[str, Any], __: str, ___: str) -> tuple[str, str]:
    return "user", "content"


REQUEST: Final = Thing({**_ASKED, "input": ITEMS}, _asked)
ANSWER: Final = Thing(
    {
        **_ASKED,
        **ids(["id", "object", "created_at", "completed_at", "status", "usage", "incomplete_details", "billing"]),
        **ids(["service_tier", "frequency_penalty", "presence_penalty", "first_id", "last_id", "has_more"]),
        **{"output": ITEMS, "output_text": CONTENT, "input": ITEMS, "data": ITEMS, "error": ERROR},
    },
    lambda _, role, __: (role, "content"),
)


def _event_frame(event: Mapping[str, Any], role: str, _: str) -> tuple[str, str]:
    return role, "reasoning" if ".reasoning" in str(event.get("type")) else "content"


EVENT: Final = Thing(
    {
        **ids(["type", "sequence_number", "item_id", "output_index", "content_index", "summary_index", "obfuscation"]),
        **ids(["annotation_index", "command_index", "partial_image_index", "response_id", "param", "size", "quality"]),
        **ids(["output_format", "background", "status", "usage", "id", "previous_response_id"]),
        **{"response": ANSWER, "item": ITEMS, "part": PART, "annotation": ANNOTATIONS, "error": ERROR},
        **{"text": TEXT, "delta": TEXT, "refusal": REFUSAL, "arguments": ARGUMENTS, "name": NAME, "input": CALLED},
        **{"code": CALLED, "command": CALLED, "transcript": TEXT, "message": CONTENT, "output": RESULTS},
        **{"logprobs": LOGPROBS, "partial_image_b64": MEDIA, "summary": REASONING},
    },
    _event_frame,
)


def refuse_unreadable(document: Mapping[str, Any]) -> None:
    """Refusal: a role or a type of content part whose meaning nobody here knows. Kinds of items are not refused: there
    are new ones every month, and every string in them is covered."""
    for name in ("input", "instructions"):
        items = document.get(name)
        for index, item in enumerate(items if type(items) is list else []):
            if type(item) is dict:
                _refuse_item(item, f"{name}[{index}]")


def _refuse_item(item: Mapping[str, Any], param: str) -> None:
    role = item.get("role")
    speaks = role is not None or item.get("type") == "message" or ("type" not in item and "content" in item)
    if speaks and (type(role) is not str or role not in _ROLES):
        raise fields.wrong_value(f"{param}.role", "one of " + ", ".join(sorted(_ROLES)))
    for name in ("content", "summary"):
        refuse_parts(item.get(name), f"{param}.{name}", _PART_TYPES)
    if item.get("type") in ("function_call_output", "custom_tool_call_output"):  # no set: it may be a list
        refuse_parts(item.get("output"), f"{param}.output", _PART_TYPES)


def schema_of(document: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, bool]:
    """(the JSON Schema that the answer was asked to follow, whether it was asked to be some JSON object)."""
    text = document.get("text")
    wanted = text.get("format") if type(text) is dict else None
    if type(wanted) is not dict:
        return None, False
    schema = wanted.get("schema") if wanted.get("type") == "json_schema" else None
    return (schema if type(schema) is dict else None), wanted.get("type") == "json_object"
