"""What tracing adds to a call: part of `make bench`. CPU of this process; the collector is not in it.

A chat call of 4 spans (the call, its reservation, a guard, the attempt) with the attributes of all profiles. Kept: ids
are drawn, what was asked is noted, spans are made, and encoded and packed in batches. Not kept: decided at the end.
"""

from __future__ import annotations

import gzip
import random
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import orjson

from bench.subjects import HERE, ROOT
from gateway.core.model import Attempt, Record
from gateway.core.rules import Verdict
from gateway.core.trace import Step, TraceSpan
from gateway.core.usage import Reported, disjoint
from gateway.engine.tracing import span_id, trace_of
from gateway.sinks.otlp_encode import Steps, encode_spans, spans_in_steps
from gateway.sinks.profiles import PROFILES
from gateway.sinks.provider_facts import ProviderFacts
from gateway.sinks.sampling import Keep, Sampler
from gateway.sinks.spans import spans_of
from gateway.wire.asked import asked

RESOURCE = {"service.name": "llm-gateway", "service.version": "0.1.0", "service.instance.id": "bench-1"}
SCOPE = ("llm-gateway", "0.1.0")
BATCH = 512
CALLS = 1024
_ROUNDS = 25
_SDK = ROOT / ".venv-backends" / "bin" / "python"
_PROFILES = frozenset(PROFILES)
_PROVIDERS = {"openai": ProviderFacts("openai", "api.openai.com", 443)}
_DOCUMENT = {
    "model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}], "temperature": 0.2, "max_tokens": 256,
    "top_p": 0.9, "user": "user-17",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figures:
    """Microseconds of CPU a call, but `held_us`: the longest that a batch holds the event loop at once. `sdk_us`: what
    OpenTelemetry's SDK and encoder take for the same spans; None where they are not installed."""

    kept_us: float
    making_us: float
    encoding_us: float
    packing_us: float
    skipped_us: float
    held_us: float
    sdk_us: float | None
    spans: int
    attributes: int


def measure() -> Figures:
    draw = random.Random(17)
    records = [_record(number, draw) for number in range(CALLS)]
    traces = [_spans(record) for record in records]
    spans = [span for one in traces for span in one]
    batches = [spans[at : at + BATCH] for at in range(0, len(spans), BATCH)]
    bodies = [encode_spans(RESOURCE, SCOPE, batch) for batch in batches]
    sampler = Sampler(0.0, Keep())
    drawing = _cpu_us(lambda: [_drawn(draw) for _ in records])
    asking = _cpu_us(lambda: [asked("chat", _DOCUMENT) for _ in records])
    making = _cpu_us(lambda: [_spans(record) for record in records])
    encoding = _cpu_us(lambda: [encode_spans(RESOURCE, SCOPE, batch) for batch in batches])
    packing = _cpu_us(lambda: [gzip.compress(body, 1, mtime=0) for body in bodies])
    deciding = _cpu_us(lambda: [sampler.decide(record) for record in records])
    return Figures(
        kept_us=drawing + asking + making + encoding + packing,
        making_us=making,
        encoding_us=encoding,
        packing_us=packing,
        skipped_us=drawing + deciding,
        held_us=_longest_us(lambda: spans_in_steps(RESOURCE, SCOPE, batches[0])),
        sdk_us=_sdk_us(traces[0]),
        spans=len(traces[0]),
        attributes=sum(len(span.attributes) for span in traces[0]),
    )


def _sdk_us(spans: Sequence[TraceSpan]) -> float | None:
    if not _SDK.exists():
        return None
    call = [{"name": span.name, "kind": span.kind, "attributes": span.attributes} for span in spans]
    done = subprocess.run(  # a fixed command, no shell
        [_SDK, HERE / "sdk.py"], input=orjson.dumps(call), stdout=subprocess.PIPE, check=True, timeout=60
    )
    return float(done.stdout)


def _drawn(draw: random.Random) -> int:
    trace_of([], "link", False, draw)
    return span_id(draw)


def _spans(record: Record) -> Sequence[TraceSpan]:
    return spans_of(record, profiles=_PROFILES, thin=False, providers=_PROVIDERS)


def _record(number: int, draw: random.Random) -> Record:
    """A call that was answered; most of its values are its own."""
    reported = Reported(
        input_tokens=300 + number, output_tokens=100 + number % 97, cached_tokens=128, model="gpt-4o-mini-2024"
    )
    usage, flags = disjoint(reported, 1 << 20, None)
    attempt = Attempt(
        f"req_{number:024x}.1", 1, "openai", "gpt-4o-mini", 1.76e9, 0.002, sent=True, status=200, complete=True,
        reported=reported, state="settled", usage=usage, cost_nano=210_000 + number, flags=flags, duration_s=0.8,
        span_id=span_id(draw), first_chunk_s=0.21, response_id=f"chatcmpl-{number:032x}", finish_reasons=("stop",),
    )  # fmt: skip
    return Record(
        f"req_{number:024x}", 1.76e9 + number / 7, 0.0, "POST", "/v1/chat/completions", "chat", "app", "team",
        "gpt-4o-mini", "openai", "gpt-4o-mini", "0123abcd", stream=True, status=200, outcome="ok",
        verdicts=[Verdict("pii", "input", True, "mask", {"EMAIL_ADDRESS": 1}, began=0.001, looked=True)],
        attempts=[attempt], trace=trace_of([], "link", False, draw),
        steps=[
            Step("reserve", 0.0, 0.001, {"gw.budget.reserved_usd_nano": 400_000 + number}),
            Step("guard pii", 0.001, 0.0014, {"gw.guardrail.direction": "input"}),
        ],
        asked=asked("chat", _DOCUMENT), request_bytes=1400, response_bytes=3000 + number, first_byte_s=0.22,
        upstream_s=0.8, duration_s=0.81,
    )  # fmt: skip


def _cpu_us(work: Callable[[], object]) -> float:
    """Of a call; the least of some rounds: what else runs on the machine only ever adds."""
    times = []
    for _ in range(_ROUNDS):
        began = time.thread_time_ns()
        work()
        times.append(time.thread_time_ns() - began)
    return min(times) / 1000 / CALLS


def _longest_us(steps: Callable[[], Steps]) -> float:
    found = []
    for _ in range(_ROUNDS):
        marks = [time.thread_time_ns()]
        marks += (time.thread_time_ns() for _ in steps())
        marks.append(time.thread_time_ns())
        found.append(max(after - before for before, after in pairwise(marks)))
    return min(found) / 1000
