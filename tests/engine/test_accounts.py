from __future__ import annotations

import asyncio

from gateway.core.accounts import Ask, Granted, Intent, Origin, Outcome, Unseeded
from gateway.core.windows import bound
from gateway.engine.accounts import LEASE_S, Accounts, Settlement
from gateway.stores.memory import MemoryStore
from tests.engine.fakes import LOADED_AT, FakeClock, FakeLedger, FakeStore, accounts_for, limit_for, turns

ASK = bound(limit_for("usd", 1000), 100, LOADED_AT)


def intent(attempt: str, reserved: int = 100) -> Intent:
    origin = Origin("app", "team", {}, "chat", "m", "a", "m", "v-1", "here")
    return Intent(attempt, attempt, 1, LOADED_AT, origin, reserved, 0)


class Books:
    """Accounts over fakes, with their work beside the calls running when it is `async with`."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.ledger = FakeLedger()
        self.store = FakeStore(self.clock)
        self.accounts: Accounts = accounts_for(self.ledger, self.store, self.clock)

    async def __aenter__(self) -> Books:
        self.accounts.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.accounts._tasks.stop()

    async def reserved(self, attempt: str, ask: Ask = ASK) -> None:
        """As a call does: the lease, the seeds it needs, the intent."""
        if isinstance(await self.store.reserve(attempt, [ask], LEASE_S), Unseeded):
            await self.accounts.seed([ask], self.store)
            assert isinstance(await self.store.reserve(attempt, [ask], LEASE_S), Granted)
        self.accounts.leases.add(attempt)
        await self.ledger.intend(intent(attempt, ask.amount))

    def ended(self, attempt: str, cost: int) -> None:
        durable = self.ledger.conclude(Outcome(attempt, LOADED_AT, "settled", cost))
        self.accounts.settle(Settlement(attempt, [ASK], {"usd": cost}), after=durable)

    async def counted(self) -> tuple[int, int]:
        """(spent, reserved), seeded where the store does not know them."""
        if (await self.store.balances([ASK]))[0] is None:
            await self.accounts.seed([ASK], self.store)
        (balance,) = await self.store.balances([ASK])
        assert balance is not None
        return balance.spent, balance.reserved


async def test_the_ledger_comes_first_and_the_store_second() -> None:
    async with Books() as books:
        await books.reserved("one")
        books.ledger.slow = True
        books.ended("one", 40)
        await turns(20)
        assert await books.counted() == (0, 100)
        books.ledger.flush()
        assert await books.accounts.flushed(5)
        assert await books.counted() == (40, 0)
        assert books.accounts.leases == set()


async def test_many_settlements_at_once_are_all_booked() -> None:
    async with Books() as books:
        for number in range(10):
            await books.reserved(f"call-{number}")
        for number in range(10):
            books.ended(f"call-{number}", number)
        assert await books.accounts.flushed(5)
        assert await books.counted() == (45, 0)


async def test_nothing_to_settle_is_nothing_to_wait_for() -> None:
    async with Books() as books:
        assert not await books.accounts.flushed(5)


async def test_a_ledger_that_does_not_get_done_is_waited_for_only_so_long() -> None:
    async with Books() as books:
        await books.reserved("one")
        books.ledger.slow = True
        books.ended("one", 40)
        assert not await books.accounts.flushed(0.01)


async def test_a_store_that_lost_its_memory_is_seeded_from_the_ledger_and_nothing_counts_twice() -> None:
    """OPS-17: the lease is not known any more, so what the counter should be is in the ledger alone."""
    async with Books() as books:
        await books.reserved("one")
        await books.reserved("two")
        books.store.lose_everything()
        books.ended("one", 40)
        assert await books.accounts.flushed(5)
        assert ("forget", [ASK.key]) in books.store.verbs
        assert await books.counted() == (40, 100)
        books.ended("two", 7)
        assert await books.accounts.flushed(5)
        assert await books.counted() == (47, 0)


async def test_a_store_of_this_process_books_at_once_and_is_seeded_anew_where_it_does_not_know_the_lease() -> None:
    books = Books()
    store = MemoryStore(books.clock)
    books.accounts = accounts_for(books.ledger, store, books.clock)
    books.store = store  # type: ignore[assignment]
    async with books:
        await books.reserved("one")
        books.accounts.settle(Settlement("one", [ASK], {"usd": 40}))
        assert (await books.counted(), books.accounts.unsettled) == ((40, 0), 0)
        books.accounts.settle(Settlement("never reserved", [ASK], {"usd": 7}))
        assert await books.accounts.flushed(5)
        assert await store.balances([ASK]) == [None]


async def test_a_loss_that_somebody_else_noticed_first_counts_nothing_twice() -> None:
    """OPS-17: the counter was seeded with the open lease, which then is settled there."""
    async with Books() as books:
        await books.reserved("one")
        books.store.lose_everything()
        assert await books.counted() == (0, 100)
        books.ended("one", 40)
        assert await books.accounts.flushed(5)
        assert await books.counted() == (40, 0)


async def test_a_store_that_is_down_at_the_end_is_put_right_by_the_sweep() -> None:
    """OPS-14: the lease expires, and the ledger says what it cost."""
    async with Books() as books:
        await books.reserved("one")
        books.store.down = True
        books.ended("one", 40)
        assert await books.accounts.flushed(5)
        books.store.down = False
        assert await books.counted() == (0, 100)
        books.clock.pass_(LEASE_S + 1)
        await books.accounts._sweep()
        assert await books.counted() == (40, 0)
        assert books.ledger.outcomes["one"].state == "settled"


async def test_a_lease_whose_process_died_costs_what_it_reserved() -> None:
    """BUD-10, LED-02: `unknown`, once."""
    async with Books() as books:
        await books.reserved("one")
        books.accounts.leases.clear()  # of the process that died
        books.clock.pass_(LEASE_S + 1)
        await books.accounts._sweep()
        await books.accounts._sweep()
        assert await books.counted() == (100, 0)
        assert books.ledger.outcomes["one"].state == "unknown"


async def test_a_lease_of_a_process_that_lives_is_renewed_for_it_until_it_ends() -> None:
    """BUD-10: it is cut off from the store, or the store's clock has stepped; its calls go on."""
    async with Books() as books:
        await books.reserved("one")
        await books.reserved("two")
        books.accounts.leases.clear()
        books.ledger.living = {"here"}
        books.clock.pass_(LEASE_S + 1)
        await books.accounts._sweep()
        assert await books.store.expired(10) == []
        assert await books.counted() == (0, 200)
        assert books.ledger.outcomes == {}
        books.ended("one", 40)
        assert await books.accounts.flushed(5)
        assert await books.counted() == (40, 100)
        books.ledger.living = set()
        books.clock.pass_(LEASE_S + 1)
        await books.accounts._sweep()
        assert await books.counted() == (140, 0)
        assert books.ledger.outcomes["two"].state == "unknown"


