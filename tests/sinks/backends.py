"""How back ends read a span, as small pure functions: the mapping rules of ../shared/reference/tracing.md A7."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.core.trace import TraceSpan

MODEL_OPERATIONS = {"chat", "text_completion", "generate_content", "embeddings"}


@dataclass(frozen=True)
class Seen:
    """`is_call`: it is shown as a call of a model. `usd` None: the back end makes its own price."""

    is_call: bool
    model: str | None
    input_tokens: int
    output_tokens: int
    usd: float | None
    session: str | None
    user: str | None

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


View = Callable[[TraceSpan], Seen]

# What Langfuse makes of a name below gen_ai.usage. and llm.token_count.: a bucket inside of which total.
_LANGFUSE_PARTS = {
    "cache_read.input_tokens": "input",
    "prompt_details.cache_read": "input",
    "cache_creation.input_tokens": "input",
    "prompt_details.cache_write": "input",
    "reasoning.output_tokens": "output",
    "completion_details.reasoning": "output",
}
_LANGFUSE_TOTALS = {
    "input_tokens": "input",
    "prompt": "input",
    "output_tokens": "output",
    "completion": "output",
    "total": "total",
    "cost": "",  # read as the cost
}


def langfuse(span: TraceSpan) -> Seen:
    read = span.attributes
    kind = read.get("langfuse.observation.type") or read.get("openinference.span.kind")
    usage = _langfuse_usage(read)
    costs = json.loads(read.get("langfuse.observation.cost_details", "{}"))
    return Seen(
        is_call=kind in {"LLM", "EMBEDDING"}
        or (kind is None and read.get("gen_ai.operation.name") in MODEL_OPERATIONS),
        model=_first(read, "gen_ai.response.model", "gen_ai.request.model", "llm.model_name"),
        input_tokens=sum(count for name, count in usage.items() if "input" in name),
        output_tokens=sum(count for name, count in usage.items() if "output" in name),
        usd=costs.get("total") or _first(read, "gen_ai.usage.cost", "llm.cost.total"),
        session=_first(read, "langfuse.session.id", "session.id", "gen_ai.conversation.id"),
        user=_first(read, "langfuse.user.id", "user.id"),
    )


def _langfuse_usage(read) -> dict[str, int]:
    """Explicit buckets hold; else every name counts, and what it does not know is a bucket more."""
    if "langfuse.observation.usage_details" in read:
        return json.loads(read["langfuse.observation.usage_details"])
    totals, parts = {"input": 0, "output": 0}, {}
    for attribute, value in read.items():
        for prefix in ("gen_ai.usage.", "llm.token_count."):
            name = attribute.removeprefix(prefix)
            if name == attribute:
                continue
            if name in _LANGFUSE_TOTALS:
                if _LANGFUSE_TOTALS[name] in totals:
                    totals[_LANGFUSE_TOTALS[name]] = value
            else:
                kind = name.split(".")[0] if "details" not in name else name.split(".")[1]
                parts[f"{_LANGFUSE_PARTS.get(name, 'input unknown')} {kind}"] = value
    for name, value in parts.items():
        if "unknown" not in name:
            totals[name.split()[0]] -= value
    return totals | parts


def phoenix(span: TraceSpan) -> Seen:
    """OpenInference wins where both are; no cost is read."""
    read = span.attributes
    kind = read.get("openinference.span.kind")
    if kind is None and read.get("gen_ai.operation.name") in MODEL_OPERATIONS:
        kind = "LLM"
    return Seen(
        is_call=kind in {"LLM", "EMBEDDING"},
        model=_first(read, "llm.model_name", "embedding.model_name", "gen_ai.response.model", "gen_ai.request.model"),
        input_tokens=_first(read, "llm.token_count.prompt", "gen_ai.usage.input_tokens") or 0,
        output_tokens=_first(read, "llm.token_count.completion", "gen_ai.usage.output_tokens") or 0,
        usd=None,
        session=_first(read, "session.id", "gen_ai.conversation.id"),
        user=_first(read, "user.id"),
    )


def mlflow(span: TraceSpan) -> Seen:
    read = span.attributes
    cost = json.loads(read.get("mlflow.llm.cost", "{}"))
    return Seen(
        is_call=read.get("gen_ai.operation.name") in MODEL_OPERATIONS or read.get("openinference.span.kind") == "LLM",
        model=_first(read, "gen_ai.response.model", "gen_ai.request.model"),
        input_tokens=read.get("gen_ai.usage.input_tokens", 0),
        output_tokens=read.get("gen_ai.usage.output_tokens", 0),
        usd=cost.get("total_cost"),
        session=_first(read, "session.id"),
        user=_first(read, "user.id"),
    )


def signoz(span: TraceSpan) -> Seen:
    """Any span that names a model asked for is a call; sessions and users are not read."""
    read = span.attributes
    return Seen(
        is_call="gen_ai.request.model" in read,
        model=read.get("gen_ai.request.model"),
        input_tokens=read.get("gen_ai.usage.input_tokens", 0),
        output_tokens=read.get("gen_ai.usage.output_tokens", 0),
        usd=None,
        session=None,
        user=None,
    )


def openlit(span: TraceSpan) -> Seen:
    read = span.attributes
    return Seen(
        is_call=read.get("gen_ai.operation.name") in MODEL_OPERATIONS,
        model=read.get("gen_ai.request.model"),
        input_tokens=read.get("gen_ai.usage.input_tokens", 0),
        output_tokens=read.get("gen_ai.usage.output_tokens", 0),
        usd=read.get("gen_ai.usage.cost"),
        session=None,
        user=None,
    )


VIEWS: dict[str, View] = {
    "langfuse": langfuse,
    "phoenix": phoenix,
    "mlflow": mlflow,
    "signoz": signoz,
    "openlit": openlit,
}


def totals(view: View, spans: Sequence[TraceSpan], trace_id: int) -> tuple[int, int, float]:
    """Calls, tokens and dollars of a trace, as a back end adds them up: over all its spans."""
    seen = [view(span) for span in spans if span.trace_id == trace_id]
    return (
        sum(one.is_call for one in seen),
        sum(one.tokens for one in seen),
        sum(one.usd or 0.0 for one in seen),
    )


def _first(read, *names):
    return next((read[name] for name in names if name in read), None)
