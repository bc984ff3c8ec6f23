"""An old cost can be made again from what the ledger kept of its rates, and shown line by line."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.money import ceil_nano
from gateway.core.rates import Rates, Tier, cost
from gateway.core.usage import BUCKETS, TOOLS, Usage, Uses
from gateway.prices.explain import Line, explain
from gateway.prices.stored import rates_from, rates_json

rates_by_bucket = st.fixed_dictionaries({}, optional=dict.fromkeys(BUCKETS, st.integers(0, 10**12)))
some_rates = st.builds(
    Rates,
    source=st.text(),
    provider=st.text(),
    model=st.text(),
    per_million=rates_by_bucket,
    tiers=st.lists(st.builds(Tier, st.integers(0, 10**6), rates_by_bucket, st.booleans()), max_size=2).map(
        lambda tiers: tuple(sorted(tiers, key=lambda tier: tier.above))
    ),
    per_request=st.integers(0, 10**9),
    context_window=st.none() | st.integers(1, 10**7),
    flags=st.sampled_from([(), ("tier-at-standard",)]),
    fees=st.dictionaries(st.sampled_from(TOOLS), st.integers(0, 10**9)),
)
usages = st.builds(Usage, **dict.fromkeys(BUCKETS, st.integers(0, 10**6)))


some_uses = st.dictionaries(st.sampled_from(TOOLS), st.integers(1, 9)).map(lambda uses: tuple(uses.items()))


@given(some_rates, st.sampled_from(["", "flex"]), some_uses)
def test_rates_come_back_from_their_json(rates: Rates, tier: str, uses: Uses) -> None:
    """Of the fees, those of what was used."""
    fees = {tool: rates.fees[tool] for tool, _ in uses if tool in rates.fees}
    assert rates_from(rates_json(rates, tier, uses)) == (replace(rates, fees=fees), tier, uses)


def test_the_json_is_compact_and_says_only_what_there_is() -> None:
    told = rates_json(Rates("policy", "local", "m", {"input": 0}), "")
    assert told == '{"source":"policy","provider":"local","model":"m","tier":"","rates":{"input":0}}'


@pytest.mark.parametrize("broken", ["", "{}", '{"source":"x"}', "[1"])
def test_json_that_is_not_of_rates_is_refused(broken: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        rates_from(broken)


@given(some_rates, usages, some_uses)
def test_the_lines_sum_to_the_cost(rates: Rates, usage: Usage, uses: Uses) -> None:
    lines = explain(rates, usage, uses)
    amounts = [line.nano for line in lines]
    nano = cost(rates, usage, uses).nano
    if nano is None:
        assert None in amounts
    else:
        assert ceil_nano(sum((amount for amount in amounts if amount is not None), Decimal(0))) == nano


def test_a_line_says_whose_rate_was_taken() -> None:
    rates = Rates("policy", "", "m", {"input": 2_000, "output": 4_000}, per_request=7)
    assert explain(rates, Usage(input=1, cached_input=2, audio_output=3)) == [
        Line("input", 1, "input", 2_000, Decimal("0.002")),
        Line("cached_input", 2, "input", 2_000, Decimal("0.004")),
        Line("audio_output", 3, "audio_output", None, None),
        Line("request", 1, "request", None, Decimal(7)),
    ]


def test_a_use_of_a_tool_is_a_line_and_one_without_a_fee_says_so() -> None:
    rates = Rates("policy", "", "m", {"input": 2_000}, fees={"web_search": 10**7})
    assert explain(rates, Usage(), (("file_search", 1), ("web_search", 3))) == [
        Line("file_search", 1, "file_search", None, None),
        Line("web_search", 3, "web_search", None, Decimal(3 * 10**7)),
    ]
