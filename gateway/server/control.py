"""How a supervisor talks to its workers: one JSON object a line over a socket pair. Questions have numbers, and so have
their answers: they come in any order, and an answer that nobody waits for any more is passed over."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from structlog.typing import FilteringBoundLogger

from gateway.core.bugs import place
from gateway.policy.load import Source
from gateway.sinks.metrics import Snapshot

MAX_LINE_BYTES = 1 << 26

Message = dict[str, Any]


class WorkerBug(Exception):
    """The worker failed to answer, and has logged why."""


class Channel:
    """One end of the socket pair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, sock: socket.socket) -> Channel:
        sock.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=sock, limit=MAX_LINE_BYTES))

    async def send(self, message: Message) -> None:
        """ConnectionError once it is closed: uvloop would raise something else."""
        if self._writer.is_closing():
            raise ConnectionResetError
        self._writer.write(orjson.dumps(message) + b"\n")
        await self._writer.drain()

    async def receive(self) -> Message | None:
        """None when the other side is gone."""
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return None
        return orjson.loads(line) if line.endswith(b"\n") else None

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


class Asker:
    """The supervisor's side."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Message | None]] = {}
        self._listening = asyncio.create_task(self._listen())

    async def ask(self, message: Message, timeout_s: float) -> Message:
        """ConnectionError when the other side is gone, TimeoutError when it does not answer, WorkerBug."""
        self._number += 1
        number = self._number
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                await self._channel.send({"number": number, **message})
                answer = await waiting
        finally:
            del self._waiting[number]
        if answer is None:
            raise ConnectionResetError
        if "answer" not in answer:
            raise WorkerBug
        found: Message = answer["answer"]
        return found

    async def _listen(self) -> None:
        while (answer := await self._channel.receive()) is not None:
            self._tell(answer["number"], answer)
        await self._channel.close()
        for number in self._waiting:
            self._tell(number, None)

    def _tell(self, number: int, answer: Message | None) -> None:
        waiting = self._waiting.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)


async def answering(
    channel: Channel, answer: Callable[[Message], Awaitable[Message]], log: FilteringBoundLogger
) -> None:
    """The worker's side, until the supervisor is gone. Each question is answered beside the others, but for the start,
    which is not left half done."""
    running: set[asyncio.Task[None]] = set()
    try:
        while (message := await channel.receive()) is not None:
            task = asyncio.create_task(_answer(channel, message, answer, log))
            running.add(task)
            task.add_done_callback(running.discard)
            if message["do"] == "start":
                await task
    finally:
        for task in running:
            task.cancel()


async def _answer(
    channel: Channel, message: Message, answer: Callable[[Message], Awaitable[Message]], log: FilteringBoundLogger
) -> None:
    reply: Message = {"number": message["number"]}
    try:
        reply["answer"] = await answer(message)
    except Exception as bug:
        log.error("bug", asked=message["do"], error=type(bug).__name__, at=place(bug))  # noqa: TRY400 - no more than that
    with contextlib.suppress(ConnectionError):  # nobody is left to be told
        await channel.send(reply)


def source_to_json(source: Source) -> list[list[str]]:
    return [[name, base64.b64encode(data).decode()] for name, data in source]


def source_from_json(files: list[list[str]]) -> Source:
    return tuple((name, base64.b64decode(data)) for name, data in files)


def snapshot_to_json(snapshot: Snapshot) -> dict[str, Any]:
    return {name: [[list(labels), value] for labels, value in values.items()] for name, values in snapshot.items()}


def snapshot_from_json(data: dict[str, Any]) -> Snapshot:
    return {name: {tuple(labels): value for labels, value in rows} for name, rows in data.items()}
