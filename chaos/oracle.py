"""The provider that knows the truth: it writes each call to its own synced log before it answers.

`python -m chaos.oracle LOG` prints its port.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import sys
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

from chaos.answers import FRAMES, Answer, Rates, answer_to
from chaos.history import Served


class Log:
    """Lines in a file. Those that arrive during a sync share the next one."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._lines: list[bytes] = []
        self._turn = asyncio.Lock()

    def add(self, line: dict[str, Any]) -> None:
        self._lines.append(json.dumps(line).encode() + b"\n")

    async def sync(self) -> None:
        async with self._turn:
            if self._lines:
                lines, self._lines = self._lines, []
                await asyncio.to_thread(self._write, b"".join(lines))

    def _write(self, data: bytes) -> None:
        os.write(self._file, data)
        os.fsync(self._file)


def read_log(path: Path) -> list[Served]:
    """One for each request, in order; the same attempt twice gives two."""
    begun: dict[int, Served] = {}
    for text in path.read_bytes().split(b"\n")[:-1]:
        line = json.loads(text)
        number = line.pop("number")
        begun[number] = replace(begun[number], **line) if number in begun else Served(**line)
    return list(begun.values())


class Oracle:
    def __init__(self, log: Log, rates: Rates) -> None:
        self._log = log
        self._rates = rates
        self._seen: Counter[str] = Counter()
        self._number = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        asked = json.loads(body)
        turn = hashlib.sha256(body).hexdigest()
        answer = answer_to(asked, self._seen[turn], self._rates)
        self._seen[turn] += 1
        self._number += 1
        number = self._number
        await self._begin(number, request.headers.get("x-client-request-id", ""), answer)
        finished = False
        try:
            reply = await self._reply(request, asked, answer)
            finished = answer.fate != "cut"
        except ConnectionError:  # the gateway hung up
            return web.Response()
        finally:
            self._log.add({"number": number, "until": time.time(), "finished": finished})
            await self._log.sync()
        return reply

    async def _begin(self, number: int, attempt: str, answer: Answer) -> None:
        """Durable before the first byte of the answer."""
        failed = answer.fate == "error"
        served = Served(
            attempt,
            answer.tag,
            time.time(),
            500 if failed else 200,
            answer.cap,
            0 if failed else answer.cost_nano,
            reported=answer.fate not in {"error", "silent"},
        )
        self._log.add({"number": number, **asdict(served)})
        await self._log.sync()

    async def _reply(self, request: web.Request, asked: dict[str, Any], answer: Answer) -> web.StreamResponse:
        if answer.fate == "error":
            return await _whole(request, {"error": {"message": "out of order", "type": "server_error"}}, 500)
        if asked.get("stream"):
            wants_usage = bool((asked.get("stream_options") or {}).get("include_usage"))
            return await _stream(request, answer, wants_usage and answer.fate != "silent")
        await asyncio.sleep(answer.pace_s * FRAMES)
        message = {"role": "assistant", "content": "word " * answer.output}
        document = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], **_head("chat.completion")}
        if answer.fate != "silent":
            document["usage"] = answer.usage
        return await _whole(request, document, 200, cut=answer.fate == "cut")


async def _whole(request: web.Request, document: dict[str, Any], status: int, cut: bool = False) -> web.StreamResponse:
    body = json.dumps(document).encode()
    reply = web.StreamResponse(status=status, headers={"content-type": "application/json"})
    reply.content_length = len(body)
    await reply.prepare(request)
    await reply.write(body[: len(body) // 2] if cut else body)
    if cut:
        _abort(request)
    else:
        await reply.write_eof()
    return reply


async def _stream(request: web.Request, answer: Answer, usage: bool) -> web.StreamResponse:
    reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await reply.prepare(request)
    words, frames = answer.output, min(FRAMES, answer.output)
    for number in range(frames):
        if answer.fate == "cut" and number == (frames + 1) // 2:
            _abort(request)
            return reply
        share = words // frames + (number < words % frames)
        await reply.write(_frame(choices=[_delta("word " * share, None)]))
        await asyncio.sleep(answer.pace_s)
    if answer.fate == "cut":
        _abort(request)
        return reply
    await reply.write(_frame(choices=[_delta("", "stop")]))
    if usage:
        await reply.write(_frame(choices=[], usage=answer.usage))
    await reply.write(b"data: [DONE]\n\n")
    await reply.write_eof()
    return reply


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _head(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-oracle", "object": kind, "created": 1, "model": "oracle-1"}


def _delta(text: str, finish: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": {"content": text}, "finish_reason": finish}


def _frame(**members: Any) -> bytes:
    return b"data: " + json.dumps({**_head("chat.completion.chunk"), **members}).encode() + b"\n\n"


async def serve(path: Path, rates: Rates) -> None:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", Oracle(Log(path), rates).handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m chaos.oracle")
    parser.add_argument("log", type=Path)
    for name, share in asdict(Rates()).items():
        parser.add_argument(f"--{name}", type=float, default=share, help=f"share of calls (default {share})")
    options = vars(parser.parse_args())
    uvloop.run(serve(options.pop("log"), Rates(**options)))


if __name__ == "__main__":
    main()
