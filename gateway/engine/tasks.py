"""The calls that are running, so that a drain can wait for them, and the only place that starts background work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar, TypeVarTuple

from gateway.core.ports import Upstream

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

# Reading or rewriting a body this large takes long enough to be felt by the other calls on the loop.
LARGE_BYTES = 1 << 18


async def for_size(size: int, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
    """`work(*arguments)`, in a thread when it is about that many bytes: OPS-08."""
    return await asyncio.to_thread(work, *arguments) if size > LARGE_BYTES else work(*arguments)


class Tasks:
    """Calls run in the task of their connection and enter themselves here; background work is started here.
    `reading_on`: answers that are read although their callers have left."""

    def __init__(self) -> None:
        self._calls: set[asyncio.Task[Any]] = set()
        self._background: set[asyncio.Task[Any]] = set()
        self._owed: set[asyncio.Task[Any]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.cutting = False
        self.reading_on = 0
        # Kept, as finding it costs a system call a time (CPython 3.11 compares the process id).
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self._calls)

    def enter(self) -> asyncio.Task[Any]:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        task = asyncio.current_task(self._loop)
        assert task is not None
        self._calls.add(task)
        self._idle.clear()
        return task

    def leave(self, task: asyncio.Task[Any]) -> None:
        self._calls.discard(task)
        if not self._calls:
            self._idle.set()

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Background work; kept until it ends, cancelled by `stop`."""
        task = asyncio.create_task(work, name=name)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    def owe(self, work: Coroutine[Any, Any, None]) -> None:
        """Work of a call that has ended: bounded by itself, and waited for before a stop."""
        task = asyncio.create_task(work)
        self._owed.add(task)
        task.add_done_callback(self._owed.discard)

    async def paid(self, timeout_s: float) -> None:
        """Returns when nothing is owed, or when the time is over."""
        if self._owed:
            await asyncio.wait(set(self._owed), timeout=timeout_s)

    async def drain(self, grace_s: float) -> int:
        """Waits until no call runs, at most `grace_s` seconds; then cuts the rest, each with an error its caller can
        see. Returns how many were cut."""
        try:
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
                return 0
        except TimeoutError:
            return await self._cut()

    async def _cut(self) -> int:
        self.cutting = True
        running = list(self._calls)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=1.0)
        return len(running)

    async def after_running_calls(self, upstreams: Iterable[Upstream]) -> None:
        """Closes what a reload dropped, once the calls that may still use it have ended."""
        running = set(self._calls)
        if running:
            await asyncio.wait(running)
        for upstream in upstreams:
            await upstream.close()

    async def stop(self) -> None:
        running = list(self._background)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
