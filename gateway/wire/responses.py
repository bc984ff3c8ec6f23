"""`POST /v1/responses` and the stored objects below it. Streams are typed events, each with a sequence number."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.core.errors import Refusal
from gateway.core.usage import Reported
from gateway.wire import fields, hosted
from gateway.wire.dialect import StreamState
from gateway.wire.sse import data_of, event_of, frame
from gateway.wire.usage import usage_of

_TERMINAL = frozenset(
    {b"response.completed", b"response.failed", b"response.incomplete", b"response.cancelled", b"error"}
)

_CHECKS: dict[str, fields.Check] = {
    "model": fields.model,
    "input": fields.string_or_list,
    "stream": fields.boolean,
    "stream_options": fields.object_,
    "max_output_tokens": fields.COUNT,
    "max_tool_calls": fields.COUNT,
    "temperature": fields.number(0, 2),
    "top_p": fields.number(0, 1),
    "top_logprobs": fields.integer(0, 20),
    "tools": fields.objects,
    "tool_choice": fields.string_or_object,
    "parallel_tool_calls": fields.boolean,
    "store": fields.boolean,
    "background": fields.boolean,
    "instructions": fields.string_or_list,
    "metadata": fields.object_,
    "previous_response_id": fields.string,
    "text": fields.object_,
    "reasoning": fields.object_,
    "user": fields.string,
}


class Responses:
    """Implements Dialect."""

    name = "responses"
    known_fields = frozenset(_CHECKS) | {
        "conversation",
        "context_management",
        "include",
        "moderation",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "truncation",
    }

    def validate(self, document: dict[str, Any]) -> None:
        fields.required(document, "model")
        fields.check(document, _CHECKS)

    def wants_usage_injected(self, _: dict[str, Any]) -> bool:
        return False

    def with_usage(self, raw: bytes, _: dict[str, Any]) -> bytes:
        return raw

    def usage_of(self, document: Any) -> Reported:
        return _usage_of(document)

    def stream_state(self) -> StreamState:
        return ResponsesState()

    def error_event(self, refusal: Refusal, _: str, state: StreamState | None) -> bytes:
        number = state.sequence_number + 1 if isinstance(state, ResponsesState) else 0
        event = {
            "type": "error",
            "code": refusal.code,
            "message": refusal.message,
            "param": refusal.param,
            "sequence_number": number,
        }
        return frame(orjson.dumps(event), "error")


def _usage_of(document: Any) -> Reported:
    reported = usage_of(document)
    if type(document) is dict and (uses := hosted.used_in(document)):
        reported.uses = uses
    return reported


class ResponsesState:
    """Implements StreamState. Only the first event (the model), the last (usage, sequence number) and items that are
    done are read: of a stream that is cut they tell which tools were used."""

    __slots__ = ("_last", "_uses", "done", "ended", "usage")

    def __init__(self) -> None:
        self._last = b""
        self._uses: set[tuple[str, str]] = set()
        self.usage = Reported()
        self.ended = False
        self.done = False

    @property
    def sequence_number(self) -> int:
        """Of the last event seen; -1 when there was none with a number."""
        event = self._parsed(self._last)
        number = event.get("sequence_number")
        return number if type(number) is int and 0 <= number < 2**53 else -1

    def observe(self, frame_: bytes) -> bool:
        data = data_of(frame_)
        if data is None:  # a comment
            return False
        self._last = frame_
        event = event_of(frame_)
        if event in _TERMINAL or event == b"response.created":
            self.ended = self.ended or event in _TERMINAL
            self.usage.merge(_usage_of(self._parsed(frame_).get("response")))
        elif event == b"response.output_item.done":
            self._uses |= hosted.uses_of([self._parsed(frame_).get("item")])
            self.usage.uses = hosted.count(self._uses)
        elif data == b"[DONE]":
            self.ended = self.done = True
        return False

    def _parsed(self, frame_: bytes) -> dict[str, Any]:
        try:
            event = orjson.loads(data_of(frame_) or b"null")
        except orjson.JSONDecodeError:
            return {}
        return event if type(event) is dict else {}
