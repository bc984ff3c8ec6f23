"""The policy format: strict pydantic models, and the JSON Schema that editors use. Unknown keys are errors."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Union

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from gateway.core.money import nano_of
from gateway.guards.table import ROWS
from gateway.policy.suggest import suggestion

Name = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x20\x7f].*$")]
Reference = Annotated[str, StringConstraints(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{1,1024}$")]
Seconds = Annotated[float, Field(gt=0, le=86_400, strict=False)]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]
Hold = Literal["window", "all", "observe"]
Mode = Literal["hard", "soft"]
Profile = Literal["openinference", "langfuse", "mlflow"]


_DOLLARS = r"^[0-9]{1,10}(\.[0-9]{1,9})?$"
_DIMENSIONS = ("caller", "team", "model")


def _nano(value: Any) -> int:
    plain = isinstance(value, str) and re.fullmatch(_DOLLARS, value)
    if plain or (isinstance(value, int | float) and not isinstance(value, bool)):
        try:
            return nano_of(value)
        except ValueError:
            pass
    raise PydanticCustomError("dollars", "must be dollars such as 12.50, from 0, with at most nine decimals")


def _dimension(value: str) -> str:
    if value in _DIMENSIONS or (value.startswith("label.") and value != "label."):
        return value
    close = suggestion(value, _DIMENSIONS) or "; there are caller, team, model and label.NAME"
    raise PydanticCustomError(
        "dimension", "{message}", {"message": f'calls are not told apart by "{value[:40]}"{close}'}
    )


Usd = Annotated[
    int,
    BeforeValidator(_nano),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": _DOLLARS}]}),
]
"""Written as dollars, a number or text; nano-dollars once it is read."""
Dimension = Annotated[
    str,
    AfterValidator(_dimension),
    WithJsonSchema({"type": "string", "pattern": r"^(caller|team|model|label\..+)$"}),
]
Count = Annotated[int, Field(ge=1, le=10**12)]
Tool = Literal["web_search", "x_search", "file_search", "code_interpreter", "image_generation"]
"""As `core.usage.TOOLS`."""
Percent = Annotated[int, Field(ge=1, le=100)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TimeoutsRow(_Strict):
    """Seconds."""

    connect_s: Seconds = Field(5.0, description="Until the connection stands, TLS included.")
    first_byte_s: Seconds = Field(300.0, description="From the sent request to the head of the answer.")
    idle_s: Seconds = Field(120.0, description="Longest silence inside an answer.")
    total_s: Seconds = Field(3600.0, description="The whole exchange.")


class PoolRow(_Strict):
    """Connections of one process to this provider."""

    max_connections: int = Field(1000, ge=1, le=100_000, description="Open connections at most.")
    max_idle_s: Seconds = Field(15.0, description="An unused connection is closed after this time.")
    max_age_s: Seconds = Field(300.0, description="A connection is not used again after this time.")
    max_wait_s: Seconds = Field(5.0, description="How long a call waits for a free connection.")


class TlsRow(_Strict):
    """Trust. Verification cannot be switched off."""

    ca_file: str | None = Field(None, description="PEM file of trusted certificates, instead of the system's.")
    client_cert_file: str | None = Field(None, description="PEM file of the client certificate.")
    client_key_file: str | None = Field(None, description="PEM file of its key.")
    server_name: str | None = Field(None, description="Name that the certificate must carry, if not the URL's host.")


class ProviderRow(_Strict):
    """Where calls can go, with which credential."""

    shape: Literal["openai", "demo"] = Field(description="openai: any OpenAI-compatible API. demo: built in.")
    base_url: str | None = Field(None, description="Such as https://api.openai.com/v1. Needed for shape openai.")
    api_key: Reference | None = Field(None, description="env:NAME or file:PATH; never the key itself.")
    optional: bool = Field(False, description="Leave the provider out when a reference does not resolve.")
    organization: str | None = Field(None, description="OpenAI-Organization; text or a reference.")
    project: str | None = Field(None, description="OpenAI-Project; text or a reference.")
    headers: dict[HeaderName, HeaderValue] = Field({}, description="Added to every request; text or references.")
    stream_usage: bool = Field(True, description="Ask for token counts in streams.")
    catalogue: Name | None = Field(None, description="Its id in the price catalogue; none: found by base_url.")
    output_cap_field: Literal["max_completion_tokens", "max_tokens"] = Field(
        "max_completion_tokens", description="The field that the gateway bounds the output of a chat with."
    )
    traceparent: bool = Field(
        False, description="Tell it of the trace: for servers of your own that join it, such as vLLM."
    )
    objects: Literal["own", "shared"] = Field(
        "own",
        description="Which stored objects of this account (files, batches, ...) a call may name. own: those that its "
        "caller made through this gateway. shared: also those that nobody is known to have made, and lists show all.",
    )
    timeouts: TimeoutsRow = TimeoutsRow()  # type: ignore[call-arg]  # every field has a default
    pool: PoolRow = PoolRow()  # type: ignore[call-arg]
    tls: TlsRow = TlsRow()  # type: ignore[call-arg]


class TargetRow(_Strict):
    """One upstream option."""

    provider: Name = Field(description="Name of a provider.")
    model: Name | None = Field(None, description="The provider's name of the model; none: the name that was asked for.")


class ModelRow(_Strict):
    """A name that callers use, exact or with *, and where it leads."""

    targets: list[TargetRow] = Field(min_length=1, description="In order of preference; the first is used.")
    guards: Name | None = Field(None, description="Guard set for this model, unless the caller names one.")
    max_output_tokens: Count | None = Field(
        None, description="Written into calls that name none; calls that ask for more are refused."
    )


class CallerTraceRow(_Strict):
    """What becomes of the trace context (traceparent) that a caller sends."""

    mode: Literal["continue", "link", "continue-plain"] = Field(
        "link",
        description="link: a trace of its own that links to the caller's. continue: spans join the caller's trace. "
        "continue-plain: they join, without tokens and cost, as the caller's own instrumentation reports these.",
    )
    trusted: bool = Field(False, description="Its sampled flag decides, where no rule of tracing.keep does.")


class CallerRow(_Strict):
    """Who may ask for what."""

    key_sha256: list[Digest] = Field(min_length=1, description="SHA-256 of each of the caller's keys.")
    team: Name = Field(description="The team that pays.")
    models: list[Name] = Field(description="Model names and patterns that the caller may use.")
    endpoints: list[Name] = Field(["*"], description="Paths and patterns that the caller may use.")
    expires_at: str | None = Field(None, description="Date or RFC 3339 time; the keys are refused from then on.")
    labels: dict[str, str] = Field({}, description="Free labels.")
    guards: Name | None = Field(None, description="Guard set; none: the model's, else the set named default.")
    trace: CallerTraceRow = CallerTraceRow()  # type: ignore[call-arg]


class RightsRow(_Strict):
    """What a token with these claims may do."""

    when: dict[str, str] = Field(description="Claims that the token must show; {} matches every token.")
    models: list[Name]
    endpoints: list[Name] = ["*"]
    labels: dict[str, str] = {}
    guards: Name | None = None
    trace: CallerTraceRow = CallerTraceRow()  # type: ignore[call-arg]


class ClaimsRow(_Strict):
    """Which claims name the caller."""

    name: Name = "sub"
    team: Name = "team"


class IssuerRow(_Strict):
    """An identity provider whose tokens are taken instead of keys."""

    issuer: str = Field(description="Exact value of iss.")
    audience: str = Field(description="Value that aud must hold.")
    jwks_file: str | None = Field(None, description="Key set in a file.")
    jwks_url: str | None = Field(None, description="Key set at a URL.")
    discover: bool = Field(False, description="Find the key set by OpenID Connect discovery.")
    algorithms: list[str] = Field(["RS256", "ES256", "EdDSA"], min_length=1)
    claims: ClaimsRow = ClaimsRow()
    rights: list[RightsRow] = Field(min_length=1, description="The first row that matches holds.")


class PassthroughRow(_Strict):
    """A path outside the built-in endpoints that is passed through unread."""

    path: Annotated[str, StringConstraints(pattern=r"^/v1/[A-Za-z0-9_/.-]+(/\*)?$")] = Field(
        description="Exact, or everything below with a trailing /*."
    )
    methods: list[Method] = Field(min_length=1)
    provider: Name
    charge_usd: Usd | None = Field(None, description="What each call costs; none: it has no price (see unpriced).")


class GuardSetRow(_Strict):
    """Which guards look at a call. The set named `default` holds for every call that names no other."""

    input: list[Name] = Field([], description="Guards over what is asked, in order.")
    output: list[Name] = Field([], description="Guards over what is answered, in order.")
    unreadable: Literal["block", "allow"] = Field(
        description="What guards cannot read: images, audio, uploads. allow: it passes, and the verdict is not_run."
    )
    screen: Literal["before", "alongside"] = Field(
        "before",
        description="alongside: the provider works while blocking guards run, and nothing leaves before the verdict.",
    )
    hold: Hold = Field(
        "window",
        description="Streams: hold what could still become a finding, or the whole answer; observe only tells.",
    )
    budget_ms: float = Field(5000, gt=0, le=120_000, description="All guards of one direction together.")
    placeholders: Literal["numbered", "stable"] = Field(
        "numbered", description="stable: a value keeps its placeholder over the turns of a conversation."
    )


AnyGuardRow = Annotated[Union[ROWS], Field(discriminator="type")]  # type: ignore[valid-type]  # noqa: UP007


class LimitsRow(_Strict):
    """Sizes, and how strict documents are read."""

    max_body_bytes: int = Field(64 * 2**20, ge=1024, le=2**31, description="JSON bodies, held in memory.")
    max_upload_bytes: int = Field(2**30, ge=1024, le=2**40, description="Bodies that stream through.")
    unknown_fields: Literal["pass", "refuse"] = Field("pass", description="Body fields the gateway does not know.")
    heartbeat_s: float = Field(
        0,
        ge=0,
        le=3600,
        description="Streams that wait longer for their first byte get a comment this often; 0: never. The status is "
        "then 200, and a failure of the provider an error event.",
    )


class LimitRow(_Strict):
    match: dict[Dimension, Name] = Field(
        {},
        description="Calls it holds for: caller, team, model or label.NAME and its name or pattern; none: every call.",
    )
    each: list[Dimension] = Field(
        [], description="Counted apart for each caller, team, model or label.NAME; none: all these calls together."
    )
    mode: Mode = Field("hard", description="hard: calls are refused. soft: calls pass, and headers and metrics warn.")
    warn_at: list[Percent] = Field([], description="Warns from these percentages on; a soft one always at 100.")


class BudgetRow(LimitRow):
    """Money in a calendar window (UTC). Calls reserve the most that they can cost, and pay what they did cost."""

    usd: Usd = Field(description="Dollars; a number or text, exact to nine decimals.")
    window: Literal["hour", "day", "month", "total"] = Field(description="When it begins anew; total: never.")


class RateLimitRow(LimitRow):
    """Calls and tokens a minute, and calls at the same time; at least one of them. A minute's amount refills evenly."""

    requests_per_minute: Count | None = Field(None, description="Calls that may begin in a minute.")
    tokens_per_minute: Count | None = Field(None, description="Input and output together; reserved, then settled.")
    concurrency: Count | None = Field(None, description="Calls that run at the same time.")


