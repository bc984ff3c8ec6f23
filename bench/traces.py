"""CPU time of encoding the trace of a request for OTLP: 4 spans, 61 attributes, most of them different each time.

    python -m bench.traces [traces, 2000]

The bound of issue 5: 90 us for a request in all, of which at most 45 are for this.
"""

from __future__ import annotations

import gzip
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from gateway.core.trace import CLIENT, INTERNAL, SERVER, TraceSpan, Value
from gateway.sinks.otlp_encode import Series, Steps, encode_metrics, encode_spans, metrics_in_steps, spans_in_steps

RESOURCE = {"service.name": "llm-gateway", "service.version": "0.1.0", "service.instance.id": "bench-1"}
SCOPE = ("llm-gateway", "0.1.0")
BATCH = 512
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


def _attempt(number: int) -> dict[str, Value]:
    texts: dict[str, Value] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.id": f"chatcmpl-{number:032x}",
        "gen_ai.conversation.id": f"conversation-{number}",
        "gen_ai.output.type": "text",
        "server.address": "api.openai.com",
        "openinference.span.kind": "LLM",
        "llm.model_name": "gpt-4o-mini-2024-07-18",
        "llm.provider": "openai",
        "langfuse.observation.usage_details": f'{{"input":{number},"output":{number % 977},"input_cached_tokens":0}}',
        "gw.usage.source": "provider",
        "gw.cost.status": "known",
        "user.id": f"user-{number}",
    }
    usage = ("input_tokens", "output_tokens", "cache_read.input_tokens", "cache_write.input_tokens", "total_tokens")
    counts: dict[str, Value] = {f"gen_ai.usage.{name}": number + at for at, name in enumerate(usage)}
    rates: dict[str, Value] = {
        "gen_ai.response.time_to_first_chunk": number / 977,
        "gen_ai.usage.cost": number / 1e6,
        "gen_ai.request.temperature": 0.7,
        "gen_ai.request.top_p": 0.95,
        "gen_ai.request.max_tokens": 1024,
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ["stop"],
        "gw.attempt.number": 1,
        "server.port": 443,
        "gw.cost.usd_nano": number * 1_000,
    }
    return texts | counts | rates


def trace(number: int) -> list[TraceSpan]:
    """SERVER over reserve, guard and the attempt."""
    server: dict[str, Value] = {f"gw.fact.{at}": f"value {number} {at}" for at in range(16)}
    server |= {"http.response.status_code": 200, "gw.overhead.ms": number / 1000, "gw.stream": True}
    guard: dict[str, Value] = {f"gw.guard.{at}": f"{number}" for at in range(7)}
    reserve: dict[str, Value] = {f"gw.budget.{at}": number * at for at in range(5)}
    rows = [
        ("POST /v1/chat/completions", SERVER, server),
        ("reserve", INTERNAL, reserve),
        ("guard pii", INTERNAL, guard),
        ("chat gpt-4o-mini", CLIENT, _attempt(number)),
    ]
    begin, trace_id, root = 1_760_000_000_000_000_000 + number, (number + 1) << 64 | 1, number * 8 + 1
    return [
        TraceSpan(name, kind, trace_id, root + at, root if at else 0, begin, begin + 10**9, attributes)
        for at, (name, kind, attributes) in enumerate(rows)
    ]


def cpu_us(work: Callable[[], object]) -> float:
    """The least of fifteen: what else runs on the machine only ever adds."""
    times = []
    for _ in range(15):
        begin = time.process_time_ns()
        work()
        times.append(time.process_time_ns() - begin)
    return min(times) / 1000


def families(points: int) -> Sequence[Series]:
    sets: list[Mapping[str, Value]] = [{"endpoint": "chat", "provider": f"p{at}"} for at in range(points)]
    counted = ([at % 3 for at in range(len(SECONDS) + 1)], 1.5, 17)
    return [
        Series("gateway.calls", "{call}", "Calls.", "counter", (), [(one, 7.0) for one in sets]),
        Series("gateway.call.duration", "s", "Time.", "histogram", SECONDS, [(one, counted) for one in sets]),
    ]


def longest_us(steps: Callable[[], Steps]) -> float:
    """The longest that a message holds the loop at once; the least of fifteen."""
    found = []
    for _ in range(15):
        marks = [time.perf_counter_ns()]
        marks += (time.perf_counter_ns() for _ in steps())
        marks.append(time.perf_counter_ns())
        found.append(max(after - before for before, after in pairwise(marks)))
    return min(found) / 1000


def main(count: int = 2_000) -> None:
    traces = [trace(number) for number in range(count)]
    spans = [span for one in traces for span in one]
    attributes = sum(len(span.attributes) for span in traces[0])
    alone = cpu_us(lambda: [encode_spans(RESOURCE, SCOPE, one) for one in traces]) / count
    batches = [spans[at : at + BATCH] for at in range(0, len(spans), BATCH)]
    bodies = [encode_spans(RESOURCE, SCOPE, batch) for batch in batches]
    batched = cpu_us(lambda: [encode_spans(RESOURCE, SCOPE, batch) for batch in batches]) / count
    packed = cpu_us(lambda: [gzip.compress(body, 1, mtime=0) for body in bodies]) / count
    size = sum(map(len, bodies)) / count
    print(f"a trace of {len(traces[0])} spans, {attributes} attributes, {size:.0f} bytes")
    print(f"encoded alone: {alone:.1f} us; in batches of {BATCH} spans: {batched:.1f} us; gzip beside: {packed:.1f} us")
    rows = families(1_000)
    metrics = cpu_us(lambda: encode_metrics(RESOURCE, SCOPE, rows, 1, 2)) / 2_000
    print(f"metrics: {metrics:.1f} us a point, half of them histograms")
    held = longest_us(lambda: spans_in_steps(RESOURCE, SCOPE, batches[0]))
    held_metrics = longest_us(lambda: metrics_in_steps(RESOURCE, SCOPE, rows, 1, 2))
    print(f"the loop is held for at most {held:.0f} us by a batch, {held_metrics:.0f} us by metrics")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
