"""What each side of a run saw, as values: the provider, the ledger, the callers, and those who broke things.

Times are wall seconds of one machine, money is nano-dollars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

_WINDOWS = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m", "total": ""}


@dataclass(frozen=True, slots=True)
class Served:
    """One request as the provider saw it. `tag` names the caller's request, `cap` is the output limit that it was sent
    (0: none). `cost_nano` is what the whole answer costs. `until` None: its end was not seen. `finished`: the whole
    answer was written; `reported`: with its usage."""

    attempt: str
    tag: str
    at: float
    status: int
    cap: int
    cost_nano: int
    reported: bool
    until: float | None = None
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One attempt in the ledger; `state` "" while it is open. `shown_at` is what the gateway's clock showed `at`."""

    attempt: str
    caller: str
    team: str
    at: float
    reserved_nano: int
    state: str = ""
    cost_nano: int = 0
    flags: tuple[str, ...] = ()
    shown_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as its caller saw it; `status` 0: no answer. `complete`: the whole answer arrived. `cost_nano` is
    what the answer's header says, None without one."""

    tag: str
    caller: str
    key: str
    at: float
    until: float
    status: int
    code: str = ""
    complete: bool = False
    left: bool = False
    cost_nano: int | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """A hard budget of one caller or one team. `window`: hour, day, month or total, by the gateway's clock."""

    name: str
    dimension: str
    value: str
    amount_nano: int
    window: str = "total"

    def covers(self, row: Row) -> bool:
        return self.value == (row.caller if self.dimension == "caller" else row.team)

    def window_of(self, row: Row) -> str:
        """Its name; "" of the one that never ends."""
        return datetime.fromtimestamp(row.shown_at, UTC).strftime(_WINDOWS[self.window])


@dataclass(frozen=True, slots=True)
class Counter:
    """What the gateway says of one budget, in the window of this name."""

    amount_nano: int
    spent_nano: int
    reserved_nano: int
    window: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that was broken; `until` is when calls were served again. `kills`: a process that held open calls was
    killed."""

    kind: str
    at: float
    until: float
    kills: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """`counters` by the budget's name; one that is missing is not known to the gateway. Attempts that began before
    `closed_before` must have ended."""

    served: Sequence[Served] = ()
    rows: Sequence[Row] = ()
    seen: Sequence[Seen] = ()
    faults: Sequence[Fault] = ()
    budgets: Sequence[Budget] = ()
    counters: Mapping[str, Counter] = field(default_factory=dict)
    closed_before: float = float("inf")
