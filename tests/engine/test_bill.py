from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from gateway.core.accounts import State
from gateway.core.model import Attempt, Call, Plan, Target
from gateway.core.usage import Reported, Usage
from gateway.engine.bill import bill, is_counted, rates_text
from gateway.engine.need import Need
from gateway.policy.compile import Accounting, TargetRule
from tests.engine.fakes import FakePrices, call_for, limit_for, rates_for, runtime_for

RULES = {"m": (TargetRule("a", None),)}
NEED = Need(100, 50, 10**9, input_bound=100)
PRICES = FakePrices(
    {
        ("m", ""): rates_for(input=10**9, output=2 * 10**9),
        ("served", ""): rates_for(input=3 * 10**9, output=0),
        ("m", "priority"): rates_for(input=5 * 10**9, output=0),
    }
)
COUNTED = Reported(10, 5, 15)
REFUSE = Accounting()


def attempt_of(**facts: Any) -> Attempt:
    given = {"sent": True, "status": 200, "complete": True, **facts}
    return Attempt("call-1.1", 1, "a", "m", started_at=0.0, started=0.0, **given)


def billed(
    call: Call | None = None,
    estimate: tuple[int, int] | None = None,
    need: Need = NEED,
    accounting: Accounting = REFUSE,
    prices: FakePrices = PRICES,
    charge_nano: int | None = None,
    limited: bool = True,
    **facts: Any,
) -> Attempt:
    attempt = attempt_of(**facts)
    limits = (limit_for("usd"),) if limited else ()
    plan = Plan("v-1", (Target("a", "m"),), limits=limits, charge_nano=charge_nano)
    runtime = runtime_for(RULES, prices=prices, accounting=accounting)
    bill(attempt, call or call_for(document={}, model="m"), plan, need, runtime, estimate)
    return attempt


def came_to(attempt: Attempt) -> tuple[State, int | None, tuple[str, ...]]:
    return attempt.state, attempt.cost_nano, attempt.flags


def test_what_was_not_sent_is_voided_and_costs_nothing() -> None:
    assert came_to(billed(sent=False, status=0, reported=COUNTED)) == ("voided", 0, ())


@pytest.mark.parametrize("facts", [{"status": 500}, {"status": 429}, {"status": 302}, {"status": 0, "failed": True}])
def test_an_error_or_no_answer_is_failed_and_costs_nothing(facts: dict[str, Any]) -> None:
    """BUD-07."""
    assert came_to(billed(reported=COUNTED, **facts)) == ("failed", 0, ())


def test_an_answer_costs_what_its_provider_counted_to_the_nano() -> None:
    attempt = billed(reported=Reported(7, 3, 10))
    assert came_to(attempt) == ("settled", 7 * 1000 + 3 * 2000, ())
    assert attempt.usage == Usage(input=7, output=3)


def test_an_answer_that_broke_off_is_charged_for_what_was_counted_and_says_that_it_is_partial() -> None:
    assert came_to(billed(reported=COUNTED, complete=False)) == ("settled", 20_000, ("partial",))


def test_an_answer_without_usage_costs_its_estimate_and_says_so() -> None:
    """BUD-08."""
    attempt = billed(estimate=(20, 30))
    assert came_to(attempt) == ("settled", 80_000, ("estimated",))
    assert attempt.usage == Usage(input=20, output=30)


def test_a_count_that_the_provider_made_halfway_is_not_lowered_by_the_estimate() -> None:
    assert billed(reported=Reported(40), estimate=(20, 30)).usage == Usage(input=40, output=30)


def test_an_estimate_is_not_looked_at_where_the_provider_counted() -> None:
    assert came_to(billed(reported=COUNTED, estimate=(1000, 1000))) == ("settled", 20_000, ())


def test_usage_of_zero_is_honoured() -> None:
    """BUD-09."""
    attempt = attempt_of(reported=Reported(0, 0, 0))
    assert is_counted(attempt, call_for())
    assert came_to(billed(reported=Reported(0, 0, 0))) == ("settled", 0, ())


def test_an_absurd_count_is_clamped_to_what_there_can_be_and_flagged() -> None:
    """BUD-09: input to its bytes, output to ten times what was asked for, or a million."""
    attempt = billed(reported=Reported(10**15, 10**15), need=Need(100, 200_000, 10**18, input_bound=400))
    assert attempt.usage == Usage(input=10_400, output=2_000_000)
    assert attempt.flags == ("clamped",)


def test_a_cost_above_the_reservation_is_flagged_where_a_limit_holds() -> None:
    assert billed(reported=COUNTED, need=Need(1, 1, 19_999, input_bound=100)).flags == ("overrun",)
    assert billed(reported=COUNTED, need=Need(1, 1, 19_999, input_bound=100), limited=False).flags == ()
    assert billed(reported=COUNTED, need=Need(1, 1, 20_000, input_bound=100)).flags == ()


def test_the_model_that_served_is_charged() -> None:
    attempt = billed(reported=Reported(10, 5, model="served"))
    assert attempt.cost_nano == 30_000
    assert orjson.loads(rates_text(attempt))["rates"] == {"input": 3 * 10**9, "output": 0}


def test_a_served_model_that_has_no_price_is_charged_as_the_one_that_was_asked_for() -> None:
    assert billed(reported=Reported(10, 5, model="m-2026-01-01")).cost_nano == 20_000


