"""Spans and metrics as OTLP's protobuf messages, written directly: opentelemetry-proto 1.x, trace and metrics v1.

The `*_in_steps` generators pause now and then, so that a large batch can be encoded on the event loop.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct, pack
from typing import Literal

from gateway.core.trace import SERVER, SpanEvent, TraceContext, TraceSpan, Value
from gateway.sinks.otlp_fields import Scope, add_attributes, field, request, text_field

Buckets = tuple[Sequence[int | float], float, int]
"""Of a histogram: counts of the buckets, the overflow last (one more than there are bounds); sum; count."""

SPANS_A_STEP = 100  # about 1 ms
POINTS_A_STEP = 250  # the same
_CUMULATIVE = 2


@dataclass(frozen=True, slots=True)
class Series:
    """One metric and its points, summed up since the process began. `unit` is UCUM ("s", "{token}"); `bounds` are those
    of a histogram, inclusive upper ends. A point is its attributes with a value, or with the Buckets of a histogram."""

    name: str
    unit: str
    help: str
    kind: Literal["counter", "gauge", "histogram"]
    bounds: Sequence[float]
    points: Sequence[tuple[Mapping[str, Value], int | float | Buckets]]


_TIMES = Struct("<cBcQcQ")
_FIXED = Struct("<cQ")
_FLAGS = Struct("<cI")
_IDS = Struct(">2sQQ2sQ")
_PARENT = Struct(">2sQ")
_LOW = (1 << 64) - 1
# Flags of spans: what is encoded was sampled; whether the parent is in another process.
_SAMPLED, _KNOWN, _REMOTE = 0x001, 0x100, 0x200
_LOCAL_PARENT = b"\x85" + _FLAGS.pack(b"\x01", _SAMPLED | _KNOWN)
_REMOTE_PARENT = b"\x85" + _FLAGS.pack(b"\x01", _SAMPLED | _KNOWN | _REMOTE)


@lru_cache(maxsize=2048)
def _name(name: str) -> bytes:
    return text_field(b"\x2a", name)


def _event(event: SpanEvent) -> bytes:
    out = [_FIXED.pack(b"\x09", event.at_ns), text_field(b"\x12", event.name)]
    add_attributes(out, b"\x1a", event.attributes)
    return b"".join(out)


def _ids(of: TraceSpan | TraceContext) -> bytes:
    return _IDS.pack(b"\x0a\x10", of.trace_id >> 64, of.trace_id & _LOW, b"\x12\x08", of.span_id)


def _link(link: TraceContext) -> bytes:
    """Links lead to contexts that callers sent."""
    return _ids(link) + text_field(b"\x1a", link.state) + _FLAGS.pack(b"\x35", link.sampled | _KNOWN | _REMOTE)


def _span(span: TraceSpan) -> bytes:
    """The parent of a SERVER span is its caller's, so remote."""
    parent = span.parent_id
    out = [
        _ids(span),
        _PARENT.pack(b"\x22\x08", parent) if parent else b"",
        _name(span.name),
        _TIMES.pack(b"\x30", span.kind, b"\x39", span.start_ns, b"\x41", span.end_ns),
        _REMOTE_PARENT if parent and span.kind == SERVER else _LOCAL_PARENT,
    ]
    add_attributes(out, b"\x4a", span.attributes)
    if span.events:
        out += [field(b"\x5a", _event(event)) for event in span.events]
    if span.links:
        out += [field(b"\x6a", _link(link)) for link in span.links]
    if span.state:
        out.append(text_field(b"\x1a", span.state))
    if span.error is not None:
        out.append(field(b"\x7a", text_field(b"\x12", span.error) + b"\x18\x02"))
    return b"".join(out)


Steps = Generator[None, None, bytes]
"""Yields where one may pause, returns the message."""


def spans_in_steps(resource: Mapping[str, Value], scope: Scope, spans: Sequence[TraceSpan]) -> Steps:
    """ExportTraceServiceRequest."""
    items: list[bytes] = []
    for start in range(0, len(spans), SPANS_A_STEP):
        items += map(_span, spans[start : start + SPANS_A_STEP])
        yield
    return request(resource, scope, items)


def _point(series: Series, attributes: Mapping[str, Value], value: int | float | Buckets, times: bytes) -> bytes:
    out = [times]
    if isinstance(value, tuple):
        counts, total, count = value
        out.append(pack("<cQcd", b"\x21", int(count), b"\x29", total))
        out.append(field(b"\x32", pack(f"<{len(counts)}Q", *map(int, counts))))
        out.append(field(b"\x3a", pack(f"<{len(series.bounds)}d", *series.bounds)))
        add_attributes(out, b"\x4a", attributes)
    else:
        out.append(pack("<cq", b"\x31", value) if isinstance(value, int) else pack("<cd", b"\x21", value))
        add_attributes(out, b"\x3a", attributes)
    return b"".join(out)


# The field of Metric that holds the points, and what stands beside them: temporality, for sums whether they only grow.
_KINDS = {
    "counter": (b"\x3a", b"\x10%c\x18\x01" % _CUMULATIVE),
    "gauge": (b"\x2a", b""),
    "histogram": (b"\x4a", b"\x10%c" % _CUMULATIVE),
}


def _metric(series: Series, points: list[bytes]) -> bytes:
    named = text_field(b"\x0a", series.name) + text_field(b"\x12", series.help) + text_field(b"\x1a", series.unit)
    tag, beside = _KINDS[series.kind]
    return named + field(tag, b"".join(points) + beside)


def metrics_in_steps(
    resource: Mapping[str, Value], scope: Scope, families: Sequence[Series], start_ns: int, now_ns: int
) -> Steps:
    """ExportMetricsServiceRequest. A metric without points is left out."""
    items: list[bytes] = []
    for series in families:
        times = b"" if series.kind == "gauge" else _FIXED.pack(b"\x11", start_ns)
        times += _FIXED.pack(b"\x19", now_ns)
        points: list[bytes] = []
        for start in range(0, len(series.points), POINTS_A_STEP):
            step = series.points[start : start + POINTS_A_STEP]
            points += [field(b"\x0a", _point(series, attributes, value, times)) for attributes, value in step]
            yield
        if points:
            items.append(_metric(series, points))
    return request(resource, scope, items)


def advanced(steps: Steps) -> bytes | None:
    """One step further: the message once it is whole, None before."""
    try:
        next(steps)
    except StopIteration as end:
        message: bytes = end.value
        return message
    return None


def _at_once(steps: Steps) -> bytes:
    while (message := advanced(steps)) is None:
        pass
    return message


def encode_spans(resource: Mapping[str, Value], scope: Scope, spans: Sequence[TraceSpan]) -> bytes:
    return _at_once(spans_in_steps(resource, scope, spans))


def encode_metrics(
    resource: Mapping[str, Value], scope: Scope, families: Sequence[Series], start_ns: int, now_ns: int
) -> bytes:
    return _at_once(metrics_in_steps(resource, scope, families, start_ns, now_ns))
