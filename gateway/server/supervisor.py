"""Several workers on one port: starts them, hands each the same policy bytes, adds up their metrics, restarts the dead.

The listening socket is one and shared, so a worker that dies takes no queued connection with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections.abc import Coroutine, Mapping
from typing import Any

from structlog.typing import FilteringBoundLogger

from gateway.assembly import opened_ledger, refuse_uncounted
from gateway.core.ports import Ledger, LedgerDown
from gateway.core.reports import Row
from gateway.core.trace import TraceSpan
from gateway.policy.load import PolicyError, PolicyErrors, Source, load, read_source, version_of
from gateway.policy.watch import Watcher
from gateway.server.control import Asker, Channel, Message, WorkerBug, snapshot_from_json, source_to_json
from gateway.server.traces import span_of
from gateway.settings import Settings
from gateway.sinks.audit import Audit, Trigger
from gateway.sinks.metrics import Metrics, Snapshot

_START_S = 30.0
_ANSWER_S = 10.0
_BUDGETS_S = 60.0
"""The ledger adds up a month."""
_RESTART_PAUSE_S = 1.0
_PULSE_S = 5.0
_STOP_MARGIN_S = 5.0


class WorkerFailed(Exception):
    """A worker did not start; the message is what it said."""


class Supervisor:
    """Implements `admin.Fleet` for several workers."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        sock: socket.socket,
        log: FilteringBoundLogger,
        audit: Audit,
    ) -> None:
        self._settings = settings
        self._environ = dict(environ)
        self._sock = sock
        self._log = log
        self._audit = audit
        self._source: Source = ()
        self._loaded_at = 0.0
        self._last_error = ""
        self._children: dict[int, Child] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reloading = asyncio.Lock()
        self._draining = False
        self._metrics = Metrics()
        self.ledger: Ledger

    async def start(self, source: Source) -> None:
        """PolicyErrors when the policy is broken, WorkerFailed when a worker does not come up, LedgerUnusable."""
        self._check(source)
        self._adopt(source)
        self._audit.policy_loaded("start", "", version_of(source))
        # Held for the workers, which write to it without the lock, and read for the admin listener.
        self.ledger = await opened_ledger(self._settings, f"supervisor-{os.getpid()}", lock=True)
        self._sock.listen(1024)
        children = await asyncio.gather(*(self._spawn() for _ in range(self._settings.workers)))
        for slot, child in enumerate(children):
            self._children[slot] = child
            self._start_task(self._keep(slot))
            self._start_task(self._pulse(slot))

    def watch(self) -> None:
        self._start_task(self._watch())

    async def drain(self, delay_s: float, grace_s: float) -> None:
        """Each worker drains by itself; what has not ended in time is killed."""
        self._draining = True
        self._sock.close()
        for task in list(self._tasks):
            task.cancel()
        message = {"do": "drain", "delay_s": delay_s, "grace_s": grace_s}
        try:
            async with asyncio.timeout(delay_s + grace_s + _STOP_MARGIN_S):
                await asyncio.gather(*(self._end(child, message) for child in self._children.values()))
        except TimeoutError:
            for child in self._children.values():
                child.kill()
        await self.ledger.close()
        self._log.info("stopped", workers=len(self._children), delay_s=delay_s)

    # -- Fleet

    def alive(self) -> bool:
        return True

    def ready(self) -> bool:
        return not self._draining and any(child.alive for child in self._children.values())

    async def snapshots(self) -> list[Snapshot]:
        answers = await asyncio.gather(
            *(self._ask(child, {"do": "snapshot"}, _ANSWER_S) for child in self._children.values())
        )
        found = [snapshot_from_json(answer["snapshot"]) for answer in answers if answer is not None]
        return [self._metrics.snapshot(), *found]

    async def policy(self) -> dict[str, object]:
        return {
            "version": version_of(self._source),
            "loaded_at": self._loaded_at,
            "last_error": self._last_error or None,
        }

    async def budgets(self) -> list[Row]:
        """As any one worker sees them: they share the store. LedgerDown."""
        for child in list(self._children.values()):
            answer = await self._ask(child, {"do": "budgets"}, _BUDGETS_S)
            rows: list[Row] | None = None if answer is None else answer["budgets"]
            if rows is not None:
                return rows
        raise LedgerDown("no worker can read the ledger now")

    async def traces(self, count: int) -> list[list[TraceSpan]]:
        """The last of all workers, by their ends."""
        found = [spans for answer in await self._all({"do": "traces", "count": count}) for spans in answer]
        return sorted(found, key=lambda spans: spans[0].end_ns)[-count:]

    async def trace(self, name: str) -> list[TraceSpan] | None:
        found = await self._all({"do": "trace", "name": name})
        return [span for answer in found for spans in answer for span in spans] or None

    async def _all(self, message: Message) -> list[list[list[TraceSpan]]]:
        answers = await asyncio.gather(*(self._ask(child, message, _ANSWER_S) for child in self._children.values()))
        return [
            [[span_of(row) for row in rows] for rows in answer["traces"]] for answer in answers if answer is not None
        ]

    def _check(self, source: Source) -> None:
        refuse_uncounted(load(source, self._settings.policies, self._environ), self._settings)

    async def reload(self, source: Source | None = None, trigger: Trigger = "files") -> bool:
        """Checked here first, then the same bytes go to every worker."""
        async with self._reloading:
            try:
                if source is None:
                    source = await asyncio.to_thread(read_source, self._settings.policies)
                await asyncio.to_thread(self._check, source)
            except (PolicyError, PolicyErrors, OSError) as error:
                self._audit.policy_refused(trigger, version_of(self._source), str(error))
                self._refused(str(error))
                return False
            message: Message = {"do": "reload", "files": source_to_json(source)}
            before = version_of(self._source)
            self._adopt(source)  # a worker that starts from now on starts with it
            self._audit.policy_loaded(trigger, before, version_of(source))
            await asyncio.gather(*(self._reload(child, message) for child in self._children.values()))
            return True

    # -- inside

    async def _end(self, child: Child, message: Message) -> None:
        await self._insist(child, message)
        await child.process.wait()

    async def _reload(self, child: Child, message: Message) -> None:
        """A worker that cannot load what was found sound here is replaced: all run the same version."""
        answer = await self._insist(child, message)
        if answer is not None and not answer["ok"]:
            self._log.error("worker_reload_failed", worker=child.process.pid)
            child.kill()

    async def _pulse(self, slot: int) -> None:
        """A worker whose event loop is stuck does not answer, and is replaced (OPS-05)."""
        while True:
            await asyncio.sleep(_PULSE_S)
            await self._insist(self._children[slot], {"do": "pulse"})

    def _adopt(self, source: Source) -> None:
        self._source = source
        self._loaded_at = time.time()
        self._last_error = ""

    def _refused(self, error: str) -> None:
        if error != self._last_error:
            self._log.error("policy_refused", problems=error[:4096], kept=version_of(self._source))
        self._last_error = error
        self._metrics.reloads.add(("refused",))

    async def _watch(self) -> None:
        watcher = Watcher(self._settings.policies)
        while True:
            await asyncio.sleep(self._settings.reload_interval_s)
            try:
                source = await asyncio.to_thread(watcher.changed)
            except (PolicyError, OSError) as error:
                if str(error) != self._last_error:  # a look that fails is repeated for ever
                    self._audit.policy_refused("files", version_of(self._source), str(error))
                self._refused(str(error))
                continue
            if source is not None:
                await self.reload(source)

    async def _ask(self, child: Child, message: Message, timeout_s: float) -> Message | None:
        """None when the worker is gone, or late: the pulse finds out whether it is stuck. WorkerBug."""
        if not child.alive:
            return None
        try:
            return await child.asker.ask(message, timeout_s)
        except (ConnectionError, TimeoutError):
            return None

    async def _insist(self, child: Child, message: Message) -> Message | None:
        """A worker that does not answer this is ended, and so replaced."""
        answer = None
        with contextlib.suppress(WorkerBug):
            answer = await self._ask(child, message, _ANSWER_S)
        if answer is None and child.alive:
            self._log.error("worker_silent", worker=child.process.pid)
            child.kill()
        return answer

    async def _spawn(self) -> Child:
        """WorkerFailed; nothing is left of it then."""
        child = await Child.spawn(self._sock, self._environ)
        try:
            await self._begin(child)
        except BaseException:
            child.kill()
            raise
        return child

    async def _begin(self, child: Child) -> None:
        try:
            answer = await child.asker.ask({"do": "start", "files": source_to_json(self._source)}, _START_S)
        except (ConnectionError, TimeoutError, WorkerBug) as error:
            raise WorkerFailed(f"a worker did not start: {type(error).__name__}") from error
        if not answer["ok"]:
            raise WorkerFailed(str(answer["error"]))

    async def _keep(self, slot: int) -> None:
        """Replaces the worker of a slot whenever it dies."""
        while True:
            process = self._children[slot].process
            self._log.error("worker_died", worker=process.pid, status=await process.wait())
            self._children[slot] = await self._replacement()

    async def _replacement(self) -> Child:
        while True:
            await asyncio.sleep(_RESTART_PAUSE_S)
            try:
                return await self._spawn()
            except (WorkerFailed, OSError) as error:
                self._log.error("worker_not_restarted", error=str(error)[:4096])

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Child:
    """One worker process and the channel to it."""

    def __init__(self, process: asyncio.subprocess.Process, asker: Asker) -> None:
        self.process = process
        self.asker = asker

    @classmethod
    async def spawn(cls, sock: socket.socket, environ: Mapping[str, str]) -> Child:
        ours, theirs = socket.socketpair()
        descriptors = (sock.fileno(), theirs.fileno())
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway.server.child",
            *(str(number) for number in descriptors),
            pass_fds=descriptors,
            env=dict(environ),
            stdin=asyncio.subprocess.DEVNULL,
        )
        theirs.close()
        return cls(process, Asker(await Channel.over(ours)))

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    def kill(self) -> None:
        if self.alive:
            self.process.kill()
