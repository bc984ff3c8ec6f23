from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from gateway.core.accounts import Denied, Granted, Seed, Unseeded
from gateway.core.ports import Store
from tests.stores.contract import Machine, Place, ask, seeded, used


async def test_a_money_counter_is_seeded_before_anything_is_reserved(place: Place) -> None:
    """BUD-03: the first contact of many at a time is bounded as any other."""
    async with place.opened() as store:
        asks = [ask("requests", 1, 10, "minute"), ask(amount=60), ask(amount=60, name="caller")]
        assert await store.reserve("a", asks, 60) == Unseeded((1, 2))
        await seeded(store, asks[1])
        assert await store.reserve("a", asks, 60) == Unseeded((2,))
        await seeded(store, asks[2])
        answers = await asyncio.gather(*(store.reserve(str(number), asks, 60) for number in range(8)))
        assert sum(isinstance(answer, Granted) for answer in answers) == 1


async def test_a_second_seed_changes_nothing(place: Place) -> None:
    async with place.opened() as store:
        await seeded(store, ask(), spent=30)
        await seeded(store, ask(), spent=30)
        assert (await spent_and_reserved(store))[0] == 30


async def test_all_limits_are_reserved_or_none(place: Place) -> None:
    """BUD-13: the answer names the limit that has no room."""
    async with place.opened() as store:
        team, caller, calls = ask(amount=50), ask(amount=50, limit=40, name="caller"), ask("calls", 1, 9, "now")
        await seeded(store, team, caller)
        answer = await store.reserve("a", [team, calls, caller], 60)
        assert isinstance(answer, Denied)
        assert (answer.ask, answer.balance.key, answer.retry_after_s) == (2, caller.key, None)
        assert await spent_and_reserved(store) == (0, 0)
        assert await store.settle("a", {}) is False


async def test_a_soft_limit_counts_and_never_denies(place: Place) -> None:
    async with place.opened() as store:
        soft = ask(amount=150, hard=False)
        rate = ask("tokens", 150, 100, "minute", hard=False)
        await seeded(store, soft)
        answer = await store.reserve("a", [soft, rate], 60)
        assert isinstance(answer, Granted)
        assert [balance.remaining for balance in answer.balances] == [0, 0]


async def test_settling_books_what_was_used_and_returns_the_rest(place: Place) -> None:
    async with place.opened() as store:
        await seeded(store, ask())
        await store.reserve("a", [ask(amount=40)], 60)
        assert await spent_and_reserved(store) == (0, 40)
        assert await store.settle("a", {"usd": 15})
        assert await store.settle("a", {"usd": 15})
        assert await spent_and_reserved(store) == (15, 0)


async def test_what_was_used_over_the_reservation_is_booked(place: Place) -> None:
    async with place.opened() as store:
        await seeded(store, ask())
        await store.reserve("a", [ask(amount=40)], 60)
        assert await store.settle("a", {"usd": 140})
        assert await spent_and_reserved(store) == (140, 0)


async def test_reserving_twice_changes_nothing(place: Place) -> None:
    async with place.opened() as store:
        await seeded(store, ask())
        for _ in range(3):
            assert isinstance(await store.reserve("a", [ask(amount=60)], 60), Granted)
        assert await spent_and_reserved(store) == (0, 60)
        await store.settle("a", {"usd": 1})
        assert isinstance(await store.reserve("a", [ask(amount=60)], 60), Granted)
        assert await spent_and_reserved(store) == (1, 0)


async def test_only_running_calls_in_the_way_means_soon(place: Place) -> None:
    async with place.opened() as store:
        await seeded(store, ask(), spent=30)
        await store.reserve("a", [ask(amount=60)], 60)
        soon = await store.reserve("b", [ask(amount=60)], 60)
        assert isinstance(soon, Denied)
        assert soon.retry_after_s == 1.0
        never = await store.reserve("b", [ask(amount=80)], 60)
        assert isinstance(never, Denied)
        assert never.retry_after_s is None
        assert never.balance.resets_s is not None
        assert 0 <= never.balance.resets_s <= 86_400


