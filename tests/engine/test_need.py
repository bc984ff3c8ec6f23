from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.accounts import Balance, Denied, Limit, Terms
from gateway.core.errors import Refusal
from gateway.core.model import Call, Plan, Provider, Target
from gateway.core.rates import Rates, cost
from gateway.core.usage import Usage
from gateway.core.windows import bound
from gateway.engine.need import Need, asks_of, fits_at_best, need_of, terms_of
from gateway.policy.compile import Accounting, TargetRule
from gateway.tokens.bound import PREAMBLE
from gateway.tokens.images import LARGEST
from tests.engine.fakes import LOADED_AT, FakePrices, call_for, limit_for, rates_for, runtime_for

RULES = {"m": (TargetRule("a", None),), "dear": (TargetRule("b", None),)}
RATES = rates_for(input=1_000_000, output=10_000_000)
PRICES = FakePrices({("m", ""): RATES, ("dear", ""): rates_for(input=7_000_000, output=70_000_000)})
REFUSE = Accounting(unseen_input_tokens=5_000)
MONEY, SOFT_MONEY = limit_for("usd"), limit_for("usd", hard=False)


def call_of(endpoint: str = "chat", **document: Any) -> Call:
    whole = {"model": "m", **document}
    return call_for(endpoint, body=json.dumps(whole).encode(), document=whole, model="m")


def plan_of(*limits: Limit, targets: tuple[Target, ...] = (Target("a", "m"),), **facts: Any) -> Plan:
    return Plan("v-1", targets, limits=limits, **{"output_cap": 100, **facts})


def needed(
    call: Call,
    plan: Plan,
    tokens: int | None = None,
    prices: FakePrices = PRICES,
    accounting: Accounting = REFUSE,
) -> Need:
    return need_of(call, plan, runtime_for(RULES, prices=prices, accounting=accounting), LOADED_AT, tokens)


def refused(call: Call, plan: Plan, **facts: Any) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        needed(call, plan, **facts)
    return refusal.value


def test_input_is_bounded_by_the_bytes_of_the_body() -> None:
    call = call_of(messages=[])
    need = needed(call, plan_of(MONEY))
    assert need.input_tokens == need.input_bound == len(call.body) + PREAMBLE  # type: ignore[arg-type]
    assert not need.counted
    assert need.nano == need.input_tokens + 100 * 10
    assert need.tokens == need.input_tokens + 100


@pytest.mark.parametrize(("models", "each"), [(["gpt-4o"], 85 + 8 * 170), (["gpt-4o", "m"], LARGEST), ([], 0)])
def test_a_picture_may_be_as_large_as_any_of_the_models_takes_one(models: list[str], each: int) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    call = call_of(messages=[{"role": "user", "content": [picture, picture]}])
    need = needed(call, plan_of(targets=tuple(Target("a", model) for model in models)))
    assert need.input_tokens == len(call.body) + PREAMBLE + 2 * each  # type: ignore[arg-type]


def test_a_counted_input_takes_the_place_of_the_bound_and_never_exceeds_it() -> None:
    call = call_of(messages=[])
    few, many = needed(call, plan_of(MONEY), 5), needed(call, plan_of(MONEY), 10**6)
    assert (few.input_tokens, few.nano, few.counted) == (5, 5 + 1000, True)
    assert few.input_bound == needed(call, plan_of(MONEY)).input_bound
    assert many.input_tokens == many.input_bound


@pytest.mark.parametrize(
    ("limits", "ceiling", "cap"),
    [
        ((), 0, 0),
        ((SOFT_MONEY,), 0, 0),
        ((limit_for("requests"), limit_for("calls")), 0, 0),
        ((MONEY,), 0, 100),
        ((limit_for("tokens"),), 0, 100),
        ((), 100, 100),
    ],
)
def test_an_absent_limit_is_written_in_only_where_the_reservation_must_be_a_true_bound(
    limits: tuple[Limit, ...], ceiling: int, cap: int
) -> None:
    """BUD-05."""
    need = needed(call_of(messages=[]), plan_of(*limits, output_ceiling=ceiling))
    assert (need.cap, need.output_tokens) == (cap, 100)


