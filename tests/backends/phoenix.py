"""Phoenix, asked over its GraphQL API."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.backends.shown import ShownSpan, ShownTrace

_TRACES = """{ projects { edges { node { spans(first: 1000) { edges { node {
  spanId parentId name spanKind statusCode attributes
  tokenCountPrompt tokenCountCompletion tokenPromptDetails { cacheRead }
  costSummary { total { cost } } input { value } output { value }
  trace { traceId userId session { sessionId } costSummary { total { cost } } rootSpan { cumulativeTokenCountTotal } }
} } } } } } }"""


class Phoenix:
    profile = "openinference"
    chat_kinds = frozenset({"llm"})
    makes_own_price = True
    adds_embeddings = False
    adds_calls_inside_calls = True

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def environment(self) -> dict[str, str]:
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_METRICS_EXPORTER": "none"}

    def traces(self) -> list[ShownTrace]:
        answer = httpx.post(f"{self.url}/graphql", json={"query": _TRACES}).raise_for_status().json()
        assert "errors" not in answer, answer["errors"]
        found: dict[str, list[dict[str, Any]]] = {}
        for project in _nodes(answer["data"]["projects"]):
            for span in _nodes(project["spans"]):
                found.setdefault(span["trace"]["traceId"], []).append(span)
        return [_trace(trace_id, spans) for trace_id, spans in found.items()]


def _nodes(connection: dict[str, Any]) -> list[dict[str, Any]]:
    return [edge["node"] for edge in connection["edges"]]


def _trace(trace_id: str, spans: list[dict[str, Any]]) -> ShownTrace:
    trace = spans[0]["trace"]
    return ShownTrace(
        trace_id=trace_id,
        spans=tuple(map(_span, spans)),
        tokens=int((trace["rootSpan"] or {}).get("cumulativeTokenCountTotal") or 0),
        usd=trace["costSummary"]["total"]["cost"] or 0.0,
        session=trace["session"] and trace["session"]["sessionId"],
        user=trace["userId"],
    )


def _span(row: dict[str, Any]) -> ShownSpan:
    attributes = json.loads(row["attributes"])
    told = attributes.get("llm", {}).get("model_name") or attributes.get("embedding", {}).get("model_name")
    return ShownSpan(
        span_id=row["spanId"],
        parent_id=row["parentId"] or "",
        name=row["name"],
        kind=row["spanKind"],
        failed=row["statusCode"] == "ERROR",
        model=told,
        input_tokens=row["tokenCountPrompt"],
        output_tokens=row["tokenCountCompletion"],
        cached_tokens=row["tokenPromptDetails"]["cacheRead"],
        usd=row["costSummary"] and row["costSummary"]["total"]["cost"],
        input=row["input"] and row["input"]["value"],
        output=row["output"] and row["output"]["value"],
        attributes=attributes,
    )
