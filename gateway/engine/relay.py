"""Phase 7: Reply -> the caller. What arrives leaves as it arrived; an end that is not sound is never silent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any

import orjson

from gateway.core.clock import Clock
from gateway.core.errors import BAD_CONTENT, CLOSED, REDIRECT, Refusal, UpstreamFault
from gateway.core.model import Attempt, Call, Headers, Record
from gateway.core.pace import Pace
from gateway.core.ports import Client, Upstream, UpstreamReply
from gateway.engine import headers as header_rules
from gateway.engine.account import Account
from gateway.engine.capture import Answer
from gateway.engine.guarding import Guarding
from gateway.engine.judge import Regenerate, blocked_by
from gateway.engine.output import Output
from gateway.engine.tasks import Tasks
from gateway.engine.things import Making
from gateway.wire import sse
from gateway.wire.answered import said
from gateway.wire.dialect import Dialect, StreamState
from gateway.wire.dialects import DIALECTS
from gateway.wire.encodings import ReplyDecoder
from gateway.wire.output_text import text_of_document
from gateway.wire.sse import Frames, FrameTooLarge

MAX_ERROR_BYTES = 1 << 20
MAX_HELD_BYTES = 1 << 20
MAX_DECODED_BYTES = 1 << 28
MAX_GUARDED_BYTES = 1 << 26

_NO_CHUNK = (b":", b"data: [DONE]", b"data:[DONE]")
_END_BYTES = 1 << 14
_DECODER = json.JSONDecoder()
_MEMBERS_AT_END = re.compile(rb'"(usage|tool_usage|service_tier)"\s*:\s*')
_ITEM = re.compile(rb'"type"\s*:\s*"(\w+_call)"')

# Fetched objects may be streams too, and their shape is that of the endpoint that made them.
_SHAPE_OF = {"responses.object": "responses"}


class Relay:
    """One reply on its way to one caller."""

    __slots__ = (
        "_account", "_attempt", "_begun", "_captured", "_client", "_clock", "_decoder", "_dialect", "_frames",
        "_guarding", "_held", "_held_bytes", "_is_end", "_items", "_made", "_output", "_own", "_record", "_reply",
        "_shape", "_state", "_tasks",
    )  # fmt: skip

    def __init__(
        self,
        call: Call,
        reply: UpstreamReply,
        client: Client,
        record: Record,
        account: Account,
        guarding: Guarding | None,
        own: Callable[[Record], Headers],
        clock: Clock,
        tasks: Tasks,
        made: Making | None,
        answer: Answer | None,
    ) -> None:
        self._reply = reply
        self._client = client
        self._record = record
        self._own = own
        self._clock = clock
        self._tasks = tasks
        self._shape = _SHAPE_OF.get(call.endpoint, call.endpoint)
        self._dialect: Dialect | None = DIALECTS.get(self._shape)
        self._account = account
        assert account.attempt is not None
        self._attempt = account.attempt
        self._made = made
        self._captured = answer
        self._guarding = guarding
        self._output = guarding.output(self._shape) if guarding is not None else None
        self._state: StreamState | None = None
        self._frames = Frames()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._is_end = False
        self._items: list[dict[str, Any]] = []
        self._begun = False
        self._decoder = _decoder(reply) if self._dialect is not None or reply.status >= 400 else None

    async def run(self, upstream: Upstream, *, hide_usage: bool) -> None:
        """Refusal and UpstreamFault only while nothing has been sent; ConnectionError, TimeoutError: the caller."""
        status = self._reply.status
        if 300 <= status < 400 and status != 304:
            raise UpstreamFault(REDIRECT)
        if status >= 400:
            await self._error(upstream)
            return
        if self._client.started and not self._is_event_stream():
            raise UpstreamFault(BAD_CONTENT, "a heartbeat promised a stream")
        try:
            await self._passing(hide_usage)
        except Refusal as refusal:
            await self._broken(refusal, refusal)
        except Regenerate as again:
            if not self._client.started:
                raise
            await self._broken(blocked_by(again.rule), again)
        except UpstreamFault as fault:
            self._record.detail = fault.detail
            await self._broken(fault.refusal(), fault)
        except asyncio.CancelledError as cancelled:
            if not self._tasks.cutting:
                raise
            await self._broken(Refusal("draining", "The gateway is shutting down."), cancelled)

    # -- the four kinds of reply

    def _passing(self, hide_usage: bool) -> Awaitable[None]:
        if self._is_event_stream():
            return self._events(hide_usage)
        if self._output is not None and self._is_json():
            return self._guarded_document(self._output)
        return self._document() if self._dialect is not None else self._bytes()

    async def _error(self, upstream: Upstream) -> None:
        """An error of the provider: as it is, unless it is about, or shows, the gateway's own credentials."""
        body = await self._whole(MAX_ERROR_BYTES)
        self._record.outcome = "upstream_error"
        if self._reply.status in {401, 407}:
            raise Refusal("upstream_authentication", "The provider refused the gateway's credentials.")
        if upstream.holds_secret(body):
            raise Refusal("upstream_invalid", "The provider's error message cannot be shown.")
        if self._client.started:  # by a heartbeat
            self._record.status = 200
            await self._client.write(sse.frame(_on_one_line(body)))
            await self._client.finish()
            return
        await self._answer(body)

    async def _document(self) -> None:
        """A JSON answer is held until it is whole, so that a provider that dies in the middle of one is a clean 502;
        a large one, or one that begins with keep-alive blanks, flows."""
        body = self._arrived()
        if body is None:
            size = 0
            async for chunk in self._chunks():
                self._held.append(chunk)
                size += len(chunk)
                if size > MAX_HELD_BYTES or chunk.isspace():
                    await self._flow()
                    return
            body = b"".join(self._held)
        self._read_usage(body)
        self._account.priced()
        await self._answer(body)

    async def _guarded_document(self, output: Output) -> None:
        body = await self._whole(MAX_GUARDED_BYTES)
        self._read_usage(body)
        self._account.priced()
        await self._answer(await output.document(body) if body else body)

    async def _bytes(self) -> None:
        if self._guarding is not None and self._guarding.unreadable():
            raise Refusal("guardrail_unavailable", "The guards that the policy requires cannot read this answer.")
        body = self._arrived()
        if body is not None:
            await self._answer(body)
            return
        await self._start(self._length())
        async for chunk in self._chunks():
            await self._write(chunk)
        await self._finish()

    async def _events(self, hide_usage: bool) -> None:
        """Frames, byte for byte. Nothing is sent before the first one is sound."""
        self._begin_stream()
        state = self._state
        async for chunk in self._chunks():
            out = b"".join(self._passed(self._seen(_fed(self._frames, chunk), hide_usage)))
            if self._account.is_used_up() and not await self._account.grow():
                raise Refusal("budget_exceeded", "The answer has used up what was reserved for it.")
            if out:
                await self._start(None)
                await self._write(out)
            if self._has_ended():
                break
        else:
            rest = self._frames.rest()
            if rest:
                out = b"".join(self._passed(self._seen([rest], hide_usage)))
                await self._start(None)
                await self._write(out)
            if not self._proven(state):
                raise UpstreamFault(CLOSED, "stream ended without its end mark")
        if self._output is not None:
            held = b"".join(await self._output.end())
            await self._start(None)
            await self._write(held)
        await self._start(None)
        await self._finish()

    async def drain(self, max_bytes: int) -> None:
        """Reads on after the caller has left, to learn what the answer cost. UpstreamFault as in `run`."""
        if self._reply.status >= 400 or self._dialect is None:
            return
        streamed = self._is_event_stream()
        self._captured = None
        if streamed:
            self._begin_stream()
            if self._has_ended():
                return
        size = 0
        async for chunk in self._chunks():
            size += len(chunk)
            if size > max_bytes:
                return
            if not streamed:
                self._hold(chunk)
                continue
            for _ in self._seen(_fed(self._frames, chunk), hide_usage=False):
                pass
            if self._has_ended():
                return
        if not streamed:
            self._read_held()

    # -- helpers

    def _begin_stream(self) -> None:
        if self._dialect is not None and self._state is None:
            self._state = self._dialect.stream_state()
            self._account.begin_stream(self._shape)

    def _seen(self, frames: list[bytes], hide_usage: bool) -> Iterator[bytes]:
        state, meter, attempt = self._state, self._account.meter, self._attempt
        if state is None or meter is None:
            yield from frames
            return
        for frame in frames:
            hidden = state.observe(frame) and hide_usage
            attempt.reported = state.usage
            if not frame.startswith(_NO_CHUNK):
                self._timed(attempt)
            meter.feed(frame)
            if self._captured is not None:
                self._captured.frame(frame)
            if self._made is not None:
                self._made.frame(frame)
            if not hidden:
                yield frame
            if state.done:
                return

    def _timed(self, attempt: Attempt) -> None:
        now = self._clock.monotonic()
        if attempt.pace is None:
            attempt.first_chunk_s, attempt.pace = now - attempt.started, Pace(now)
        else:
            attempt.pace.chunk(now)

    def _passed(self, frames: Iterator[bytes]) -> Iterable[bytes]:
        """What the guards let go of these frames."""
        return frames if self._output is None else self._output.frames(list(frames))

    def _has_ended(self) -> bool:
        """Whether the end mark was seen: what may come behind it is not waited for."""
        if self._state is None or not self._state.done:
            return False
        self._attempt.complete = True
        return True

    def _proven(self, state: StreamState | None) -> bool:
        """Whether the stream's end is known to be its end: by the dialect where there is one, else by HTTP framing."""
        if state is not None:
            return state.ended
        return getattr(self._reply, "framed", True)

    async def _flow(self) -> None:
        await self._start(None)
        held = self._held
        for chunk in held:
            await self._write(chunk)
        self._held = []
        for chunk in held:
            self._hold(chunk)
        async for chunk in self._chunks():
            self._hold(chunk)
            await self._write(chunk)
        self._read_held()
        await self._finish()

    def _hold(self, chunk: bytes) -> None:
        """Of what is too long to be held, the end: usage stands there. Items before it tell which tools were used."""
        self._held.append(chunk)
        self._held_bytes += len(chunk)
        if self._held_bytes > MAX_HELD_BYTES:
            held = b"".join(self._held)
            self._note_items(held, len(held) - _END_BYTES)
            self._held, self._held_bytes, self._is_end = [held[-_END_BYTES:]], _END_BYTES, True

    def _note_items(self, held: bytes, until: int) -> None:
        if self._shape == "responses":
            kinds = [match[1].decode() for match in _ITEM.finditer(held) if match.start() < until]
            self._items += [{"type": kind, "id": len(self._items) + n} for n, kind in enumerate(kinds)]

    def _read_held(self) -> None:
        body = b"".join(self._held)
        if not self._is_end:
            self._read_usage(body)
        elif self._dialect is not None:
            self._note_items(body, len(body))
            self._attempt.reported = self._dialect.usage_of(_end_of(body) | {"output": self._items})

    def _read_usage(self, body: bytes) -> None:
        if not body or self._dialect is None:
            return
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise UpstreamFault(BAD_CONTENT, "answer is not JSON") from None
        attempt = self._attempt
        attempt.reported = self._dialect.usage_of(document)
        attempt.response_id, attempt.finish_reasons = said(self._shape, document)
        if self._captured is not None:
            self._captured.whole(document)
        if attempt.reported.output_tokens is None:
            self._account.wrote(text_of_document(self._shape, document))
        if self._made is not None:
            self._made.document(document)

    def _arrived(self) -> bytes | None:
        """The whole body, where nothing has to be waited for or decoded: most short answers come with their head."""
        body = self._reply.complete() if self._decoder is None else None
        if body is not None:
            self._attempt.complete = True
        return body

    async def _chunks(self) -> AsyncIterator[bytes]:
        """The body's bytes, decoded where the gateway reads them; time spent waiting is the provider's."""
        while True:
            chunk = await self._read()
            if not chunk:
                break
            if self._decoder is not None:
                chunk = self._decoder.feed(chunk)
                if not chunk:
                    continue
            yield chunk
        if self._decoder is not None:
            self._decoder.finish()
        self._attempt.complete = True

    async def _read(self) -> bytes:
        began = self._clock.monotonic()
        try:
            return await self._reply.read()
        finally:
            self._record.upstream_s += self._clock.monotonic() - began

    async def _whole(self, max_bytes: int) -> bytes:
        size = 0
        async for chunk in self._chunks():
            self._held.append(chunk)
            size += len(chunk)
            if size > max_bytes:
                raise UpstreamFault(BAD_CONTENT, "error answer too large")
        return b"".join(self._held)

    def _is_event_stream(self) -> bool:
        kind = header_rules.value_of(self._reply.headers, b"content-type") or b""
        return kind.lower().startswith(b"text/event-stream")

    def _is_json(self) -> bool:
        kind = header_rules.value_of(self._reply.headers, b"content-type") or b""
        return kind.partition(b";")[0].strip().lower() == b"application/json"

    def _length(self) -> int | None:
        value = header_rules.value_of(self._reply.headers, b"content-length")
        return int(value) if value is not None and self._decoder is None else None

    def _headers(self) -> Headers:
        headers = header_rules.to_caller(self._reply.headers)
        own = self._own(self._record)
        if len(header_rules.without_rate_limits(own)) < len(own):  # which is tighter is not known; ours holds here
            headers = header_rules.without_rate_limits(headers)
        if self._decoder is None:
            coding = header_rules.value_of(self._reply.headers, b"content-encoding")
            if coding is not None:
                headers.append((b"content-encoding", coding))
        if header_rules.value_of(headers, b"x-request-id") is None:
            headers.append((b"x-request-id", self._record.call_id.encode()))
        return headers + own

    async def _answer(self, body: bytes) -> None:
        self._head_sent()
        self._record.response_bytes += len(body)
        await self._client.answer(self._reply.status, self._headers(), body)

    async def _start(self, length: int | None) -> None:
        if self._begun:
            return
        self._head_sent()
        if self._client.started:  # by a heartbeat
            return
        headers = self._headers()
        if self._is_event_stream():
            headers.append((b"x-accel-buffering", b"no"))
        await self._client.start(self._reply.status, headers, length)

    def _head_sent(self) -> None:
        self._begun = True
        self._record.status = self._reply.status
        self._record.first_byte_s = self._clock.monotonic() - self._record.started

    async def _write(self, data: bytes) -> None:
        self._record.response_bytes += len(data)
        await self._client.write(data)

    async def _finish(self) -> None:
        await self._client.finish()

    # -- an end that is not sound

    async def _broken(self, refusal: Refusal, cause: BaseException) -> None:
        """Before the first byte a failure is an error answer; after it an error event, or a cut connection."""
        if not self._client.started:
            raise refusal from cause
        self._record.error = refusal.code
        self._record.outcome = "cut"
        if not self._is_event_stream():
            self._client.abort()
            return
        await self._client.write(self._error_event(refusal))
        await self._client.finish()

    def _error_event(self, refusal: Refusal) -> bytes:
        dialect = self._dialect or DIALECTS["chat"]
        return dialect.error_event(refusal, self._record.call_id, self._state)


def _end_of(tail: bytes) -> dict[str, Any]:
    """What the end of a long document says of usage. Quotes inside of texts are escaped, and match nothing."""
    found: dict[str, Any] = {}
    for match in _MEMBERS_AT_END.finditer(tail):
        with contextlib.suppress(json.JSONDecodeError):
            found[match[1].decode()], _ = _DECODER.raw_decode(tail[match.end() :].decode("utf-8", "replace"))
    return found


def _on_one_line(body: bytes) -> bytes:
    try:
        return orjson.dumps(orjson.loads(body))
    except orjson.JSONDecodeError:
        raise UpstreamFault(BAD_CONTENT, "error answer is not JSON") from None


def _fed(frames: Frames, chunk: bytes) -> list[bytes]:
    try:
        return frames.feed(chunk)
    except FrameTooLarge:
        raise UpstreamFault(BAD_CONTENT, "event larger than allowed") from None


def _decoder(reply: UpstreamReply) -> ReplyDecoder | None:
    named = header_rules.value_of(reply.headers, b"content-encoding")
    if named is None:
        return None
    coding = named.strip().lower()
    return None if coding in {b"", b"identity"} else ReplyDecoder(coding.decode("ascii", "replace"), MAX_DECODED_BYTES)