@pytest.mark.parametrize("endpoint", ["chat", "completions", "responses"])
def test_the_callers_own_limit_is_kept(endpoint: str) -> None:
    field = {"chat": "max_tokens", "completions": "max_tokens", "responses": "max_output_tokens"}[endpoint]
    need = needed(call_of(endpoint, **{field: 7}), plan_of(MONEY))
    assert (need.output_tokens, need.cap) == (7, 0)


def test_every_choice_is_reserved_for() -> None:
    """BUD-05: `n`, `best_of`, several prompts, with and without a limit."""
    assert needed(call_of(n=128), plan_of(MONEY)).output_tokens == 12_800
    assert needed(call_of(n=128), plan_of(MONEY)).cap == 100
    assert needed(call_of(n=3, max_tokens=7), plan_of(MONEY)).output_tokens == 21
    assert needed(call_of("completions", best_of=5, n=2, max_tokens=7), plan_of(MONEY)).output_tokens == 35
    assert needed(call_of("completions", prompt=["a", "b"], max_tokens=7), plan_of(MONEY)).output_tokens == 14


def test_more_than_the_models_ceiling_is_refused_before_anything_is_sent() -> None:
    """BUD-05: `max_tokens` of 2^31."""
    plan = plan_of(output_ceiling=100)
    assert needed(call_of(max_tokens=100, n=4), plan).output_tokens == 400
    refusal = refused(call_of(max_tokens=2**31), plan)
    assert (refusal.status, refusal.code) == (400, "max_tokens_too_large")
    assert refused(call_of(max_tokens=101, n=4), plan).code == "max_tokens_too_large"


def test_of_several_targets_the_dearest_is_reserved() -> None:
    need = needed(call_of(max_tokens=10), plan_of(MONEY, targets=(Target("a", "m"), Target("b", "dear"))))
    assert need.nano == need.input_tokens * 7 + 10 * 70


def test_a_tier_that_was_asked_for_is_reserved_where_it_is_dearer() -> None:
    """BUD-05: the priority tier."""
    prices = FakePrices({("m", ""): RATES, ("m", "priority"): rates_for(input=2_000_000, output=20_000_000)})
    usual = needed(call_of(max_tokens=10), plan_of(MONEY), 50, prices=prices)
    dear = needed(call_of(max_tokens=10, service_tier="priority"), plan_of(MONEY), 50, prices=prices)
    cheap = {("m", ""): RATES, ("m", "flex"): rates_for(input=1, output=1)}
    flex = needed(call_of(max_tokens=10, service_tier="flex"), plan_of(MONEY), 50, prices=FakePrices(cheap))
    assert (usual.nano, dear.nano, flex.nano) == (150, 300, 150)


def test_a_tier_without_a_price_has_no_price() -> None:
    refusal = refused(call_of(service_tier="priority"), plan_of(MONEY))
    assert refusal.code == "unpriced_model"