class RatesRow(_Strict):
    input: Usd | None = Field(None, description="Dollars a million tokens, as all rates; none: not known. 0 is free.")
    cached_input: Usd | None = Field(None, description="Read from the provider's cache.")
    cache_write: Usd | None = Field(None, description="Written to the provider's cache.")
    audio_input: Usd | None = Field(None, description="Sound that is sent.")
    image_input: Usd | None = Field(None, description="Images that are sent.")
    output: Usd | None = Field(None, description="What the model writes.")
    reasoning: Usd | None = Field(None, description="What it thinks.")
    audio_output: Usd | None = Field(None, description="Sound that comes back.")
    image_output: Usd | None = Field(None, description="Images that come back.")


class PriceTierRow(RatesRow):
    """Other rates for the whole of a request with a long input."""

    tokens: Count = Field(description="They hold for inputs of more tokens than this.")


class PriceRow(RatesRow):
    """A price of your own. It goes before the catalogue's."""

    provider: Name | None = Field(None, description="Name of a provider of this policy; none: any.")
    model: Name = Field(description="The provider's name of the model, or a pattern.")
    service_tier: Name | None = Field(
        None, description="The tier it is the price of, such as flex; none: any that has no row of its own."
    )
    per_request: Usd = Field(0, description="Dollars a request, beside its tokens.")
    fees: dict[Tool, Usd] = Field(
        {}, description="Dollars a use of the provider's own tools; 0 is free. Alone: tokens keep their price."
    )
    above: list[PriceTierRow] = Field([], description="Rates of long inputs.")
    context_window: Count | None = Field(None, description="The longest input that the model takes.")


