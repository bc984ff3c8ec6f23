"""How a supervisor talks to its workers: one JSON object a line over a socket pair, request and answer in turn."""

from __future__ import annotations

import asyncio
import base64
import socket
from typing import Any

import orjson

from gateway.policy.load import Source
from gateway.sinks.metrics import Snapshot

MAX_LINE_BYTES = 1 << 26


class Channel:
    """One end. `ask` and `serve` are for the two sides."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()

    @classmethod
    async def over(cls, sock: socket.socket) -> Channel:
        sock.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=sock, limit=MAX_LINE_BYTES))

    async def send(self, message: dict[str, Any]) -> None:
        """ConnectionError once it is closed: uvloop would raise something else."""
        if self._writer.is_closing():
            raise ConnectionResetError
        self._writer.write(orjson.dumps(message) + b"\n")
        await self._writer.drain()

    async def receive(self) -> dict[str, Any] | None:
        """None when the other side is gone."""
        line = await self._reader.readline()
        return orjson.loads(line) if line.endswith(b"\n") else None

    async def ask(self, message: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """ConnectionError when the other side is gone, TimeoutError when it does not answer; the channel is closed
        then, for a late answer would be taken for the next one."""
        try:
            async with self._turn, asyncio.timeout(timeout_s):
                await self.send(message)
                answer = await self.receive()
        except (TimeoutError, OSError):
            self.close()
            raise
        if answer is None:
            raise ConnectionResetError
        return answer

    def close(self) -> None:
        self._writer.close()


def source_to_json(source: Source) -> list[list[str]]:
    return [[name, base64.b64encode(data).decode()] for name, data in source]


def source_from_json(files: list[list[str]]) -> Source:
    return tuple((name, base64.b64decode(data)) for name, data in files)


def snapshot_to_json(snapshot: Snapshot) -> dict[str, Any]:
    return {name: [[list(labels), value] for labels, value in values.items()] for name, values in snapshot.items()}


def snapshot_from_json(data: dict[str, Any]) -> Snapshot:
    return {name: {tuple(labels): value for labels, value in rows} for name, rows in data.items()}
