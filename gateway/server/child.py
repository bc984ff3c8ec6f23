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
from typing import Any

import uvloop

from gateway.assembly import Gateway
from gateway.core.clock import SystemClock
from gateway.core.ports import LedgerDown, LedgerUnusable
from gateway.core.trace import TraceSpan
from gateway.policy.load import PolicyError, PolicyErrors
from gateway.server.control import Channel, snapshot_to_json, source_from_json
from gateway.server.errors import render
from gateway.server.process import mask_key
from gateway.server.traces import Row, span_row
from gateway.server.worker import Worker, drain, settle_memory
from gateway.settings import Settings, read_settings
from gateway.sinks.log import Lines, StandardLog, make_log
from gateway.sinks.metrics import Metrics
from gateway.stores.redis import StoreUnusable

Stop = tuple[float, float]  # how long to go on accepting, how long to let calls end


async def _run(settings: Settings, lines: Lines, listen: socket.socket, control: socket.socket) -> None:
    log = make_log(settings.log_format, settings.log_level, lines=lines).bind(worker=os.getpid())
    logging.basicConfig(handlers=[StandardLog(log)], level=logging.WARNING, force=True)
    gateway = Gateway(settings, os.environ, log, SystemClock(), Metrics(), render, mask_key(settings), alone=False)
    worker = Worker(gateway, settings, log)
    stops: asyncio.Queue[Stop] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stops.put_nowait, (settings.drain_delay_s, settings.grace_s))
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # a terminal sends it to the whole group; the parent decides
    channel = await Channel.over(control)
    obeying = asyncio.create_task(_obey(channel, gateway, worker, listen, stops, settings.grace_s))
    delay_s, grace_s = await stops.get()
    await drain(worker, delay_s, grace_s, stops.get())
    obeying.cancel()
    await asyncio.gather(obeying, return_exceptions=True)


async def _obey(
    channel: Channel,
    gateway: Gateway,
    worker: Worker,
    listen: socket.socket,
    stops: asyncio.Queue[Stop],
    grace_s: float,
) -> None:
    """Answers the supervisor; stops when that is gone."""
    try:
        while (message := await channel.receive()) is not None:
            if message["do"] == "drain":
                stops.put_nowait((message["delay_s"], message["grace_s"]))
                await channel.send({"ok": True})
            else:
                await channel.send(await _answer(message, gateway, worker, listen))
    finally:
        stops.put_nowait((0.0, grace_s))


async def _answer(message: dict[str, Any], gateway: Gateway, worker: Worker, listen: socket.socket) -> dict[str, Any]:
    if message["do"] == "snapshot":
        return {"snapshot": snapshot_to_json(worker.snapshot())}
    if message["do"] == "traces":
        return {"traces": _rows(await worker.traces(message["count"]))}
    if message["do"] == "trace":
        found = await worker.trace(message["name"])
        return {"traces": _rows([found] if found else [])}
    if message["do"] == "budgets":
        return {"budgets": await _budgets(worker)}
    source = source_from_json(message["files"])
    if message["do"] == "reload":
        return {"ok": await worker.reload(source), "error": gateway.last_error}
    try:
        await worker.start(source, listen)
    except (PolicyError, PolicyErrors, LedgerUnusable, StoreUnusable) as problems:
        return {"ok": False, "error": str(problems)}
    settle_memory()
    return {"ok": True, "error": ""}


async def _budgets(worker: Worker) -> list[Row] | None:
    """None while the ledger cannot be read: what is asked here must not end the worker."""
    try:
        return await worker.budgets()
    except LedgerDown:
        return None


def _rows(traces: list[list[TraceSpan]]) -> list[list[Row]]:
    return [[span_row(span) for span in spans] for spans in traces]


def main() -> int:
    listen, control = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        lines = Lines(sys.stderr.buffer)
        with lines.gathered(runner.get_loop()):
            runner.run(_run(read_settings(os.environ), lines, listen, control))
    return 0


if __name__ == "__main__":
    sys.exit(main())
