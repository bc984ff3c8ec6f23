from __future__ import annotations

from gateway.core.accounts import Ask, Denied, Granted, Limit, Seed, Unseeded
from gateway.core.windows import bound
from gateway.stores import memory
from gateway.stores.memory import MemoryStore
from tests.stores.contract import Clock, ask

MINUTE = Limit("rate", "rate", "requests", 6, "minute")


def one(limit: Limit = MINUTE, at: float = 0.0) -> Ask:
    return bound(limit, 1, at)


async def granted(store: MemoryStore, lease: str, each: Ask) -> bool:
    return isinstance(await store.reserve(lease, [each], 60), Granted)


async def test_a_bucket_refills_evenly_and_the_wait_it_names_is_true() -> None:
    """BUD-18."""
    clock = Clock()
    store = MemoryStore(clock)
    assert [await granted(store, f"{n}", one()) for n in range(7)] == [True] * 6 + [False]
    answer = await store.reserve("7", [one()], 60)
    assert isinstance(answer, Denied)
    assert answer.retry_after_s == 10.0
    clock.since += 9.99
    assert not await granted(store, "7", one())
    clock.since += 0.01
    assert await granted(store, "7", one())
    assert not await granted(store, "8", one())


async def test_a_wall_clock_that_jumps_moves_no_bucket_and_no_lease() -> None:
    """OPS-23."""
    clock = Clock()
    store = MemoryStore(clock)
    for number in range(6):
        await granted(store, f"{number}", one())
    for jump in (3600, -7200, 11, -11):
        clock.date += jump
        assert not await granted(store, "more", one())
        assert await store.expired(10) == []
    clock.since += 60
    assert len(await store.expired(10)) == 6
    assert await granted(store, "more", one())


async def test_a_call_is_booked_to_the_window_that_it_began_in() -> None:
    """BUD-14: two processes five seconds apart share both windows."""
    clock = Clock()
    store = MemoryStore(clock)
    daily = Limit("day", "day", "usd", 10, "day")
    midnight = 1_700_006_400.0
    before, after = bound(daily, 10, midnight - 1), bound(daily, 10, midnight + 4)
    assert before.key != after.key
    for each in (before, after):
        await store.seed(each, Seed(0), 60)
        assert await granted(store, each.key, each)
    assert await store.settle(before.key, {"usd": 7})
    first, second = await store.balances([before, after])
    assert first is not None
    assert second is not None
    assert (first.spent, first.reserved, second.spent, second.reserved) == (7, 0, 0, 10)


async def test_counters_that_are_over_are_dropped() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    hourly = Limit("hour", "hour", "usd", 10, "hour")
    for number in range(5 * memory.SWEEP_AT):
        bucket = one(Limit("rate", f"rate:{number}", "requests", 6, "minute"))
        await store.reserve(f"{number}", [bucket], 60)
        await store.settle(f"{number}", {"requests": 1})
        clock.since += 1
        clock.date += 60
        await store.seed(bound(hourly, 0, clock.date), Seed(0), 60)
    assert len(store._counters) <= 2 * memory.SWEEP_AT
    assert len(store._past) == len(store._ends) <= memory.SEEDING_S + 1


async def test_a_lease_that_was_settled_is_known_for_a_while_and_then_forgotten() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    await granted(store, "a", one())
    assert await store.settle("a", {"requests": 1})
    clock.since += memory.SETTLED_S / 2
    assert await store.settle("a", {"requests": 1})
    assert not await store.settle("never made", {})
    clock.since += memory.SETTLED_S / 2
    await store.settle("another", {})
    assert not await store.settle("a", {"requests": 1})


async def test_it_is_known_for_longer_while_a_seed_may_be_on_its_way() -> None:
    """The ledger was read while it ran, and the seed comes when it has ended."""
    clock = Clock()
    store = MemoryStore(clock)
    spent = ask("usd", 10, 100, "total")
    await granted(store, "a", one())
    assert isinstance(await store.reserve("b", [spent], 60), Unseeded)
    await store.settle("a", {"usd": 7, "requests": 1})
    clock.since += memory.SEEDING_S - 1
    await store.settle("another", {})
    await store.seed(spent, Seed(50, {"a": 10}), 60)
    (balance,) = await store.balances([spent])
    assert balance is not None
    assert (balance.spent, balance.reserved) == (57, 0)
    clock.since += memory.SETTLED_S
    await store.settle("one more", {})
    assert list(store._past) == ["one more"]


async def test_a_limit_of_nothing_admits_nothing() -> None:
    store = MemoryStore(Clock())
    answer = await store.reserve("a", [ask("requests", 1, 0, "minute")], 60)
    assert isinstance(answer, Denied)
    assert (answer.retry_after_s, answer.balance.resets_s) == (None, None)
