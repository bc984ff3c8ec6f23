"""The nouns of the gateway, as values. See ARCHITECTURE.md for the one-line meaning of each.

Header lists are `Headers`: (name, value) pairs of bytes in wire order, names in lower case.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from gateway.core.accounts import Balance, Limit, State, Terms
from gateway.core.pace import Pace
from gateway.core.rates import Rates
from gateway.core.secret import Secret
from gateway.core.trace import Mode, Step, Trace, Value
from gateway.core.usage import Reported, Usage, nothing_reported

if TYPE_CHECKING:
    from gateway.core.rules import GuardSet, Verdict

Headers = list[tuple[bytes, bytes]]


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


@dataclass(frozen=True, slots=True)
class Names:
    """A set of names and `*` patterns that decides membership; matching is exact and case-sensitive.

    Only `*` is special. Exact names are looked up first, so a list without patterns costs one set look-up.
    """

    exact: frozenset[str]
    patterns: tuple[str, ...] = ()

    @classmethod
    def of(cls, names: list[str] | tuple[str, ...]) -> Names:
        return cls(
            exact=frozenset(name for name in names if "*" not in name),
            patterns=tuple(name for name in names if "*" in name),
        )

    def __contains__(self, name: str) -> bool:
        if name in self.exact or "*" in self.patterns:
            return True
        return any(_compiled(pattern).fullmatch(name) for pattern in self.patterns)

    def meets(self, pattern: str) -> bool:
        """Whether some name is in the set and matches `pattern` too."""
        if any(_compiled(pattern).fullmatch(name) for name in self.exact):
            return True
        return any(_overlap(own, pattern) for own in self.patterns)


@lru_cache(maxsize=4096)
def _overlap(one: str, other: str) -> bool:
    """Whether a text matches both. `reached` holds the places of `other` that the part of `one` so far can lead to."""
    reached = _past_stars({0}, other)
    for char in one:
        if char == "*":
            reached = set(range(min(reached), len(other) + 1)) if reached else set()
            continue
        stepped = {at for at in reached if at < len(other) and other[at] == "*"}
        stepped |= {at + 1 for at in reached if at < len(other) and other[at] == char}
        reached = _past_stars(stepped, other)
    return len(other) in reached


def _past_stars(places: set[int], pattern: str) -> set[int]:
    found = set(places)
    for place in places:
        at = place
        while at < len(pattern) and pattern[at] == "*":
            at += 1
            found.add(at)
    return found


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. Carries no secret; an instance exists only for a proven identity (there is no anonymous caller)."""

    name: str
    team: str
    models: Names
    endpoints: Names
    labels: Mapping[str, str]
    guards: str = ""  # the guard set of this caller; "": the model's, or the default
    trace_mode: Mode = "link"  # what becomes of its trace context
    trusted: bool = False  # whether its sampled flag is honoured

    def __post_init__(self) -> None:
        if not self.name or not self.team:
            raise ValueError("a caller has a name and a team")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `connect_s` includes TLS, `first_byte_s` runs from the sent request to the head, `idle_s`
    between two reads of the body, `total_s` over the whole exchange."""

    connect_s: float = 5.0
    first_byte_s: float = 300.0
    idle_s: float = 120.0
    total_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Pool:
    """Connections to one provider from one process. A call waits at most `max_wait_s` for a free one; a connection is
    closed after `max_idle_s` without use, and not used again once it is `max_age_s` old (so that DNS changes show)."""

    max_connections: int = 1000
    max_idle_s: float = 15.0
    max_age_s: float = 300.0
    max_wait_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Tls:
    """Trust for one provider. None means: the system's certificates, no client certificate, the URL's host name."""

    ca_file: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None
    server_name: str | None = None


@dataclass(frozen=True, slots=True)
class Provider:
    """One row of the policy's providers, compiled: environment references are resolved, defaults are filled in.

    Two equal rows may share a connection pool; credentials are part of the equality on purpose.
    `base_url` is "" for shapes that need no network. `headers` are added to every request to this provider.
    """

    name: str
    shape: str
    base_url: str = ""
    api_key: Secret | None = None
    organization: str | None = None
    project: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    stream_usage: bool = True
    catalogue: str = ""  # the provider's id in the price catalogue; "": found by its base URL
    output_cap_field: str = "max_completion_tokens"  # the field of chat requests that bounds the output
    traceparent: bool = False  # whether it is told of the trace that a call belongs to
    objects: Literal["own", "shared"] = "own"  # which of the account's stored objects its callers may name
    timeouts: Timeouts = Timeouts()
    pool: Pool = Pool()
    tls: Tls = Tls()


@dataclass(frozen=True, slots=True)
class Target:
    """One upstream option. `model` is the provider's own name for the model."""

    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What the policy decided for one call. `targets` are in order of preference; the version names the policy set.
    `output_cap` is how many tokens one choice may have where the caller does not say, `output_ceiling` the most that it
    may ask for (0: any). `charge_nano` is what a passed-through call costs, None: not said. `terms` are shared by the
    calls that it is kept for, which have the same caller, endpoint and model."""

    policy_version: str
    targets: tuple[Target, ...]
    guards: GuardSet | None = None
    limits: tuple[Limit, ...] = ()
    output_cap: int = 0
    output_ceiling: int = 0
    charge_nano: int | None = None
    terms: Terms = field(default_factory=Terms, init=False, repr=False, compare=False)


@dataclass(slots=True)  # not frozen: see core/accounts.py
class Call:
    """What was asked, after admission.

    `endpoint` names the API shape, or "passthrough". `path` is the raw path and query as received, always beginning
    with ``/v1/``. `document` is the parsed JSON body (None when the body is not JSON); `body` is its exact bytes, or
    the stream of a body that is passed through unread, then of `content_length` bytes (None: unknown).
    `model` is the name that the caller used, "" where the endpoint has none. `unknown_fields` are the document's
    top-level keys that the endpoint does not define.
    """

    caller: Caller
    endpoint: str
    method: str
    path: str
    headers: Headers
    body: bytes | AsyncIterator[bytes]
    content_length: int | None
    document: dict[str, Any] | None
    model: str
    stream: bool
    unknown_fields: tuple[str, ...] = ()


@dataclass(slots=True)
class Attempt:
    """One request to a provider. `id` is also the name of its lease and of its ledger rows.

    `sent`: its first byte may have left. `failed`: the provider gave no head of an answer. `complete`: the answer
    arrived to its sound end. `state`, `usage`, `cost_nano` (None: no price is known), `flags` and `rates` are what it
    came to; see `core/accounts.py: Outcome`. `first_chunk_s` runs from `started`, `pace` tells of the chunks after it.
    `error` is the kind of its failure; `reason` why there is a further attempt ("regenerate": a guard wanted it).
    """

    id: str
    number: int
    provider: str
    target: str
    started_at: float
    started: float
    sent: bool = False
    failed: bool = False
    status: int = 0
    complete: bool = False
    reported: Reported = field(default_factory=nothing_reported)
    state: State = "voided"
    usage: Usage = Usage()
    cost_nano: int | None = 0
    flags: tuple[str, ...] = ()
    rates: Rates | None = None
    duration_s: float = 0.0
    span_id: int = 0
    first_chunk_s: float | None = None
    pace: Pace | None = None
    reason: str = ""
    response_id: str = ""
    finish_reasons: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Content:
    """What was said in one call, for its spans and nothing else: texts of JSON, what guards found in them masked, ""
    where there is nothing to tell. `system` to `output` have the shapes of OpenTelemetry's GenAI conventions; `asked`
    and `answered` tell the same in the shape of a chat. `cut`: the names of those that were cut to the policy's size.
    `left_out`: what is missing and why, such as output=blocked.
    """

    system: str = ""
    input: str = ""
    tools: str = ""
    output: str = ""
    asked: str = ""
    answered: str = ""
    cut: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """In characters."""
        return sum(map(len, (self.system, self.input, self.tools, self.output, self.asked, self.answered)))


@dataclass(slots=True)
class Record:
    """What happened to one call, append-only; settled exactly once. Holds no secret, and no content but in `content`,
    which policy must ask for and which is for spans only. `asked` are the request's parameters (gen_ai.request.* and
    the like), where spans are made.

    `*_at` are wall-clock seconds, `*_s` durations in seconds from the start of the call, None where it never happened.
    `started` and `marked` (the end of the last phase) are readings of the monotonic clock. `balances` are the limits
    that hold for the call, as they stood once it had reserved; `warnings` the highest threshold, in percent, that each
    has passed.
    """

    call_id: str
    started_at: float
    started: float
    method: str = ""
    path: str = ""
    endpoint: str = ""
    caller: str = ""
    team: str = ""
    model: str = ""
    provider: str = ""
    upstream_model: str = ""
    policy_version: str = ""
    stream: bool = False
    unknown_fields: tuple[str, ...] = ()
    verdicts: Sequence[Verdict] = ()
    status: int = 0
    error: str = ""
    detail: str = ""
    outcome: str = ""
    request_bytes: int = 0
    response_bytes: int = 0
    attempts: list[Attempt] = field(default_factory=list)
    trace: Trace | None = None
    steps: list[Step] = field(default_factory=list)
    asked: Mapping[str, Value] = field(default_factory=dict)
    content: Content | None = field(default=None, repr=False)
    balances: tuple[tuple[Limit, Balance], ...] = ()
    warnings: tuple[tuple[str, int], ...] = ()
    phase_s: dict[str, float] = field(default_factory=dict)
    first_byte_s: float | None = None
    upstream_s: float = 0.0
    marked: float = 0.0
    duration_s: float = 0.0
