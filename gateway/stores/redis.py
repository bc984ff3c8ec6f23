"""The store on Redis or Valkey: one script call a verb, and the same limits for every process that shares it.

All keys of a namespace are in one hash slot, `{NAMESPACE}:...`: a call may concern any set of limits, and a script is
atomic within a slot only. So one node of a cluster carries all of it; the others make it no faster.

A counter is believed only on the server that it was seeded on. After a restart or a failover the run id is another one:
whatever the new server has kept may lack the last writes, so money is seeded from the ledger again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError

from gateway.core.accounts import Ask, Balance, Denied, Granted, Seed, Unit, Unseeded
from gateway.core.breaker import Breaker
from gateway.core.clock import Clock
from gateway.core.ports import StoreDown
from gateway.stores import redis_script as script
from gateway.stores.balances import SEEDED, balance_of, bucket_of, denied

SETTLED_MS = 60_000
AFTER_WINDOW_S = 86_400.0
LONGEST_S = 31 * 86_400.0
"""A counter without an end is seeded anew once a month, so that what nobody asks for does not stay."""

FAILURES = 5
PAUSE_S = 1.0
AT_ONCE = 32
TURN_S = 2.0
OLDEST = (7, 0)

FAULTS = (RedisError, RedisClusterException, OSError)


class StoreUnusable(StoreDown):
    """The server must not be used: one clear line with the fix."""


class Client(Protocol):
    """What redis-py's clients have in common."""

    async def execute_command(self, *args: Any) -> Any: ...

    async def aclose(self) -> None: ...


