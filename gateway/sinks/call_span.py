"""Record -> the SERVER span of its call: who asked, what came of it. No usage, which back ends would add up twice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway.core.model import Attempt, Record
from gateway.core.trace import SERVER, Trace, TraceSpan, Value
from gateway.sinks.genai import CALLER_LEFT, cost_status, is_charged
from gateway.sinks.profiles import profiled_call, session_attributes
from gateway.wire.asked import plain
from gateway.wire.dialects import route

_NS: Final = 10**9
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})


def state_of(trace: Trace) -> str:
    """`tracestate`, as it is in the trace that was joined."""
    return trace.parent.state if trace.parent is not None else ""


def call_span(record: Record, trace: Trace, profiles: frozenset[str]) -> TraceSpan:
    method = record.method if record.method in _METHODS else "_OTHER"
    template = route_of(record)
    start_ns = int(record.started_at * _NS)
    attributes = _http(record, method, template)
    error = _server_error(record)
    if error:
        attributes["error.type"] = error
    attributes |= _facts(record)
    if not trace.plain:
        attributes |= profiled_call(record, profiles)
    verb = "HTTP" if method == "_OTHER" else method
    return TraceSpan(
        name=f"{verb} {template}" if template else verb,
        kind=SERVER,
        trace_id=trace.trace_id,
        span_id=trace.span_id,
        parent_id=trace.parent.span_id if trace.parent is not None else 0,
        start_ns=start_ns,
        end_ns=start_ns + int(record.duration_s * _NS),
        attributes=attributes,
        links=(trace.link,) if trace.link is not None else (),
        error=error or None,
        state=state_of(trace),
    )


def route_of(record: Record) -> str:
    """`http.route`: the path's template, so that ids make no names; "" for a path that is not served."""
    path = record.path
    known = route(path)
    if known is None:
        return "/v1/{path}" if record.endpoint == "passthrough" else ""
    if known.name == "models" and path != "/v1/models":
        return "/v1/models/{model}"
    if known.name != "responses.object":
        return path
    _, _, tail = path.removeprefix("/v1/responses/").partition("/")
    return "/v1/responses/{response_id}" + (f"/{tail}" if tail else "")


def _http(record: Record, method: str, template: str) -> dict[str, Value]:
    """The gateway does not serve TLS itself, hence the scheme."""
    found: dict[str, Value] = {
        "http.request.method": method,
        "url.path": plain(record.path),
        "url.scheme": "http",
        "gw.request.id": record.call_id,
        "gw.outcome": record.outcome,
    }
    if template:
        found["http.route"] = template
    if record.status:
        found["http.response.status_code"] = record.status
    return found


def _server_error(record: Record) -> str:
    """`error.type`: of a 5xx, and of an answer that broke after its head. A refusal is no error of the server."""
    if record.status < 500 and record.outcome not in {"failed", "cut"}:
        return ""
    return record.error or (str(record.status) if record.status >= 500 else "_OTHER")


def _facts(record: Record) -> dict[str, Value]:
    found: dict[str, Value] = {"gw.overhead.ms": round(max(0.0, record.duration_s - record.upstream_s) * 1000, 3)}
    told = (
        ("gw.caller", plain(record.caller)),
        ("gw.team", plain(record.team)),
        ("gw.endpoint", record.endpoint),
        ("gw.policy.version", record.policy_version),
        ("gw.error", record.error),
    )
    found |= {name: text for name, text in told if text}
    if record.model:
        found["gw.model.alias"] = plain(record.model)
    if record.outcome in CALLER_LEFT:
        found["gw.stream.client_disconnected"] = True
    if record.balances:
        found["gw.budget.ids"] = list(dict.fromkeys([limit.name for limit, _ in record.balances]))
    if record.warnings:
        found["gw.budget.warnings"] = [f"{name}={percent}%" for name, percent in record.warnings]
    if record.asked:  # some back ends look for these on the first span only
        if "user.id" in record.asked:
            found["user.id"] = record.asked["user.id"]
        found |= session_attributes(record.asked)
    found |= _cost(record.attempts)
    return found


def _cost(attempts: Iterable[Attempt]) -> dict[str, Value]:
    """What is known; where the status is unknown, some of it is missing."""
    charged = [attempt for attempt in attempts if is_charged(attempt)]
    if not charged:
        return {}
    return {
        "gw.cost.usd_nano": sum(attempt.cost_nano or 0 for attempt in charged),
        "gw.cost.status": cost_status(charged),
    }
