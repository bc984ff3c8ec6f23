"""The words of tracing: where a call stands in its caller's trace, and the spans that are made of its Record.

Ids are integers: 128 bits of a trace, 64 bits of a span; 0 is none. Times of spans are nanoseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Value = str | bool | int | float | Sequence[str]
Mode = Literal["continue", "link", "continue-plain"]
"""What becomes of a caller's trace context: joined; linked from a trace of our own; joined by spans that are no model
calls, as the caller's own instrumentation tells of these."""

INTERNAL, SERVER, CLIENT = 1, 2, 3
"""Span kinds, as OTLP numbers them."""


@dataclass(frozen=True, slots=True)
class TraceContext:
    """W3C Trace Context, as a caller sent it. `state` is its `tracestate`, already sound. `random`: the low 56
    bits of the trace id are said to be drawn at random."""

    trace_id: int
    span_id: int
    sampled: bool
    state: str = ""
    random: bool = False


@dataclass(slots=True)
class Trace:
    """Of one call, drawn at admission: its ids travel before anything is known of it. `parent` is joined, `link` not.
    `sampled`: the decision that a trusted caller made; None: ours to make, at the end."""

    trace_id: int
    span_id: int
    parent: TraceContext | None = None
    link: TraceContext | None = None
    plain: bool = False
    sampled: bool | None = None


@dataclass(slots=True)
class Step:
    """Something inside a call that took time: a guard, a reservation. `began` and `ended` are readings of the monotonic
    clock."""

    name: str
    began: float
    ended: float
    attributes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class SpanEvent:
    name: str
    at_ns: int
    attributes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class TraceSpan:
    """One finished span. `error` None: the status is unset; else ERROR with that description."""

    name: str
    kind: int
    trace_id: int
    span_id: int
    parent_id: int
    start_ns: int
    end_ns: int
    attributes: dict[str, Value]
    events: Sequence[SpanEvent] = ()
    links: Sequence[TraceContext] = ()
    error: str | None = None
    state: str = ""
