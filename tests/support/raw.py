"""A client of bytes: no HTTP library, so that a test can send anything and see everything."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from tests.support.patience import patience


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    def json(self):
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.json()["error"]["code"]


def chat(text: str = "hi", **fields: object) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **fields}).encode()


class Raw:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, host: str, port: int) -> Raw:
        return cls(*await asyncio.open_connection(host, port, limit=1 << 26))

    def close(self) -> None:
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def request(
        self,
        method: str = "POST",
        target: str = "/v1/chat/completions",
        body: bytes | None = None,
        key: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> bytes:
        lines = [f"{method} {target} HTTP/1.1"]
        named = {name.lower() for name, _ in headers}
        if "host" not in named:
            lines.append("Host: gateway")
        if key is not None:
            lines.append(f"Authorization: Bearer {key}")
        if body is not None and "content-type" not in named:
            lines.append("Content-Type: application/json")
        if body is not None and "transfer-encoding" not in named and "content-length" not in named:
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name}: {value}" for name, value in headers]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")

    async def ask(self, *args: object, **kwargs: object) -> Answer:
        await self.send(self.request(*args, **kwargs))
        return await self.answer()

    async def head(self) -> Answer:
        """Status and headers, the body unread."""
        async with patience():
            head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1")[:-4].split("\r\n")
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        return Answer(int(first.split(" ")[1]), headers, b"")

    async def answer(self) -> Answer:
        answer = await self.head()
        async with patience():
            answer.body = await self._body(answer)
        return answer

    async def _body(self, answer: Answer) -> bytes:
        if answer.header("transfer-encoding") == "chunked":
            parts = []
            while (part := await self.chunk()) is not None:
                parts.append(part)
            return b"".join(parts)
        return await self.reader.readexactly(int(answer.header("content-length") or 0))

    async def chunk(self) -> bytes | None:
        """The next chunk; None at the sound end. IncompleteReadError when the connection was cut."""
        async with patience():
            line = await self.reader.readuntil(b"\r\n")
            data = await self.reader.readexactly(int(line, 16) + 2)
        return data[:-2] or None

    async def closed(self) -> bool:
        """Whether the other side has closed, waiting for it."""
        async with patience():
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True
