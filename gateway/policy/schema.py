"""The policy format: strict pydantic models, and the JSON Schema that editors use. Unknown keys are errors."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.guards.table import ROWS

Name = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x20\x7f].*$")]
Reference = Annotated[str, StringConstraints(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{1,1024}$")]
Seconds = Annotated[float, Field(gt=0, le=86_400, strict=False)]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]


Hold = Literal["window", "all", "observe"]


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


class CallerRow(_Strict):
    """Who may ask for what."""

    key_sha256: list[Digest] = Field(min_length=1, description="SHA-256 of each of the caller's keys.")
    team: Name = Field(description="The team that pays.")
    models: list[Name] = Field(description="Model names and patterns that the caller may use.")
    endpoints: list[Name] = Field(["*"], description="Paths and patterns that the caller may use.")
    expires_at: str | None = Field(None, description="Date or RFC 3339 time; the keys are refused from then on.")
    labels: dict[str, str] = Field({}, description="Free labels.")
    guards: Name | None = Field(None, description="Guard set; none: the model's, else the set named default.")


class RightsRow(_Strict):
    """What a token with these claims may do."""

    when: dict[str, str] = Field(description="Claims that the token must show; {} matches every token.")
    models: list[Name]
    endpoints: list[Name] = ["*"]
    labels: dict[str, str] = {}
    guards: Name | None = None


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


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of one policy file; every section is optional, as a policy may be split over files."""
    schema = PolicyDocument.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Gateway policy"
    return schema