async def test_a_bucket_says_when_there_is_room(place: Place) -> None:
    """BUD-18."""
    async with place.opened() as store:
        assert isinstance(await store.reserve("a", [ask("requests", 6, 6, "minute")], 60), Granted)
        answer = await store.reserve("b", [ask("requests", 1, 6, "minute")], 60)
        assert isinstance(answer, Denied)
        assert answer.retry_after_s == pytest.approx(10, abs=1)
        assert answer.balance.resets_s == pytest.approx(60, abs=1)
        too_much = await store.reserve("b", [ask("requests", 7, 6, "minute")], 60)
        assert isinstance(too_much, Denied)
        assert too_much.retry_after_s is None


async def test_a_bucket_gets_the_difference_back_and_can_be_in_debt(place: Place) -> None:
    async with place.opened() as store:
        for lease, actual, left in (("a", 10, 90), ("b", 250, 0)):
            bucket = ask("tokens", 50, 100, "minute")
            assert isinstance(await store.reserve(lease, [bucket], 60), Granted)
            assert await store.settle(lease, {"tokens": actual})
            (balance,) = await store.balances([bucket])
            assert balance is not None
            assert balance.remaining == pytest.approx(left, abs=2)
        answer = await store.reserve("c", [bucket], 60)
        assert isinstance(answer, Denied)
        assert answer.retry_after_s == pytest.approx(210 * 60 / 100, abs=2)


async def test_running_calls_are_counted_while_they_run(place: Place) -> None:
    async with place.opened() as store:
        calls = ask("calls", 1, 2, "now")
        assert isinstance(await store.reserve("a", [calls], 60), Granted)
        assert isinstance(await store.reserve("b", [calls], 60), Granted)
        answer = await store.reserve("c", [calls], 60)
        assert isinstance(answer, Denied)
        assert answer.retry_after_s == 1.0
        await store.settle("a", {"calls": 1})
        assert isinstance(await store.reserve("c", [calls], 60), Granted)


async def test_a_limit_that_is_changed_holds_from_the_next_call(place: Place) -> None:
    """BUD-11: nothing that was counted is lost."""
    async with place.opened() as store:
        await seeded(store, ask())
        await store.reserve("a", [ask(amount=60)], 60)
        assert isinstance(await store.reserve("b", [ask(amount=20, limit=70)], 60), Denied)
        assert isinstance(await store.reserve("b", [ask(amount=20, limit=1000)], 60), Granted)
        assert await spent_and_reserved(store) == (0, 80)


async def test_a_lease_grows_as_far_as_there_is_room(place: Place) -> None:
    async with place.opened() as store:
        tokens = ask("tokens", 10, 50, "minute")
        await seeded(store, ask())
        await store.reserve("a", [ask(amount=40), tokens], 60)
        assert await store.grow("a", {"usd": 50, "tokens": 30})
        assert not await store.grow("a", {"usd": 5, "tokens": 30})
        assert not await store.grow("a", {"usd": 11})
        assert not await store.grow("never", {"usd": 1})
        assert await spent_and_reserved(store) == (0, 90)
        await store.settle("a", {"usd": 7, "tokens": 0})
        assert await spent_and_reserved(store) == (7, 0)
        (balance,) = await store.balances([tokens])
        assert balance is None or balance.spent == 0


async def test_a_lease_that_expired_holds_until_somebody_settles_it(place: Place) -> None:
    """BUD-10."""
    async with place.opened() as store, place.opened() as other:
        await seeded(store, ask())
        await store.reserve("dead", [ask(amount=40)], 0)
        await store.reserve("alive", [ask(amount=40)], 60)
        await store.reserve("renewed", [ask(amount=10)], 0)
        await store.renew(["renewed", "never"], 60)
        assert await other.expired(10) == ["dead"]
        assert await spent_and_reserved(other) == (0, 90)
        assert await other.settle("dead", {"usd": 40})
        assert await other.expired(10) == []
        assert await spent_and_reserved(store) == (40, 50)


