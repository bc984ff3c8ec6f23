"""What accounting adds to a call: part of `make bench`. The engine's own accounts, without HTTP around them.

Each attempt is reserved, written down, sent to nobody, priced, concluded and settled, as in a call; CPU is that of this
process, all threads. The servers of the other back ends (from the wheels of the tests) are not in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvloop

from bench.payload import KEY_DIGEST
from bench.subjects import HERE
from gateway.core.clock import SystemClock
from gateway.core.model import Call, Caller, Names, Record
from gateway.core.usage import Reported
from gateway.engine.account import Account
from gateway.engine.accounts import Accounts
from gateway.engine.bind import bind
from gateway.engine.runtime import Runtime
from gateway.engine.tasks import Tasks
from gateway.ledgers.table import open_ledger
from gateway.policy.load import load
from gateway.prices.catalogue import Catalogue
from gateway.server.worker import settle_memory
from gateway.stores.table import open_store
from gateway.tokens.tokenizer import Tokenizer

AT_ONCE = 32
PER_S = 500
_WARM_UP = 200
_BLOCK = 10 * AT_ONCE


@dataclass(frozen=True, slots=True)
class Added:
    """`cpu_us` with 32 calls at once, less what the same calls cost without accounts; `steady_cpu_us` and the times
    until a call may be sent (reserved, and its intent on disk) at 500 calls a second."""

    name: str
    cpu_us: float
    steady_cpu_us: float
    p50_ms: float
    p99_ms: float


class _Sender:
    def __init__(self, accounts: Accounts, runtime: Runtime) -> None:
        self._accounts = accounts
        self._runtime = runtime
        self._number = 0
        body = b'{"model":"bench-model","messages":[{"role":"user","content":"Hello"}]}'
        document = {"model": "bench-model", "messages": [{"role": "user", "content": "Hello"}]}
        caller = Caller("bench", "bench", Names.of(["*"]), Names.of(["*"]), {})
        self._call = Call(
            caller, "chat", "POST", "/v1/chat/completions", [], body, len(body), document, "bench-model", False
        )
        self.plan = bind(self._call, runtime)

    async def send(self) -> float:
        """Seconds until it could be sent."""
        began = time.perf_counter()
        account = Account(self._accounts, self._call, self.plan, self._record(), self._runtime)
        await account.open()
        attempt = await account.durable()
        ready = time.perf_counter() - began
        attempt.status, attempt.complete = 200, True
        attempt.reported = Reported(input_tokens=10, output_tokens=20, total_tokens=30, model="bench-model")
        account.priced()
        account.close()
        return ready

    async def pass_by(self) -> float:
        """What of `send` is no accounting."""
        began = time.perf_counter()
        self._record()
        return time.perf_counter() - began

    def _record(self) -> Record:
        self._number += 1
        return Record(call_id=f"req_{self._number:024x}", started_at=0.0, started=0.0)

    async def at_once(self, count: int, send: Callable[[], Awaitable[float]] | None = None) -> None:
        send = send or self.send

        async def some() -> None:
            for _ in range(count // AT_ONCE):
                await send()

        await asyncio.gather(*(some() for _ in range(AT_ONCE)))

    async def steadily(self, seconds: float) -> list[float]:
        loop = asyncio.get_running_loop()
        running: list[asyncio.Task[float]] = []
        began = loop.time()
        for number in range(int(seconds * PER_S)):
            await asyncio.sleep(max(0.0, began + number / PER_S - loop.time()))
            running.append(asyncio.create_task(self.send()))
        return list(await asyncio.gather(*running))


@contextlib.asynccontextmanager
async def _sender(ledger_url: str, sync: str, store_url: str) -> AsyncIterator[_Sender]:
    clock, tasks = SystemClock(), Tasks()
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        ledger = await open_ledger(ledger_url, Path(folder), node="bench", sync=sync)
        store = open_store(store_url, clock, deadline_s=1.0)
        log = structlog.get_logger()
        accounts = Accounts(store, store, ledger, Tokenizer(), clock, tasks, log, node="bench", retention_s=1e9)
        accounts.start()
        try:
            yield _Sender(accounts, _runtime())
        finally:
            await accounts.close()
            await tasks.stop()


def _runtime() -> Runtime:
    text = (HERE / "policy.yaml").read_text()
    text = text.replace("@UPSTREAM_PORT@", "1").replace("@KEY_DIGEST@", KEY_DIGEST)
    policy = load((("policy.yaml", text.encode()),), HERE, {"BENCH_KEY": "unused"})
    return Runtime(policy, _Nobody(), {}, Catalogue(policy.prices), 0.0)


class _Nobody:
    async def authenticate(self, credential: str) -> Caller:
        raise AssertionError(credential)


async def _measured(name: str, ledger_url: str, sync: str, store_url: str, seconds: float) -> Added:
    async with _sender(ledger_url, sync, store_url) as sender:
        await sender.at_once(_WARM_UP)
        settle_memory()  # as a worker does
        blocks = [
            (await _block_us(sender, sender.send), await _block_us(sender, sender.pass_by))
            for _ in range(6 * int(seconds))
        ]
        cpu_us = min(with_them for with_them, _ in blocks) - min(without for _, without in blocks)
        idle = time.process_time()
        waits = sorted(await sender.steadily(seconds))
        steady = (time.process_time() - idle) / len(waits) * 1e6
        p99 = waits[int(len(waits) * 0.99)]
        return Added(name, cpu_us, steady, statistics.median(waits) * 1e3, p99 * 1e3)


async def _block_us(sender: _Sender, send: Callable[[], Awaitable[float]]) -> float:
    """One of many: what else runs on the machine only ever adds, so the least of them counts."""
    began = time.process_time()
    await sender.at_once(_BLOCK, send)
    return (time.process_time() - began) / _BLOCK * 1e6


def measure(seconds: float) -> list[Added]:
    """The embedded default first."""
    found = [
        uvloop.run(_measured("SQLite, memory", "", "full", "memory", seconds)),
        uvloop.run(_measured("SQLite (sync normal), memory", "", "normal", "memory", seconds)),
    ]
    with _servers() as (redis_url, postgres_url):
        found.append(uvloop.run(_measured("SQLite, Valkey", "", "full", redis_url, seconds)))
        found.append(uvloop.run(_measured("PostgreSQL, Valkey", postgres_url, "full", redis_url, seconds)))
    return found


@contextlib.contextmanager
def _servers() -> Iterator[tuple[str, str]]:
    from tests.stores.servers import VALKEY, server  # noqa: PLC0415 - from the wheels of the tests
    from tests.support.postgres import postgres_server  # noqa: PLC0415

    with server(VALKEY) as port, postgres_server(durable=True) as postgres:
        yield f"redis://127.0.0.1:{port}", postgres.dsn
