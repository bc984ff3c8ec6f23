"""The places that several shapes share: content parts, tools, tool calls, annotations, errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateway.wire.spans import (
    ANY,
    ARGUMENTS,
    CALLED,
    CONTENT,
    DEFINITION,
    ID,
    LOGPROBS,
    MEDIA,
    NAME,
    REASONING,
    REFUSAL,
    SEALED,
    STORED,
    TEXT,
    At,
    Found,
    Rule,
)
from gateway.wire.things import Parts, Thing

# How roles are told to guards. `function` is what `tool` was called once.
ROLES: Final = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


def ids(names: Iterable[str]) -> dict[str, Rule]:
    """Members that are structure."""
    return dict.fromkeys(names, ID)


def role_of(value: Mapping[str, Any], fallback: str) -> str:
    """An unknown role is nobody's, so that no guard passes the text over for its role."""
    role = value.get("role")
    if role is None:
        return fallback
    return ROLES.get(role, "") if type(role) is str else ""


def _part_frame(part: Mapping[str, Any], role: str, kind: str) -> tuple[str, str]:
    match part.get("type"):
        case "refusal":
            return role, "refusal"
        case "reasoning_text" | "summary_text" | "thinking":
            return role or "assistant", "reasoning"
        case "tool_result":
            return "tool", "result"
    return role, kind


class _Source:
    """Implements Rule: the `source` of a document part, which is media unless it says that it is text."""

    def visit(self, at: At, found: Found) -> list[At]:
        says_text = type(at.value) is dict and at.value.get("type") in ("text", "content")  # no set: it may be a list
        return (_TEXT_SOURCE if says_text else _MEDIA_SOURCE).visit(at, found)


_LINK = Thing({"url": MEDIA, "detail": ID, "file_id": STORED}, bare=MEDIA)
_SOUND = Thing({"data": MEDIA, "format": ID, "url": MEDIA}, bare=MEDIA)
_FILE = Thing(
    {"file_data": MEDIA, "file_id": STORED, "file_url": MEDIA, "filename": NAME, "format": ID, "detail": ID}, bare=MEDIA
)
_ANNOTATION_MEMBERS: dict[str, Rule] = {
    **ids(["type", "start_index", "end_index", "index", "file_id", "container_id"]),
    **dict.fromkeys(["url", "title", "text", "quote", "cited_text"], TEXT),
    "filename": NAME,
}
ANNOTATIONS: Final = Thing(_ANNOTATION_MEMBERS)
_ANNOTATION_MEMBERS |= {"url_citation": ANNOTATIONS, "file_citation": ANNOTATIONS, "file_path": ANNOTATIONS}

_PART_MEMBERS: dict[str, Rule] = {
    **ids(["type", "id", "detail", "status", "cache_control", "prompt_cache_breakpoint", "tool_use_id", "is_error"]),
    **ids(["format", "outcome", "index", "start_index", "end_index"]),
    **{"text": TEXT, "refusal": REFUSAL, "thinking": REASONING, "title": TEXT, "context": TEXT, "transcript": TEXT},
    **{"image_url": _LINK, "video_url": _LINK, "audio_url": _LINK, "input_audio": _SOUND, "audio": _SOUND},
    **{"file": _FILE, "file_data": MEDIA, "file_url": MEDIA, "file_id": STORED, "filename": NAME, "url": MEDIA},
    **{"name": NAME, "input": CALLED, "signature": SEALED, "source": _Source(), "data": MEDIA},
    **{"stdout": TEXT, "stderr": TEXT, "logs": TEXT, "annotations": ANNOTATIONS, "logprobs": LOGPROBS},
}
PART: Final = Thing(_PART_MEMBERS, _part_frame)
PARTS: Final = Parts(PART)
RESULTS: Final = Parts(PART, kind="result", role="tool")
REASONED: Final = Parts(PART, kind="reasoning", role="assistant")
_PART_MEMBERS |= {"content": PARTS, "summary": REASONED}
_MEDIA_SOURCE = Thing({"type": ID, "media_type": ID, "data": MEDIA, "url": MEDIA, "file_id": STORED, "content": PARTS})
_TEXT_SOURCE = Thing({"type": ID, "media_type": ID, "data": TEXT, "text": TEXT, "content": PARTS})
TEXT_TYPES: Final = frozenset({"text", "input_text", "output_text", "refusal", "reasoning_text", "summary_text"})

_TOOL_MEMBERS: dict[str, Rule] = {
    **dict.fromkeys(["name", "description", "parameters", "definition", "input_schema", "annotations"], DEFINITION),
    **dict.fromkeys(["server_label", "server_url", "server_description", "authorization", "headers"], DEFINITION),
    **dict.fromkeys(["allowed_tools", "filters", "user_location", "container", "environment"], DEFINITION),
    **ids(["type", "strict", "syntax", "connector_id", "vector_store_ids", "require_approval", "ranking_options"]),
    **ids(["max_num_results", "search_context_size", "search_content_types", "display_width", "display_height"]),
    **ids(["model", "size", "quality", "output_format", "output_compression", "background", "moderation"]),
    **ids(["partial_images", "input_fidelity", "execution", "defer_loading"]),
}
TOOLS: Final = Thing(_TOOL_MEMBERS, bare=DEFINITION, rest=DEFINITION)
_TOOL_MEMBERS |= dict.fromkeys(["function", "custom", "format", "grammar", "tools"], TOOLS)

_CHOICE_MEMBERS: dict[str, Rule] = ids(["type", "mode"]) | {"name": NAME, "server_label": NAME}
CHOICE: Final = Thing(_CHOICE_MEMBERS, bare=ID)
_CHOICE_MEMBERS |= dict.fromkeys(["function", "custom", "allowed_tools", "tools"], CHOICE)

FORMAT: Final = Thing(
    ids(["type", "strict", "syntax"])
    | dict.fromkeys(["name", "description", "schema", "grammar"], DEFINITION)
    | {"json_schema": Thing(ids(["strict"]) | dict.fromkeys(["name", "description", "schema"], DEFINITION))},
    bare=ID,
    rest=DEFINITION,
)

CALLS: Final = Thing(
    {
        **ids(["id", "type", "index"]),
        "function": Thing({"name": NAME, "arguments": ARGUMENTS}),
        "custom": Thing({"name": NAME, "input": CALLED}),
        "extra_content": SEALED,
    },
    lambda _, role, __: (role, "arguments"),
)
ERROR: Final = Thing(ids(["code", "type", "param", "status"]) | {"message": CONTENT}, bare=CONTENT)
PLACE: Final = Thing(ids(["type"]) | {"approximate": ANY}, rest=ANY)
