"""A worker process of a supervisor: `python -m gateway.server.child LISTEN_FD CONTROL_FD`.

It is a fresh interpreter and not a fork, so it shares no client, thread or event loop with its parent.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import closing

import uvloop
from structlog.typing import FilteringBoundLogger

from gateway.assembly import Gateway
from gateway.core.clock import SystemClock
from gateway.core.ports import LedgerDown, LedgerUnusable
from gateway.core.trace import TraceSpan
from gateway.policy.load import PolicyError, PolicyErrors
from gateway.server.control import Channel, Message, answering, snapshot_to_json, source_from_json
from gateway.server.errors import render
from gateway.server.process import audit_log, mask_key, opened_audit
from gateway.server.traces import Row, span_row
from gateway.server.worker import Worker, drain, settle_memory
from gateway.settings import Settings, read_settings
from gateway.sinks.log import Lines, StandardLog, make_log
from gateway.sinks.metrics import Metrics
from gateway.sinks.repeats import Repeats
from gateway.stores.redis import StoreUnusable

Stop = tuple[float, float]  # how long to go on accepting, how long to let calls end


async def _run(
    settings: Settings, lines: Lines, repeats: Repeats, listen: socket.socket, control: socket.socket
) -> None:
    log = make_log(settings.log_format, settings.log_level, lines=lines, repeats=repeats).bind(worker=os.getpid())
    audit = opened_audit(settings, audit_log(settings, lines).bind(worker=os.getpid()), repeats)
    logging.basicConfig(handlers=[StandardLog(log)], level=logging.WARNING, force=True)
    key = mask_key(settings)
    gateway = Gateway(settings, os.environ, log, SystemClock(), Metrics(), render, key, audit, alone=False)
    worker = Worker(gateway, settings, log)
    stops: asyncio.Queue[Stop] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stops.put_nowait, (settings.drain_delay_s, settings.grace_s))
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # a terminal sends it to the whole group; the parent decides
    channel = await Channel.over(control)
    obeying = asyncio.create_task(
        _obey(channel, _Answers(gateway, worker, listen, stops), log, stops, settings.grace_s)
    )
    delay_s, grace_s = await stops.get()
    await drain(worker, delay_s, grace_s, stops.get())
    obeying.cancel()
    await asyncio.gather(obeying, return_exceptions=True)


async def _obey(
    channel: Channel, answers: _Answers, log: FilteringBoundLogger, stops: asyncio.Queue[Stop], grace_s: float
) -> None:
    """Answers the supervisor; stops when that is gone."""
    try:
        await answering(channel, answers.to, log)
    finally:
        stops.put_nowait((0.0, grace_s))


class _Answers:
    """What a worker answers its supervisor."""

    def __init__(self, gateway: Gateway, worker: Worker, listen: socket.socket, stops: asyncio.Queue[Stop]) -> None:
        self._gateway = gateway
        self._worker = worker
        self._listen = listen
        self._stops = stops

    async def to(self, message: Message) -> Message:
        answers = {
            "start": self._start,
            "pulse": self._pulse,
            "snapshot": self._snapshot,
            "traces": self._traces,
            "trace": self._trace,
            "budgets": self._budgets,
            "reload": self._reload,
            "drain": self._drain,
        }
        return await answers[message["do"]](message)

    async def _start(self, message: Message) -> Message:
        try:
            await self._worker.start(source_from_json(message["files"]), self._listen)
        except (PolicyError, PolicyErrors, LedgerUnusable, StoreUnusable) as problems:
            return {"ok": False, "error": str(problems)}
        settle_memory()
        return {"ok": True}

    async def _pulse(self, _: Message) -> Message:
        return {}

    async def _snapshot(self, _: Message) -> Message:
        return {"snapshot": snapshot_to_json(self._worker.snapshot())}

    async def _traces(self, message: Message) -> Message:
        return {"traces": _rows(await self._worker.traces(message["count"]))}

    async def _trace(self, message: Message) -> Message:
        found = await self._worker.trace(message["name"])
        return {"traces": _rows([found] if found else [])}

    async def _budgets(self, _: Message) -> Message:
        try:
            return {"budgets": await self._worker.budgets()}
        except LedgerDown:
            return {"budgets": None}

    async def _reload(self, message: Message) -> Message:
        return {"ok": await self._worker.reload(source_from_json(message["files"]))}

    async def _drain(self, message: Message) -> Message:
        self._stops.put_nowait((message["delay_s"], message["grace_s"]))
        return {}


def _rows(traces: list[list[TraceSpan]]) -> list[list[Row]]:
    return [[span_row(span) for span in spans] for spans in traces]


def main() -> int:
    listen, control = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        lines, repeats = Lines(sys.stderr.buffer), Repeats()
        with lines.gathered(runner.get_loop()), closing(repeats):
            runner.run(_run(read_settings(os.environ), lines, repeats, listen, control))
    return 0


if __name__ == "__main__":
    sys.exit(main())
