"""What the conventions say of the spans of one call, as tables; `findings` compares. Written from the conventions, not
from the code: semantic-conventions-genai of 2026-08 and HTTP server spans, with the de-facto names of each profile.

Levels: required, conditional (there if and only if its condition holds), recommended (as conditional: where the Record
knows it, it is told), alias (of an older generation or of one back end; as conditional).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.core.model import Attempt, Record
from gateway.core.trace import CLIENT, INTERNAL, SERVER, TraceSpan

OPERATIONS = {"chat", "text_completion", "generate_content", "embeddings", "retrieval", "fetch_response"}
PROVIDERS = frozenset(
    [
        "anthropic",
        "aws.bedrock",
        "azure.ai.inference",
        "azure.ai.openai",
        "cohere",
        "deepseek",
        "gcp.gemini",
        "gcp.gen_ai",
        "gcp.vertex_ai",
        "groq",
        "ibm.watsonx.ai",
        "mistral_ai",
        "moonshot_ai",
        "openai",
        "perplexity",
        "x_ai",
    ]
)
OUTPUT_TYPES = {"text", "json", "image", "speech"}
COUNTED = ("gen_ai.usage.", "llm.", "langfuse.", "mlflow.")
MAX_ATTRIBUTES, MAX_TEXT = 128, 256


@dataclass(frozen=True)
class Case:
    record: Record
    attempt: Attempt
    operation: str
    profiles: frozenset[str]

    @property
    def infers(self) -> bool:
        return self.operation in {"chat", "text_completion"}

    @property
    def has_failed(self) -> bool:
        attempt = self.attempt
        return bool(attempt.error) or attempt.failed or attempt.status >= 300 or not attempt.complete

    @property
    def has_usage(self) -> bool:
        return self.attempt.usage.total_tokens > 0

    @property
    def is_priced(self) -> bool:
        return self.attempt.state == "settled" and bool(self.attempt.cost_nano)


@dataclass(frozen=True)
class Row:
    attribute: str
    type: str  # str, int, float, bool, str[]
    level: str
    condition: Callable[[Case], bool] = lambda case: True


def _was_asked(attribute: str, kind: str, level: str = "conditional") -> Row:
    return Row(attribute, kind, level, lambda case: attribute in case.record.asked)


def _part(attribute: str, bucket: str, level: str = "recommended") -> Row:
    return Row(attribute, "int", level, lambda case: getattr(case.attempt.usage, bucket) > 0)


def _captured(attribute: str, name: str) -> Row:
    """Opt-in. What was answered stands on the attempt that answered."""

    def is_told(case: Case) -> bool:
        answers = name not in {"output", "answered"} or case.attempt is case.record.attempts[-1]
        return case.record.content is not None and bool(getattr(case.record.content, name)) and answers

    return Row(attribute, "str", "conditional", is_told)


# JSON, which may be long.
CONTENT = frozenset(
    {"gen_ai.system_instructions", "gen_ai.input.messages", "gen_ai.tool.definitions", "gen_ai.output.messages"}
    | {"input.value", "output.value", "langfuse.observation.input", "langfuse.observation.output"}
    | {"langfuse.trace.input", "langfuse.trace.output"}
    | {"mlflow.spanInputs", "mlflow.spanOutputs"}
)
INFERENCE = (
    Row("gen_ai.operation.name", "str", "required"),
    Row("gen_ai.provider.name", "str", "required"),
    Row("error.type", "str", "conditional", lambda case: case.has_failed),
    Row("gen_ai.request.model", "str", "conditional", lambda case: bool(case.attempt.target)),
    Row("gen_ai.request.stream", "bool", "conditional", lambda case: case.record.stream),
    _was_asked("gen_ai.request.choice.count", "int"),
    _was_asked("gen_ai.request.seed", "int"),
    _was_asked("gen_ai.request.top_k", "int"),
    _was_asked("gen_ai.output.type", "str"),
    _was_asked("gen_ai.conversation.id", "str"),
    _was_asked("gen_ai.prompt.name", "str"),
    _was_asked("gen_ai.prompt.version", "str"),
    _was_asked("gen_ai.request.max_tokens", "int", "recommended"),
    _was_asked("gen_ai.request.temperature", "float", "recommended"),
    _was_asked("gen_ai.request.top_p", "float", "recommended"),
    _was_asked("gen_ai.request.frequency_penalty", "float", "recommended"),
    _was_asked("gen_ai.request.presence_penalty", "float", "recommended"),
    _was_asked("gen_ai.request.stop_sequences", "str[]", "recommended"),
    _was_asked("gen_ai.request.reasoning.level", "str", "recommended"),
    _was_asked("gen_ai.request.previous_response.id", "str", "recommended"),
    _was_asked("gen_ai.request.encoding_formats", "str[]", "recommended"),
    _was_asked("gen_ai.embeddings.dimension.count", "int", "recommended"),
    _was_asked("openai.request.service_tier", "str", "recommended"),
    _was_asked("user.id", "str", "recommended"),
    Row("server.address", "str", "recommended"),
    Row("server.port", "int", "conditional"),
    Row("http.response.status_code", "int", "recommended", lambda case: case.attempt.status > 0),
    Row("gen_ai.response.id", "str", "recommended", lambda case: bool(case.attempt.response_id)),
    Row("gen_ai.response.model", "str", "recommended", lambda case: bool(case.attempt.reported.model)),
    Row(
        "gen_ai.response.finish_reasons",
        "str[]",
        "recommended",
        lambda case: case.infers and (bool(case.attempt.finish_reasons) or case.attempt.status == 200),
    ),
    Row(
        "gen_ai.response.time_to_first_chunk",
        "float",
        "recommended",
        lambda case: case.record.stream and case.attempt.first_chunk_s is not None,
    ),
    Row("openai.api.type", "str", "recommended", lambda case: case.record.endpoint in {"chat", "responses"}),
    Row(
        "openai.response.service_tier",
        "str",
        "recommended",
        lambda case: bool(case.attempt.reported.service_tier),
    ),
    Row("gen_ai.usage.input_tokens", "int", "recommended", lambda case: case.has_usage),
    Row("gen_ai.usage.output_tokens", "int", "recommended", lambda case: case.has_usage and case.infers),
    _part("gen_ai.usage.cache_read.input_tokens", "cached_input"),
    _part("gen_ai.usage.cache_write.input_tokens", "cache_write"),
    _part("gen_ai.usage.cache_creation.input_tokens", "cache_write", "alias"),
    _part("gen_ai.usage.reasoning.output_tokens", "reasoning"),
    _part("gen_ai.usage.audio.input_tokens", "audio_input"),
    _part("gen_ai.usage.image.input_tokens", "image_input"),
    _part("gen_ai.usage.audio.output_tokens", "audio_output"),
    _part("gen_ai.usage.image.output_tokens", "image_output"),
    Row("gen_ai.usage.cost", "float", "alias", lambda case: case.is_priced),
    _captured("gen_ai.system_instructions", "system"),
    _captured("gen_ai.input.messages", "input"),
    _captured("gen_ai.tool.definitions", "tools"),
    _captured("gen_ai.output.messages", "output"),
)


def _profile(name: str, attribute: str, kind: str, condition: Callable[[Case], bool] = lambda case: True) -> Row:
    """To fetch what is stored is no model call, in no profile."""
    return Row(
        attribute,
        kind,
        "alias",
        lambda case: name in case.profiles and case.operation != "fetch_response" and condition(case),
    )


def _has_rates(case: Case) -> bool:
    return case.is_priced and case.attempt.rates is not None


def _said(profile: str, attribute: str, name: str) -> Row:
    return _profile(profile, attribute, "str", _captured(attribute, name).condition)


PROFILED = (
    _said("openinference", "input.value", "asked"),
    _said("openinference", "input.mime_type", "asked"),
    _said("openinference", "output.value", "answered"),
    _said("openinference", "output.mime_type", "answered"),
    _said("langfuse", "langfuse.observation.input", "asked"),
    _said("langfuse", "langfuse.observation.output", "answered"),
    _said("mlflow", "mlflow.spanInputs", "asked"),
    _said("mlflow", "mlflow.spanOutputs", "answered"),
    _profile("openinference", "openinference.span.kind", "str"),
    _profile("openinference", "llm.system", "str", lambda case: case.infers),
    _profile("openinference", "llm.provider", "str", lambda case: case.infers),
    _profile("openinference", "llm.model_name", "str", lambda case: case.infers),
    _profile("openinference", "embedding.model_name", "str", lambda case: case.operation == "embeddings"),
    _profile("openinference", "llm.token_count.prompt", "int", lambda case: case.has_usage),
    _profile("openinference", "llm.token_count.completion", "int", lambda case: case.has_usage),
    _profile("openinference", "llm.token_count.total", "int", lambda case: case.has_usage),
    _profile(
        "openinference",
        "llm.token_count.prompt_details.cache_read",
        "int",
        lambda case: case.attempt.usage.cached_input > 0,
    ),
    _profile(
        "openinference",
        "llm.token_count.prompt_details.cache_write",
        "int",
        lambda case: case.attempt.usage.cache_write > 0,
    ),
    _profile(
        "openinference",
        "llm.token_count.completion_details.reasoning",
        "int",
        lambda case: case.attempt.usage.reasoning > 0,
    ),
    _profile("openinference", "llm.cost.prompt", "float", _has_rates),
    _profile("openinference", "llm.cost.completion", "float", _has_rates),
    _profile("openinference", "llm.cost.total", "float", lambda case: case.is_priced),
    _profile("langfuse", "langfuse.observation.usage_details", "str", lambda case: case.has_usage),
    _profile("langfuse", "langfuse.observation.cost_details", "str", lambda case: case.is_priced),
    _profile(
        "langfuse",
        "langfuse.observation.completion_start_time",
        "str",
        lambda case: case.record.stream and case.attempt.first_chunk_s is not None,
    ),
    _profile("mlflow", "mlflow.llm.cost", "str", lambda case: case.is_priced),
    _profile("mlflow", "mlflow.chat.tokenUsage", "str", lambda case: case.has_usage and case.operation == "embeddings"),
    Row(
        "session.id",
        "str",
        "alias",
        lambda case: bool(case.profiles) and "gen_ai.conversation.id" in case.record.asked,
    ),
)

HTTP_SERVER = {
    "http.request.method": "str",
    "url.path": "str",
    "url.scheme": "str",
}


def findings(record: Record, spans: Sequence[TraceSpan], profiles: frozenset[str] = frozenset()) -> list[str]:
    """What is wrong, a line each; empty when all is well."""
    if not spans:
        return ["no spans"]
    found = [f"{span.name}: {finding}" for span in spans for finding in _of_any(span)]
    found += _of_tree(record, spans)
    found += _of_server(record, spans[0])
    sent = [attempt for attempt in record.attempts if attempt.sent or attempt.failed]
    clients = [span for span in spans if span.kind == CLIENT]
    if len(sent) != len(clients):
        return [*found, f"{len(clients)} CLIENT spans of {len(sent)} attempts"]
    for attempt, span in zip(sent, clients, strict=True):
        found += [f"{span.name}: {finding}" for finding in _of_client(record, attempt, span, profiles)]
    return found


def _of_any(span: TraceSpan) -> list[str]:
    found = []
    if (span.error is not None) != ("error.type" in span.attributes):
        found.append("error.type is there if and only if the status is ERROR")
    if len(span.attributes) > MAX_ATTRIBUTES:
        found.append("more attributes than a span may have")
    for name, value in span.attributes.items():
        texts = value if isinstance(value, list | tuple) else [value]
        if type_of(value) == "?":
            found.append(f"{name} has no type that OTLP knows")
        elif name in CONTENT:
            found += [] if _is_json(value) else [f"{name} is no JSON"]
        elif any(type(text) is str and (len(text) > MAX_TEXT or not text.isprintable()) for text in texts):
            found.append(f"{name} is long or not printable")
    told = span.attributes.keys() - CONTENT
    if span.kind != CLIENT and any(name.startswith((*COUNTED, "gen_ai.request.")) for name in told):
        found.append("usage, or what makes it a model call, on a span that is none")
    return found


def _is_json(text: object) -> bool:
    try:
        json.loads(str(text))
    except ValueError:
        return False
    return True


def _of_tree(record: Record, spans: Sequence[TraceSpan]) -> list[str]:
    server, ids = spans[0], [span.span_id for span in spans]
    found = []
    if len(set(ids)) != len(ids) or not all(0 < one < 1 << 64 for one in ids):
        found.append("ids of spans are 64 bits and differ")
    if {span.trace_id for span in spans} != {record.trace.trace_id}:
        found.append("one trace")
    if any(span.parent_id != server.span_id for span in spans[1:]):
        found.append("all are children of the SERVER span")
    if server.parent_id != (record.trace.parent.span_id if record.trace.parent else 0):
        found.append("the SERVER span is a child of what was joined, else the root")
    if any(
        span.end_ns < span.start_ns or span.start_ns < server.start_ns or span.end_ns > server.end_ns for span in spans
    ):
        found.append("time runs forwards, inside of the call")
    if any(span.kind not in {INTERNAL, CLIENT} for span in spans[1:]):
        found.append("one SERVER span")
    return found


def _of_server(record: Record, span: TraceSpan) -> list[str]:
    found = [
        f"{name} is required as {kind}"
        for name, kind in HTTP_SERVER.items()
        if type_of(span.attributes.get(name)) != kind
    ]
    if span.kind != SERVER:
        found.append("the first span is the SERVER span")
    template = span.attributes.get("http.route")
    if span.name != (f"{record.method} {template}" if template else record.method):
        found.append("a SERVER span is named {method} {route}")
    if "secret" in span.name:
        found.append("an id in a name")
    if record.status and span.attributes.get("http.response.status_code") != record.status:
        found.append("http.response.status_code is required once there is one")
    if record.status >= 500 and span.error is None:
        found.append("a 5xx is an error")
    if 400 <= record.status < 500 and span.error is not None:
        found.append("a 4xx is no error of a server")
    return found


def _of_client(record: Record, attempt: Attempt, span: TraceSpan, profiles: frozenset[str]) -> list[str]:
    attributes = span.attributes
    operation = str(attributes.get("gen_ai.operation.name", ""))
    if not operation:
        return [
            f"{name} on what is no model call"
            for name in attributes
            if name.startswith(("gen_ai.", "openai.", "openinference.", *COUNTED))
        ]
    case = Case(record, attempt, operation, profiles)
    found = [finding for row in (*INFERENCE, *PROFILED) if (finding := _of_row(row, case, attributes))]
    known = {row.attribute for row in (*INFERENCE, *PROFILED)}
    found += [f"{name} is in no convention" for name in attributes if name not in known and not name.startswith("gw.")]
    if span.name != (f"{operation} {attempt.target}" if attempt.target else operation):
        found.append("an inference span is named {operation} {model}")
    if operation not in OPERATIONS:
        found.append("an operation that the conventions do not know")
    if attributes.get("gen_ai.provider.name") not in PROVIDERS:
        found.append("a provider that the conventions do not know")
    if attributes.get("gen_ai.output.type", "text") not in OUTPUT_TYPES:
        found.append("an output type that the conventions do not know")
    if attributes.get("gen_ai.request.choice.count") == 1:
        found.append("one choice goes without saying")
    return found + _of_usage(attributes)


def _of_row(row: Row, case: Case, attributes: dict[str, object]) -> str:
    is_there = row.attribute in attributes
    if is_there != row.condition(case):
        return f"{row.attribute} ({row.level}) is {'there' if is_there else 'missing'}"
    if is_there and type_of(attributes[row.attribute]) != row.type:
        return f"{row.attribute} is no {row.type}"
    return ""


def _of_usage(attributes: dict[str, object]) -> list[str]:
    """Parts are inside of their totals."""
    found = []
    for side in ("input_tokens", "output_tokens"):
        total = attributes.get(f"gen_ai.usage.{side}", 0)
        for name, value in attributes.items():
            if name.startswith("gen_ai.usage.") and name.endswith(side) and value > total:
                found.append(f"{name} exceeds its total")
    return found


def type_of(value: object) -> str:
    if isinstance(value, list | tuple):
        return "str[]" if all(type(entry) is str for entry in value) else "?"
    return {str: "str", int: "int", float: "float", bool: "bool"}.get(type(value), "?")
