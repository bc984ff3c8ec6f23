"""The operator's own prices, from the policy. They stand above the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from gateway.core.rates import Rates, Tier

STANDARD = "standard"
_STANDARD_NAMES = frozenset({"", "default", "auto", "on_demand", STANDARD})


@dataclass(frozen=True, slots=True)
class PriceRow:
    """One row of the policy's `prices`. Rates in nano-dollars a million tokens, by bucket (`core.usage.BUCKETS`).

    `provider`: the policy's name of a provider, "": any. `model`: a name, or a pattern with "*". `tiers`: ascending;
    each says only what differs from what holds below it. `per_request` in nano-dollars. `tier`: the service tier that
    it is the price of, named by `service_tier`; "": any that has no row of its own. `fees`: nano-dollars a use of
    one of the provider's tools. `only_fees`: the tokens have the price that they would have without this row.
    """

    provider: str
    model: str
    per_million: Mapping[str, int]
    tiers: tuple[Tier, ...] = ()
    per_request: int = 0
    tier: str = ""
    context_window: int | None = None
    fees: Mapping[str, int] = field(default_factory=dict)
    only_fees: bool = False
    rates: Rates = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rates", self._completed())

    def matches(self, provider: str, model: str, tier: str) -> bool:
        return (
            self.provider in ("", provider)
            and self.tier in ("", tier)
            and fnmatchcase(model.lower(), self.model.lower().replace("[", "[[]").replace("?", "[?]"))
        )

    @property
    def precedence(self) -> tuple[bool, int, bool, bool]:
        """The more, the sooner it is taken: an exact model, a longer literal, a named provider, a named tier."""
        return "*" not in self.model, len(self.model.replace("*", "")), bool(self.provider), bool(self.tier)

    def _completed(self) -> Rates:
        tiers: list[Tier] = []
        below = dict(self.per_million)
        for tier in self.tiers:
            below = {**below, **tier.per_million}
            tiers.append(Tier(tier.above, below, tier.inclusive))
        return Rates(
            source="policy",
            provider=self.provider,
            model=self.model,
            per_million=dict(self.per_million),
            tiers=tuple(tiers),
            per_request=self.per_request,
            context_window=self.context_window,
            fees=dict(self.fees),
        )


def in_order(rows: Sequence[PriceRow]) -> tuple[PriceRow, ...]:
    """The one that is taken first is first; equals as they were written."""
    return tuple(sorted(rows, key=lambda row: row.precedence, reverse=True))


def service_tier(name: str) -> str:
    """What a provider calls the tier that served -> the name by which prices go. Most have a word for the usual one."""
    name = name.lower()
    return STANDARD if name in _STANDARD_NAMES else name
