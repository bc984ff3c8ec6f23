"""The compiled policy: immutable, with its indexes, what a call is bound to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from gateway.callers.issuer import Issuer
from gateway.callers.keys import KeyRow
from gateway.core.model import Caller, Names, Provider, Target
from gateway.core.money import NANO
from gateway.core.rules import GuardSet
from gateway.policy.limits import LimitRule, LimitTable
from gateway.prices.rows import PriceRow
from gateway.sinks.sampling import Keep


@dataclass(frozen=True, slots=True)
class TargetRule:
    """`model` None: the name that was asked for."""

    provider: str
    model: str | None


class ModelTable:
    """Caller-facing names -> targets. An exact name wins, then the pattern with the longest literal text."""

    def __init__(self, rules: Mapping[str, tuple[TargetRule, ...]]) -> None:
        self._exact = {name: _resolved(targets, name) for name, targets in rules.items() if "*" not in name}
        patterns = [name for name in rules if "*" in name]
        patterns.sort(key=lambda name: (-len(name.replace("*", "")), name))
        self._patterns = [(name, Names.of([name]), rules[name]) for name in patterns]

    def targets_for(self, name: str) -> tuple[Target, ...] | None:
        found = self._exact.get(name)
        if found is not None:
            return found
        for _, names, targets in self._patterns:
            if name in names:
                return _resolved(targets, name)
        return None

    def rule_for(self, name: str) -> str | None:
        """The name or pattern that decides for `name`."""
        if name in self._exact:
            return name
        return next((pattern for pattern, names, _ in self._patterns if name in names), None)

    def names(self) -> list[str]:
        """The exact names, sorted."""
        return sorted(self._exact)

    def rules(self) -> Iterator[tuple[str, tuple[Target, ...]]]:
        """Every name and pattern with its targets, in order of precedence."""
        yield from self._exact.items()
        for name, _, targets in self._patterns:
            yield name, _resolved(targets, name)


def _resolved(targets: tuple[TargetRule, ...], asked: str) -> tuple[Target, ...]:
    return tuple(Target(target.provider, target.model or asked) for target in targets)


@dataclass(frozen=True, slots=True)
class Passthrough:
    """`path` is exact, or ends in /* for everything below. `charge_nano` None: what a call costs is not known."""

    path: str
    methods: frozenset[str]
    provider: str
    charge_nano: int | None = None

    def serves(self, path: str) -> bool:
        if self.path.endswith("/*"):
            return path.startswith(self.path[:-1]) and len(path) > len(self.path) - 1
        return path == self.path


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes and seconds; `heartbeat_s` 0 is off."""

    max_body_bytes: int
    max_upload_bytes: int
    unknown_fields: Literal["pass", "refuse"]
    heartbeat_s: float


@dataclass(frozen=True, slots=True)
class Accounting:
    """How calls are counted and charged, as the section `accounting` of the policy says it. Tokens, seconds, bytes;
    `flat_nano` is what a call without a known price is charged when `unpriced` is flat. `local_share`: of every amount,
    for one process without its store."""

    unpriced: Literal["refuse", "flat", "allow"] = "refuse"
    flat_nano: int = 0
    max_output_tokens: int = 16_384
    max_tool_calls: int = 16
    unseen_input_tokens: int = 128_000
    disconnect: Literal["close", "drain"] = "close"
    drain_s: float = 10.0
    drain_bytes: int = 2**20
    exhausted: Literal["grow", "cut"] = "grow"
    when_store_is_down: Literal["refuse", "local"] = "refuse"
    local_share: float = 0.05


@dataclass(frozen=True, slots=True)
class ContentCapture:
    """Whose prompts and answers stand in spans. `max_bytes`: of one attribute."""

    callers: Names
    models: Names
    max_bytes: int

    def holds(self, caller: str, model: str) -> bool:
        return caller in self.callers and model in self.models


@dataclass(frozen=True, slots=True)
class Tracing:
    """Which calls have their spans kept, and how spans look, as the section `tracing` of the policy says it. `sample`
    is a share from 0 to 1; `metrics` the generation of the GenAI metrics; `content` None: none is captured."""

    sample: float = 1.0
    keep: Keep = Keep(slower_than_s=30.0, dearer_than_nano=NANO)
    profiles: frozenset[str] = frozenset({"openinference", "langfuse", "mlflow"})
    thin: bool = False
    metrics: Literal["b", "c", "both"] = "c"
    content: ContentCapture | None = None


@dataclass(frozen=True, slots=True)
class PolicySet:
    """One version of the policy. The same files make the same version. `model_guards`: names and patterns of models
    -> guard set; `model_caps`: -> the most output tokens that a call may ask for."""

    version: str
    providers: Mapping[str, Provider]
    models: ModelTable
    keys: Mapping[str, KeyRow]
    issuers: tuple[Issuer, ...]
    passthrough: tuple[Passthrough, ...]
    limits: Limits
    left_out: tuple[str, ...]
    guard_sets: Mapping[str, GuardSet] = field(default_factory=dict)
    model_guards: Mapping[str, str] = field(default_factory=dict)
    model_caps: Mapping[str, int] = field(default_factory=dict)
    budgets: tuple[LimitRule, ...] = ()
    rate_limits: tuple[LimitRule, ...] = ()
    prices: tuple[PriceRow, ...] = ()
    accounting: Accounting = Accounting()
    tracing: Tracing = Tracing()
    limit_table: LimitTable = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "limit_table", LimitTable(self.rate_limits, self.budgets))


DEFAULT_GUARDS = "default"


def guards_for(policy: PolicySet, caller: Caller, model: str) -> GuardSet | None:
    """The caller's set, else the model's, else the set named default, else none."""
    if not policy.guard_sets:
        return None
    rule = policy.models.rule_for(model) if policy.model_guards and model else None
    return policy.guard_sets.get(caller.guards or policy.model_guards.get(rule or "", DEFAULT_GUARDS))


def output_cap(policy: PolicySet, model: str) -> int | None:
    """The most output tokens that a call may ask of this model, and what one that names none gets; None: the model has
    no ceiling of its own."""
    return policy.model_caps.get(policy.models.rule_for(model) or "") if policy.model_caps else None


def passthrough_for(policy: PolicySet, path: str) -> Passthrough | None:
    """The row that serves a raw path without its query; the longest path wins."""
    rows = [row for row in policy.passthrough if row.serves(path)]
    return max(rows, key=lambda row: len(row.path), default=None)
