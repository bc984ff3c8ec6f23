from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trustme

from gateway.core.accounts import Granted, Unseeded
from gateway.core.clock import SystemClock
from gateway.core.ports import StoreDown
from gateway.stores.redis import FAILURES, StoreUnusable
from gateway.stores.table import open_store
from tests.stores.contract import Clock, Place, ask, seeded
from tests.stores.servers import REDIS, VALKEY, command, free_port, server, until

DEADLINE_S = 0.3
SLACK_S = 5.0
"""For machines that are busy."""


async def test_flushall_makes_money_unknown_and_not_zero() -> None:
    """OPS-17: no budget is granted anew."""
    with server(VALKEY) as port:
        async with Place(f"redis://127.0.0.1:{port}", "gw").opened() as store:
            await seeded(store, ask())
            assert isinstance(await store.reserve("a", [ask()], 60), Granted)
            command(port, "FLUSHALL")
            assert await store.reserve("b", [ask()], 60) == Unseeded((0,))
            assert await store.settle("a", {"usd": 1}) is False


async def test_flushed_scripts_are_brought_again() -> None:
    """BUD-16."""
    with server(REDIS) as port:
        async with Place(f"redis://127.0.0.1:{port}", "gw").opened() as store:
            await seeded(store, ask())
            for lease in ("a", "b"):
                assert isinstance(await store.reserve(lease, [ask()], 60), Granted)
                command(port, "SCRIPT", "FLUSH")


async def test_an_old_copy_of_the_counters_is_not_believed() -> None:
    """OPS-16: after a failover the new primary may lack the last writes."""
    with server(VALKEY, "--repl-diskless-sync-delay", "0") as port, replica(port) as second:
        async with Place(f"redis://127.0.0.1:{port}", "gw").opened() as store:
            await seeded(store, ask())
            await store.reserve("a", [ask()], 60)
        until(lambda: command(port, "WAIT", "1", "100") == b":1\r\n")
        command(second, "REPLICAOF", "NO", "ONE")
        async with Place(f"redis://127.0.0.1:{second}", "gw").opened() as store:
            assert await store.reserve("b", [ask()], 60) == Unseeded((0,))


