"""The trace of a call, drawn at admission from what the caller sent and what policy makes of it."""

from __future__ import annotations

from random import Random

from gateway.core.model import Headers
from gateway.core.trace import Mode, Trace
from gateway.wire.tracecontext import parse, traceparent


def trace_of(headers: Headers, mode: Mode, trusted: bool, random: Random) -> Trace:
    """A caller's context that is not sound is none. Who is not trusted decides nothing: its ids only join or link, and
    its sampled flag is not heard."""
    context = parse(headers)
    if context is None:
        return Trace(trace_id(random), span_id(random))
    sampled = context.sampled if trusted else None
    if mode == "link":
        return Trace(trace_id(random), span_id(random), link=context, sampled=sampled)
    plain = mode == "continue-plain"
    return Trace(context.trace_id, span_id(random), parent=context, plain=plain, sampled=sampled)


def trace_id(random: Random) -> int:
    return random.getrandbits(128) or 1  # 0 is none


def span_id(random: Random) -> int:
    return random.getrandbits(64) or 1


def outbound(trace: Trace, attempt_span_id: int) -> bytes:
    """The `traceparent` for a provider that policy lets join. Nothing else of the caller's context leaves the house.
    What is decided at the end is sampled until then, or the provider's part of it would be missing."""
    sampled = trace.sampled is not False
    drawn_at_random = trace.parent is None or trace.parent.random
    return traceparent(trace.trace_id, attempt_span_id, sampled, drawn_at_random)
