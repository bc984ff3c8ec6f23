"""Hands spans and metrics to a collector, beside the calls: a bounded queue in, batches out, never in the way (OPS-18).

`put` is all that a call pays for. Encoding pauses between steps and compression runs in a thread, so the loop is not
held; a collector that is slow, broken or gone costs spans, which are counted, and nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from gateway.core.trace import TraceSpan, Value
from gateway.sinks.otlp_delivery import Delivery, Post, Retry
from gateway.sinks.otlp_encode import Series, Steps, metrics_in_steps, spans_in_steps
from gateway.sinks.otlp_fields import Scope
from gateway.sinks.otlp_settings import OtlpSettings

Collect = Callable[[], Sequence[Series]]
"""The metrics as they stand now."""


# Prompts and answers, where policy has them in spans: collectors refuse requests that are too large.
MAX_CONTENT_SENT = 4 << 20  # characters in one batch
MAX_CONTENT_WAITING = 64 << 20
_CANCEL_S = 1.0  # a transport that holds on to a cancelled request is not waited for any longer


@dataclass(frozen=True, slots=True)
class ExportStats:
    """Spans since the start. `dropped` by reason: queue_full, stopped, and those of Outcome. `waiting`: queued or being
    sent. `failing`: signals whose collector does not take them now."""

    exported: int
    dropped: Mapping[str, int]
    waiting: int
    capacity: int
    failing: tuple[str, ...]


class Exporter:
    """Belongs to one event loop, which calls `put` and runs `run`; made in the process that uses it, after any fork."""

    def __init__(
        self,
        settings: OtlpSettings,
        resource: Mapping[str, Value],
        scope: Scope,
        post: Post,
        collect: Collect,
        log: FilteringBoundLogger,
        retry: Retry | None = None,
    ) -> None:
        self._settings = settings
        self._resource = resource
        self._scope = scope
        self._collect = collect
        self._start_ns = time.time_ns()
        self._queue: deque[TraceSpan] = deque()
        self._sending = 0
        self._content = 0  # characters that wait, those being sent included
        self._exported = 0
        self._dropped: Counter[str] = Counter()
        self._full_batch = asyncio.Event()
        self._stopping = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        shared = (post, log, self._stopping, retry or Retry())
        self._traces = Delivery("traces", settings.traces, *shared) if settings.traces else None
        self._metrics = Delivery("metrics", settings.metrics, *shared) if settings.metrics else None

    def put(self, spans: Sequence[TraceSpan]) -> None:
        """The spans of one call. All or none are taken, as half a trace misleads. Never waits, never raises."""
        if self._traces is None:
            return
        if self._stopping.is_set():
            self._dropped["stopped"] += len(spans)
            return
        content = sum(map(_content_of, spans))
        is_full = self._sending + len(self._queue) + len(spans) > self._settings.queue_size
        if is_full or self._content + content > MAX_CONTENT_WAITING:
            self._dropped["queue_full"] += len(spans)
            return
        self._queue.extend(spans)
        self._content += content
        if len(self._queue) >= self._settings.batch_size or self._content > MAX_CONTENT_SENT:
            self._full_batch.set()

    @property
    def stats(self) -> ExportStats:
        signals = {"traces": self._traces, "metrics": self._metrics}
        return ExportStats(
            exported=self._exported,
            dropped=dict(self._dropped),
            waiting=self._sending + len(self._queue),
            capacity=self._settings.queue_size,
            failing=tuple(name for name, delivery in signals.items() if delivery and delivery.failing),
        )

    async def run(self) -> None:
        """Until `stop`. The signals do not wait for each other."""
        self._running = asyncio.current_task()
        await asyncio.gather(self._export_traces(), self._export_metrics())

    async def stop(self, timeout_s: float) -> None:
        """Sends what is queued, trying each batch once, and the metrics as they stand. What is left after `timeout_s`
        is dropped."""
        self._stopping.set()
        self._full_batch.set()
        if self._running is not None:
            await asyncio.wait({self._running}, timeout=timeout_s)
            self._running.cancel()
            await asyncio.wait({self._running}, timeout=_CANCEL_S)
        self._dropped["stopped"] += self._sending + len(self._queue)
        self._sending = 0
        self._queue.clear()

    async def _export_traces(self) -> None:
        if self._traces is None:
            return
        last = False
        while not last:
            await _set_within(self._full_batch, self._settings.delay_s)
            last = self._stopping.is_set()
            self._full_batch.clear()
            while self._queue:
                await self._send(self._traces)

    async def _send(self, traces: Delivery) -> None:
        """One batch. It counts as waiting until it is gone, so that the bound holds while the collector hangs."""
        batch, content = self._batch()
        size = self._sending = len(batch)
        outcome = await traces.deliver(spans_in_steps(self._resource, self._scope, batch))
        self._sending = 0
        self._content -= content
        if outcome:
            self._dropped[outcome] += size
        else:
            self._exported += size

    def _batch(self) -> tuple[list[TraceSpan], int]:
        """At least one span, and how much content is in them."""
        batch = [self._queue.popleft()]
        content = _content_of(batch[0])
        while self._queue and len(batch) < self._settings.batch_size:
            more = _content_of(self._queue[0])
            if content + more > MAX_CONTENT_SENT:
                break
            batch.append(self._queue.popleft())
            content += more
        return batch, content

    async def _export_metrics(self) -> None:
        if self._metrics is None:
            return
        last = False
        while not last:
            await _set_within(self._stopping, self._settings.metric_interval_s)
            last = self._stopping.is_set()  # asked before sending: a stop meanwhile is owed one more
            await self._metrics.deliver(self._metrics_message())

    def _metrics_message(self) -> Steps:
        now_ns = time.time_ns()
        return (yield from metrics_in_steps(self._resource, self._scope, self._collect(), self._start_ns, now_ns))


def _content_of(span: TraceSpan) -> int:
    """In characters; 0 for nearly all spans."""
    attributes = span.attributes
    if "gen_ai.input.messages" not in attributes and "gen_ai.output.messages" not in attributes:
        return 0
    return sum(len(value) for value in attributes.values() if isinstance(value, str))


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
