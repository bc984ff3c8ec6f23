"""Rates as the ledger keeps them beside a cost: compact JSON, complete, so that an old cost can be made again."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson

from gateway.core.rates import Rates, Tier
from gateway.core.usage import Uses


@lru_cache(maxsize=256)
def rates_json(rates: Rates, tier: str, uses: Uses = ()) -> str:
    """{"source", "provider", "model", "tier", "rates": {bucket: nano-dollars a million}} and, where there are some,
    "above": [{"tokens", "inclusive", "rates"}], "request": nano-dollars, "window": tokens, "flags", and what was
    used of the provider's tools with its price: "uses": {tool: times}, "fees": {tool: nano-dollars a use}. `tier` is
    the service tier that they are the rates of."""
    told: dict[str, Any] = {
        "source": rates.source,
        "provider": rates.provider,
        "model": rates.model,
        "tier": tier,
        "rates": rates.per_million,
    }
    if rates.tiers:
        told["above"] = [
            {"tokens": tier.above, "inclusive": tier.inclusive, "rates": tier.per_million} for tier in rates.tiers
        ]
    if rates.per_request:
        told["request"] = rates.per_request
    if rates.context_window is not None:
        told["window"] = rates.context_window
    if rates.flags:
        told["flags"] = rates.flags
    if uses:
        told["uses"] = dict(uses)
        told["fees"] = {tool: rates.fees[tool] for tool, _ in uses if tool in rates.fees}
    return orjson.dumps(told).decode()


def rates_from(stored: str) -> tuple[Rates, str, Uses]:
    """The rates, the service tier, and what was used of the provider's tools. ValueError or KeyError for what
    `rates_json` did not write."""
    told = orjson.loads(stored)
    rates = Rates(
        source=told["source"],
        provider=told["provider"],
        model=told["model"],
        per_million=told["rates"],
        tiers=tuple(Tier(tier["tokens"], tier["rates"], tier["inclusive"]) for tier in told.get("above", ())),
        per_request=told.get("request", 0),
        context_window=told.get("window"),
        flags=tuple(told.get("flags", ())),
        fees=told.get("fees", {}),
    )
    return rates, told["tier"], tuple(told.get("uses", {}).items())
