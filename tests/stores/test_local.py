from __future__ import annotations

from typing import Any

import pytest

from gateway.core.accounts import Denied, Granted, Seed, Unseeded
from gateway.core.ports import StoreDown
from gateway.stores.local import LocalShare
from gateway.stores.memory import MemoryStore
from tests.stores.contract import Clock, ask


class Shared(MemoryStore):
    """A shared store that can be down."""

    down = False

    def __getattribute__(self, name: str) -> Any:
        if name in {"reserve", "grow", "settle", "forget", "renew", "expired", "seed", "balances"} and self.down:
            raise StoreDown
        return super().__getattribute__(name)


def both(share: float = 0.25) -> tuple[LocalShare, Shared]:
    shared = Shared(Clock())
    return LocalShare(shared, MemoryStore(Clock()), share), shared


async def test_while_the_store_is_up_it_decides() -> None:
    local, shared = both()
    await local.seed(ask(), Seed(0), 60)
    assert isinstance(await local.reserve("a", [ask(amount=100)], 60), Granted)
    assert await local.settle("a", {"usd": 40})
    (balance,) = await shared.balances([ask()])
    assert balance is not None
    assert balance.spent == 40


async def test_while_it_is_down_a_share_of_what_is_left_is_held_here() -> None:
    """OPS-14: four processes with a quarter each exceed no budget together."""
    local, shared = both()
    shared.down = True
    assert await local.reserve("a", [ask()], 60) == Unseeded((0,))
    await local.seed(ask(), Seed(40, {"elsewhere": 20}), 60)
    assert isinstance(await local.reserve("a", [ask(amount=10)], 60), Granted)
    assert isinstance(await local.reserve("b", [ask(amount=1)], 60), Denied)
    assert await local.settle("a", {"usd": 4})
    assert isinstance(await local.reserve("b", [ask(amount=6)], 60), Granted)


async def test_rates_and_running_calls_are_shared_out_too() -> None:
    local, shared = both()
    shared.down = True
    asks = [ask("requests", 1, 8, "minute"), ask("calls", 1, 100, "now")]
    answers = [await local.reserve(f"{number}", asks, 60) for number in range(3)]
    assert [isinstance(answer, Granted) for answer in answers] == [True, True, False]
    balances = await local.balances(asks)
    assert [balance and balance.amount for balance in balances] == [2, 25]


async def test_what_was_spent_here_comes_to_the_shared_counters_through_the_ledger() -> None:
    local, shared = both()
    await local.seed(ask(), Seed(0), 60)
    shared.down = True
    await local.reserve("done", [ask()], 60)
    await local.seed(ask(), Seed(0), 60)
    await local.reserve("done", [ask(amount=10)], 60)
    await local.reserve("running", [ask(amount=10)], 60)
    assert await local.settle("done", {"usd": 10})
    shared.down = False
    assert await local.reserve("next", [ask()], 60) == Unseeded((0,))
    await local.seed(ask(), Seed(10, {"running": 10}), 60)
    assert isinstance(await local.reserve("next", [ask(amount=80)], 60), Granted)
    assert await local.settle("running", {"usd": 5})
    assert await local.settle("next", {"usd": 80})
    (balance,) = await local.balances([ask()])
    assert balance is not None
    assert (balance.spent, balance.reserved) == (95, 0)


async def test_a_lease_of_the_shared_store_cannot_be_settled_while_it_is_down() -> None:
    """Its janitor does so later, with what the ledger says."""
    local, shared = both()
    await local.seed(ask(), Seed(0), 60)
    await local.reserve("a", [ask()], 60)
    shared.down = True
    with pytest.raises(StoreDown):
        await local.settle("a", {"usd": 1})


async def test_leases_that_were_made_here_expire_here() -> None:
    local, shared = both()
    shared.down = True
    calls = [ask("calls", 1, 100, "now")]
    await local.reserve("dead", calls, 0)
    assert await local.expired(10) == ["dead"]
    assert not await local.grow("dead", {"calls": 100})
    assert await local.settle("dead", {})
    assert await local.expired(10) == []
