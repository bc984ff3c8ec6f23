"""Streams seen from the caller: when the first frame is there, how late each frame is, and what an open stream holds.

Every frame carries the machine's monotonic clock at the moment in which the upstream wrote it, so that a frame's delay
is one subtraction. All subjects see the same upstream and the same client; what they add is the difference to `direct`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import uvloop

from bench import procfs
from bench.payload import DONE_FRAME, STAMP, chat_body, request, stamped
from bench.subjects import StartFailed, Subject

_FIRST_FRAMES = 3
_END = DONE_FRAME.strip()
_LAST_CHUNK = b"0\r\n\r\n"
_RAMP = 50  # connections opened at a time


@dataclass(frozen=True, slots=True)
class FirstFrame:
    """Milliseconds from the written request to the first frame of its answer."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class SlowStreams:
    """`p50_ms` and `p99_ms` of the delay of a frame; kB that the subject's processes grew by for each open stream."""

    p50_ms: float
    p99_ms: float
    kb_per_stream: float
    frames: int
    broken: int


class Stream(asyncio.Protocol):
    """One request and its stream of frames."""

    def __init__(self, asked: bytes, on_frames: Callable[[list[bytes], int], None]) -> None:
        self._asked = asked
        self._on_frames = on_frames
        self._tail = b""
        self._transport: asyncio.Transport
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.sent_ns = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self) -> None:
        self._tail = b""
        self.sent_ns = time.monotonic_ns()
        self._transport.write(self._asked)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self._on_frames(STAMP.findall(data), now)
        self._tail = self._tail[-64:] + data[-64:]
        if _END in self._tail and self._tail.endswith(_LAST_CHUNK) and not self.done.done():
            self.done.set_result(True)

    def connection_lost(self, _exc: BaseException | None) -> None:
        if not self.done.done():
            self.done.set_result(False)

    def close(self) -> None:
        self._transport.abort()


async def _open(subject: Subject, asked: bytes, on_frames: Callable[[list[bytes], int], None]) -> Stream:
    loop = asyncio.get_running_loop()
    _, stream = await loop.create_connection(lambda: Stream(asked, on_frames), "127.0.0.1", subject.port)
    return stream


async def _first_frames(subject: Subject, rounds: int) -> FirstFrame:
    waits: list[float] = []
    asked = request(chat_body(_FIRST_FRAMES, interval_ms=1))
    seen: list[int] = []
    stream = await _open(subject, asked, lambda _, now: seen.append(now))
    for _ in range(rounds):
        seen.clear()
        stream.done = asyncio.get_running_loop().create_future()
        stream.ask()
        if not await stream.done:
            raise StartFailed(f"{subject.name} cut a stream; it said:\n{subject.said.read_text()[-2000:]}")
        waits.append((seen[0] - stream.sent_ns) / 1e6)
    stream.close()
    return FirstFrame(*_percentiles(waits))


async def _slow(subject: Subject, streams: int, frames: int, interval_ms: int) -> SlowStreams:
    delays: list[float] = []

    def on_frames(stamps: list[bytes], now: int) -> None:
        delays.extend((now - stamped(stamp)) / 1e6 for stamp in stamps)

    before = procfs.memory(subject.pid).pss
    asked = request(chat_body(frames, interval_ms))
    opened: list[Stream] = []
    while len(opened) < streams:
        batch = min(_RAMP, streams - len(opened))
        new = await asyncio.gather(*(_open(subject, asked, on_frames) for _ in range(batch)))
        for stream in new:
            stream.ask()
        opened += new
        await asyncio.sleep(interval_ms / 1000 * _RAMP / streams)  # their frames are spread over the interval
    delays.clear()  # what was seen while the streams began is not the steady state
    await asyncio.sleep(interval_ms / 1000 * 2)
    grown = procfs.memory(subject.pid).pss - before
    ended = await asyncio.gather(*(stream.done for stream in opened))
    for stream in opened:
        stream.close()
    p50, p99 = _percentiles(delays)
    return SlowStreams(p50, p99, grown / streams / 1024, len(delays), ended.count(False))


def first_frames(subject: Subject, rounds: int) -> FirstFrame:
    """One stream after the other on one connection."""
    return uvloop.run(_first_frames(subject, rounds))


def slow_streams(subject: Subject, streams: int, frames: int, interval_ms: int) -> SlowStreams:
    return uvloop.run(_slow(subject, streams, frames, interval_ms))


def _percentiles(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