class AccountingRow(_Strict):
    """How calls are counted and charged."""

    unpriced: Literal["refuse", "flat", "allow"] = Field(
        "refuse",
        description="Calls whose price is not known. refuse: where a hard budget holds. flat: charged flat_usd. allow: "
        "they pass, and their rows say that they have no price.",
    )
    flat_usd: Usd | None = Field(None, description="The charge of unpriced: flat.")
    max_output_tokens: Count = Field(
        16_384, description="Written into calls that name none, where a hard budget or limit of tokens holds."
    )
    max_tool_calls: Count = Field(
        16, description="The same for uses of the provider's own tools, where a request offers some that are charged."
    )
    unseen_input_tokens: Count = Field(
        128_000, description="Reserved for what the gateway cannot see: stored context, files, hosted tools."
    )
    disconnect: Literal["close", "drain"] = Field(
        "close",
        description="When the caller leaves. close: the provider is left too, and what is known is settled. "
        "drain: its answer is read on, within drain_s and drain_bytes.",
    )
    drain_s: Seconds = Field(10.0, description="Longest time to read on.")
    drain_bytes: int = Field(2**20, ge=1024, le=2**30, description="Most bytes to read on.")
    exhausted: Literal["grow", "cut"] = Field(
        "grow",
        description="A stream that used up its reservation. grow: it reserves more, and is cut when there is no more. "
        "cut: it ends with an error event.",
    )
    when_store_is_down: Literal["refuse", "local"] = Field(
        "refuse",
        description="Calls under a hard limit while the shared store cannot be asked. local: each process goes on "
        "within local_share of every amount.",
    )
    local_share: float = Field(0.05, gt=0, le=1, strict=False, description="Share of an amount a process may use.")