class RedisStore:
    """`renew_connections` drops idle connections: the next ones find the present primary. At most `AT_ONCE` calls are
    on their way at a time, and a call waits `TURN_S` for its turn."""

    def __init__(
        self,
        client: Client,
        renew_connections: Callable[[], Awaitable[None]],
        clock: Clock,
        *,
        deadline_s: float = 0.1,
        namespace: str = "gw",
        on_state: Callable[[bool], None] = lambda _opened: None,
    ) -> None:
        self._client = client
        self._renew_connections = renew_connections
        self._clock = clock
        self._deadline_s = deadline_s
        self._prefix = f"{{{namespace}}}:"
        self._leases = f"{self._prefix}leases"
        self._server = f"{self._prefix}server"
        self._breaker = Breaker(FAILURES, PAUSE_S, clock, on_state)
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._meeting = asyncio.Lock()
        self._met = False

    async def check(self) -> None:
        """StoreUnusable when this server would lose counters or is too old; StoreDown when it cannot be asked."""
        self._met = False
        await self.balances(())

    async def reserve(self, lease: str, asks: Sequence[Ask], ttl_s: float) -> Granted | Denied | Unseeded:
        keys = (*self._of(lease), self._leases, self._server, *map(self._key, asks))
        reply = await self._run(script.RESERVE, keys, (lease, _ms(ttl_s), *_wants(asks)))
        verdict = reply[0]
        if verdict == b"unseeded":
            return Unseeded(tuple(reply[1:]))
        wall = self._clock.wall()
        if verdict == b"granted":
            counts = zip(asks, reply[1::2], reply[2::2], strict=True)
            return Granted(tuple(_balance(ask, spent, reserved, wall) for ask, spent, reserved in counts))
        _, index, spent, reserved = reply
        ask = asks[index]
        used = float(spent) if ask.limit.window == "minute" else 0.0
        return denied(index, ask, _balance(ask, spent, reserved, wall), used)

    async def grow(self, lease: str, extra: Mapping[Unit, int]) -> bool:
        keys = (self._of(lease)[0], self._server)
        return bool(await self._run(script.GROW, keys, (lease, *_amounts(extra)), again=False))

    async def settle(self, lease: str, actual: Mapping[Unit, int]) -> bool:
        keys = (*self._of(lease), self._leases)
        return bool(await self._run(script.SETTLE, keys, (lease, SETTLED_MS, *_amounts(actual))))

    def book(self, _lease: str, _actual: Mapping[Unit, int]) -> None:
        """The server must be asked."""

    async def forget(self, asks: Sequence[Ask]) -> None:
        keys = [self._key(ask) for ask in asks if ask.limit.window in SEEDED]
        if keys:
            await self._run(script.FORGET, keys, ())

    async def renew(self, leases: Sequence[str], ttl_s: float) -> None:
        if leases:
            await self._run(script.RENEW, (self._leases,), (_ms(ttl_s), *leases))

    async def expired(self, limit: int) -> list[str]:
        return [lease.decode() for lease in await self._run(script.EXPIRED, (self._leases,), (limit,))]

    async def seed(self, ask: Ask, seed: Seed, ttl_s: float) -> None:
        """Open leases that the store does not know are adopted for `ttl_s`, so that somebody settles them."""
        lives_s = LONGEST_S
        if ask.window_end_at is not None:
            lives_s = min(LONGEST_S, max(0.0, ask.window_end_at - self._clock.wall()))
        limit = ask.limit
        keys = [self._key(ask), self._leases, self._server]
        values: list[str | int] = [max(0, seed.spent), _ms(lives_s + AFTER_WINDOW_S), _ms(ttl_s)]
        values += [limit.unit, int(limit.hard), limit.amount]
        for lease, amount in seed.open.items():
            keys += self._of(lease)
            values += [lease, amount]
        await self._run(script.SEED, keys, values)

    async def balances(self, asks: Sequence[Ask]) -> list[Balance | None]:
        reply = await self._run(script.READ, (self._server, *map(self._key, asks)), _wants(asks))
        wall = self._clock.wall()
        counts = zip(asks, reply[::2], reply[1::2], strict=True)
        return [_balance(ask, spent, reserved, wall) if spent else None for ask, spent, reserved in counts]

    async def close(self) -> None:
        await self._client.aclose()

    def _key(self, ask: Ask) -> str:
        return f"{self._prefix}{_kind(ask)}:{ask.key}"

    def _of(self, lease: str) -> tuple[str, str]:
        """The lease's own key, and the key that remembers it."""
        return f"{self._prefix}l:{lease}", f"{self._prefix}t:{lease}"

    async def _run(self, text: str, keys: Sequence[str], values: Sequence[str | int], again: bool = True) -> Any:
        """`again`: doing it twice changes nothing, so it may be repeated when the answer was lost."""
        await self._take_turn()
        try:
            if not self._breaker.admit():
                raise StoreDown("the store is not asked: it failed repeatedly")
            return await self._asked(text, keys, values, again)
        finally:
            self._turns.release()

    async def _take_turn(self) -> None:
        """That many calls wait says nothing about the server, so this is outside of its deadline and of the breaker."""
        try:
            async with asyncio.timeout(TURN_S):
                await self._turns.acquire()
        except TimeoutError:
            raise StoreDown("too many calls wait for the store") from None

    async def _asked(self, text: str, keys: Sequence[str], values: Sequence[str | int], again: bool) -> Any:
        try:
            async with asyncio.timeout(self._deadline_s):
                reply = await self._twice(text, keys, values, again)
        except TimeoutError:
            self._failed()
            raise StoreDown("the store did not answer in time") from None
        except FAULTS as error:
            self._failed()
            raise StoreDown(f"the store failed: {type(error).__name__}") from error
        except StoreUnusable:
            self._failed()
            raise
        self._breaker.succeed()
        return reply

    async def _twice(self, text: str, keys: Sequence[str], values: Sequence[str | int], again: bool) -> Any:
        try:
            return await self._once(text, keys, values)
        except FAULTS as error:
            # An error that the server answers has changed nothing: it says so before the first write.
            self._met = False
            await self._renew_connections()
            if not again and not isinstance(error, ResponseError):
                raise
            return await self._once(text, keys, values)

    async def _once(self, text: str, keys: Sequence[str], values: Sequence[str | int]) -> Any:
        if not self._met:
            async with self._meeting:
                if not self._met:
                    await self._meet()
        try:
            return await self._client.execute_command("EVALSHA", script.digest(text), len(keys), *keys, *values)
        except NoScriptError:
            # Nobody has called it since this server started, or the scripts were flushed.
            await self._meet()
            return await self._client.execute_command("EVAL", text, len(keys), *keys, *values)

    async def _meet(self) -> None:
        """One task does, before the others call: redis-py's cluster client takes a first call at a time only."""
        version, policy = await self._client.execute_command("EVAL", script.MEET, 1, self._server)
        if tuple(map(int, version.split(b".")[:2])) < OLDEST:
            raise StoreUnusable(f"the store runs Redis {version.decode()}: 7.0 or later, or Valkey, is needed")
        if policy != b"noeviction":
            raise StoreUnusable(
                f"the store's maxmemory-policy is {policy.decode()}, which may remove counters: set it to noeviction"
            )
        self._met = True

    def _failed(self) -> None:
        self._met = False
        self._breaker.fail()


def _kind(ask: Ask) -> str:
    window = ask.limit.window
    return "b" if window == "minute" else "n" if window == "now" else "c"


def _wants(asks: Sequence[Ask]) -> list[str | int]:
    values: list[str | int] = []
    for ask in asks:
        limit = ask.limit
        values += (_kind(ask), limit.unit, int(limit.hard), limit.amount, ask.amount)
    return values


def _amounts(amounts: Mapping[Unit, int]) -> list[str | int]:
    return [value for unit, amount in amounts.items() for value in (unit, amount)]


def _balance(ask: Ask, spent: bytes, reserved: bytes, wall: float) -> Balance:
    if ask.limit.window == "minute":
        return bucket_of(ask, float(spent))
    return balance_of(ask, int(spent), int(reserved), wall)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