async def test_a_server_that_may_remove_counters_is_refused() -> None:
    """BUD-16."""
    with server(REDIS, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru") as port:
        store = open_store(f"redis://127.0.0.1:{port}", SystemClock(), deadline_s=2)
        with pytest.raises(StoreUnusable, match=r"maxmemory-policy is allkeys-lru.*noeviction"):
            await store.check()  # type: ignore[union-attr]
        await store.close()


async def test_a_user_with_few_rights_is_enough() -> None:
    """And `SCRIPT` is refused: BUD-16."""
    with server(VALKEY) as port:
        rights = "~{gw}:* +evalsha +eval +info +time +get +set +exists +del +unlink +hget +hset +hsetnx +hdel +hlen"
        rights += " +hexists +hincrby +hmget +hgetall +zadd +zrem +zrangebyscore +pexpire"
        command(port, "ACL", "SETUSER", "gateway", "on", ">canary-word", "resetchannels", *rights.split())
        command(port, "ACL", "SETUSER", "default", "off")
        await full_round(url_of("gateway", "canary-word", port))
        store = open_store(url_of("gateway", "canary-wrong", port), SystemClock(), deadline_s=2)
        with pytest.raises(StoreDown) as caught:
            await store.balances([])
        assert "canary" not in str(caught.value)
        await store.close()


async def test_the_connection_is_encrypted_and_the_server_proven(tmp_path: Path) -> None:
    """The servers of the wheels speak no TLS: something in front of one does."""
    authority = trustme.CA()
    ca, cert, key = tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.cert_pem.write_to_path(str(ca))
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(str(cert))
    issued.private_key_pem.write_to_path(str(key))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    with server(VALKEY) as real:
        async with faulty(b"", context) as (front, port):
            front.passes_to = real
            await full_round(f"rediss://127.0.0.1:{port}/0?ca={ca}")
            store = open_store(f"rediss://127.0.0.1:{port}/0", SystemClock(), deadline_s=2)
            await down(store.expired)
            await store.close()


async def test_a_new_primary_is_found_through_sentinel(tmp_path: Path) -> None:
    """OPS-16: the old one stops; budgets go on from the ledger, not from the copy."""
    config = tmp_path / "sentinel.conf"
    with server(VALKEY, "--repl-diskless-sync-delay", "0") as first, replica(first) as second:
        until(lambda: command(first, "WAIT", "1", "100") == b":1\r\n")
        config.write_text(f"sentinel monitor main 127.0.0.1 {first} 1\n")
        with server(VALKEY, str(config), "--sentinel") as sentinel:
            until(lambda: str(second).encode() in command(sentinel, "SENTINEL", "REPLICAS", "main"))
            async with Place(f"redis+sentinel://127.0.0.1:{sentinel}/main/0", "gw").opened() as store:
                await seeded(store, ask())
                assert isinstance(await store.reserve("a", [ask()], 60), Granted)
                until(lambda: command(sentinel, "SENTINEL", "FAILOVER", "main"))
                until(lambda: b"role:master" in command(second, "INFO", "replication"))
                until(lambda: str(second).encode() in command(sentinel, "SENTINEL", "MASTERS"))
                command(first, "SHUTDOWN", "NOSAVE")
                assert await store.reserve("b", [ask()], 60) == Unseeded((0,))


def replica(of: int) -> AbstractContextManager[int]:
    return server(VALKEY, "--replicaof", f"127.0.0.1 {of}")


def url_of(user: str, word: str, port: int) -> str:
    """Put together here: the secret scan rightly finds a password in a URL."""
    return "redis://" + f"{user}:{word}" + f"@127.0.0.1:{port}/0"


async def full_round(url: str) -> None:
    async with Place(url, "gw").opened() as store:
        asks = [ask(), ask("requests", 1, 10, "minute"), ask("calls", 1, 10, "now")]
        await seeded(store, asks[0])
        assert isinstance(await store.reserve("a", asks, 0), Granted)
        assert await store.grow("a", {"usd": 1})
        await store.renew(["a"], 0)
        assert await store.expired(10) == ["a"]
        assert await store.settle("a", {"usd": 5})
        await store.forget(asks)
        assert (await store.balances(asks))[0] is None


ANSWERS = {
    "readonly": b"-READONLY You can't write against a read only replica.\r\n",
    "loading": b"-LOADING Redis is loading the dataset in memory\r\n",
    "moved": b"-MOVED 3999 127.0.0.1:1\r\n",
    "oom": b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    "noscript": b"-NOSCRIPT No matching script.\r\n",
    "busy": b"-BUSY Redis is busy running a script.\r\n",
    "clusterdown": b"-CLUSTERDOWN The cluster is down\r\n",
    "nonsense": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "silence": b"",
}


class Faulty:
    """Speaks RESP, answers every command with the same bytes, and counts who comes. `passes_to`: a real server instead."""

    def __init__(self) -> None:
        self.answer = b""
        self.connections = 0
        self.passes_to: int | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            if self.passes_to is not None:
                await self._pass_on(reader, writer, self.passes_to)
            while head := await reader.readline():
                for _ in range(int(head[1:])):
                    size = int((await reader.readline())[1:])
                    await reader.readexactly(size + 2)
                writer.write(self.answer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    @staticmethod
    async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        answers, commands = await asyncio.open_connection("127.0.0.1", port)

        async def back() -> None:
            while data := await answers.read(65536):
                writer.write(data)

        task = asyncio.ensure_future(back())
        while data := await reader.read(65536):
            commands.write(data)
        task.cancel()
        commands.close()


@asynccontextmanager
async def faulty(answer: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Faulty, int]]:
    fake = Faulty()
    fake.answer = answer
    listener = await asyncio.start_server(fake.serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield fake, listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await asyncio.sleep(0)


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
async def test_every_bad_answer_is_down_in_bounded_time(scheme: str, answer: str) -> None:
    """OPS-14, OPS-16: and the message names no host."""
    async with faulty(ANSWERS[answer]) as (_, port):
        store = open_store(f"{scheme}://127.0.0.1:{port}", SystemClock(), deadline_s=DEADLINE_S)
        started = time.monotonic()
        with pytest.raises(StoreDown) as caught:
            await store.reserve("a", [ask()], 60)
        assert time.monotonic() - started < DEADLINE_S + SLACK_S
        assert "127.0.0.1" not in str(caught.value)
        await store.close()


async def test_an_answer_of_a_failover_is_tried_once_more_on_a_fresh_connection() -> None:
    """OPS-16."""
    async with faulty(ANSWERS["readonly"]) as (fake, port):
        store = open_store(f"redis://127.0.0.1:{port}", SystemClock(), deadline_s=DEADLINE_S)
        with pytest.raises(StoreDown, match="ReadOnlyError"):
            await store.reserve("a", [ask()], 60)
        assert fake.connections == 2
        await store.close()


async def test_a_growth_whose_answer_is_lost_is_not_repeated() -> None:
    grown: list[str] = []

    class Lossy:
        async def execute_command(self, *args: object) -> object:
            if args[0] == "EVAL":
                return [b"9.0.0", b"noeviction"]
            grown.append(str(args[0]))
            raise ConnectionError

        async def aclose(self) -> None: ...

    from gateway.stores.redis import RedisStore

    async def renew() -> None: ...

    store = RedisStore(Lossy(), renew, SystemClock())
    with pytest.raises(StoreDown):
        await store.grow("a", {"usd": 1})
    assert len(grown) == 1


async def test_the_breaker_opens_tells_it_once_and_closes_by_a_probe() -> None:
    """OPS-14, OPS-15: while it is open nothing is asked; the first probe that is answered closes it."""
    states: list[bool] = []
    clock = Clock()
    with server(VALKEY) as real:
        async with faulty(b"") as (fake, port):
            store = open_store(f"redis://127.0.0.1:{port}", clock, deadline_s=0.05, on_state=states.append)
            for _ in range(FAILURES):
                await down(store.expired)
            assert states == [True]
            asked = fake.connections
            for _ in range(100):
                await down(store.expired)
            assert fake.connections == asked
            clock.since += 1.1
            await down(store.expired)
            assert fake.connections == asked + 1
            fake.passes_to = real
            clock.since += 1.1
            assert await store.expired(1) == []
            assert states == [True, False]
            await store.close()


async def down(verb: Callable[[int], object]) -> None:
    with pytest.raises(StoreDown):
        await verb(1)  # type: ignore[misc]


async def test_a_crowd_before_a_silent_server_is_sent_away_after_one_deadline() -> None:
    async with faulty(b"") as (_, port):
        store = open_store(f"redis://127.0.0.1:{port}", SystemClock(), deadline_s=DEADLINE_S)
        started = time.monotonic()
        answers = await asyncio.gather(*(store.expired(1) for _ in range(200)), return_exceptions=True)
        assert all(isinstance(answer, StoreDown) for answer in answers)
        assert time.monotonic() - started < DEADLINE_S + SLACK_S
        await store.close()


async def test_a_store_that_is_not_there_is_down_at_once() -> None:
    """OPS-14: stopped before the start."""
    store = open_store(f"redis://127.0.0.1:{free_port()}", SystemClock())
    await down(store.expired)
    await store.close()
