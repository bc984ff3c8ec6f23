"""The words of accounting: limits, leases, and the rows of the ledger. Money is nano-dollars, `*_at` is wall time.

Limit      one line of a policy, bound to one call: which counter, how much of what in which window
Ask        what a call needs of one limit
Lease      what was reserved for one attempt; returned by settling it
Origin     who asks for what where: what many attempts share
Intent     the durable row before an attempt is sent;  Outcome  its one terminal row

Nobody changes a value. What every call makes anew is not `frozen` all the same: making it would take twice as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gateway.core.rates import Rates
from gateway.core.usage import Usage

Unit = Literal["usd", "requests", "tokens", "calls"]
"""usd: nano-dollars. calls: running at the same time."""

Window = Literal["minute", "hour", "day", "month", "total", "now"]
"""minute: a bucket of `amount` that refills evenly in a minute. hour to total: calendar windows in UTC, counted from
nothing. now: at the same time."""

State = Literal["settled", "voided", "failed", "unknown"]
"""voided: nothing was sent. failed: the provider gave no answer that costs anything. unknown: its end was not seen."""


@dataclass(frozen=True, slots=True)
class Limit:
    """`counter` names what is counted (without the window): the row's name and the values it is counted by. `scope` is
    what of the ledger belongs to it: pairs such as ("team", "research"), ("label.env", "prod"); a label that an attempt
    does not have is "". `patterns` narrow it further: pairs such as ("model", "gpt-*"), where only * is special.
    `warn_at`: percent, ascending."""

    name: str
    counter: str
    unit: Unit
    amount: int
    window: Window
    hard: bool = True
    warn_at: tuple[int, ...] = ()
    scope: tuple[tuple[str, str], ...] = ()
    patterns: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True, unsafe_hash=True)
class Ask:
    """`key` is the counter in its window; `amount` is reserved. `window_end_at` None: the window has no end."""

    limit: Limit
    key: str
    amount: int
    window_start_at: float = 0.0
    window_end_at: float | None = None


@dataclass(slots=True, unsafe_hash=True)
class Balance:
    """One counter: what is spent (settled) and what is reserved by calls that run. For a bucket, `spent` is what has
    not refilled yet, and `resets_s` the time until it is full."""

    key: str
    amount: int
    spent: int
    reserved: int
    resets_s: float | None = None

    @property
    def remaining(self) -> int:
        return max(0, self.amount - self.spent - self.reserved)


@dataclass(slots=True, unsafe_hash=True)
class Granted:
    """`balances` in the order of the asks, after the reservation. A soft limit may be over its amount."""

    balances: tuple[Balance, ...]


@dataclass(frozen=True, slots=True)
class Denied:
    """Nothing was reserved. `ask` is the index of the first hard limit without room. `retry_after_s`: when there may be
    room; None: never in this window."""

    ask: int
    balance: Balance
    retry_after_s: float | None


@dataclass(frozen=True, slots=True)
class Unseeded:
    """Nothing was reserved: the store does not know these money counters (first contact, or loss). Seed them."""

    asks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Seed:
    """What the ledger knows of one counter: what is spent, and the leases (attempt id -> amount) still open."""

    spent: int
    open: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asks for what, and where it is sent: what the attempts of many calls share. `node` is the process that sends
    them."""

    caller: str
    team: str
    labels: Mapping[str, str] = field(hash=False)
    endpoint: str
    model: str
    provider: str
    target: str
    policy: str
    node: str


@dataclass(slots=True)
class Terms:
    """What the calls of one plan share, worked out by the first that needs it. `origin` holds for good; the rest for
    the minute since 1970 of that number: the ask for nothing of each limit, whether one of them makes what is reserved
    a bound that must hold, and the rates of each target (None: no price is known) in the ordinary tier."""

    origin: Origin | None = None
    minute: int = -1
    asks: tuple[Ask, ...] = ()
    capped: bool = False
    rates: tuple[Rates | None, ...] = ()


@dataclass(slots=True, unsafe_hash=True)
class Intent:
    """Written durably before the first byte of an attempt is sent. `reserved_nano`, with what it was extended by, is
    what it is charged when its end is never seen."""

    attempt: str
    call: str
    number: int
    at: float
    origin: Origin
    reserved_nano: int
    reserved_tokens: int


@dataclass(slots=True, unsafe_hash=True)
class Outcome:
    """The one terminal row of an attempt. `cost_nano` None: the price is not known. `rates` is the JSON of the rates
    that were used (so that an old cost can be explained), `served` the model that the provider named, `flags` what is
    not as it should be: estimated, partial, clamped, inconsistent, unpriced, unpriced-tool, flat, overrun. `verdicts`:
    guard=outcome, separated by commas."""

    attempt: str
    at: float
    state: State
    cost_nano: int | None = 0
    usage: Usage = Usage()
    served: str = ""
    tier: str = ""
    rates: str = ""
    flags: tuple[str, ...] = ()
    status: int = 0
    duration_s: float = 0.0
    verdicts: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One attempt as the ledger knows it; `outcome` None while it runs. `corrected_nano` is the sum of corrections,
    `extended_*` what it reserved beyond its intent."""

    intent: Intent
    outcome: Outcome | None
    corrected_nano: int = 0
    extended_nano: int = 0
    extended_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Query:
    """Which attempts: begun in [since_at, until_at), and with these values of the dimensions caller, team, model,
    provider, label.NAME."""

    since_at: float = 0.0
    until_at: float | None = None
    where: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Total:
    """A line of a usage report: the values of the dimensions it is grouped by, and sums. `unpriced` counts attempts
    whose cost is not known, `estimated` those whose usage is an estimate, `unknown` those whose end was not seen."""

    group: tuple[str, ...]
    attempts: int
    cost_nano: int
    usage: Usage
    unpriced: int
    estimated: int
    unknown: int
    failed: int


@dataclass(frozen=True, slots=True)
class Claim:
    """What became of an idempotency key. `new`: the caller goes on. `running`: another call with it runs. `different`:
    it was used with another body. `done`: `reply` is what was kept (sealed), b"" when it was not."""

    state: Literal["new", "running", "different", "done"]
    reply: bytes = b""
