"""Streams of `choices` (chat and legacy completions): usage, end mark, errors."""

from __future__ import annotations

import re
from typing import Any

import orjson

from gateway.core.errors import Refusal
from gateway.core.usage import Reported
from gateway.wire.dialect import StreamState, error_object
from gateway.wire.sse import data_of, frame
from gateway.wire.usage import usage_of

_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"')
_NULL_USAGE = re.compile(rb'"usage"\s*:\s*null')


class ChoicesState:
    """Implements StreamState. A frame is parsed only when it speaks of usage or of an error, and the first that names
    its model: a stream may break before its usage comes."""

    __slots__ = ("_named", "done", "ended", "usage")

    def __init__(self) -> None:
        self.usage = Reported()
        self._named = False
        self.ended = False
        self.done = False

    def observe(self, frame_: bytes) -> bool:
        if b"[DONE]" in frame_ and data_of(frame_) == b"[DONE]":
            self.ended = self.done = True
            return False
        if not self.ended and (b'"finish_reason"' in frame_ and _FINISHED.search(frame_)):
            self.ended = True
        if not self._named and b'"model"' in frame_:
            self._named = True
            self.usage.merge(usage_of(_parsed(frame_)))
        if b'"usage"' in frame_ and b'"usage":null' not in frame_ and not _NULL_USAGE.search(frame_):
            return self._observe_usage(frame_)
        if b'"error"' in frame_:
            self._observe_error(frame_)
        return False

    def _observe_usage(self, frame_: bytes) -> bool:
        chunk = _parsed(frame_)
        if type(chunk) is not dict or type(chunk.get("usage")) is not dict:
            return False
        self.usage.merge(usage_of(chunk))
        return chunk.get("choices") == []

    def _observe_error(self, frame_: bytes) -> None:
        """A provider's own error event ends the answer: the caller has been told."""
        chunk = _parsed(frame_)
        if type(chunk) is dict and chunk.get("error") and not chunk.get("choices"):
            self.ended = True


def _parsed(frame_: bytes) -> Any:
    try:
        return orjson.loads(data_of(frame_) or b"null")
    except orjson.JSONDecodeError:
        return None


def error_event(refusal: Refusal, call_id: str, _: StreamState | None) -> bytes:
    return frame(orjson.dumps({"error": error_object(refusal, call_id)}))
