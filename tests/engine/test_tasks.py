from __future__ import annotations

import asyncio

import pytest

from gateway.engine.tasks import Tasks
from tests.engine.fakes import FakeUpstream


class Running:
    """A call that runs until it is told to end."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._entered = asyncio.Event()
        self.end = asyncio.Event()
        self.cut = False
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        entry = self._tasks.enter()
        self._entered.set()
        try:
            await self.end.wait()
        except asyncio.CancelledError:
            self.cut = True
            raise
        finally:
            self._tasks.leave(entry)

    async def begun(self) -> Running:
        await self._entered.wait()
        return self


async def turns(count: int = 5) -> None:
    """Lets everything that can run do so."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_running_calls_are_counted() -> None:
    tasks = Tasks()
    calls = [await Running(tasks).begun() for _ in range(3)]
    assert len(tasks) == 3
    calls[0].end.set()
    await calls[0].task
    assert len(tasks) == 2
    assert await tasks.drain(0.0) == 2
    assert len(tasks) == 0


async def test_a_drain_without_calls_is_done_at_once() -> None:
    tasks = Tasks()
    assert await tasks.drain(0.0) == 0
    assert not tasks.cutting


async def test_a_drain_waits_for_calls_that_end_in_time() -> None:
    tasks = Tasks()
    calls = [await Running(tasks).begun() for _ in range(2)]
    drained = asyncio.create_task(tasks.drain(60.0))
    calls[0].end.set()
    await turns()
    assert not drained.done()
    calls[1].end.set()
    assert await drained == 0
    assert not tasks.cutting
    assert not any(call.cut for call in calls)


async def test_a_drain_cuts_what_is_left_when_its_time_is_over() -> None:
    tasks = Tasks()
    call = await Running(tasks).begun()
    assert await tasks.drain(0.0) == 1
    assert tasks.cutting
    assert call.cut
    assert call.task.cancelled()


async def test_a_call_that_begins_during_a_drain_is_waited_for() -> None:
    tasks = Tasks()
    first = await Running(tasks).begun()
    drained = asyncio.create_task(tasks.drain(60.0))
    await turns()
    second = await Running(tasks).begun()
    first.end.set()
    await turns()
    assert not drained.done()
    second.end.set()
    assert await drained == 0


async def test_a_call_can_leave_twice() -> None:
    tasks = Tasks()
    entry = tasks.enter()
    tasks.leave(entry)
    tasks.leave(entry)
    assert len(tasks) == 0
    assert await tasks.drain(0.0) == 0


async def test_dropped_providers_are_closed_when_the_calls_that_may_use_them_have_ended() -> None:
    tasks, dropped = Tasks(), [FakeUpstream(), FakeUpstream()]
    before = await Running(tasks).begun()
    closing = asyncio.create_task(tasks.after_running_calls(dropped))
    await turns()
    after = await Running(tasks).begun()
    assert [upstream.closed for upstream in dropped] == [0, 0]
    before.end.set()
    await closing
    assert [upstream.closed for upstream in dropped] == [1, 1]
    assert not after.task.done()
    await tasks.drain(0.0)


async def test_dropped_providers_are_closed_at_once_when_no_call_runs() -> None:
    upstream = FakeUpstream()
    await Tasks().after_running_calls([upstream])
    assert upstream.closed == 1


async def test_a_failed_call_does_not_keep_dropped_providers_open() -> None:
    tasks, upstream = Tasks(), FakeUpstream()
    call = await Running(tasks).begun()
    closing = asyncio.create_task(tasks.after_running_calls([upstream]))
    await turns()
    call.task.cancel()
    await closing
    assert upstream.closed == 1


async def test_background_work_is_named_kept_and_stopped() -> None:
    tasks = Tasks()
    began, stopped = asyncio.Event(), []

    async def work() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(True)

    task = tasks.start(work(), "watching")
    await began.wait()
    assert task.get_name() == "watching"
    assert len(tasks) == 0
    await tasks.stop()
    assert stopped == [True]
    assert task.cancelled()


async def test_stopping_survives_background_work_that_fails() -> None:
    tasks = Tasks()
    began = asyncio.Event()

    async def work() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("broken")

    tasks.start(work(), "broken")
    await began.wait()
    await tasks.stop()


async def test_ended_background_work_is_forgotten() -> None:
    tasks = Tasks()
    ran = []

    async def work() -> None:
        ran.append(True)

    await tasks.start(work(), "short")
    await tasks.stop()
    assert ran == [True]


async def test_a_call_is_entered_only_from_a_task() -> None:
    tasks = Tasks()
    failed: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def outside() -> None:
        try:
            tasks.enter()
        except AssertionError as error:
            failed.set_result(error)
        else:
            failed.set_result(None)

    asyncio.get_running_loop().call_soon(outside)
    with pytest.raises(AssertionError):
        raise (await failed) or RuntimeError
