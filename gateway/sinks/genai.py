"""Attempt -> attributes of its CLIENT span, by the OpenTelemetry GenAI conventions (semantic-conventions-genai, main of
2026-08), with what older readers need beside: `cache_creation` for `cache_write`, `gen_ai.usage.cost` in dollars.

Usage and cost stand here and on no other span: back ends add up whatever they find. What is no operation of the
conventions (moderations, passed-through paths), and a call whose caller tells of it itself (`Trace.plain`), is a plain
HTTP request with facts in the gateway's own namespace, `gw.*`, which no back end counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from gateway.core.model import Attempt, Content, Record
from gateway.core.money import NANO
from gateway.core.trace import Value
from gateway.core.usage import Usage
from gateway.sinks.provider_facts import ProviderFacts
from gateway.wire.asked import plain

_OPERATIONS: Final = {
    "chat": "chat",
    "responses": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
}
CALLER_LEFT: Final = frozenset({"client_closed", "client_slow"})
_SESSION: Final = "gen_ai.conversation.id"
_MAX_SESSION: Final = 250  # MLflow refuses the whole batch, other calls' spans too, for one that is longer
_API_TYPES: Final = {"chat": "chat_completions", "responses": "responses"}


def operation_of(record: Record) -> str:
    """`gen_ai.operation.name`; "" for what the conventions do not know."""
    if record.endpoint == "responses.object" and record.method == "GET" and not record.path.endswith("/input_items"):
        return "fetch_response"
    return _OPERATIONS.get(record.endpoint, "")


def error_of(record: Record, attempt: Attempt) -> str:
    """`error.type`, a closed set: the kind of the failure, else the status, else what ended the call before its answer
    was whole; "" for a success."""
    if attempt.error:
        return plain(attempt.error)
    if attempt.status >= 300:
        return str(attempt.status)
    if attempt.complete:
        return ""
    return record.error or ("cancelled" if record.outcome in CALLER_LEFT else "_OTHER")


def model_of(attempt: Attempt) -> str:
    """The model that served, else the one that was asked for."""
    return plain(attempt.reported.model or attempt.target)


def session_of(asked: Mapping[str, Value]) -> str:
    """What the caller calls its conversation, as far as every back end takes it; "" without one."""
    return str(asked.get(_SESSION, ""))[:_MAX_SESSION]


def inference_attributes(record: Record, attempt: Attempt, facts: ProviderFacts, operation: str) -> dict[str, Value]:
    """Of the span `{operation} {model}`."""
    found: dict[str, Value] = {"gen_ai.operation.name": operation, "gen_ai.provider.name": facts.name}
    if attempt.target:
        found["gen_ai.request.model"] = plain(attempt.target)
    found |= _exchange(record, attempt, facts)
    found.update(record.asked)
    if session := session_of(record.asked):
        found[_SESSION] = session
    if record.stream:
        found["gen_ai.request.stream"] = True
        if attempt.first_chunk_s is not None:
            found["gen_ai.response.time_to_first_chunk"] = attempt.first_chunk_s
    if record.endpoint in _API_TYPES:
        found["openai.api.type"] = _API_TYPES[record.endpoint]
    found |= _response(record, attempt, operation)
    if attempt.usage.total_tokens:
        found |= _usage(attempt.usage, operation)
    if is_charged(attempt) and attempt.cost_nano is not None:
        found["gen_ai.usage.cost"] = attempt.cost_nano / NANO
    if record.content is not None:
        found |= _content(record.content, is_answered=is_last(record, attempt))
    found |= _own(attempt)
    return found


def plain_attributes(record: Record, attempt: Attempt, facts: ProviderFacts) -> dict[str, Value]:
    """Of a request that is no model call to whoever reads the trace."""
    found: dict[str, Value] = {"http.request.method": record.method, **_exchange(record, attempt, facts)}
    if attempt.target:
        found["gw.model"] = plain(attempt.target)
    usage = attempt.usage
    if usage.total_tokens:
        found["gw.usage.input_tokens"] = usage.input_tokens
        found["gw.usage.output_tokens"] = usage.output_tokens
    return found | _own(attempt)


def is_last(record: Record, attempt: Attempt) -> bool:
    """Whether it gave the call's answer; those before it gave none."""
    return attempt is record.attempts[-1]


def is_charged(attempt: Attempt) -> bool:
    """Whether there is an answer that was priced: what failed, or is never priced, has no cost instead of one of 0."""
    return attempt.state == "settled" and (attempt.cost_nano != 0 or attempt.rates is not None)


