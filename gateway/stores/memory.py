"""The store of one process: plain dictionaries. No verb awaits anything, so each is one critical section."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice

from gateway.core.accounts import Ask, Balance, Denied, Granted, Seed, Unit, Unseeded
from gateway.core.clock import Clock
from gateway.stores.balances import SEEDED, denied
from gateway.stores.counters import Bucket, Counter, Running

SETTLED_S = 0.5
"""A lease that was settled is known for so long; more memory, that the processor has forgotten, costs every call."""
SEEDING_S = 10.0
"""And for so long while a counter that was missing is not seeded: what the ledger says of it may be as old."""
SWEEP_AT = 4096
IDLE_MAX = 100_000


_Past = tuple[Mapping[Unit, int], bool]
"""What a lease that was settled came to, and whether it was known: a repetition changes nothing, and a seed that was
read from the ledger before its end books it."""


_NOTHING: Mapping[Unit, int] = {}


class _Lease:
    """`grown`: what was reserved on top, by unit."""

    __slots__ = ("asks", "expires", "grown")

    def __init__(self, asks: Sequence[Ask], expires: float) -> None:
        self.asks = asks
        self.expires = expires
        self.grown: Mapping[Unit, int] = _NOTHING


class MemoryStore:
    """Counters that are idle are dropped whenever their number has doubled: memory is bounded by what is in use."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counters: dict[str, Counter] = {}
        self._leases: dict[str, _Lease] = {}
        self._past: dict[str, _Past] = {}
        # In order, and apart: what was dropped from the front of a dictionary is stepped over to find its first key.
        self._ends: deque[tuple[float, str]] = deque()
        self._awaited: dict[str, float] = {}  # counters that were found missing, and when
        self._sweep_at = SWEEP_AT

    async def reserve(self, lease: str, asks: Sequence[Ask], ttl_s: float) -> Granted | Denied | Unseeded:
        now, wall = self._clock.monotonic(), self._clock.wall()
        asked: list[tuple[Ask, Counter]] = []
        for ask in asks:
            counter = self._counters.get(ask.key) or self._begin(ask, now)
            if counter is None:
                return self._unseeded(asks, now)
            asked.append((ask, counter))
        if lease not in self._leases and lease not in self._past:
            for index, (ask, counter) in enumerate(asked):
                limit = ask.limit
                if not counter.room(ask.amount, limit.amount, now) and limit.hard:
                    return denied(index, ask, counter.balance(ask, now, wall), counter.level(limit.amount, now))
            for ask, counter in asked:
                counter.hold(lease, ask.amount)
            self._leases[lease] = _Lease(asks, now + ttl_s)
        return Granted(tuple([counter.balance(ask, now, wall) for ask, counter in asked]))

    async def grow(self, lease: str, extra: Mapping[Unit, int]) -> bool:
        now = self._clock.monotonic()
        held = self._leases.get(lease)
        if held is None:
            return False
        more: list[tuple[Counter, int]] = []
        for ask in held.asks:
            limit = ask.limit
            want = extra.get(limit.unit, 0)
            counter = self._counters.get(ask.key) or self._begin(ask, now)
            if counter is not None and counter.holds(lease):
                more.append((counter, want))
                if limit.hard and not counter.room(want, limit.amount, now):
                    return False
            elif want and limit.hard:
                return False
        for counter, want in more:
            counter.hold(lease, want)
        units = {*held.grown, *extra}
        held.grown = {unit: held.grown.get(unit, 0) + extra.get(unit, 0) for unit in units}
        return True

    async def settle(self, lease: str, actual: Mapping[Unit, int]) -> bool:
        return self.book(lease, actual)

    def book(self, lease: str, actual: Mapping[Unit, int]) -> bool:
        if (past := self._past.get(lease)) is not None:
            return past[1]
        now = self._clock.monotonic()
        held = self._leases.pop(lease, None)
        self._bury(lease, (actual, held is not None), now)
        if held is None:
            return False
        for ask in held.asks:
            limit = ask.limit
            counter = self._counters.get(ask.key) or self._begin(ask, now)
            reserved = ask.amount + held.grown.get(limit.unit, 0) if held.grown else ask.amount
            if counter and not counter.settle(lease, reserved, actual.get(limit.unit, 0), limit.amount, now):
                # It was seeded since, from a ledger that did not count this lease as open. Whether its cost is in
                # `spent` cannot be told: it is counted anew.
                del self._counters[ask.key]
        return True

    async def forget(self, asks: Sequence[Ask]) -> None:
        for ask in asks:
            if ask.limit.window in SEEDED:
                self._counters.pop(ask.key, None)

    async def renew(self, leases: Sequence[str], ttl_s: float) -> None:
        expires = self._clock.monotonic() + ttl_s
        for lease in leases:
            if (held := self._leases.get(lease)) is not None:
                held.expires = expires

    async def expired(self, limit: int) -> list[str]:
        now = self._clock.monotonic()
        return list(islice((lease for lease, held in self._leases.items() if held.expires <= now), limit))

    async def seed(self, ask: Ask, seed: Seed, ttl_s: float) -> None:
        """Open leases that this store does not know are adopted for `ttl_s`, so that somebody settles them."""
        self._awaited.pop(ask.key, None)
        if ask.key in self._counters:
            return
        now = self._clock.monotonic()
        counter = Counter(max(0, seed.spent), ask.window_end_at)
        for lease, amount in seed.open.items():
            if (past := self._past.get(lease)) is not None:
                counter.spent += past[0].get(ask.limit.unit, 0)
            else:
                counter.hold(lease, amount)
                self._adopt(lease, ask, now + ttl_s)
        self._add(ask.key, counter, now)

    async def balances(self, asks: Sequence[Ask]) -> list[Balance | None]:
        now, wall = self._clock.monotonic(), self._clock.wall()
        counters = [self._counters.get(ask.key) for ask in asks]
        return [each.balance(ask, now, wall) if each else None for ask, each in zip(asks, counters, strict=True)]

    async def close(self) -> None:
        """Nothing is open."""

    def _begin(self, ask: Ask, now: float) -> Counter | None:
        """Buckets begin full, and what runs with nothing; the others are to be seeded."""
        window = ask.limit.window
        if window in SEEDED:
            return None
        return self._add(ask.key, Bucket(now) if window == "minute" else Running(), now)

    def _unseeded(self, asks: Sequence[Ask], now: float) -> Unseeded:
        counters = self._counters
        missing = [index for index, ask in enumerate(asks) if ask.limit.window in SEEDED and ask.key not in counters]
        waiting = {key: since for key, since in self._awaited.items() if now < since + SEEDING_S}
        self._awaited = waiting | {asks[index].key: now for index in missing}
        return Unseeded(tuple(missing))

    def _add(self, key: str, counter: Counter, now: float) -> Counter:
        if len(self._counters) >= self._sweep_at:
            self._sweep(now)
        self._counters[key] = counter
        return counter

    def _sweep(self, now: float) -> None:
        wall = self._clock.wall()
        kept = {key: each for key, each in self._counters.items() if not each.idle(now, wall)}
        if len(kept) > IDLE_MAX:
            # Too many windows are on: those in which nothing runs are seeded again when they are asked for.
            kept = {key: each for key, each in kept.items() if each.reserved or isinstance(each, Bucket)}
        self._counters = kept
        self._sweep_at = max(SWEEP_AT, 2 * len(kept))

    def _adopt(self, lease: str, ask: Ask, expires: float) -> None:
        held = self._leases.get(lease)
        if held is None:
            self._leases[lease] = _Lease((ask,), expires)
        elif all(other.key != ask.key for other in held.asks):
            held.asks = (*held.asks, ask)

    def _bury(self, lease: str, past: _Past, now: float) -> None:
        ends = self._ends
        kept_s = SEEDING_S if self._awaited else SETTLED_S
        while ends and ends[0][0] + kept_s <= now:
            del self._past[ends.popleft()[1]]
        self._past[lease] = past
        ends.append((now, lease))
