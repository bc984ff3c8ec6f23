"""What a request asks for -> attributes of its spans, by the OpenTelemetry GenAI conventions (the repository
semantic-conventions-genai, main of 2026-08). Only what the caller said: no default is filled in, no id is made up.

Parameters only, never a prompt. Texts are made `plain`; what is not of its field's type is left out, as fields that
the gateway does not check itself may hold anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.core.trace import Value

MAX_TEXT: Final = 256
_MAX_STOPS: Final = 16
_MAX_INTEGER: Final = 2**63 - 1  # what OTLP has room for

_Reader = Callable[[Any], Value | None]
_Table = tuple[tuple[str, str, _Reader], ...]  # field, attribute, how its value is told


def plain(text: str) -> str:
    """Short and printable, so that it can be stored, encoded and shown anywhere: control characters and lone surrogates
    are escaped."""
    if len(text) > MAX_TEXT:
        text = text[:MAX_TEXT]
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")[:MAX_TEXT]


def asked(endpoint: str, document: Mapping[str, Any]) -> dict[str, Value]:
    """Where two fields tell the same, the one that stands first in the table holds."""
    found: dict[str, Value] = {}
    for field, attribute, read in _TABLES.get(endpoint, ()):
        value = document.get(field)
        if value is None or attribute in found:
            continue
        told = read(value)
        if told is not None:
            found[attribute] = told
    return found


# -- readers: None means that there is nothing to tell


def _text(value: Any) -> str | None:
    return plain(value) if type(value) is str and value else None


def _texts(value: Any) -> list[str] | None:
    if type(value) is str:
        return [plain(value)]
    if type(value) is not list:
        return None
    return [plain(text) for text in value[:_MAX_STOPS] if type(text) is str] or None


def _integer(value: Any) -> int | None:
    return value if type(value) is int and -_MAX_INTEGER <= value <= _MAX_INTEGER else None


def _number(value: Any) -> float | None:
    if type(value) is float:
        return value
    return float(value) if type(value) is int and -_MAX_INTEGER <= value <= _MAX_INTEGER else None


def _several(value: Any) -> int | None:
    """One choice goes without saying."""
    return _integer(value) if value != 1 else None


def _tier(value: Any) -> str | None:
    """Leaving it to the provider is no choice of a tier."""
    return _text(value) if value != "auto" else None


def _modality(value: Any) -> str | None:
    return "speech" if type(value) is list and "audio" in value else None


_OUTPUT_TYPES: Final = {"text": "text", "json_object": "json", "json_schema": "json"}


def _format(value: Any) -> str | None:
    kind = value.get("type") if type(value) is dict else None
    return _OUTPUT_TYPES.get(kind) if type(kind) is str else None


def _member(name: str, read: _Reader = _text) -> _Reader:
    """Of a member of an object."""

    def read_member(value: Any) -> Value | None:
        return read(value[name]) if type(value) is dict and name in value else None

    return read_member


def _named_or_id(value: Any) -> str | None:
    return _text(value.get("id") if type(value) is dict else value)


# -- tables

_USER: Final[_Table] = (
    ("user", "user.id", _text),
    ("safety_identifier", "user.id", _text),
)
_SESSION: Final[_Table] = (  # chat has no field for it; Langfuse and LiteLLM made this member usual
    ("metadata", "gen_ai.conversation.id", _member("session_id")),
)
_SAMPLING: Final[_Table] = (
    ("temperature", "gen_ai.request.temperature", _number),
    ("top_p", "gen_ai.request.top_p", _number),
    ("top_k", "gen_ai.request.top_k", _integer),
)
_CHOICES: Final[_Table] = (
    *_SAMPLING,
    ("frequency_penalty", "gen_ai.request.frequency_penalty", _number),
    ("presence_penalty", "gen_ai.request.presence_penalty", _number),
    ("seed", "gen_ai.request.seed", _integer),
    ("stop", "gen_ai.request.stop_sequences", _texts),
    ("n", "gen_ai.request.choice.count", _several),
)
_TABLES: Final[Mapping[str, _Table]] = {
    "chat": (
        ("max_completion_tokens", "gen_ai.request.max_tokens", _integer),
        ("max_tokens", "gen_ai.request.max_tokens", _integer),
        *_CHOICES,
        ("modalities", "gen_ai.output.type", _modality),
        ("response_format", "gen_ai.output.type", _format),
        ("reasoning_effort", "gen_ai.request.reasoning.level", _text),
        ("service_tier", "openai.request.service_tier", _tier),
        *_SESSION,
        *_USER,
    ),
    "completions": (("max_tokens", "gen_ai.request.max_tokens", _integer), *_CHOICES, *_USER),
    "responses": (
        ("max_output_tokens", "gen_ai.request.max_tokens", _integer),
        *_SAMPLING,
        ("text", "gen_ai.output.type", _member("format", _format)),
        ("reasoning", "gen_ai.request.reasoning.level", _member("effort")),
        ("service_tier", "openai.request.service_tier", _tier),
        ("previous_response_id", "gen_ai.request.previous_response.id", _text),
        ("prompt", "gen_ai.prompt.name", _member("id")),
        ("prompt", "gen_ai.prompt.version", _member("version")),
        ("conversation", "gen_ai.conversation.id", _named_or_id),
        *_SESSION,
        *_USER,
    ),
    "embeddings": (
        ("encoding_format", "gen_ai.request.encoding_formats", _texts),
        ("dimensions", "gen_ai.embeddings.dimension.count", _integer),
        *_USER,
    ),
}