def cost_status(attempts: Sequence[Attempt]) -> str:
    """Of a sum: unknown where one is, estimated where one is made from counts that the provider did not finish."""
    status = "final"
    for attempt in attempts:
        if attempt.cost_nano is None:
            return "unknown"
        if "estimated" in attempt.flags or "partial" in attempt.flags:
            status = "estimated"
    return status


def _exchange(record: Record, attempt: Attempt, facts: ProviderFacts) -> dict[str, Value]:
    found: dict[str, Value] = {}
    if facts.server_address:
        found["server.address"] = facts.server_address
        found["server.port"] = facts.server_port
    if attempt.status:
        found["http.response.status_code"] = attempt.status
    error = error_of(record, attempt)
    if error:
        found["error.type"] = error
    return found


def _response(record: Record, attempt: Attempt, operation: str) -> dict[str, Value]:
    found: dict[str, Value] = {}
    if attempt.response_id:
        found["gen_ai.response.id"] = plain(attempt.response_id)
    if attempt.reported.model:
        found["gen_ai.response.model"] = plain(attempt.reported.model)
    if attempt.reported.service_tier:
        found["openai.response.service_tier"] = plain(attempt.reported.service_tier)
    reasons = _finish_reasons(record, attempt) if operation in {"chat", "text_completion"} else ()
    if reasons:
        found["gen_ai.response.finish_reasons"] = reasons
    return found


def _finish_reasons(record: Record, attempt: Attempt) -> tuple[str, ...]:
    """One for each choice; "error" for those that were cut before their own came."""
    reasons = tuple(plain(reason) for reason in attempt.finish_reasons)
    if attempt.complete or attempt.failed or attempt.status >= 300:
        return reasons
    choices = record.asked.get("gen_ai.request.choice.count", 1)
    missing = choices - len(reasons) if isinstance(choices, int) else 0
    return (*reasons, *["error"] * missing)


def _content(content: Content, *, is_answered: bool) -> dict[str, Value]:
    told = (
        ("gen_ai.system_instructions", content.system),
        ("gen_ai.input.messages", content.input),
        ("gen_ai.tool.definitions", content.tools),
        ("gen_ai.output.messages", content.output if is_answered else ""),
    )
    found: dict[str, Value] = {name: text for name, text in told if text}
    if content.cut:
        found["gw.content.cut"] = content.cut
    if content.left_out:
        found["gw.content.left_out"] = content.left_out
    return found


def _usage(usage: Usage, operation: str) -> dict[str, Value]:
    """Totals, and parts of them where there are some. Text is no part that is told: of what was cached nobody knows the
    modality."""
    found: dict[str, Value] = {"gen_ai.usage.input_tokens": usage.input_tokens}
    if operation != "embeddings":
        found["gen_ai.usage.output_tokens"] = usage.output_tokens
    if usage.input != usage.input_tokens or usage.output != usage.output_tokens:
        found |= {name: count for name, count in _parts(usage) if count}
    return found


def _parts(usage: Usage) -> tuple[tuple[str, int], ...]:
    return (
        ("gen_ai.usage.cache_read.input_tokens", usage.cached_input),
        ("gen_ai.usage.cache_write.input_tokens", usage.cache_write),
        ("gen_ai.usage.cache_creation.input_tokens", usage.cache_write),
        ("gen_ai.usage.reasoning.output_tokens", usage.reasoning),
        ("gen_ai.usage.audio.input_tokens", usage.audio_input),
        ("gen_ai.usage.image.input_tokens", usage.image_input),
        ("gen_ai.usage.audio.output_tokens", usage.audio_output),
        ("gen_ai.usage.image.output_tokens", usage.image_output),
    )


def _own(attempt: Attempt) -> dict[str, Value]:
    found: dict[str, Value] = {"gw.attempt.number": attempt.number, "gw.provider": attempt.provider}
    if attempt.reason:
        found["gw.attempt.reason"] = attempt.reason
    flags = attempt.flags
    if attempt.usage.total_tokens:
        found["gw.usage.source"] = (
            "estimated" if "estimated" in flags else "partial" if "partial" in flags else "provider"
        )
    if is_charged(attempt):
        found |= _own_cost(attempt)
    if flags:
        found["gw.usage.flags"] = flags
    return found


def _own_cost(attempt: Attempt) -> dict[str, Value]:
    found: dict[str, Value] = {"gw.cost.status": cost_status((attempt,))}
    if attempt.cost_nano is None:
        return found
    found["gw.cost.usd_nano"] = attempt.cost_nano
    rates = attempt.rates
    found["gw.cost.source"] = "override" if rates is None or rates.source == "policy" else "catalogue"
    if rates is not None:
        found["gw.price.catalogue_version"] = rates.source
        if attempt.reported.service_tier:
            found["gw.price.tier"] = plain(attempt.reported.service_tier)
    return found