async def test_open_attempts_of_the_ledger_are_adopted(place: Place) -> None:
    """OPS-17: a counter that was lost knows the calls that still run."""
    async with place.opened() as store:
        await store.seed(ask(), Seed(20, {"running": 30, "dead": 10}), 0)
        await store.renew(["running"], 60)
        assert await spent_and_reserved(store) == (20, 40)
        assert await store.settle("running", {"usd": 5})
        assert await store.expired(10) == ["dead"]
        assert await store.settle("dead", {"usd": 10})
        assert await spent_and_reserved(store) == (35, 0)


async def test_an_attempt_is_adopted_by_every_counter_that_it_holds(place: Place) -> None:
    async with place.opened() as store:
        both = [ask(), ask(name="caller")]
        for each in both:
            await store.seed(each, Seed(0, {"running": 30}), 60)
        assert await store.settle("running", {"usd": 5})
        for balance in await store.balances(both):
            assert balance is not None
            assert (balance.spent, balance.reserved) == (5, 0)


async def test_a_seed_that_was_read_before_a_settlement_does_not_undo_it(place: Place) -> None:
    async with place.opened() as store:
        assert await store.settle("gone", {"tokens": 3, "usd": 25}) is False
        await store.seed(ask(), Seed(20, {"gone": 30}), 60)
        assert await spent_and_reserved(store) == (45, 0)


async def test_a_lease_that_the_ledger_had_concluded_is_not_counted_twice(place: Place) -> None:
    async with place.opened() as store:
        await seeded(store, ask())
        await store.reserve("a", [ask(amount=30)], 60)
        await store.forget([ask()])
        await store.seed(ask(), Seed(30), 60)
        assert await store.settle("a", {"usd": 30})
        assert await store.balances([ask()]) == [None]


async def test_large_sums_are_exact(place: Place) -> None:
    """BUD-17: past 2^53, where a double would round."""
    async with place.opened() as store:
        top = 2**62
        await seeded(store, ask(limit=top), spent=2**61 + 1)
        assert isinstance(await store.reserve("a", [ask(amount=2**61 - 2, limit=top)], 60), Granted)
        assert isinstance(await store.reserve("b", [ask(amount=2, limit=top)], 60), Denied)
        assert isinstance(await store.reserve("b", [ask(amount=1, limit=top)], 60), Granted)
        assert await store.settle("a", {"usd": 2**61 - 3})
        assert await spent_and_reserved(store) == (2**62 - 2, 1)


async def test_five_hundred_at_once_on_a_budget_for_ten(place: Place) -> None:
    """BUD-01: two clients of one store."""
    async with place.opened() as one, place.opened() as two:
        money, calls = ask(amount=10, limit=100), ask("calls", 1, 1000, "now")
        await seeded(one, money)
        both = (one, two)
        answers = await asyncio.gather(
            *(both[number % 2].reserve(f"{number}", [calls, money], 60) for number in range(500))
        )
        granted = [str(number) for number, answer in enumerate(answers) if isinstance(answer, Granted)]
        assert len(granted) == 10
        await asyncio.gather(*(both[int(lease) % 2].settle(lease, used(usd=10)) for lease in granted))
        assert await spent_and_reserved(one) == (100, 0)


def test_whatever_the_order_the_limits_hold_and_the_sums_are_right(place: Place) -> None:
    """BUD-02, BUD-10, BUD-14."""
    Machine.place = place
    examples = 120 if place.url == "memory" else 15
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Machine,
        settings=settings(
            max_examples=examples, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


async def spent_and_reserved(store: Store) -> tuple[int, int]:
    (balance,) = await store.balances([ask()])
    assert balance is not None
    return balance.spent, balance.reserved
