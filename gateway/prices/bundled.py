"""The price catalogue that comes with the package genai-prices, read in our words. It is never fetched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from gateway.core.money import NANO, ceil_nano
from gateway.core.rates import Rates, Tier
from gateway.prices.rows import STANDARD

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, PriceContext, Provider, TieredPrices

VERSION = f"genai-prices {version('genai-prices')}"
AT_STANDARD = "tier-at-standard"

KEYS = {
    "input": "input_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "audio_input": "input_audio_mtok",
    "image_input": "input_image_mtok",
    "output": "output_mtok",
    "reasoning": "output_reasoning_mtok",
    "audio_output": "output_audio_mtok",
    "image_output": "output_image_mtok",
}
FEES = {
    "web_search": "web_searches_kcount",
    "x_search": "social_searches_kcount",
    "file_search": "storage_searches_kcount",
    "code_interpreter": "code_executions_kcount",
}
_REQUESTS = "requests_kcount"
_CHEAPER = frozenset({"flex", "batch"})
_KEPT = 4096


def provider_ids() -> list[str]:
    from genai_prices.data import providers  # noqa: PLC0415 - heavy

    return [provider.id for provider in providers]


class Bundled:
    def __init__(self) -> None:
        # A quarter of a second and 30 MB, so only where prices are used, and once: here, at start.
        from genai_prices.data import providers  # noqa: PLC0415

        self._providers = providers
        self._model = lru_cache(_KEPT)(self._find)

    def rates(self, catalogue: str, base_url: str, model: str, tier: str, at: float) -> Rates | None:
        """`catalogue`: the provider's id there; "": found by its base URL, never guessed from the model's name."""
        found = self._model(catalogue, base_url, model)
        if not found:
            return None
        provider, info = found
        prices, flags = _served(provider, info, tier, datetime.fromtimestamp(at, UTC))
        return _translate(provider.id, info, prices, flags) if prices else None

    def _find(self, catalogue: str, base_url: str, model: str) -> tuple[Provider, ModelInfo] | None:
        for provider in self._providers:
            if provider.id == catalogue if catalogue else re.match(provider.api_pattern, base_url):
                info = provider.find_model(model, all_providers=self._providers)
                return (provider, info) if info else None
        return None


def _served(provider: Provider, info: ModelInfo, tier: str, at: datetime) -> tuple[ModelPrice | None, tuple[str, ...]]:
    """The prices of a tier at that time. One that the catalogue has no price for is taken at the standard price where
    that is no less; else it is not known."""
    if tier == STANDARD:
        return info.get_prices(at), ()
    context: PriceContext = {"processing": tier} if tier == "batch" else {"service_tier": tier}
    own = any(info is model for model in provider.models)  # variants are not those of another provider's model
    for variant in info.price_variants or () if own else ():
        if variant.when == context and (variant.constraint is None or variant.constraint.active(at)):
            return info.get_prices(at, context), ()
    return (info.get_prices(at), (AT_STANDARD,)) if tier in _CHEAPER else (None, ())


def _translate(provider: str, info: ModelInfo, prices: ModelPrice, flags: tuple[str, ...]) -> Rates | None:
    """None for a row that says nothing, and for content priced by another unit than tokens (hours, characters, pages):
    usage does not tell how much of it there was."""
    known = {key: price for key, price in vars(prices).items() if price is not None}
    fees = {tool: _each(known.pop(key)) for tool, key in FEES.items() if key in known}
    if not known or any(not key.endswith("_mtok") and key != _REQUESTS for key in known):
        return None
    starts = sorted({tier.start for price in known.values() if not isinstance(price, Decimal) for tier in price.tiers})
    request = known.pop(_REQUESTS, Decimal(0))
    return Rates(
        source=VERSION,
        provider=provider,
        model=info.id,
        per_million=_per_million(known, 0),
        tiers=tuple(Tier(start, _per_million(known, start + 1)) for start in starts),
        per_request=_each(request),
        context_window=info.context_window,
        flags=flags,
        fees=fees,
    )


def _each(per_thousand: Decimal | TieredPrices) -> int:
    return ceil_nano(_price(per_thousand, 0) * NANO / 1000)


def _per_million(prices: Mapping[str, Decimal | TieredPrices], input_tokens: int) -> dict[str, int]:
    rates = {
        bucket: ceil_nano(_price(prices[key], input_tokens) * NANO) for bucket, key in KEYS.items() if key in prices
    }
    # The catalogue says of images what costs more than text. Where it tells input images from text and output not, all
    # output is images.
    if "image_input" in rates and "output" in rates:
        rates.setdefault("image_output", rates["output"])
    if "input" in rates:
        rates.setdefault("image_input", rates["input"])
    return rates


def _price(price: Decimal | TieredPrices, input_tokens: int) -> Decimal:
    if isinstance(price, Decimal):
        return price
    return next((tier.price for tier in reversed(price.tiers) if input_tokens > tier.start), price.base)
