"""What every store is held to: asks, a ledger as simple as it can be, and a machine that drives both at random."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.accounts import Ask, Denied, Granted, Limit, Seed, Unit, Unseeded, Window
from gateway.core.clock import SystemClock
from gateway.core.ports import Store
from gateway.core.windows import bound
from gateway.stores.table import open_store


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.since = 1000.0
        self.date = 1_700_000_000.0

    def monotonic(self) -> float:
        return self.since

    def wall(self) -> float:
        return self.date


@dataclass
class Place:
    """A store's URL and the namespace of this test. Two stores opened here share their state."""

    url: str
    namespace: str = ""
    _memory: list[Store] = field(default_factory=list)

    def open(self) -> Store:
        if self.url == "memory":
            self._memory = self._memory or [open_store("memory", SystemClock())]
            return self._memory[0]
        return open_store(self.url, SystemClock(), deadline_s=10, namespace=self.namespace)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Store]:
        store = self.open()
        try:
            yield store
        finally:
            await store.close()


def ask(
    unit: Unit = "usd",
    amount: int = 10,
    limit: int = 100,
    window: Window = "day",
    *,
    hard: bool = True,
    name: str = "team",
) -> Ask:
    line = Limit(name, f"{name}:{unit}", unit, limit, window, hard)
    return bound(line, amount, time.time())


async def seeded(store: Store, *asks: Ask, spent: int = 0) -> None:
    for each in asks:
        await store.seed(each, Seed(spent), 60)


LEASES = [f"attempt-{number}" for number in range(4)]
AMOUNTS = {"team": 100, "caller": 60}


@dataclass
class Attempt:
    """As the ledger knows it. `cost` None: open."""

    held: int
    cost: int | None = None
    settled: bool = False
    again: bool = False


class Machine(RuleBasedStateMachine):
    """One hard limit for the team and one for the caller. What the store says is between what must be counted and what
    may be: a concluded attempt that is not settled counts as its reservation or as its cost."""

    place = Place("memory")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.namespace = uuid.uuid4().hex
        fresh = Place(self.place.url, self.namespace)
        self.store = self.runner.run(self._open(fresh))
        self.attempts: dict[str, Attempt] = {}
        self.read: dict[str, Seed] = {}

    async def _open(self, place: Place) -> Store:
        return place.open()

    def teardown(self) -> None:
        self.everything_ends_even()
        self.runner.run(self.store.close())
        self.runner.close()

    def asks(self, amount: int = 0) -> list[Ask]:
        return [ask("usd", amount, limit, name=name) for name, limit in AMOUNTS.items()]

    def ledger(self) -> Seed:
        """Every attempt counts for both limits."""
        spent = sum(each.cost for each in self.attempts.values() if each.cost is not None)
        return Seed(spent, {name: each.held for name, each in self.attempts.items() if each.cost is None})

    def least(self) -> int:
        return sum(each.held if each.cost is None else each.cost for each in self.attempts.values())

    def most(self) -> int:
        return sum(
            each.cost if each.settled and each.cost is not None else each.held for each in self.attempts.values()
        )

    @rule(lease=st.sampled_from(LEASES), amount=st.integers(0, 40))
    def reserve(self, lease: str, amount: int) -> None:
        answer = self.runner.run(self.store.reserve(lease, self.asks(amount), 60))
        if isinstance(answer, Unseeded):
            for index in answer.asks:
                name = list(AMOUNTS)[index]
                if name not in self.read:
                    self.read[name] = self.ledger()
        elif lease in self.attempts:
            assert isinstance(answer, Granted)
        elif isinstance(answer, Granted):
            assert self.least() + amount <= 60
            self.attempts[lease] = Attempt(amount)
        else:
            assert isinstance(answer, Denied)
            assert self.most() + amount > list(AMOUNTS.values())[answer.ask]

    @precondition(lambda self: self.read)
    @rule(data=st.data(), twice=st.booleans())
    def seed(self, data: st.DataObject, twice: bool) -> None:
        """What was read from the ledger may be old by now."""
        name = data.draw(st.sampled_from(sorted(self.read)))
        for _ in range(1 + twice):
            self.runner.run(self.store.seed(ask("usd", 0, AMOUNTS[name], name=name), self.read[name], 60))
        del self.read[name]

    @rule(lease=st.sampled_from(LEASES), more=st.integers(0, 20))
    def grow(self, lease: str, more: int) -> None:
        attempt = self.attempts.get(lease)
        if attempt is None or attempt.cost is not None:
            return
        if self.runner.run(self.store.grow(lease, {"usd": more})):
            attempt.held += more
            # A seed read before does not know what was reserved since.
            self.read.clear()

    @rule(lease=st.sampled_from(LEASES), part=st.integers(0, 100))
    def conclude(self, lease: str, part: int) -> None:
        attempt = self.attempts.get(lease)
        if attempt is not None and attempt.cost is None:
            attempt.cost = attempt.held * part // 100

    @rule(lease=st.sampled_from(LEASES), times=st.integers(1, 2))
    def settle(self, lease: str, times: int) -> None:
        attempt = self.attempts.get(lease)
        if attempt is not None and attempt.cost is not None:
            for _ in range(times):
                assert self.runner.run(self.store.settle(lease, {"usd": attempt.cost}))
            attempt.settled = True

    @rule(name=st.sampled_from(sorted(AMOUNTS)))
    def forget(self, name: str) -> None:
        """Not in the middle of a seed: what is forgotten is read anew."""
        self.runner.run(self.store.forget([ask("usd", 0, AMOUNTS[name], name=name)]))
        self.read.pop(name, None)

    @rule(lease=st.sampled_from(LEASES))
    def crash(self, lease: str) -> None:
        """The janitor finds the lease and charges what was reserved."""
        attempt = self.attempts.get(lease)
        if attempt is None or attempt.settled:
            return
        self.runner.run(self.store.renew([lease], 0))
        assert lease in self.runner.run(self.store.expired(100))
        attempt.cost = attempt.held if attempt.cost is None else attempt.cost
        self.settle(lease, 1)
        assert lease not in self.runner.run(self.store.expired(100))

    @invariant()
    def the_limits_hold(self) -> None:
        for balance in self.runner.run(self.store.balances(self.asks())):
            if balance is not None:
                assert balance.spent + balance.reserved <= balance.amount
                assert self.least() <= balance.spent + balance.reserved <= self.most()

    def everything_ends_even(self) -> None:
        for lease, attempt in self.attempts.items():
            if attempt.cost is None:
                attempt.cost = attempt.held
            if not attempt.settled:
                self.settle(lease, 1)
        for balance in self.runner.run(self.store.balances(self.asks())):
            if balance is not None:
                assert (balance.spent, balance.reserved) == (self.ledger().spent, 0)


def used(**amounts: int) -> Mapping[Unit, int]:
    return amounts  # type: ignore[return-value]
