"""One process: accepts calls, reloads policy, measures its loop, drains."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
from collections.abc import Coroutine
from typing import Any, Protocol

from structlog.typing import FilteringBoundLogger

from gateway.assembly import Gateway
from gateway.core.ports import Ledger
from gateway.core.reports import Row
from gateway.core.trace import TraceSpan
from gateway.policy.load import Source
from gateway.server.connection import ConnectionLimits, Listener
from gateway.settings import Settings
from gateway.sinks.audit import Trigger
from gateway.sinks.metrics import Snapshot

_LOOP_PROBE_S = 0.5


_KEPT_DESCRIPTORS = 64  # for files, the admin listener, signals and the loop itself


def connection_limits(settings: Settings) -> ConnectionLimits:
    """A caller's connection may need a second descriptor towards its provider: more than half of what the system allows
    this process is never accepted, so that a call that was accepted can be served (OPS-24)."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ConnectionLimits(
        max_connections=max(1, min(settings.max_connections, (allowed - _KEPT_DESCRIPTORS) // 2)),
        header_timeout_s=settings.header_timeout_s,
        body_timeout_s=settings.body_timeout_s,
        body_min_rate=settings.body_min_rate,
        idle_timeout_s=settings.idle_timeout_s,
        write_timeout_s=settings.write_timeout_s,
    )


def settle_memory() -> None:
    """What exists once the gateway serves lives as long as it: the collector need not look at it again. Calls make few
    cycles, so it may also come less often; both show in the slowest calls."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


class Drains(Protocol):
    async def drain(self, delay_s: float, grace_s: float) -> None: ...


async def drain(fleet: Drains, delay_s: float, grace_s: float, hurry: Coroutine[Any, Any, object]) -> None:
    """In order, until `hurry` returns: then at once."""
    orderly = asyncio.create_task(fleet.drain(delay_s, grace_s))
    hurried = asyncio.create_task(hurry)
    await asyncio.wait({orderly, hurried}, return_when=asyncio.FIRST_COMPLETED)
    if not orderly.done():
        orderly.cancel()
        await asyncio.gather(orderly, return_exceptions=True)
        await fleet.drain(0.0, 0.0)
    hurried.cancel()
    await asyncio.gather(hurried, return_exceptions=True)
    if not orderly.cancelled():
        orderly.result()


class Worker:
    """Implements `admin.Fleet` for the one-process case."""

    def __init__(self, gateway: Gateway, settings: Settings, log: FilteringBoundLogger) -> None:
        self._gateway = gateway
        self._settings = settings
        self._log = log
        self._server: asyncio.Server | None = None
        self._listener: Listener

    async def start(self, source: Source, sock: socket.socket) -> None:
        """Nothing is accepted when it raises: see `Gateway.start`."""
        await self._gateway.start(source)
        self._listener = Listener(self._gateway.engine.handle, connection_limits(self._settings))
        self._server = await asyncio.get_running_loop().create_server(self._listener, sock=sock, backlog=1024)
        self._gateway.tasks.start(self._probe_loop(), "loop probe")

    def watch(self) -> None:
        """Starts to look at the policy files by itself."""
        work = self._gateway.reload_when_changed(self._settings.reload_interval_s)
        self._gateway.tasks.start(work, "policy watch")

    async def _probe_loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LOOP_PROBE_S
            await asyncio.sleep(_LOOP_PROBE_S)
            self._gateway.metrics.loop_delay.observe((), max(0.0, loop.time() - due))

    async def drain(self, delay_s: float, grace_s: float) -> None:
        """Not ready at once; accepts for `delay_s` more; lets calls end for `grace_s`; cuts the rest."""
        self._listener.drain()
        self._log.info("draining", delay_s=delay_s, grace_s=grace_s, open_calls=len(self._gateway.tasks))
        await asyncio.sleep(delay_s)
        assert self._server is not None
        self._server.close()
        self._listener.close_idle()
        cut = await self._gateway.tasks.drain(grace_s)
        await self._listener.shutdown(0.5)
        await self._gateway.close()
        self._log.info("stopped", cut=cut)

    # -- Fleet

    def alive(self) -> bool:
        return True

    def ready(self) -> bool:
        return self._server is not None and not self._listener.draining

    def snapshot(self) -> Snapshot:
        metrics = self._gateway.metrics
        self._gateway.note_state()
        metrics.open_calls.set((), len(self._gateway.tasks))
        metrics.connections.set((), len(self._listener.connections))
        return metrics.snapshot()

    async def snapshots(self) -> list[Snapshot]:
        return [self.snapshot()]

    async def policy(self) -> dict[str, object]:
        runtime = self._gateway.engine.runtime
        return {
            "version": runtime.policy.version,
            "loaded_at": runtime.loaded_at,
            "last_error": self._gateway.last_error or None,
        }

    @property
    def ledger(self) -> Ledger:
        return self._gateway.accounts.ledger

    async def traces(self, count: int) -> list[list[TraceSpan]]:
        return self._gateway.traces.last(count)

    async def trace(self, name: str) -> list[TraceSpan] | None:
        return self._gateway.traces.find(name)

    async def budgets(self) -> list[Row]:
        return await self._gateway.budgets()

    async def reload(self, source: Source | None = None, trigger: Trigger = "files") -> bool:
        return await self._gateway.reload(source, trigger)
