"""The table: API shape -> where its texts are. A shape that is not here is JSON in which every string is a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.core.span import Context, Delta, Path, Piece, Span
from gateway.wire import chat_spans, completions_spans, other_spans, responses_spans
from gateway.wire.choice_deltas import choice_deltas, whole_deltas
from gateway.wire.responses_deltas import response_deltas
from gateway.wire.spans import Rule, walk


def _nothing(_: Mapping[str, Any]) -> None:
    """A shape without roles and parts."""


def _no_schema(_: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, bool]:
    return None, False


@dataclass(frozen=True, slots=True)
class _Shape:
    request: Rule
    answer: Rule
    event: Rule
    deltas: Callable[[Mapping[str, Any]], list[Delta]]
    refuse: Callable[[Mapping[str, Any]], None] = _nothing
    schema: Callable[[Mapping[str, Any]], tuple[Mapping[str, Any] | None, bool]] = _no_schema


def _choices(event: Mapping[str, Any]) -> list[Delta]:
    return choice_deltas(event, chat_spans.ANSWER)


def _unknown(event: Mapping[str, Any]) -> list[Delta]:
    return whole_deltas(walk(event, other_spans.UNKNOWN).spans)


_SHAPES: Final = {
    "chat": _Shape(
        chat_spans.REQUEST,
        chat_spans.ANSWER,
        chat_spans.ANSWER,
        _choices,
        chat_spans.refuse_unreadable,
        chat_spans.schema_of,
    ),
    "responses": _Shape(
        responses_spans.REQUEST,
        responses_spans.ANSWER,
        responses_spans.EVENT,
        response_deltas,
        responses_spans.refuse_unreadable,
        responses_spans.schema_of,
    ),
    "completions": _Shape(completions_spans.REQUEST, chat_spans.ANSWER, chat_spans.ANSWER, _choices),
    "embeddings": _Shape(other_spans.EMBEDDINGS, other_spans.VECTORS, other_spans.VECTORS, _unknown),
    "moderations": _Shape(
        other_spans.MODERATIONS,
        other_spans.VERDICTS,
        other_spans.VERDICTS,
        _unknown,
        other_spans.refuse_unreadable_moderation,
    ),
}
_UNKNOWN: Final = _Shape(other_spans.UNKNOWN, other_spans.UNKNOWN, other_spans.UNKNOWN, _unknown)


def request_spans(dialect_name: str, document: Any) -> list[Span]:
    """Every string of a request that a model could see. Parts of one message are joined (`things.apart` takes them
    apart again). A span without pieces can be judged, not rewritten; one of kind `media` was not read."""
    found = walk(document, _shape(dialect_name).request)
    return found.spans + [span for path in found.logprobs for span in _strings(document, path)]


def _strings(document: Any, path: Path) -> Iterator[Span]:
    """Every string below the path as a span of its own: a caller may send log-probabilities with anything in them."""
    value = document
    for step in path:
        value = value[step]
    pending = [(value, path)]
    while pending:
        value, place = pending.pop()
        if type(value) is str and value:
            yield Span(value, "", "other", (Piece(place, 0, len(value)),))
        elif type(value) is dict:
            pending += [(entry, (*place, name)) for name, entry in value.items()]
        elif type(value) is list:
            pending += [(entry, (*place, index)) for index, entry in enumerate(value)]


def refuse_unreadable(dialect_name: str, document: Mapping[str, Any]) -> None:
    """Refusal `invalid_value` for roles and types of content parts that nobody here knows. For calls with guards."""
    _shape(dialect_name).refuse(document)


def answer_spans(dialect_name: str, document: Any) -> list[Span]:
    """Every string of an answer that a client could see, but those below `logprob_paths`."""
    return walk(document, _shape(dialect_name).answer, role="assistant", keys=dialect_name not in _SHAPES).spans


def logprob_paths(dialect_name: str, document: Any, *, event: bool = False) -> list[Path]:
    """Where an answer, or an `event` of a stream, repeats its tokens with their probabilities."""
    shape = _shape(dialect_name)
    return walk(document, shape.event if event else shape.answer, role="assistant", keys=False).logprobs


def stream_deltas(dialect_name: str, event: Mapping[str, Any]) -> list[Delta]:
    """What one event of a stream says, with paths into the event. The path is empty where the text can be judged and
    not rewritten."""
    return _shape(dialect_name).deltas(event)


def context_of(dialect_name: str, document: Mapping[str, Any], spans: Sequence[Span] | None = None) -> Context:
    """What an output guard may know of the request; `spans` are its `request_spans` where they are at hand."""
    known = request_spans(dialect_name, document) if spans is None else spans
    said = [span for span in known if span.kind == "content" and span.text]
    schema, json_object = _shape(dialect_name).schema(document)
    return Context(
        system=tuple(span.text for span in said if span.role in {"system", "developer"}),
        user=tuple(span.text for span in said if span.role == "user"),
        schema=schema,
        json_object=json_object,
    )


def _shape(dialect_name: str) -> _Shape:
    return _SHAPES.get(dialect_name, _UNKNOWN)
