"""Which limits hold for a call, each bound to the counter of that call. A cached call costs about a microsecond."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from gateway.core.accounts import Balance, Limit, Unit, Window
from gateway.core.model import Caller, Names

if TYPE_CHECKING:
    from gateway.policy.compile import PolicySet

MAX_KEPT = 4096
_WINDOWS: tuple[Window, ...] = ("now", "minute", "hour", "day", "month", "total")
_EXACTLY_RESERVED = frozenset({"requests", "calls"})


@dataclass(frozen=True, slots=True)
class Measure:
    """How much of what in which window; nano-dollars for usd."""

    unit: Unit
    amount: int
    window: Window


@dataclass(frozen=True, slots=True)
class LimitRule:
    """One row of `budgets` or `rate_limits`. It holds for calls whose values are all in `match` (dimension -> a name or
    a pattern), and counts apart for each value of the dimensions in `each`."""

    name: str
    measures: tuple[Measure, ...]
    match: Mapping[str, str]
    each: tuple[str, ...] = ()
    hard: bool = True
    warn_at: tuple[int, ...] = ()

    def holds(self, values: Mapping[str, str]) -> bool:
        """A value that the call does not have is ""."""
        return all(values.get(key, "") in Names.of([wanted]) for key, wanted in self.match.items())


class LimitTable:
    """The rules of a policy set, and the limits of the callers and models that asked last."""

    def __init__(self, rate_limits: Iterable[LimitRule] = (), budgets: Iterable[LimitRule] = ()) -> None:
        self.rules = (*sorted(rate_limits, key=_breadth), *sorted(budgets, key=_breadth))
        self._kept = lru_cache(MAX_KEPT)(self._bound)

    def limits(self, caller: Caller, model: str) -> tuple[Limit, ...]:
        """The labels are part of who asks: callers from tokens share names with callers of other rights."""
        return self._kept(caller.name, caller.team, tuple(caller.labels.items()), model) if self.rules else ()

    def _bound(self, name: str, team: str, labels: tuple[tuple[str, str], ...], model: str) -> tuple[Limit, ...]:
        values = _values(name, team, labels, model)
        return tuple(limit for rule in self.rules if rule.holds(values) for limit in _bind(rule, values))


def limits_for(policy: PolicySet, caller: Caller, model: str) -> tuple[Limit, ...]:
    """All limits that hold for a call: rate limits, then budgets, of each the narrowest first."""
    return policy.limit_table.limits(caller, model)


def rules_for(policy: PolicySet, caller: Caller | None, model: str) -> tuple[LimitRule, ...]:
    """The rows that hold for a call; where the caller is not known, those that may."""
    rules = policy.limit_table.rules
    if caller is None:
        return tuple(rule for rule in rules if model in Names.of([rule.match.get("model", "*")]))
    values = _values(caller.name, caller.team, caller.labels.items(), model)
    return tuple(rule for rule in rules if rule.holds(values))


def warned(limit: Limit, balance: Balance) -> int | None:
    """The highest threshold, in percent, that is passed; None: none is. Reserved money and tokens do not count: they
    are the worst case, and most of it comes back."""
    used = balance.spent + (balance.reserved if limit.unit in _EXACTLY_RESERVED else 0)
    for percent in reversed(limit.warn_at):
        if used * 100 >= limit.amount * percent:
            return percent
    return None


def _values(name: str, team: str, labels: Iterable[tuple[str, str]], model: str) -> dict[str, str]:
    return {"caller": name, "team": team, "model": model} | {f"label.{label}": value for label, value in labels}


def _breadth(rule: LimitRule) -> tuple[int, int, str]:
    shortest = min((_WINDOWS.index(measure.window) for measure in rule.measures), default=0)
    return -len({*rule.match, *rule.each}), shortest, rule.name


def _bind(rule: LimitRule, values: Mapping[str, str]) -> Iterable[Limit]:
    fixed = {key: wanted for key, wanted in rule.match.items() if "*" not in wanted}
    fixed |= {key: values.get(key, "") for key in rule.each}
    scope = tuple(sorted(fixed.items()))
    patterns = tuple(sorted((key, wanted) for key, wanted in rule.match.items() if key not in fixed))
    counted = _counted(rule.name, scope, patterns)
    for measure in rule.measures:
        yield Limit(
            name=rule.name,
            counter=f"{measure.unit}/{counted}",
            unit=measure.unit,
            amount=measure.amount,
            window=measure.window,
            hard=rule.hard,
            warn_at=rule.warn_at,
            scope=scope,
            patterns=patterns,
        )


def _counted(name: str, scope: Iterable[tuple[str, str]], patterns: Iterable[tuple[str, str]]) -> str:
    """Such as month/team=research/model:gpt-%2A. What is quoted holds no separator, so no two rows or values make the
    same text; what is counted is part of it, and the amount is not, so that a raised limit keeps what was counted."""
    pairs = [f"{_quoted(key)}={_quoted(value)}" for key, value in scope]
    pairs += [f"{_quoted(key)}:{_quoted(value)}" for key, value in patterns]
    return "/".join([_quoted(name), *pairs])


def _quoted(text: str) -> str:
    """Model names are what callers send, which JSON lets hold half a surrogate pair."""
    return quote(text, safe="", errors="surrogatepass")