async def test_a_lease_that_was_never_written_down_is_given_back() -> None:
    async with Books() as books:
        await books.counted()
        await books.store.reserve("one", [ASK], LEASE_S)
        books.clock.pass_(LEASE_S + 1)
        await books.accounts._sweep()
        assert await books.counted() == (0, 0)


async def test_a_running_call_is_never_swept() -> None:
    """BUD-10: its lease is renewed, and if that did not work it is still not taken from it."""
    async with Books() as books:
        await books.reserved("one")
        books.clock.pass_(LEASE_S - 1)
        await books.accounts._renew()
        books.clock.pass_(LEASE_S - 1)
        assert await books.store.expired(10) == []
        books.clock.pass_(LEASE_S)
        assert await books.store.expired(10) == ["one"]
        await books.accounts._sweep()
        assert await books.counted() == (0, 100)
        assert books.ledger.outcomes == {}


async def test_a_counter_is_seeded_once_for_all_who_wait_and_again_when_it_is_lost_again() -> None:
    async with Books() as books:
        await asyncio.gather(*(books.accounts.seed([ASK], books.store) for _ in range(20)))
        assert books.ledger.seeded == [ASK.key]
        books.store.lose_everything()
        await books.accounts.seed([ASK], books.store)
        assert books.ledger.seeded == [ASK.key] * 2


async def test_a_seed_that_fails_leaves_the_next_one_to_try() -> None:
    async with Books() as books:
        books.ledger.full = True
        found = await asyncio.gather(
            books.accounts.seed([ASK], books.store), books.accounts.seed([ASK], books.store), return_exceptions=True
        )
        assert [type(each).__name__ for each in found] == ["LedgerDown", "NoneType"]
        books.ledger.full = False
        await books.accounts.seed([ASK], books.store)
        assert await books.counted() == (0, 0)


async def test_closing_books_what_is_under_way_and_then_closes_the_ledger() -> None:
    async with Books() as books:
        await books.reserved("one")
        books.ledger.slow = True
        books.ended("one", 40)
        closing = asyncio.create_task(books.accounts.close())
        await turns(10)
        assert not books.ledger.closed
        books.ledger.flush()
        await closing
        assert books.ledger.closed
        assert await books.counted() == (40, 0)
