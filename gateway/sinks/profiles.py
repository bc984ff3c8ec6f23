"""What single back ends read beside the GenAI conventions, each a profile that an operator switches on:

openinference    Phoenix and whoever reads OpenInference: llm.*, session.id
langfuse         buckets of tokens and dollars that share nothing, as its own list of names counts some tokens twice
mlflow           the cost as it was charged, in place of its own price list's; totals that it does not make itself

All of it describes the same attempt as the span's `gen_ai.*`; none of it adds a second call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

import orjson

from gateway.core.model import Attempt, Record
from gateway.core.money import NANO
from gateway.core.rates import MILLION, NEIGHBOURS
from gateway.core.trace import Value
from gateway.core.usage import BUCKETS, INPUT_BUCKETS, Usage
from gateway.sinks.genai import is_charged, is_last, model_of, session_of
from gateway.sinks.provider_facts import ProviderFacts

_DOLLAR: Final = MILLION * NANO  # in millionths of a nano-dollar

# Langfuse takes any name, and adds up those with "input" and those with "output" in them.
_LANGFUSE_BUCKETS: Final = dict(
    zip(
        BUCKETS,
        (
            "input",
            "input_cached_tokens",
            "input_cache_creation",
            "input_audio_tokens",
            "input_image_tokens",
            "output",
            "output_reasoning_tokens",
            "output_audio_tokens",
            "output_image_tokens",
        ),
        strict=True,
    )
)


def profiled(
    record: Record, attempt: Attempt, facts: ProviderFacts, operation: str, profiles: frozenset[str]
) -> dict[str, Value]:
    """The attributes of these profiles for a span of a model call. To fetch what is stored is none."""
    if not profiles or operation == "fetch_response":
        return {}
    found = session_attributes(record.asked)
    costs = bucket_costs(attempt)
    for name in profiles:
        found |= PROFILES[name](record, attempt, facts, operation, costs)
    return found


_CALL_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "openinference": ("input.value", "output.value"),
    "langfuse": ("langfuse.trace.input", "langfuse.trace.output"),
    "mlflow": ("mlflow.spanInputs", "mlflow.spanOutputs"),
}


def profiled_call(record: Record, profiles: frozenset[str]) -> dict[str, Value]:
    """The attributes of these profiles for the span of the call: lists of traces and of sessions show what the first
    span of a trace says."""
    found: dict[str, Value] = {"openinference.span.kind": "CHAIN"} if "openinference" in profiles else {}
    content = record.content
    if content is None:
        return found
    for name in profiles:
        asked, answered = _CALL_TEXTS[name]
        found |= {key: text for key, text in ((asked, content.asked), (answered, content.answered)) if text}
    return found | _mime_types(found)


def _mime_types(found: Mapping[str, Value]) -> dict[str, Value]:
    """OpenInference's, beside its values."""
    return {f"{side}.mime_type": "application/json" for side in ("input", "output") if f"{side}.value" in found}


def bucket_costs(attempt: Attempt) -> dict[str, int]:
    """By bucket, in millionths of a nano-dollar, so that sums are exact. Empty where they are not known apart: without
    a price, and with a flat charge."""
    rates, usage = attempt.rates, attempt.usage
    if rates is None or attempt.cost_nano is None:
        return {}
    per_million = rates.at(usage.input_tokens)
    costs = {}
    for bucket, tokens in zip(BUCKETS, usage.counts(), strict=True):
        if tokens:
            rate = per_million.get(bucket, per_million.get(NEIGHBOURS.get(bucket, ""), 0))
            costs[bucket] = tokens * rate
    return costs


def session_attributes(asked: Mapping[str, Value]) -> dict[str, Value]:
    """The names that all but the conventions have for a conversation."""
    session = session_of(asked)
    return {"session.id": session} if session else {}


def _said(record: Record, attempt: Attempt, asked: str, answered: str) -> dict[str, Value]:
    """As a chat, under a reader's own names."""
    content = record.content
    if content is None:
        return {}
    told = ((asked, content.asked), (answered, content.answered if is_last(record, attempt) else ""))
    return {name: text for name, text in told if text}


