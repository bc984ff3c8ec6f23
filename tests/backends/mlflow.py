"""MLflow, asked over its REST API."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx

from tests.backends.shown import ShownSpan, ShownTrace

_API = "/api/3.0/mlflow/traces"


class MLflow:
    profile = "mlflow"
    chat_kinds = frozenset({"CHAT_MODEL", "LLM"})
    makes_own_price = False
    adds_embeddings = True
    adds_calls_inside_calls = False

    def __init__(self, url: str) -> None:
        self.url = url
        made = httpx.post(f"{url}/api/2.0/mlflow/experiments/create", json={"name": "gateway"}).raise_for_status()
        self._experiment = made.json()["experiment_id"]

    @property
    def environment(self) -> dict[str, str]:
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-mlflow-experiment-id={self._experiment}",
            "OTEL_METRICS_EXPORTER": "none",
        }

    def traces(self) -> list[ShownTrace]:
        place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": self._experiment}}
        asked = {"locations": [place], "max_results": 500}
        answer = httpx.post(f"{self.url}{_API}/search", json=asked).raise_for_status().json()
        return [self._trace(trace["trace_id"]) for trace in answer.get("traces", [])]

    def _trace(self, trace_id: str) -> ShownTrace:
        asked = {"trace_id": trace_id, "allow_partial": "true"}
        trace = httpx.get(f"{self.url}{_API}/get", params=asked).raise_for_status().json()["trace"]
        info = trace["trace_info"]
        metadata = info.get("trace_metadata", {})
        return ShownTrace(
            trace_id=trace_id.removeprefix("tr-"),
            spans=tuple(map(_span, trace["spans"])),
            tokens=json.loads(metadata.get("mlflow.trace.tokenUsage", "{}")).get("total_tokens", 0),
            usd=json.loads(metadata.get("mlflow.trace.cost", "{}")).get("total_cost", 0.0),
            session=metadata.get("mlflow.trace.session"),
            user=metadata.get("mlflow.trace.user"),
        )


def _span(row: dict[str, Any]) -> ShownSpan:
    attributes = {pair["key"]: _plain(pair["value"]) for pair in row["attributes"]}
    usage = attributes.get("mlflow.chat.tokenUsage", {})
    return ShownSpan(
        span_id=base64.b64decode(row["span_id"]).hex(),
        parent_id=base64.b64decode(row.get("parent_span_id", "")).hex(),
        name=row["name"],
        kind=str(attributes.get("mlflow.spanType")),
        failed=row.get("status", {}).get("code") == "STATUS_CODE_ERROR",
        model=attributes.get("mlflow.llm.model"),
        input_tokens=usage.get("input_tokens"),
        output_tokens=usage.get("output_tokens"),
        cached_tokens=usage.get("cache_read_input_tokens"),
        usd=attributes.get("mlflow.llm.cost", {}).get("total_cost"),
        input=_text(attributes.get("mlflow.spanInputs")),
        output=_text(attributes.get("mlflow.spanOutputs")),
        attributes=attributes,
    )


def _plain(value: dict[str, Any]) -> Any:
    """OTLP's AnyValue as Python has it."""
    ((kind, content),) = value.items() or (("", None),)
    if kind == "array_value":
        return [_plain(entry) for entry in content.get("values", [])]
    if kind == "kvlist_value":
        return {pair["key"]: _plain(pair["value"]) for pair in content.get("values", [])}
    return content


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)
