"""Keeps a waiting stream's connection warm, where the policy wants it: proxies on the way cut what stays silent.

From the first heartbeat on the status is 200, whatever the provider answers: a failure comes as an error event. That is
why it is off by default. A heartbeat is a comment (Server-sent events §9.2.6) and carries nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from gateway.core.model import Headers
from gateway.core.ports import Client

T = TypeVar("T")
HEARTBEAT = b": waiting\n\n"
_STREAM: Headers = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")]


async def with_heartbeat(work: Coroutine[Any, Any, T], client: Client, every_s: float, own: Headers) -> T:
    """What `work` returns or raises. The answer begins when that takes longer than `every_s`."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=every_s))[0]:
            if not client.started:
                await client.start(200, _STREAM + own, None)
            await client.write(HEARTBEAT)
    except BaseException:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
    return task.result()
