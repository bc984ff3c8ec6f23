"""The embedded provider `demo`: a deterministic stand-in for a model, so that everything can be tried without account.

It answers in OpenAI's shapes, whole and streamed, calls tools, fills JSON schemas and reports usage. No network.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

import orjson

from gateway.core.clock import Clock
from gateway.core.model import Headers
from gateway.core.ports import UpstreamReply, UpstreamRequest
from gateway.providers.demo import chat, responses, text

DIMENSIONS = 256
MAX_DIMENSIONS = 4096
_PLACE = re.compile(r"[0-9]{1,9}")


class DemoReply:
    """Implements UpstreamReply over frames made in advance; `delay_s` between them lets a stream look alive."""

    framed = True

    def __init__(self, status: int, headers: Headers, frames: Iterable[bytes], delay_s: float) -> None:
        self.status = status
        self.headers = headers
        self._frames: Iterator[bytes] = iter(frames)
        self._delay_s = delay_s
        self._first = True

    async def read(self) -> bytes:
        if self._delay_s and not self._first:
            await asyncio.sleep(self._delay_s)
        self._first = False
        return next(self._frames, b"")

    def complete(self) -> bytes | None:
        return None

    def close(self) -> None:
        self._frames = iter(())


class Demo:
    """Implements Upstream."""

    def __init__(self, clock: Clock, delay_s: float = 0.02) -> None:
        self._clock = clock
        self._delay_s = delay_s
        self._stored = responses.Stored()
        self._made: dict[tuple[str, str], Callable[[dict[str, Any]], DemoReply]] = {
            ("POST", "/chat/completions"): self._chat,
            ("POST", "/completions"): self._completion,
            ("POST", "/responses"): self._response,
            ("POST", "/embeddings"): self._embeddings,
            ("POST", "/moderations"): self._moderations,
        }

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        path, _, query = request.path.partition("?")
        make = self._made.get((request.method, path))
        if make is not None:
            return make(orjson.loads(await _whole(request.body)))
        if path.startswith("/responses/"):
            return self._stored_response(request.method, path.removeprefix("/responses/"), query)
        return self._error(404, "The demo provider has no such endpoint.", "unknown_url")

    def holds_secret(self, _: bytes) -> bool:
        return False

    async def close(self) -> None:
        """Nothing is open."""

    # -- endpoints

    def _chat(self, request: dict[str, Any]) -> DemoReply:
        said, id_ = chat.say(request), _id("chatcmpl-")
        if request.get("stream"):
            return self._events(_data(chunk) for chunk in chat.chunks(request, said, self._now(), id_))
        return self._json(chat.answer(request, said, self._now(), id_))

    def _completion(self, request: dict[str, Any]) -> DemoReply:
        whole, stream = chat.completion(request, self._now(), _id("cmpl-"))
        return self._events(_data(chunk) for chunk in stream) if request.get("stream") else self._json(whole)

    def _response(self, request: dict[str, Any]) -> DemoReply:
        id_ = _id("resp_")
        response = responses.answer(request, self._now(), id_)
        if response["store"]:
            self._stored.put(response, responses.input_items(request, id_))
        return self._typed(response, 0) if request.get("stream") else self._json(response)

    def _stored_response(self, method: str, tail: str, query: str) -> DemoReply:
        id_, _, action = tail.partition("/")
        found = self._stored.get(id_)
        if found is None:
            return self._error(404, f"Response with id '{id_[:64]}' not found.", None)
        response, items = found
        if action == "input_items":
            ends = {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else {}
            return self._json({"object": "list", "data": items, "has_more": False, **ends})
        if method == "DELETE":
            self._stored.delete(id_)
            return self._json({"id": id_, "object": "response", "deleted": True})
        asked = parse_qs(query)
        if asked.get("stream") == ["true"]:
            after = asked.get("starting_after", ["-1"])[0]
            return self._typed(response, int(after) + 1 if _PLACE.fullmatch(after) else 0)
        return self._json(response)

    def _embeddings(self, request: dict[str, Any]) -> DemoReply:
        dimensions = request.get("dimensions") or DIMENSIONS
        if dimensions > MAX_DIMENSIONS:
            return self._error(400, f"The demo model has at most {MAX_DIMENSIONS} dimensions.", "invalid_value")
        given = request["input"]
        one = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
        texts = [entry if isinstance(entry, str) else str(entry) for entry in ([given] if one else given)]
        vectors = [text.vector(entry, dimensions) for entry in texts]
        base64 = request.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": text.packed(values) if base64 else values}
            for index, values in enumerate(vectors)
        ]
        tokens = sum(text.count_tokens(entry) for entry in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return self._json({"object": "list", "data": data, "model": request["model"], "usage": usage})

    def _moderations(self, request: dict[str, Any]) -> DemoReply:
        given = request["input"]
        count = 1 if isinstance(given, str) else len(given)
        names = ("harassment", "hate", "illicit", "self-harm", "sexual", "violence")
        row = {
            "flagged": False,
            "categories": dict.fromkeys(names, False),
            "category_scores": dict.fromkeys(names, 0.0),
            "category_applied_input_types": {name: ["text"] for name in names},
        }
        return self._json({"id": _id("modr-"), "model": request.get("model", "demo"), "results": [row] * count})

    # -- shapes of answers

    def _now(self) -> int:
        return int(self._clock.wall())

    def _json(self, document: dict[str, Any], status: int = 200) -> DemoReply:
        body = orjson.dumps(document)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *self._headers()]
        return DemoReply(status, headers, [body], 0.0)

    def _error(self, status: int, message: str, code: str | None) -> DemoReply:
        return self._json(
            {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}, status
        )

    def _events(self, frames: Iterable[bytes]) -> DemoReply:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), *self._headers()]
        return DemoReply(200, headers, [*frames, b"data: [DONE]\n\n"], self._delay_s)

    def _typed(self, response: dict[str, Any], start: int) -> DemoReply:
        steps = [step for step in responses.events(response) if step["sequence_number"] >= start]
        frames = [b"event: %b\ndata: %b\n\n" % (step["type"].encode(), orjson.dumps(step)) for step in steps]
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), *self._headers()]
        return DemoReply(200, headers, frames, self._delay_s)

    def _headers(self) -> Headers:
        return [
            (b"x-request-id", _id("req_").encode()),
            (b"openai-processing-ms", b"1"),
            (b"openai-version", b"2020-10-01"),
            (b"x-ratelimit-limit-requests", b"10000"),
            (b"x-ratelimit-remaining-requests", b"9999"),
        ]


async def _whole(body: Any) -> bytes:
    return body if isinstance(body, bytes) else b"".join([part async for part in body])


def _data(chunk: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(chunk)


def _id(prefix: str) -> str:
    return prefix + secrets.token_hex(12)