@pytest.mark.parametrize(
    "document",
    [
        {"previous_response_id": "resp_1"},
        {"tools": [{"type": "mcp"}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
    ],
)
def test_what_the_gateway_cannot_see_is_reserved_for(document: dict[str, Any]) -> None:
    seen, unseen = call_of("responses"), call_of("responses", **document)
    assert needed(unseen, plan_of(MONEY)).input_tokens >= 5_000
    assert needed(seen, plan_of(MONEY)).input_tokens < 5_000


SEARCHES: Any = {"tools": [{"type": "web_search"}], "max_output_tokens": 1}
FEES = FakePrices({("m", ""): rates_for(input=0, output=0, fees={"web_search": 100, "file_search": 25})})


def test_uses_of_a_providers_tools_are_reserved_and_capped() -> None:
    """BUD-05: the request's own cap, or else the policy's, which is written into the body."""
    own = needed(call_of("responses", max_tool_calls=3, **SEARCHES), plan_of(MONEY), prices=FEES)
    assert (own.nano, own.uses, own.tool_cap) == (300, 3, 0)
    absent = needed(call_of("responses", **SEARCHES), plan_of(MONEY), prices=FEES)
    assert (absent.nano, absent.uses, absent.tool_cap) == (1600, 16, 16)
    free = needed(call_of("responses", **SEARCHES), plan_of(SOFT_MONEY), prices=FEES)
    assert (free.nano, free.tool_cap) == (1600, 0)


def test_of_several_tools_the_dearest_is_reserved_every_time() -> None:
    both = {"tools": [{"type": "file_search"}, {"type": "web_search"}], "max_tool_calls": 2}
    assert needed(call_of("responses", **both), plan_of(MONEY), prices=FEES).nano == 200
    one = {"tools": [{"type": "file_search"}], "max_tool_calls": 2}
    assert needed(call_of("responses", **one), plan_of(MONEY), prices=FEES).nano == 50


def test_a_chat_that_searches_reserves_one_search() -> None:
    need = needed(call_of(web_search_options={}), plan_of(MONEY), prices=FEES)
    assert (need.nano, need.uses, need.tool_cap) == (100, 1, 0)


def test_a_tool_without_a_fee_is_refused_where_a_hard_budget_holds() -> None:
    """BUD-04: unknown is not zero."""
    refusal = refused(call_of("responses", **SEARCHES), plan_of(MONEY))
    assert (refusal.status, refusal.code, refusal.param) == (402, "unpriced_tool", "tools")
    assert needed(call_of("responses", **SEARCHES), plan_of(SOFT_MONEY)).nano is not None
    plain = needed(call_of("responses", max_output_tokens=1), plan_of(MONEY), 5).nano
    assert plain is not None
    for unpriced, more in (("allow", 0), ("flat", 7)):
        policy = Accounting(unpriced=unpriced, flat_nano=7)  # type: ignore[arg-type]
        assert needed(call_of("responses", **SEARCHES), plan_of(MONEY), 5, accounting=policy).nano == plain + more


def test_an_unknown_price_is_refused_where_a_hard_budget_holds() -> None:
    """BUD-04."""
    refusal = refused(call_of(), plan_of(MONEY), prices=FakePrices())
    assert (refusal.status, refusal.code, refusal.param) == (402, "unpriced_model", "model")


@pytest.mark.parametrize("limits", [(), (SOFT_MONEY,), (limit_for("requests"),)])
def test_an_unknown_price_passes_where_no_hard_budget_holds(limits: tuple[Limit, ...]) -> None:
    assert needed(call_of(), plan_of(*limits), prices=FakePrices()).nano is None


def test_an_unknown_price_is_the_flat_charge_or_passes_as_policy_says() -> None:
    """BUD-04."""
    flat, allow = Accounting(unpriced="flat", flat_nano=77), Accounting(unpriced="allow")
    assert needed(call_of(), plan_of(MONEY), prices=FakePrices(), accounting=flat).nano == 77
    assert needed(call_of(), plan_of(MONEY), prices=FakePrices(), accounting=allow).nano is None


class DearerFrom:
    """Prices that double at the wall time `at`. `asked` is how often they were looked up."""

    version = "fake"

    def __init__(self, at: float) -> None:
        self._at = at
        self.asked = 0

    def rates(self, provider: Provider, model: str, tier: str, at: float) -> Rates | None:
        self.asked += 1
        return rates_for(input=0, output=2_000_000 if at >= self._at else 1_000_000)


def test_prices_are_looked_up_once_a_minute_and_a_new_one_holds_from_its_minute_on() -> None:
    whole_minute = 1_700_000_040.0
    prices = DearerFrom(whole_minute)
    runtime, plan, call = runtime_for(RULES, prices=prices), plan_of(MONEY), call_of(max_tokens=10)
    reserved = [need_of(call, plan, runtime, whole_minute + after).nano for after in (-60, -30, -0.001, 0, 59, -1)]
    assert reserved == [10, 10, 10, 20, 20, 10]
    assert prices.asked == 3


def test_a_reservation_is_in_the_window_that_it_begins_in() -> None:
    """BUD-14: the same plan before and after midnight."""
    midnight = 1_700_006_400.0
    runtime, plan = runtime_for(RULES, prices=PRICES), plan_of(limit_for("usd", window="day"))
    before, after = (terms_of(plan, runtime, at).asks[0] for at in (midnight - 0.001, midnight))
    assert before == bound(plan.limits[0], 0, midnight - 1)
    assert after == bound(plan.limits[0], 0, midnight)
    assert before.window_end_at == after.window_start_at == midnight


def test_a_passed_through_call_reserves_its_charge() -> None:
    call = call_for("passthrough")
    assert needed(call, plan_of(MONEY, charge_nano=5)).nano == 5
    assert needed(call, plan_of(MONEY, charge_nano=0)).nano == 0
    assert refused(call, plan_of(MONEY)).code == "unpriced_model"


@pytest.mark.parametrize("endpoint", ["responses.object", "moderations"])
def test_free_endpoints_need_nothing(endpoint: str) -> None:
    assert needed(call_for(endpoint), plan_of(MONEY), prices=FakePrices()) == Need(0, 0, 0)


def test_embeddings_have_no_output() -> None:
    need = needed(call_of("embeddings", input="hi"), plan_of(MONEY))
    assert (need.output_tokens, need.cap) == (0, 0)
    assert need.nano == need.input_tokens


def test_a_further_attempt_asks_for_everything_but_a_further_request() -> None:
    """BUD-15."""
    limits = [limit_for("requests"), limit_for("tokens"), limit_for("calls"), MONEY]
    need = Need(30, 12, 77)
    terms = terms_of(plan_of(*limits), runtime_for(RULES, prices=PRICES), LOADED_AT)
    first, again = asks_of(terms, need, first=True), asks_of(terms, need, first=False)
    assert [(ask.limit.unit, ask.amount) for ask in first] == [
        ("requests", 1), ("tokens", 42), ("calls", 1), ("usd", 77),
    ]  # fmt: skip
    assert again == first[1:]


def denied_by(limit: Limit, amount: int, remaining: int) -> bool:
    (ask,) = asks_of(Terms(asks=(bound(limit, 0, LOADED_AT),)), Need(amount, 0, amount), first=True)
    return fits_at_best([ask], Denied(0, Balance(ask.key, limit.amount, limit.amount - remaining, 0), None))


def test_input_is_counted_only_where_that_could_make_it_fit() -> None:
    assert denied_by(limit_for("tokens", 1000), 1600, 100)
    assert not denied_by(limit_for("tokens", 1000), 1616, 100)
    assert denied_by(MONEY, 160, 10)


@pytest.mark.parametrize("unit", ["requests", "calls"])
def test_no_count_of_tokens_helps_where_requests_or_calls_are_the_limit(unit: str) -> None:
    assert not denied_by(limit_for(unit, 10), 1600, 0)


@given(
    st.integers(0, 200), st.integers(0, 100), st.integers(0, 200), st.booleans(), st.integers(1, 4), st.integers(0, 50)
)
def test_no_usage_within_the_bounds_costs_more_than_was_reserved(
    given_in: int, cached: int, given_out: int, capped: bool, choices: int, fee: int
) -> None:
    rates = rates_for(fee, input=3_333_333, cached_input=500_001, output=9_999_999, reasoning=12_000_000)
    document: dict[str, Any] = {"n": choices} | ({"max_tokens": 60} if capped else {})
    need = needed(call_of(**document), plan_of(MONEY), prices=FakePrices({("m", ""): rates}))
    output = min(given_out, need.output_tokens)
    usage = Usage(input=max(0, min(given_in, need.input_tokens) - cached), cached_input=min(cached, need.input_tokens))
    worst = cost(rates, Usage(usage.input, usage.cached_input, output=output // 2, reasoning=output - output // 2))
    assert worst.nano is not None
    assert need.nano is not None
    assert worst.nano <= need.nano