class KeepRow(_Strict):
    """Calls whose spans are kept, whatever is sampled."""

    errors: bool = Field(True, description="Failed: a status from 500 on, or an answer that was cut.")
    blocked: bool = Field(True, description="Blocked by a guard.")
    masked: bool = Field(False, description="Changed by a guard that masks.")
    slower_than_s: Seconds | None = Field(30.0, description="Took longer; null: never for this.")
    dearer_than_usd: Usd | None = Field(1, validate_default=True, description="Cost more; null: never for this.")
    callers: list[Name] = Field([], description="Of these callers, names or patterns.")


class ContentRow(_Strict):
    """Prompts and answers in spans, which are without them unless this says otherwise. What guards find in them,
    enforced or monitored, is masked there; what guards block is left out. No log and no ledger has them."""

    capture: bool = Field(False, description="Whether they are captured at all.")
    callers: list[Name] = Field(["*"], min_length=1, description="Of these callers, names or patterns.")
    models: list[Name] = Field(
        ["*"], min_length=1, description="For these models, as callers name them; names or patterns."
    )
    max_bytes: int = Field(
        32_768, ge=1024, le=262_144, description="Longest attribute; those that were cut stand in gw.content.cut."
    )


class TracingRow(_Strict):
    """Which calls have their spans kept and exported, and how spans look. Ledger and metrics count every call."""

    sample: float = Field(1.0, ge=0, le=1, strict=False, description="Share of the calls; the same for a whole trace.")
    keep: KeepRow = KeepRow()  # type: ignore[call-arg]
    profiles: list[Profile] = Field(
        ["openinference", "langfuse", "mlflow"],
        description="Names that back ends read beside OpenTelemetry's own, which are always there.",
    )
    spans: Literal["full", "thin"] = Field(
        "full", description="thin: what guards and reservations did are events of the call's span, not spans."
    )
    content: ContentRow = ContentRow()  # type: ignore[call-arg]
    metrics: Literal["b", "c", "both"] = Field(
        "c", description="Generation of OpenTelemetry's GenAI metrics. b: versions 1.37 to 1.41. c: the later ones."
    )


class PolicyDocument(_Strict):
    """All policy files together."""

    providers: dict[Name, ProviderRow] = {}
    models: dict[Name, ModelRow] = {}
    callers: dict[Name, CallerRow] = {}
    issuers: dict[Name, IssuerRow] = {}
    passthrough: dict[Name, PassthroughRow] = {}
    guards: dict[Name, AnyGuardRow] = {}
    guard_sets: dict[Name, GuardSetRow] = {}
    limits: LimitsRow = LimitsRow()  # type: ignore[call-arg]
    budgets: dict[Name, BudgetRow] = {}
    rate_limits: dict[Name, RateLimitRow] = {}
    prices: dict[Name, PriceRow] = {}
    accounting: AccountingRow = AccountingRow()  # type: ignore[call-arg]
    tracing: TracingRow = TracingRow()  # type: ignore[call-arg]


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of one policy file; every section is optional, as a policy may be split over files."""
    schema = PolicyDocument.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Gateway policy"
    return schema
