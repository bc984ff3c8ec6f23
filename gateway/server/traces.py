"""The admin listener's routes about the calls that ended last, and spans as JSON. Reads only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson

from gateway.core.errors import Refusal
from gateway.core.trace import CLIENT, INTERNAL, SERVER, SpanEvent, TraceContext, TraceSpan, Value
from gateway.engine.statements import parameters
from gateway.server.admin import JSON, Answer, Asked, Routes

Row = dict[str, Any]
Traces = Callable[[int], Awaitable[list[list[TraceSpan]]]]
One = Callable[[str], Awaitable[list[TraceSpan] | None]]

MAX_LAST = 1000
_KINDS = {INTERNAL: "INTERNAL", SERVER: "SERVER", CLIENT: "CLIENT"}
_NUMBERS = {name: number for number, name in _KINDS.items()}
_INT64 = 1 << 63


def routes(traces: Traces, one: One) -> Routes:
    """GET /traces?last=N (none: 1), GET /traces/{id of a call or a trace}: {"traces": [[span, ...], ...]}, the oldest
    call first."""

    async def last(asked: Asked) -> Answer:
        return _json(await traces(_last(asked.query)))

    async def by_id(asked: Asked) -> Answer:
        found = await one(asked.name)
        if found is None:
            raise Refusal("unknown_path", "Of the last calls, none has this id, and none is of a trace with it.")
        return _json([found])

    return {("GET", "/traces"): (False, last), ("GET", "/traces/*"): (False, by_id)}


def _last(query: str) -> int:
    wanted = dict(parameters(query))
    text = wanted.pop("last", "1")
    if wanted or not text.isdecimal() or not text.isascii() or not 1 <= int(text[:9]) <= MAX_LAST:
        raise Refusal("invalid_value", f"The one parameter is last, a number from 1 to {MAX_LAST}.", param="last")
    return int(text)


def _json(traces: Sequence[Sequence[TraceSpan]]) -> Answer:
    return 200, JSON, orjson.dumps({"traces": [[span_row(span) for span in spans] for spans in traces]})


# -- TraceSpan <-> JSON: ids in hexadecimal, "" for none; times in nanoseconds since 1970


def span_row(span: TraceSpan) -> Row:
    """What any JSON writer takes."""
    return {
        "name": _plain(span.name),
        "kind": _KINDS[span.kind],
        "trace_id": f"{span.trace_id:032x}",
        "span_id": f"{span.span_id:016x}",
        "parent_id": f"{span.parent_id:016x}" if span.parent_id else "",
        "start_ns": span.start_ns,
        "end_ns": span.end_ns,
        "error": None if span.error is None else _plain(span.error),
        "attributes": _attributes(span.attributes),
        "events": [
            {"name": _plain(event.name), "at_ns": event.at_ns, "attributes": _attributes(event.attributes)}
            for event in span.events
        ],
        "links": [_link(link) for link in span.links],
        "state": span.state,
    }


def span_of(row: Mapping[str, Any]) -> TraceSpan:
    return TraceSpan(
        name=row["name"],
        kind=_NUMBERS[row["kind"]],
        trace_id=int(row["trace_id"], 16),
        span_id=int(row["span_id"], 16),
        parent_id=int(row["parent_id"] or "0", 16),
        start_ns=row["start_ns"],
        end_ns=row["end_ns"],
        attributes=row["attributes"],
        events=[SpanEvent(event["name"], event["at_ns"], event["attributes"]) for event in row["events"]],
        links=[_context(link) for link in row["links"]],
        error=row["error"],
        state=row["state"],
    )


def _link(link: TraceContext) -> Row:
    return {
        "trace_id": f"{link.trace_id:032x}",
        "span_id": f"{link.span_id:016x}",
        "sampled": link.sampled,
        "state": link.state,
        "random": link.random,
    }


def _context(row: Mapping[str, Any]) -> TraceContext:
    ids = int(row["trace_id"], 16), int(row["span_id"], 16)
    return TraceContext(*ids, row["sampled"], row["state"], row["random"])


def _attributes(attributes: Mapping[str, Value]) -> Row:
    return {name: _value(value) for name, value in attributes.items()}


def _value(value: Value) -> object:
    if isinstance(value, str):
        return _plain(value)
    if isinstance(value, int):
        return value if -_INT64 <= value < _INT64 else str(value)
    return value if isinstance(value, float) else [_plain(text) for text in value]


def _plain(text: str) -> str:
    """Callers may send half a surrogate pair, which is no text outside of Python."""
    return text.encode(errors="replace").decode()