def _openinference(
    record: Record, attempt: Attempt, facts: ProviderFacts, operation: str, costs: Mapping[str, int]
) -> dict[str, Value]:
    model, usage = model_of(attempt), attempt.usage
    found: dict[str, Value]
    if operation == "embeddings":
        found = {"openinference.span.kind": "EMBEDDING", "embedding.model_name": model}
    else:
        found = {
            "openinference.span.kind": "LLM",
            "llm.system": facts.name,
            "llm.provider": facts.name,
            "llm.model_name": model,
        }
    if usage.total_tokens:
        found["llm.token_count.prompt"] = usage.input_tokens
        found["llm.token_count.completion"] = usage.output_tokens
        found["llm.token_count.total"] = usage.total_tokens
        details = (
            ("llm.token_count.prompt_details.cache_read", usage.cached_input),
            ("llm.token_count.prompt_details.cache_write", usage.cache_write),
            ("llm.token_count.completion_details.reasoning", usage.reasoning),
        )
        found |= {name: count for name, count in details if count}
    if is_charged(attempt) and attempt.cost_nano is not None:
        if costs:
            found["llm.cost.prompt"], found["llm.cost.completion"] = _halves(costs)
        found["llm.cost.total"] = attempt.cost_nano / NANO
    said = _said(record, attempt, "input.value", "output.value")
    return found | said | _mime_types(said) if said else found


def _langfuse(
    record: Record, attempt: Attempt, _: ProviderFacts, __: str, costs: Mapping[str, int]
) -> dict[str, Value]:
    found = _said(record, attempt, "langfuse.observation.input", "langfuse.observation.output")
    if attempt.usage.total_tokens:
        counts = zip(BUCKETS, attempt.usage.counts(), strict=True)
        found["langfuse.observation.usage_details"] = _json(
            {_LANGFUSE_BUCKETS[bucket]: count for bucket, count in counts if count}
        )
    if is_charged(attempt) and attempt.cost_nano is not None:
        dollars = {_LANGFUSE_BUCKETS[bucket]: cost / _DOLLAR for bucket, cost in costs.items()}
        found["langfuse.observation.cost_details"] = _json(dollars | {"total": attempt.cost_nano / NANO})
    if record.stream and attempt.first_chunk_s is not None:
        at = record.started_at + attempt.started - record.started + attempt.first_chunk_s
        found["langfuse.observation.completion_start_time"] = datetime.fromtimestamp(at, UTC).isoformat()
    return found


def _mlflow(
    record: Record, attempt: Attempt, _: ProviderFacts, operation: str, costs: Mapping[str, int]
) -> dict[str, Value]:
    found = _said(record, attempt, "mlflow.spanInputs", "mlflow.spanOutputs")
    if is_charged(attempt) and attempt.cost_nano is not None:
        told = {"total_cost": attempt.cost_nano / NANO}
        if costs:
            told["input_cost"], told["output_cost"] = _halves(costs)
        found["mlflow.llm.cost"] = _json(told)
    if operation == "embeddings" and attempt.usage.total_tokens:
        found["mlflow.chat.tokenUsage"] = _json(_both_sides(attempt.usage))
    return found


def _both_sides(usage: Usage) -> dict[str, int]:
    """MLflow makes no total of one side, and the conventions have no output of embeddings."""
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }


_Profile = Callable[[Record, Attempt, ProviderFacts, str, Mapping[str, int]], dict[str, Value]]
PROFILES: Final[Mapping[str, _Profile]] = {"openinference": _openinference, "langfuse": _langfuse, "mlflow": _mlflow}


def _halves(costs: Mapping[str, int]) -> tuple[float, float]:
    """Dollars of input and of output."""
    asked = sum(cost for bucket, cost in costs.items() if bucket in INPUT_BUCKETS)
    return asked / _DOLLAR, (sum(costs.values()) - asked) / _DOLLAR


def _json(value: Mapping[str, float]) -> str:
    return orjson.dumps(value).decode()