def test_the_tier_that_served_is_charged() -> None:
    attempt = billed(reported=Reported(10, 5, service_tier="priority"))
    assert attempt.cost_nano == 50_000
    assert orjson.loads(rates_text(attempt))["tier"] == "priority"


@pytest.mark.parametrize(
    ("accounting", "cost", "flag"),
    [
        (Accounting(unpriced="allow"), None, "unpriced"),
        (Accounting(unpriced="refuse"), None, "unpriced"),
        (Accounting(unpriced="flat", flat_nano=77), 77, "flat"),
    ],
)
def test_an_unknown_price_is_never_zero(accounting: Accounting, cost: int | None, flag: str) -> None:
    """BUD-04."""
    attempt = billed(reported=COUNTED, prices=FakePrices(), accounting=accounting)
    assert came_to(attempt) == ("settled", cost, (flag,))
    assert attempt.usage == Usage(input=10, output=5)
    assert rates_text(attempt) == ""


def test_a_bucket_without_a_price_makes_the_whole_cost_unknown() -> None:
    prices = FakePrices({("m", ""): rates_for(input=1, output=1)})
    reported = Reported(10, 5, 15, audio_output_tokens=2)
    assert came_to(billed(reported=reported, prices=prices)) == ("settled", None, ("unpriced",))


@pytest.mark.parametrize("endpoint", ["responses.object", "moderations"])
def test_free_endpoints_cost_nothing_whatever_they_report(endpoint: str) -> None:
    """A stored response was paid for when it was made."""
    assert came_to(billed(call_for(endpoint), reported=COUNTED)) == ("settled", 0, ())
    assert is_counted(attempt_of(), call_for(endpoint))


def test_a_passed_through_call_costs_its_charge_else_its_cost_is_not_known() -> None:
    call = call_for("passthrough")
    assert came_to(billed(call, charge_nano=5)) == ("settled", 5, ("flat",))
    assert came_to(billed(call)) == ("settled", None, ("unpriced",))
    assert came_to(billed(call, accounting=Accounting(unpriced="flat", flat_nano=9))) == ("settled", 9, ("flat",))
    assert came_to(billed(call, charge_nano=5, status=404)) == ("failed", 0, ())


def test_embeddings_are_counted_without_output() -> None:
    call = call_for("embeddings", document={}, model="m")
    assert is_counted(attempt_of(reported=Reported(8)), call)
    assert came_to(billed(call, reported=Reported(8))) == ("settled", 8_000, ())


def test_a_call_that_nobody_waited_for_is_not_taken_for_failed() -> None:
    """Its head never came, and the provider may well work on it: its input is charged."""
    assert not is_counted(attempt_of(status=0), call_for())
    assert came_to(billed(status=0, complete=False, estimate=(9, 0))) == ("settled", 9_000, ("partial", "estimated"))


def test_billing_twice_gives_the_last_word() -> None:
    attempt = billed(reported=COUNTED)
    plan = Plan("v-1", (Target("a", "m"),))
    attempt.reported = Reported(1, 1)
    bill(attempt, call_for(document={}, model="m"), plan, NEED, runtime_for(RULES, prices=PRICES))
    assert came_to(attempt) == ("settled", 3_000, ())


SEARCH = FakePrices({("m", ""): rates_for(input=10**9, output=10**9, fees={"web_search": 500})})


def test_uses_of_a_providers_tools_are_charged_and_kept_with_their_fee() -> None:
    searched = Reported(10, 5, 15, uses=(("web_search", 2),))
    attempt = billed(prices=SEARCH, reported=searched, need=replace(NEED, tools=("web_search",), uses=16))
    assert came_to(attempt) == ("settled", 15_000 + 1000, ())
    kept = orjson.loads(rates_text(attempt))
    assert (kept["uses"], kept["fees"]) == ({"web_search": 2}, {"web_search": 500})


def test_a_chat_that_may_search_is_charged_a_search_unless_its_usage_tells() -> None:
    call, need = call_for(document={"web_search_options": {}}, model="m"), replace(NEED, tools=("web_search",), uses=1)
    assert billed(call, prices=SEARCH, reported=COUNTED, need=need).cost_nano == 15_000 + 500
    told = Reported(10, 5, 15, uses=(("web_search", 3),))
    assert billed(call, prices=SEARCH, reported=told, need=need).cost_nano == 15_000 + 1500


@pytest.mark.parametrize(
    ("unpriced", "more", "flags"), [("allow", 0, ("unpriced-tool",)), ("flat", 7, ("unpriced-tool", "flat"))]
)
def test_a_tool_that_was_used_and_has_no_fee_is_told(unpriced: Any, more: int, flags: tuple[str, ...]) -> None:
    """BUD-04."""
    accounting = Accounting(unpriced=unpriced, flat_nano=7)
    used = Reported(10, 5, 15, uses=(("code_interpreter", 2),))
    need = replace(NEED, tools=("code_interpreter",), uses=16)
    attempt = billed(prices=SEARCH, reported=used, need=need, accounting=accounting)
    assert came_to(attempt) == ("settled", 15_000 + more, flags)
    assert came_to(billed(prices=SEARCH, reported=COUNTED, need=need, accounting=accounting)) == ("settled", 15_000, ())


def test_searches_that_nobody_asked_for_and_that_have_no_fee_are_in_the_price() -> None:
    """Perplexity charges by the request and tells its queries."""
    told = Reported(10, 5, 15, uses=(("web_search", 3),))
    assert came_to(billed(reported=told)) == ("settled", 20_000, ())
