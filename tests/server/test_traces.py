"""The admin listener's routes about spans, and spans as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import orjson
import pytest

from gateway.core.trace import CLIENT, INTERNAL, SERVER, SpanEvent, TraceContext, TraceSpan
from gateway.server.traces import routes, span_of, span_row
from tests.server import listener
from tests.server.listener import TOKEN

SPAN = TraceSpan(
    "chat gpt-5", CLIENT, 0xABC, 0x2, 0x1, 1_790_000_000_000_000_001, 1_790_000_000_123_456_789,
    {"gen_ai.request.model": "gpt-5", "gen_ai.usage.input_tokens": 10, "t": 0.25, "s": True, "r": ["stop", "length"]},
    [SpanEvent("guard pii", 1_790_000_000_000_000_002, {"gw.ms": 1.5})],
    [TraceContext(0xD, 0xE, sampled=True, state="vendor=1", random=True)],
    "429", "vendor=1",
)  # fmt: skip


class Kept:
    """The last calls' spans, by the id of the call."""

    def __init__(self) -> None:
        self.calls: dict[str, list[TraceSpan]] = {}

    def last(self, count: int) -> list[list[TraceSpan]]:
        return list(self.calls.values())[-count:]

    def find(self, name: str) -> list[TraceSpan] | None:
        return self.calls.get(name) or next(
            (spans for spans in self.calls.values() if f"{spans[0].trace_id:032x}" == name), None
        )


async def asked(ring: Kept, target: str, method: str = "GET", token: str = TOKEN) -> tuple[int, Any]:
    async def last(count: int) -> list[list[TraceSpan]]:
        return ring.last(count)

    async def one(name: str) -> list[TraceSpan] | None:
        return ring.find(name)

    exchange = await listener.asked(routes(last, one), target, method, token)
    return exchange.status, json.loads(exchange.body)


@pytest.fixture
def ring() -> Kept:
    ring = Kept()
    for number in range(1, 5):
        ring.calls[f"req_{number}"] = [replace(SPAN, trace_id=number)]
    return ring


def traces(document: Any) -> list[list[int]]:
    return [[int(span["trace_id"], 16) for span in spans] for spans in document["traces"]]


@pytest.mark.parametrize(
    ("query", "found"), [("", [[4]]), ("?last=2", [[3], [4]]), ("?last=1000", [[1], [2], [3], [4]])]
)
async def test_the_last_calls_are_given(ring: Kept, query: str, found: list[list[int]]) -> None:
    status, document = await asked(ring, f"/traces{query}")
    assert (status, traces(document)) == (200, found)


async def test_none_is_an_empty_list() -> None:
    assert await asked(Kept(), "/traces?last=5") == (200, {"traces": []})


@pytest.mark.parametrize(
    "query", ["last=0", "last=1001", "last=-1", "last=", "last=x", "last=²", "last=" + "9" * 5000, "first=1"]
)
async def test_a_query_that_is_not_understood_is_refused(ring: Kept, query: str) -> None:
    status, document = await asked(ring, f"/traces?{query}")
    assert (status, document["error"]["code"]) == (400, "invalid_value")


@pytest.mark.parametrize("name", ["req_2", f"{2:032x}", "req%5F2"])
async def test_one_is_found_by_call_and_by_trace(ring: Kept, name: str) -> None:
    status, document = await asked(ring, f"/traces/{name}")
    assert (status, traces(document)) == (200, [[2]])


@pytest.mark.parametrize("name", ["req_9", "", "a/b", "%FF"])
async def test_what_is_not_there_is_not_found(ring: Kept, name: str) -> None:
    assert (await asked(ring, f"/traces/{name}"))[0] == 404


@pytest.mark.parametrize("target", ["/traces", "/traces/req_1", "/traces/req_9"])
async def test_nothing_is_told_without_the_token(ring: Kept, target: str) -> None:
    assert (await asked(ring, target, token="wrong-canary-0123456789"))[0] == 401


async def test_nothing_can_be_changed(ring: Kept) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert (await asked(ring, "/traces/req_1", method))[0] == 404


@pytest.mark.parametrize("kind", [INTERNAL, SERVER, CLIENT])
def test_a_span_survives_json(kind: int) -> None:
    span = replace(SPAN, kind=kind)
    assert span_of(orjson.loads(orjson.dumps(span_row(span)))) == span
    bare = TraceSpan("POST", kind, 1, 2, 0, 3, 4, {})
    assert span_of(orjson.loads(orjson.dumps(span_row(bare)))) == replace(bare, events=[], links=[])


def test_ids_are_written_as_everybody_writes_them() -> None:
    row = span_row(replace(SPAN, parent_id=0))
    assert (row["trace_id"], row["span_id"], row["parent_id"], row["kind"]) == (
        "00000000000000000000000000000abc", "0000000000000002", "", "CLIENT",
    )  # fmt: skip


def test_what_callers_chose_can_always_be_written() -> None:
    """HTTP-15: half a surrogate pair, and numbers beyond 64 bits."""
    odd = replace(
        SPAN, name="chat \ud800", error="\udfff", attributes={"seed": 10**30, "small": -(2**63), "stop": ("\ud83d",)}
    )
    row = orjson.loads(orjson.dumps(span_row(odd)))
    assert (row["name"], row["error"]) == ("chat ?", "?")
    assert row["attributes"] == {"seed": str(10**30), "small": -(2**63), "stop": ["?"]}
