"""What a supervisor asks its workers, over a socket pair."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import uvloop

from gateway.server.control import Asker, Channel, WorkerBug, answering
from gateway.sinks.log import make_log

Message = dict[str, Any]


class Worker:
    """The other side. `released` lets the slow questions be answered."""

    def __init__(self) -> None:
        self.output = io.BytesIO()
        self.log = make_log("json", "info", lines=self.output)
        self.released = asyncio.Event()
        self.done: list[str] = []

    async def answer(self, message: Message) -> Message:
        if message["do"] in {"slow", "start"}:
            await self.released.wait()
        self.done.append(message["do"])
        if message["do"] == "fail":
            raise KeyError("prompt-canary")
        return {"did": message["do"]}


async def with_worker(test: Callable[[Asker, Worker], Awaitable[None]]) -> None:
    ours, theirs = socket.socketpair()
    worker, mine, other = Worker(), await Channel.over(ours), await Channel.over(theirs)
    serving = asyncio.create_task(answering(other, worker.answer, worker.log))
    try:
        await test(Asker(mine), worker)
    finally:
        await mine.close()
        await serving
        await other.close()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_worker_that_is_gone_is_a_connection_error_however_often_it_is_asked(run: Callable[..., None]) -> None:
    """uvloop's transports raise a RuntimeError once they are closed: that was a 500 of the admin listener."""

    async def ask_thrice() -> None:
        ours, theirs = socket.socketpair()
        channel = await Channel.over(ours)
        asker = Asker(channel)
        theirs.close()
        for _ in range(3):
            with pytest.raises(ConnectionError):
                await asker.ask({"do": "quick"}, 5)
        await channel.close()

    run(ask_thrice())


async def test_a_question_that_runs_when_the_worker_dies_is_a_connection_error() -> None:
    ours, theirs = socket.socketpair()
    channel = await Channel.over(ours)
    asking = asyncio.create_task(Asker(channel).ask({"do": "slow"}, 5))
    await asyncio.get_running_loop().run_in_executor(None, theirs.recv, 100)
    theirs.close()
    with pytest.raises(ConnectionError):
        await asking
    await channel.close()


async def test_nobody_is_told_the_answer_to_another_question() -> None:
    """Whoever asked has left, or has waited for too long."""

    async def test(asker: Asker, worker: Worker) -> None:
        left = asyncio.create_task(asker.ask({"do": "slow"}, 5))
        await asyncio.sleep(0)
        left.cancel()
        with suppress(asyncio.CancelledError):
            await left
        with pytest.raises(TimeoutError):
            await asker.ask({"do": "slow"}, 0.01)
        worker.released.set()
        assert await asker.ask({"do": "quick"}, 5) == {"did": "quick"}

    await with_worker(test)


async def test_a_slow_answer_holds_up_no_other() -> None:
    async def test(asker: Asker, worker: Worker) -> None:
        slow = asyncio.create_task(asker.ask({"do": "slow"}, 5))
        assert await asker.ask({"do": "quick"}, 5) == {"did": "quick"}
        worker.released.set()
        assert await slow == {"did": "slow"}

    await with_worker(test)


async def test_a_start_is_ended_before_a_supervisor_that_is_gone_is_noticed() -> None:
    ours, theirs = socket.socketpair()
    worker, channel = Worker(), await Channel.over(theirs)
    serving = asyncio.create_task(answering(channel, worker.answer, worker.log))
    ours.sendall(b'{"number":1,"do":"start"}\n')
    ours.close()
    assert not (await asyncio.wait([serving], timeout=0.05))[0]
    worker.released.set()
    await serving
    assert worker.done == ["start"]
    await channel.close()


async def test_a_bug_in_an_answer_is_logged_with_its_type_and_place_and_ends_nothing() -> None:
    async def test(asker: Asker, worker: Worker) -> None:
        with pytest.raises(WorkerBug):
            await asker.ask({"do": "fail"}, 5)
        assert await asker.ask({"do": "quick"}, 5) == {"did": "quick"}
        line = json.loads(worker.output.getvalue())
        assert (line["event"], line["error"], line["asked"]) == ("bug", "KeyError", "fail")
        assert "test_control.py:" in line["at"]

    await with_worker(test)
