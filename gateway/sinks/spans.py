"""Record -> the spans of one call, with the times at which things were. Pure.

SERVER     POST /v1/chat/completions    the call as its caller sees it; who asked, what came of it; no usage
 INTERNAL  reserve, guard NAME          the steps inside of it; events of the SERVER span in thin traces
 CLIENT    chat MODEL                   one for each request that was sent to a provider, with its usage and its cost

`gw.*` is our own namespace. `gw.cost.usd_nano` of the SERVER span is the sum of its attempts', so that one look at it
tells what a call cost; add up one kind of span, not both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.core.model import Attempt, Record
from gateway.core.rules import Verdict
from gateway.core.trace import CLIENT, INTERNAL, SpanEvent, Step, Trace, TraceSpan, Value
from gateway.sinks.call_span import call_span, route_of, state_of
from gateway.sinks.genai import error_of, inference_attributes, operation_of, plain_attributes
from gateway.sinks.profiles import profiled
from gateway.sinks.provider_facts import ProviderFacts
from gateway.wire.asked import plain

_NS: Final = 10**9
_IDS: Final = 1 << 64
_ID_STEP: Final = 0x9E3779B97F4A7C15  # odd, so that multiples do not meet
_GUARD: Final = "guard "
_UNKNOWN_PROVIDER: Final = ProviderFacts()


def spans_of(
    record: Record, *, profiles: frozenset[str], thin: bool, providers: Mapping[str, ProviderFacts]
) -> list[TraceSpan]:
    """The SERVER span first. `providers`: by the name of their row. Empty without a trace."""
    trace = record.trace
    if trace is None:
        return []
    server = call_span(record, trace, profiles)
    spans, events = [server], []
    untold = [verdict for verdict in record.verdicts if verdict.is_told]
    for number, step in enumerate(record.steps, 1):
        attributes = _step_attributes(step, untold)
        if "openinference" in profiles and not trace.plain:
            attributes.setdefault("openinference.span.kind", "CHAIN")
        if thin:
            events.append(SpanEvent(step.name, _ns(record, step.ended), attributes | {"gw.ms": _ms(step)}))
        else:
            spans.append(_internal(record, trace, step, number, attributes))
    server.events = events + [_untimed(verdict, server.end_ns) for verdict in untold]
    for attempt in record.attempts:
        if attempt.sent or attempt.failed:  # what was refused before has asked nobody
            facts = providers.get(attempt.provider, _UNKNOWN_PROVIDER)
            spans.append(_client(record, trace, attempt, facts, profiles))
    return spans


# -- INTERNAL


def _internal(record: Record, trace: Trace, step: Step, number: int, attributes: dict[str, Value]) -> TraceSpan:
    error = attributes.get("error.type")
    return TraceSpan(
        name=step.name,
        kind=INTERNAL,
        trace_id=trace.trace_id,
        span_id=_child_id(trace, number),
        parent_id=trace.span_id,
        start_ns=_ns(record, step.began),
        end_ns=_ns(record, step.ended),
        attributes=attributes,
        error=str(error) if error is not None else None,
        state=state_of(trace),
    )


def _step_attributes(step: Step, untold: list[Verdict]) -> dict[str, Value]:
    """What the engine said of it, and of a guard what it came to, which is told once. The engine says which direction,
    where a guard looks in both."""
    found = dict(step.attributes)
    for verdict in untold:
        direction = found.get("gw.guardrail.direction", verdict.direction)
        if step.name == _GUARD + verdict.guard and direction == verdict.direction:
            untold.remove(verdict)
            return found | _verdict_attributes(verdict)
    return found


def _verdict_attributes(verdict: Verdict) -> dict[str, Value]:
    found: dict[str, Value] = {
        "openinference.span.kind": "GUARDRAIL",
        "gw.guardrail.name": verdict.guard,
        "gw.guardrail.direction": verdict.direction,
        "gw.guardrail.verdict": verdict.outcome,
        "gw.guardrail.mode": "enforce" if verdict.enforced else "monitor",
    }
    if verdict.kinds:
        found["gw.guardrail.kinds"] = [plain(f"{kind}={count}") for kind, count in verdict.kinds.items()]
    if verdict.outcome == "not_run":
        found["error.type"] = plain(verdict.reason) or "_OTHER"
    return found


def _untimed(verdict: Verdict, at_ns: int) -> SpanEvent:
    """One that no step tells of: nobody noted when it was made."""
    took = {"gw.ms": round(verdict.duration_s * 1000, 3)}
    return SpanEvent(_GUARD + verdict.guard, at_ns, _verdict_attributes(verdict) | took)


# -- CLIENT


def _client(
    record: Record, trace: Trace, attempt: Attempt, facts: ProviderFacts, profiles: frozenset[str]
) -> TraceSpan:
    operation = operation_of(record)
    start_ns = _ns(record, attempt.started)
    if operation and not trace.plain:
        attributes = inference_attributes(record, attempt, facts, operation)
        attributes |= profiled(record, attempt, facts, operation, profiles)
    else:
        attributes = plain_attributes(record, attempt, facts)
    return TraceSpan(
        name=_client_name(record, attempt, operation),
        kind=CLIENT,
        trace_id=trace.trace_id,
        span_id=attempt.span_id or _child_id(trace, -attempt.number),
        parent_id=trace.span_id,
        start_ns=start_ns,
        end_ns=start_ns + int(attempt.duration_s * _NS),
        attributes=attributes,
        error=error_of(record, attempt) or None,
        state=state_of(trace),
    )


def _client_name(record: Record, attempt: Attempt, operation: str) -> str:
    """By what is asked for; by the HTTP request where that is nothing that the conventions know."""
    if not operation:
        return f"{record.method} {route_of(record)}"
    return f"{operation} {plain(attempt.target)}" if attempt.target else operation


# -- what they share


def _ns(record: Record, reading: float) -> int:
    """A reading of the monotonic clock -> nanoseconds since 1970."""
    return int(record.started_at * _NS) + int((reading - record.started) * _NS)


def _ms(step: Step) -> float:
    return round((step.ended - step.began) * 1000, 3)


def _child_id(trace: Trace, number: int) -> int:
    """An id for a span that nobody had to know before, as random as the one that it is made from. Steps count up from
    1, attempts down from -1."""
    return (trace.span_id + number * _ID_STEP) % _IDS or 1
