"""The arithmetic of money: usage x rates -> nano-dollars."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.rates import MODALITIES, Cost, Rates, Tier, cost, worst_case
from gateway.core.usage import BUCKETS, INPUT_BUCKETS, OUTPUT_BUCKETS, Usage

DOLLAR = 10**9
FULL = dict.fromkeys(BUCKETS, 2 * DOLLAR)

tokens = st.integers(0, 2_000_000)
usages = st.builds(Usage, **dict.fromkeys(BUCKETS, tokens))
rate = st.integers(0, 200 * DOLLAR)
full_rates = st.fixed_dictionaries(dict.fromkeys(BUCKETS, rate))
some_rates = st.fixed_dictionaries({}, optional=dict.fromkeys(BUCKETS, rate))
thresholds = st.lists(st.integers(0, 3_000_000), max_size=3, unique=True).map(sorted)


def rates_of(per_million: dict[str, int], **more: object) -> Rates:
    return replace(Rates("test", "provider", "model", per_million), **more)  # type: ignore[arg-type]


@st.composite
def tiered(draw: st.DrawFn, per_million: st.SearchStrategy[dict[str, int]]) -> Rates:
    tiers = tuple(Tier(above, draw(per_million), draw(st.booleans())) for above in draw(thresholds))
    return rates_of(draw(per_million), tiers=tiers, per_request=draw(st.integers(0, DOLLAR)))


def test_each_bucket_is_charged_at_its_own_rate() -> None:
    rates = rates_of({bucket: (place + 1) * DOLLAR for place, bucket in enumerate(BUCKETS)})
    for place, bucket in enumerate(BUCKETS):
        assert cost(rates, Usage(**{bucket: 1000})) == Cost((place + 1) * 1_000_000)


def test_a_used_bucket_without_a_price_makes_the_cost_unknown_and_a_zero_is_free() -> None:
    """BUD-04"""
    assert cost(rates_of({"input": 0, "output": 0}), Usage(input=5, output=5)) == Cost(0)
    assert cost(rates_of({"input": 1}), Usage(input=5, output=5)) == Cost(None)
    for bucket in ("cache_write", *sorted(MODALITIES)):
        assert cost(rates_of({"input": DOLLAR, "output": DOLLAR}), Usage(**{bucket: 1})) == Cost(None)
    assert cost(rates_of({}), Usage()) == Cost(0)


def test_what_is_taken_from_a_neighbours_rate_is_flagged() -> None:
    rates = rates_of({"input": 3 * DOLLAR, "output": 5 * DOLLAR})
    assert cost(rates, Usage(cached_input=1000)) == Cost(3_000_000, ("cached-at-input",))
    assert cost(rates, Usage(reasoning=1000)) == Cost(5_000_000, ("reasoning-at-output",))
    assert cost(replace(rates, flags=("tier-at-standard",)), Usage(reasoning=1000)).flags == (
        "tier-at-standard",
        "reasoning-at-output",
    )


def test_a_tier_holds_for_the_whole_request_from_its_own_threshold_of_all_input() -> None:
    rates = rates_of(FULL, tiers=(Tier(100, dict.fromkeys(BUCKETS, 4 * DOLLAR)),))
    assert cost(rates, Usage(input=40, cached_input=60, output=10)).nano == 110 * 2000
    assert cost(rates, Usage(input=40, cached_input=61, output=10)).nano == 111 * 4000
    inclusive = replace(rates, tiers=(replace(rates.tiers[0], inclusive=True),))
    assert cost(inclusive, Usage(input=40, cached_input=59, output=10)).nano == 109 * 2000
    assert cost(inclusive, Usage(input=40, cached_input=60, output=10)).nano == 110 * 4000


def test_a_million_tiny_requests_sum_exactly() -> None:
    """BUD-17: each costs 1e-7 dollars."""
    tiny = rates_of({"input": DOLLAR // 10})
    assert sum(cost(tiny, Usage(input=1)).nano or 0 for _ in range(10**6)) == DOLLAR // 10


def test_a_cost_is_rounded_up_once_and_not_bucket_by_bucket() -> None:
    thin = rates_of(dict.fromkeys(BUCKETS, 1))
    assert cost(thin, Usage(*([1] * len(BUCKETS)))) == Cost(1)
    assert cost(thin, Usage(input=999_999, output=1)) == Cost(1)
    assert cost(thin, Usage(input=999_999, output=2)) == Cost(2)


@given(tiered(full_rates), usages)
def test_a_cost_is_never_negative_nor_below_the_exact_amount(rates: Rates, usage: Usage) -> None:
    nano = cost(rates, usage).nano
    assert nano is not None
    exact = sum(
        count * rates.at(usage.input_tokens)[bucket] for bucket, count in zip(BUCKETS, usage.counts(), strict=True)
    )
    assert 0 <= exact <= (nano - rates.per_request) * 10**6 < exact + 10**6


@given(full_rates, usages, st.sampled_from(BUCKETS), st.integers(0, 10**6))
def test_more_tokens_never_cost_less(per_million: dict[str, int], usage: Usage, bucket: str, more: int) -> None:
    """For rates that do not fall with the size of the request."""
    dearer = {name: value + DOLLAR for name, value in per_million.items()}
    rates = rates_of(per_million, tiers=(Tier(200_000, dearer),))
    larger = replace(usage, **{bucket: getattr(usage, bucket) + more})
    assert (cost(rates, usage).nano or 0) <= (cost(rates, larger).nano or 0)


@given(usages, rate)
def test_how_tokens_are_split_does_not_matter_when_all_rates_are_equal(usage: Usage, each: int) -> None:
    rates = rates_of(dict.fromkeys(BUCKETS, each))
    whole = Usage(input=usage.input_tokens, output=usage.output_tokens)
    assert cost(rates, usage) == cost(rates, whole)


@given(tiered(full_rates), usages, tokens, tokens)
def test_no_request_within_its_tokens_costs_more_than_the_worst_case(
    rates: Rates, usage: Usage, more_input: int, more_output: int
) -> None:
    """BUD-05: over all tiers, and whatever bucket each token is counted in."""
    bound = worst_case(rates, usage.input_tokens + more_input, usage.output_tokens + more_output)
    nano = cost(rates, usage).nano
    assert nano is not None
    assert bound is not None
    assert nano <= bound


@given(tiered(some_rates), usages)
def test_the_worst_case_holds_for_the_modalities_it_was_asked_for(rates: Rates, usage: Usage) -> None:
    used = frozenset(bucket for bucket in MODALITIES if getattr(usage, bucket))
    bound = worst_case(rates, usage.input_tokens, usage.output_tokens, used)
    nano = cost(rates, usage).nano
    if bound is not None and nano is not None:
        assert nano <= bound
    if bound is not None:  # nothing but a cache write can be unpriced
        assert nano is not None or usage.cache_write


@given(full_rates, st.integers(1, 10**6), st.integers(1, 10**6))
def test_the_worst_case_is_reached_by_some_request(per_million: dict[str, int], given_in: int, given_out: int) -> None:
    """So that it does not reserve more than it must."""
    rates = rates_of(per_million)
    dearest_in = max(INPUT_BUCKETS, key=lambda bucket: per_million[bucket])
    dearest_out = max(OUTPUT_BUCKETS, key=lambda bucket: per_million[bucket])
    usage = Usage(**{dearest_in: given_in, dearest_out: given_out})
    assert cost(rates, usage).nano == worst_case(rates, given_in, given_out)


def test_the_worst_case_is_unknown_when_plain_text_or_a_modality_asked_for_has_no_price() -> None:
    """BUD-04"""
    text = rates_of({"input": DOLLAR, "output": DOLLAR})
    assert worst_case(text, 10, 10) == 20_000
    assert worst_case(text, 10, 10, frozenset({"audio_input"})) is None
    assert worst_case(rates_of({"input": DOLLAR}), 10, 10) is None
    assert worst_case(rates_of({"input": DOLLAR}), 10, 0) == 10_000
    assert worst_case(rates_of({"output": DOLLAR}), 10, 10) is None


def test_the_worst_case_knows_every_tier_within_reach_and_none_beyond() -> None:
    """BUD-05: the dearest need be neither the first nor the last."""
    steps = ((100, 5), (200, 9), (300, 4))
    rates = rates_of({"input": DOLLAR}, tiers=tuple(Tier(above, {"input": rate * DOLLAR}) for above, rate in steps))
    assert worst_case(rates, 100, 0) == 100 * 1000
    assert worst_case(rates, 101, 0) == 101 * 5000
    assert worst_case(rates, 301, 0) == 301 * 9000


def test_a_call_that_cannot_use_audio_reserves_no_audio() -> None:
    rates = rates_of({"input": DOLLAR, "output": DOLLAR, "audio_input": 40 * DOLLAR})
    assert worst_case(rates, 10, 0) == 400_000
    assert worst_case(rates, 10, 0, frozenset()) == 10_000


def test_tools_cost_their_fee_beside_the_tokens_every_time() -> None:
    rates = replace(rates_of({"input": DOLLAR, "output": DOLLAR}), fees={"web_search": 10_000_000, "file_search": 0})
    uses = (("code_interpreter", 5), ("file_search", 7), ("web_search", 3))
    assert cost(rates, Usage(input=1), uses) == Cost(1_000 + 30_000_000)
