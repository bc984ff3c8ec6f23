"""Prices: the operator's rows, then the bundled catalogue; what is in neither is unknown, never free."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import orjson

from gateway.core.model import Provider
from gateway.core.rates import Rates
from gateway.prices.bundled import VERSION, Bundled
from gateway.prices.rows import PriceRow, in_order, service_tier

_KEPT = 4096
_MAX_NAME = 256  # names of models come from outside, and are matched with patterns


class Catalogue:
    """Implements the port `Prices`. Loading takes a quarter of a second once a process; nothing is ever fetched."""

    def __init__(self, rows: Sequence[PriceRow] = ()) -> None:
        self._rows = in_order([row for row in rows if not row.only_fees])
        self._fees = in_order([row for row in rows if row.only_fees])
        self._bundled = Bundled()
        self.version = f"{VERSION} + {_digest(self._rows + self._fees)}" if rows else VERSION
        self._kept = lru_cache(_KEPT)(self._find)

    def rates(self, provider: Provider, model: str, tier: str, at: float) -> Rates | None:
        # By minute: prices change at dates and at times of the day, and those are whole minutes.
        return self._kept(provider.name, provider.catalogue, provider.base_url, model, tier, int(at) // 60)

    def _find(self, name: str, catalogue: str, base_url: str, model: str, tier: str, minute: int) -> Rates | None:
        if len(model) > _MAX_NAME:
            return None
        served = service_tier(tier)
        # A name such as "openai/gpt-4o" is looked for as it is, then without what stands before it.
        models = (model, model.partition("/")[2]) if "/" in model else (model,)
        rates = self._tokens(name, catalogue, base_url, models, served, minute)
        if rates is None or not self._fees:
            return rates
        fees = dict(rates.fees)
        for row in reversed(self._fees):  # the one that is taken first has the last word
            if any(row.matches(name, each, served) for each in models):
                fees |= row.fees
        return replace(rates, fees=fees)

    def _tokens(
        self, name: str, catalogue: str, base_url: str, models: Sequence[str], served: str, minute: int
    ) -> Rates | None:
        for each in models:
            if row := next((row for row in self._rows if row.matches(name, each, served)), None):
                return row.rates
        for each in models:
            if rates := self._bundled.rates(catalogue, base_url, each, served, minute * 60.0):
                return rates
        return None


def _digest(rows: Sequence[PriceRow]) -> str:
    told = orjson.dumps([(row.tier, row.rates) for row in rows], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(told).hexdigest()[:8]
