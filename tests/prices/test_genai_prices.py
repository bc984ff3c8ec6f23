"""Against the catalogue's own calculator: every model, at several times, in every tier, with many usages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product

import genai_prices
import pytest
from genai_prices.data import providers
from genai_prices.types import ModelInfo, Provider, TieredPrices

from gateway.core.money import NANO, ceil_nano
from gateway.core.rates import NEIGHBOURS, Rates, cost
from gateway.core.usage import Usage
from gateway.prices.bundled import FEES, Bundled

MODELS = [(provider, model) for provider in providers for model in provider.models]
TIMES = (
    datetime(2024, 6, 1, 12, tzinfo=UTC),
    datetime(2026, 9, 5, 2, 30, tzinfo=UTC),  # within deepseek's dear hours
    datetime(2026, 11, 20, 20, tzinfo=UTC),
)
USAGES = (
    Usage(input=1000),
    Usage(input=1000, output=500),
    Usage(input=2000, cached_input=8000, output=1000, reasoning=700),
    Usage(input=7, cached_input=3, cache_write=11, output=1),
    Usage(input=100, image_input=900, output=10, image_output=4000),
    Usage(input=100, audio_input=900, output=10, audio_output=300),
    Usage(input=600_000, cached_input=400_000, output=10),
)
AROUND_THRESHOLDS = tuple(
    Usage(input=above - 5, cached_input=5 + more, output=10)
    for above in (32_000, 100_000, 128_000, 200_000, 256_000, 272_000, 512_000, 524_288)
    for more in (-1, 0, 1)
)
CONTEXTS = {
    "standard": None,
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "batch": {"processing": "batch"},
}


@pytest.fixture(scope="module")
def bundled() -> Bundled:
    return Bundled()


def name_of(model: ModelInfo) -> str:
    """A name that leads to the model. Its id does not always."""
    return model.id if model.is_match(model.id) else next(filter(model.is_match, literals(model.match)))


def literals(clause: object) -> Iterator[str]:
    for value in vars(clause).values():
        if isinstance(value, str):
            yield value
        else:
            yield from (literal for each in value for literal in literals(each))


def their_usage(usage: Usage) -> genai_prices.Usage:
    return genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_input,
        cache_write_tokens=usage.cache_write,
        input_audio_tokens=usage.audio_input,
        input_image_tokens=usage.image_input,
        output_audio_tokens=usage.audio_output,
        output_image_tokens=usage.image_output,
        output_reasoning_tokens=usage.reasoning,
        cache_audio_read_tokens=0,
        cache_image_read_tokens=0,
    )


def has_whole_nanos(price: Decimal | TieredPrices) -> bool:
    each = [price] if isinstance(price, Decimal) else [price.base, *(tier.price for tier in price.tiers)]
    return all(one * NANO == (one * NANO).to_integral_value() for one in each)


def unpriced(rates: Rates, usage: Usage) -> bool:
    per_million = rates.at(usage.input_tokens)
    used = (bucket for bucket in Usage.__dataclass_fields__ if getattr(usage, bucket))
    return any(bucket not in per_million and NEIGHBOURS.get(bucket) not in per_million for bucket in used)


@pytest.mark.parametrize("provider", providers, ids=lambda provider: provider.id)
def test_costs_are_those_of_the_catalogues_calculator(bundled: Bundled, provider: Provider) -> None:
    compared = 0
    for model, at, (tier, context) in product(provider.models, TIMES, CONTEXTS.items()):
        if context and not (model.price_variants and at is TIMES[-1]):
            continue
        rates = bundled.rates(provider.id, "", name_of(model), tier, at.timestamp())
        if rates is None:
            continue
        for usage in (*USAGES, *(AROUND_THRESHOLDS if rates.tiers else ())):
            nano = cost(rates, usage).nano
            assert (nano is None) == unpriced(rates, usage), (model.id, usage)
            if nano is None:
                continue
            theirs = genai_prices.calc_price(
                their_usage(usage),
                name_of(model),
                provider_id=provider.id,
                genai_request_timestamp=at,
                price_context=context,
            )
            prices = [price for price in vars(theirs.model_price).values() if price is not None]
            # Some rates have more than nine decimals; we round them up.
            slack = 0 if all(map(has_whole_nanos, prices)) else 1 + usage.total_tokens // 10**6
            assert 0 <= nano - ceil_nano(theirs.total_price * NANO) <= slack, (model.id, tier, at, usage)
            compared += 1
    assert compared or provider.id == "elevenlabs", "its models are priced by the hour too, so no rates are known"


def test_what_has_no_rates_is_what_the_catalogue_does_not_price_by_tokens(bundled: Bundled) -> None:
    """BUD-04: rows that say nothing at all (of free models, and of some that are not) are unknown, not free."""
    at = TIMES[-1]
    nothing: list[str] = []
    elsewise: list[str] = []
    for provider, model in MODELS:
        found = provider.find_model(name_of(model))
        assert found is not None
        prices = {key for key, price in vars(found.get_prices(at)).items() if price is not None} - {*FEES.values()}
        other = {key for key in prices if not key.endswith("_mtok") and key != "requests_kcount"}
        known = bundled.rates(provider.id, "", name_of(model), "standard", at.timestamp()) is not None
        assert known == (bool(prices) and not other), model.id
        (nothing if not prices else elsewise if other else []).append(model.id)
    assert "whisper-1" in elsewise
    assert "moderation" in nothing


def test_a_cached_token_is_nowhere_dearer_than_a_twentieth_above_input(bundled: Bundled) -> None:
    """So that taking it at the input rate, where it has none, is no under-charge to speak of."""
    for provider, model in MODELS:
        rates = bundled.rates(provider.id, "", name_of(model), "standard", TIMES[-1].timestamp())
        if rates and "input" in rates.per_million:
            plain = rates.per_million["input"]
            assert rates.per_million.get("cached_input", plain) <= plain * 1.05
        if rates and "output" in rates.per_million:
            assert rates.per_million.get("reasoning", 0) <= rates.per_million["output"]


def test_prices_change_at_whole_minutes(bundled: Bundled) -> None:
    """Found rates are kept by the minute."""
    for _, model in MODELS:
        rows = [*(model.prices if isinstance(model.prices, list) else ()), *(model.price_variants or ())]
        for moment in (getattr(row.constraint, end, None) for row in rows for end in ("start_time", "end_time")):
            assert moment is None or (moment.second, moment.microsecond) == (0, 0)


def test_flex_and_batch_are_nowhere_dearer_than_the_standard_tier(bundled: Bundled) -> None:
    """So that the standard price, where they have none of their own, is no under-charge."""
    for (provider, model), tier in product(MODELS, ("flex", "batch")):
        standard, served = (
            bundled.rates(provider.id, "", name_of(model), name, TIMES[-1].timestamp()) for name in ("standard", tier)
        )
        if standard and served:
            assert all(served.per_million[bucket] <= rate for bucket, rate in standard.per_million.items()), model.id


def test_the_fees_of_a_providers_tools_come_from_the_catalogue(bundled: Bundled) -> None:
    """Dollars a thousand there."""
    at = TIMES[-1].timestamp()
    openai, anthropic = (
        bundled.rates(*names, "standard", at)
        for names in (("openai", "", "gpt-4.1"), ("anthropic", "", "claude-sonnet-4-5"))
    )
    assert openai is not None and anthropic is not None
    assert openai.fees == {"web_search": 10_000_000, "file_search": 2_500_000}
    assert anthropic.fees == {"web_search": 10_000_000}
