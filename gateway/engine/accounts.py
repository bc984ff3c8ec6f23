"""The accounting of one process: what all its calls share, and the work beside them.

The ledger comes first and the store second: a lease is settled in the store once the attempt's outcome is durable, so
that whatever a crash leaves in the store can be put right from the ledger.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from structlog.typing import FilteringBoundLogger

from gateway.core.accounts import Ask, Unit
from gateway.core.clock import Clock
from gateway.core.ports import Ledger, LedgerDown, Store, StoreDown
from gateway.engine.tasks import Tasks
from gateway.tokens.tokenizer import Tokenizer

LEASE_S = 20.0
_RENEW_S = 5.0
_RECOVER_S = 30.0
_ROLL_UP_S = 3600.0
_MAX_EXPIRED = 100
_SETTLERS = 8


@dataclass(slots=True)  # not frozen: see core/accounts.py
class Settlement:
    """What is to be booked for a lease once its outcome is durable."""

    lease: str
    asks: Sequence[Ask]
    actual: Mapping[Unit, int]


class Accounts:
    """`node` names this process in the ledger. `shared` are the counters of all processes; `store` is the same, with
    a share of its own for when they cannot be asked. `retention_s`: older attempts become daily sums."""

    def __init__(
        self,
        shared: Store,
        store: Store,
        ledger: Ledger,
        tokenizer: Tokenizer,
        clock: Clock,
        tasks: Tasks,
        log: FilteringBoundLogger,
        *,
        node: str,
        retention_s: float,
    ) -> None:
        self.shared = shared
        self.store = store
        self.ledger = ledger
        self.tokenizer = tokenizer
        self.clock = clock
        self.node = node
        self.leases: set[str] = set()
        self.random = random.Random()  # noqa: S311  # ids of spans are names, not secrets
        self._tasks = tasks
        self._log = log
        self._retention_s = retention_s
        self._settlements: asyncio.Queue[Settlement] = asyncio.Queue()
        self._unsettled = self._done = 0
        self._settled = asyncio.Event()
        self._seeding: dict[str, asyncio.Lock] = {}

    @property
    def unsettled(self) -> int:
        return self._unsettled

    def start(self) -> None:
        for _ in range(_SETTLERS):
            self._tasks.start(self._settle_forever(), "settle leases")
        self._tasks.start(self._every(_RENEW_S, self._renew), "renew leases")
        self._tasks.start(self._every(_RENEW_S, self._sweep), "sweep leases")
        self._tasks.start(self._every(_RECOVER_S / 2, self._beat), "ledger beat")
        self._tasks.start(self._every(_ROLL_UP_S, self._roll_up), "roll up")

    async def close(self) -> None:
        """Everything is durable and settled, within a bounded time."""
        await self.flushed(5.0)
        await self.ledger.close()
        await self.store.close()

    # -- seeds

    async def seed(self, asks: Sequence[Ask], store: Store) -> None:
        """The store learns from the ledger what these counters hold: one question a counter, whoever waits."""
        for ask in asks:
            lock = self._seeding.setdefault(ask.key, asyncio.Lock())
            waited = lock.locked()
            async with lock:
                if not waited:
                    await store.seed(ask, await self.ledger.seed(ask), LEASE_S)
            if not lock.locked():
                self._seeding.pop(ask.key, None)

    # -- settlements

    def settle(self, settlement: Settlement, after: asyncio.Future[None] | None = None) -> None:
        """Books it in the store, once the ledger has the outcome. A store that ends with this process need not wait:
        what a crash takes, it takes with it."""
        if self.shared.book(settlement.lease, settlement.actual):
            self.leases.discard(settlement.lease)
            return
        self._unsettled += 1
        if after is None:
            self._ready(settlement)
        else:
            after.add_done_callback(partial(self._durable, settlement))

    async def flushed(self, timeout_s: float) -> bool:
        """Whether something was still to be settled and as much is now. Bounded; what ends meanwhile is not waited for,
        as a busy process is never without."""
        if not self._unsettled:
            return False
        enough = self._done + self._unsettled
        try:
            async with asyncio.timeout(timeout_s):
                while self._done < enough:
                    self._settled.clear()
                    await self._settled.wait()
        except TimeoutError:
            return False
        return True

    def _durable(self, settlement: Settlement, future: asyncio.Future[None]) -> None:
        if not future.cancelled():
            future.exception()  # an outcome that the closing ledger could not take: the sweep of the next start has it
        self._ready(settlement)

    def _ready(self, settlement: Settlement) -> None:
        self._settlements.put_nowait(settlement)

    async def _settle_forever(self) -> None:
        """One of a few that take turns: a store in this process keeps one busy at most, a remote one all of them."""
        while True:
            settlement = await self._settlements.get()
            try:
                await self._settle(settlement)
            except Exception as bug:
                self._log.error("bug", lease=settlement.lease, error=type(bug).__name__)
            self._unsettled -= 1
            self._done += 1
            self._settled.set()

    async def _settle(self, settlement: Settlement) -> None:
        """A store that is down is settled by the sweep, from the ledger, once the lease has expired."""
        self.leases.discard(settlement.lease)
        try:
            if not await self.store.settle(settlement.lease, settlement.actual):
                await self.store.forget([ask for ask in settlement.asks if ask.limit.unit == "usd"])
        except StoreDown:
            return

    # -- beside the calls

    async def _every(self, seconds: float, work: Any) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except (StoreDown, LedgerDown):
                continue  # each tells of its own state; the next round tries again
            except Exception as bug:
                self._log.error("bug", work=work.__name__, error=type(bug).__name__)

    async def _renew(self) -> None:
        if self.leases:
            await self.store.renew(list(self.leases), LEASE_S)

    async def _sweep(self) -> None:
        """Leases of processes that died: what the ledger says they cost is what they cost. Where the process lives, it
        does not reach the store or the store's clock has stepped: its lease is renewed for it."""
        living: list[str] = []
        for lease in await self.store.expired(_MAX_EXPIRED):
            if lease in self.leases:
                continue
            cost = await self.ledger.close_orphan(lease, self.clock.wall())
            if cost is None:
                living.append(lease)
            else:
                await self.store.settle(lease, {"usd": cost, "requests": 1})
        if living:
            await self.store.renew(living, LEASE_S)

    async def _beat(self) -> None:
        now = self.clock.wall()
        await self.ledger.beat(now)
        found = await self.ledger.recover(now)
        if found:
            self._log.warning("attempts_recovered", unknown=found)

    async def _roll_up(self) -> None:
        await self.ledger.roll_up(self.clock.wall() - self._retention_s)

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Work that belongs to a call that has ended; waited for at a stop."""
        self._tasks.owe(work)
