"""A bounded share of the limits for one process, while the shared store is down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gateway.core.accounts import Ask, Balance, Denied, Granted, Seed, Unit, Unseeded
from gateway.core.ports import Store, StoreDown
from gateway.stores.balances import SEEDED
from gateway.stores.memory import MemoryStore


class LocalShare:
    """The shared store; while it is down, `share` of every limit, held in `memory`. With `share` 1/N for N processes
    they exceed no budget together: of a money limit each has its share of what the ledger says is left.

    What was granted locally is in the ledger and not in the shared counters. So at the first contact these are
    forgotten, and seeded with it. Where the policy is to refuse instead, the engine asks the shared store itself.
    """

    def __init__(self, store: Store, memory: MemoryStore, share: float) -> None:
        self._store = store
        self._memory = memory
        self._share = share
        self._down = False
        self._leases: set[str] = set()
        self._stale: dict[str, Ask] = {}

    async def reserve(self, lease: str, asks: Sequence[Ask], ttl_s: float) -> Granted | Denied | Unseeded:
        try:
            await self._return()
            answer = await self._store.reserve(lease, asks, ttl_s)
        except StoreDown:
            self._down = True
            return await self._reserve_here(lease, asks, ttl_s)
        self._down = False
        return answer

    async def grow(self, lease: str, extra: Mapping[Unit, int]) -> bool:
        return await (self._memory if lease in self._leases else self._store).grow(lease, extra)

    def book(self, _lease: str, _actual: Mapping[Unit, int]) -> None:
        """Others are to be asked."""

    async def settle(self, lease: str, actual: Mapping[Unit, int]) -> bool:
        """A lease of ours may be known to the shared store too: as one that it made before its answer was lost, or as
        an open one that it was seeded with."""
        if lease not in self._leases:
            return await self._store.settle(lease, actual)
        self._leases.discard(lease)
        await self._memory.settle(lease, actual)
        try:
            return await self._store.settle(lease, actual)
        except StoreDown:
            return True

    async def forget(self, asks: Sequence[Ask]) -> None:
        await self._memory.forget(asks)
        try:
            await self._store.forget(asks)
        except StoreDown:
            self._remember(asks)

    async def renew(self, leases: Sequence[str], ttl_s: float) -> None:
        await self._memory.renew(leases, ttl_s)
        await self._store.renew(leases, ttl_s)

    async def expired(self, limit: int) -> list[str]:
        here = await self._memory.expired(limit)
        try:
            return (here + [lease for lease in await self._store.expired(limit) if lease not in here])[:limit]
        except StoreDown:
            return here

    async def seed(self, ask: Ask, seed: Seed, ttl_s: float) -> None:
        """Here, what is not our share of the remainder counts as spent. Leases that are open were made elsewhere, or
        before: they are part of what is gone."""
        if not self._down:
            await self._store.seed(ask, seed, ttl_s)
            return
        left = max(0, ask.limit.amount - seed.spent - sum(seed.open.values()))
        gone = ask.limit.amount - int(left * self._share)
        await self._memory.seed(ask, Seed(gone), ttl_s)

    async def balances(self, asks: Sequence[Ask]) -> list[Balance | None]:
        try:
            return await self._store.balances(asks)
        except StoreDown:
            return await self._memory.balances([self._shared(ask) for ask in asks])

    async def close(self) -> None:
        await self._store.close()

    async def _reserve_here(self, lease: str, asks: Sequence[Ask], ttl_s: float) -> Granted | Denied | Unseeded:
        answer = await self._memory.reserve(lease, [self._shared(ask) for ask in asks], ttl_s)
        if isinstance(answer, Granted):
            self._leases.add(lease)
            self._remember(asks)
        return answer

    def _shared(self, ask: Ask) -> Ask:
        """Money is shared out when it is seeded."""
        if ask.limit.window in SEEDED:
            return ask
        return replace(ask, limit=replace(ask.limit, amount=int(ask.limit.amount * self._share)))

    def _remember(self, asks: Sequence[Ask]) -> None:
        self._stale.update((ask.key, ask) for ask in asks if ask.limit.window in SEEDED)

    async def _return(self) -> None:
        """The shared store is asked again: it drops what it does not know everything of, and so do we."""
        if self._stale:
            stale = dict(self._stale)
            await self._store.forget(list(stale.values()))
            await self._memory.forget(list(stale.values()))
            self._stale = {key: ask for key, ask in self._stale.items() if stale.get(key) is not ask}
