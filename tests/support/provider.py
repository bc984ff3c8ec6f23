"""A scripted provider on plain sockets: it says exactly the bytes that a test wants, and keeps what it received."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass
class Received:
    """One request as it arrived."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    connection: int
    closed: asyncio.Event = field(default_factory=asyncio.Event)  # the gateway closed this connection

    def header(self, name: str) -> bytes | None:
        return next((value for key, value in self.headers if key.lower() == name.encode()), None)

    def json(self):
        return json.loads(self.body)


Script = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


def plain(
    body: bytes, status: int = 200, headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
):
    """A whole answer."""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {status} X\r\n{head}content-length: {len(body)}\r\n\r\n".encode() + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def delta(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    row = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(row).encode() + b"\n\n"


def usage_chunk(prompt: int = 3, completion: int = 4) -> bytes:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    row = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage}
    return b"data: " + json.dumps(row).encode() + b"\n\n"


ANSWER = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }
).encode()


class Provider:
    """`async with Provider() as provider`. `provider.says(bytes)` sets what every request gets; `provider.script` may be
    set to a coroutine that writes by itself and returns (the connection stays open unless it closes it)."""

    def __init__(self) -> None:
        self.calls: list[Received] = []
        self.connections = 0
        self.called = asyncio.Event()
        self.says(plain(ANSWER))
        self._tasks: set[asyncio.Task[None]] = set()

    def says(self, *parts: bytes) -> None:
        async def script(_: Received, writer: asyncio.StreamWriter) -> None:
            for part in parts:
                writer.write(part)
                await writer.drain()

        self.script: Script = script

    async def __aenter__(self) -> Provider:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 26)
        self.port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        number = self.connections
        call: Received | None = None
        try:
            while (call := await self._read(reader, number)) is not None:
                self.calls.append(call)
                self.called.set()
                watcher = asyncio.create_task(_until_eof(reader, call))
                try:
                    await self.script(call, writer)
                    if writer.is_closing():
                        return
                finally:
                    watcher.cancel()
                    await asyncio.gather(watcher, return_exceptions=True)
                if call.closed.is_set():
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            if call is not None:
                call.closed.set()
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _read(self, reader: asyncio.StreamReader, number: int) -> Received | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head[:-4].split(b"\r\n")
        method, target, _ = first.decode().split(" ")
        headers = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        named = {name.lower(): value for name, value in headers}
        if named.get(b"transfer-encoding") == b"chunked":
            body = await _chunked(reader)
        else:
            body = await reader.readexactly(int(named.get(b"content-length", b"0")))
        return Received(method, target, headers, body, number)


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(parts)


async def _until_eof(reader: asyncio.StreamReader, call: Received) -> None:
    """Sets `closed` when the gateway hangs up while the script still runs. Reads nothing of a next request: the gateway
    sends none before this answer has ended."""
    while not reader.at_eof():
        await asyncio.sleep(0.005)
    call.closed.set()
