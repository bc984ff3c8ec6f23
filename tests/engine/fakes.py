"""A provider and a policy that need no network and no files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import structlog

from gateway.core.accounts import (
    Ask,
    Claim,
    Denied,
    Entry,
    Granted,
    Intent,
    Limit,
    Outcome,
    Query,
    Seed,
    Total,
    Unseeded,
)
from gateway.core.clock import SystemClock
from gateway.core.model import Call, Caller, Headers, Names, Plan, Provider, Record
from gateway.core.ports import Ledger, LedgerDown, Prices, Store, StoreDown, UpstreamReply, UpstreamRequest
from gateway.core.rates import Rates
from gateway.core.usage import Usage
from gateway.engine.account import Account
from gateway.engine.accounts import Accounts
from gateway.engine.forward import forward
from gateway.engine.pipeline import Engine, Services
from gateway.engine.runtime import Runtime
from gateway.engine.tasks import Tasks
from gateway.engine.things import Things
from gateway.policy.compile import Limits, ModelTable, Passthrough, PolicySet, TargetRule
from gateway.server.errors import render
from gateway.stores.memory import MemoryStore
from gateway.tokens.tokenizer import Tokenizer
from tests.support.patience import patience

LOADED_AT = 1_700_000_000.9
DOLLAR = 10**9


class FakeReply:
    """Implements UpstreamReply: gives its pieces one by one, and raises those that are exceptions. `hangs`: what would
    follow never comes."""

    def __init__(
        self, status: int = 200, body: bytes | Sequence[bytes | Exception] = b"{}", kind: str = "", hangs: bool = False
    ) -> None:
        self.status = status
        self.headers: Headers = [(b"content-type", kind.encode())] if kind else []
        self.closed = False
        self._pieces = [body] if isinstance(body, bytes) else list(body)
        self._hangs = hangs

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        if not self._pieces:
            if self._hangs:
                await asyncio.Event().wait()
            return b""
        piece = self._pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    def complete(self) -> bytes | None:
        return None

    def close(self) -> None:
        self.closed = True


class FakeUpstream:
    """Implements Upstream: keeps what it was sent, answers with the replies it was given, then with empty ones.
    `looks` is called when a request arrives."""

    def __init__(self, *replies: UpstreamReply | Exception, looks: Callable[[], object] | None = None) -> None:
        self.sent: list[UpstreamRequest] = []
        self.closed = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self._replies = list(replies)
        self._looks = looks

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        self.sent.append(request)
        if self._looks is not None:
            self._looks()
        await asyncio.sleep(0)
        await self.answers.wait()
        reply = self._replies.pop(0) if self._replies else FakeReply()
        if isinstance(reply, Exception):
            raise reply
        return reply

    def holds_secret(self, text: bytes) -> bool:
        return False

    async def close(self) -> None:
        self.closed += 1


class NoAuthenticator:
    """Implements Authenticator for tests that begin after it."""

    async def authenticate(self, credential: str) -> Caller:
        raise AssertionError("not asked here")


class Callers:
    """Implements Authenticator: the credential is the caller's name."""

    async def authenticate(self, credential: str) -> Caller:
        await asyncio.sleep(0)
        return Caller(credential, "team", Names.of(["*"]), Names.of(["*"]), {})


class FakePrices:
    """Implements Prices: (model, tier) -> rates. Nothing else has a price."""

    version = "fake"

    def __init__(self, rates: Mapping[tuple[str, str], Rates] | None = None) -> None:
        self._rates = dict(rates or {})

    def rates(self, provider: Provider, model: str, tier: str, at: float) -> Rates | None:
        return self._rates.get((model, tier))


def rates_for(per_request: int = 0, fees: Mapping[str, int] | None = None, **per_million: int) -> Rates:
    """In nano-dollars."""
    return Rates("policy", "", "m", per_million, per_request=per_request, fees=fees or {})


def runtime_for(
    rules: Mapping[str, tuple[TargetRule, ...]],
    upstreams: Mapping[str, FakeUpstream] | None = None,
    passthrough: tuple[Passthrough, ...] = (),
    stream_usage: bool = True,
    prices: Prices | None = None,
    **policy: Any,
) -> Runtime:
    names = {target.provider for targets in rules.values() for target in targets} | {
        row.provider for row in passthrough
    }
    made = PolicySet(
        version="v-1",
        providers={name: Provider(name=name, shape="openai", stream_usage=stream_usage) for name in names},
        models=ModelTable(rules),
        keys={},
        issuers=(),
        passthrough=passthrough,
        limits=Limits(max_body_bytes=1 << 20, max_upload_bytes=1 << 20, unknown_fields="pass", heartbeat_s=0.0),
        left_out=(),
        **policy,
    )
    return Runtime(made, NoAuthenticator(), upstreams or {}, prices or FakePrices(), LOADED_AT)


def call_for(endpoint: str = "chat", models: tuple[str, ...] = ("*",), **changed: Any) -> Call:
    caller = Caller("app", "team", Names.of(models), Names.of(["*"]), {})
    given: dict[str, Any] = {
        "caller": caller,
        "endpoint": endpoint,
        "method": "POST",
        "path": "/v1/chat/completions",
        "headers": [],
        "body": b"",
        "content_length": None,
        "document": None,
        "model": "",
        "stream": False,
    }
    return Call(**{**given, **changed})


def limit_for(unit: Any = "usd", amount: int = DOLLAR, window: Any = None, **changed: Any) -> Limit:
    kinds = {"usd": "total", "requests": "minute", "tokens": "minute", "calls": "now"}
    name = changed.pop("name", f"{unit}-limit")
    return Limit(name, f"{unit}/{name}", unit, amount, window or kinds[unit], **changed)


def record() -> Record:
    return Record(call_id="call-1", started_at=0.0, started=0.0)


async def in_pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


class FakeClock:
    """Implements Clock; stands still until it is told."""

    def __init__(self, wall: float = LOADED_AT, monotonic: float = 100.0) -> None:
        self._wall = wall
        self._monotonic = monotonic

    def wall(self) -> float:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    def pass_(self, seconds: float) -> None:
        self._wall += seconds
        self._monotonic += seconds


class FakeLedger:
    """Implements Ledger in memory. Rows are durable at once, unless the disk is `full` or `slow`: then an outcome is
    durable when `flush` says so. `seeded` are the counters it was asked for, in order; `extensions` those of money;
    `living` the nodes that still report to it."""

    def __init__(self) -> None:
        self.intents: dict[str, Intent] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.terminal_rows: list[str] = []
        self.keys: dict[str, tuple[str, bytes | None]] = {}
        self.things: dict[str, tuple[str, str, str]] = {}
        self.seeded: list[str] = []
        self.extensions: list[tuple[str, int]] = []
        self.living: set[str] = set()
        self.full = False
        self.slow = False
        self.closed = False
        self._waiting: list[tuple[asyncio.Future[None], Outcome]] = []

    @property
    def open(self) -> list[str]:
        """Intents without their terminal row."""
        return [attempt for attempt in self.intents if attempt not in self.outcomes]

    @property
    def up(self) -> bool:
        return not self.full

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def intend(self, intent: Intent) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        if self.full:
            future.set_exception(LedgerDown())
            future.exception()
        else:
            self.intents[intent.attempt] = intent
            asyncio.get_running_loop().call_soon(_done, future)
        return future

    def conclude(self, outcome: Outcome) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        if self.slow:
            self._waiting.append((future, outcome))
        else:
            self._write(future, outcome)
        return future

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future, outcome in waiting:
            self._write(future, outcome)

    def _write(self, future: asyncio.Future[None], outcome: Outcome) -> None:
        self.terminal_rows.append(outcome.attempt)
        self.outcomes.setdefault(outcome.attempt, outcome)
        asyncio.get_running_loop().call_soon(_done, future)

    async def extend(self, attempt: str, nano: int, tokens: int, at: float) -> None:
        await asyncio.sleep(0)
        if self.full:
            raise LedgerDown
        self.extensions.append((attempt, nano))

    def _held(self, attempt: str) -> int:
        return self.intents[attempt].reserved_nano + sum(nano for name, nano in self.extensions if name == attempt)

    async def close_orphan(self, attempt: str, at: float) -> int | None:
        await asyncio.sleep(0)
        intent = self.intents.get(attempt)
        if intent is None:
            return 0
        if attempt not in self.outcomes and intent.origin.node in self.living:
            return None
        self.outcomes.setdefault(attempt, Outcome(attempt, at, "unknown", self._held(attempt)))
        return self.outcomes[attempt].cost_nano or 0

    async def recover(self, at: float) -> int:
        return 0

    async def beat(self, at: float) -> None: ...

    async def seed(self, ask: Ask) -> Seed:
        self.seeded.append(ask.key)
        await asyncio.sleep(0)
        if self.full:
            raise LedgerDown
        spent = sum(outcome.cost_nano or 0 for outcome in self.outcomes.values())
        return Seed(spent, {attempt: self._held(attempt) for attempt in self.open})

    async def entry(self, attempt: str) -> Entry | None:
        intent = self.intents.get(attempt)
        return Entry(intent, self.outcomes.get(attempt)) if intent else None

    async def entries(self, query: Query) -> AsyncIterator[Entry]:
        for attempt, intent in self.intents.items():
            yield Entry(intent, self.outcomes.get(attempt))

    async def totals(self, query: Query, by: Sequence[str]) -> list[Total]:
        return [Total(tuple("" for _ in by), len(self.intents), 0, Usage(), 0, 0, 0, 0)]

    async def correct(self, attempt: str, delta_nano: int, reason: str, at: float) -> None: ...

    async def roll_up(self, before_at: float) -> int:
        return 0

    async def claim(self, key: str, body: str, call: str, at: float) -> Claim:
        if self.full:
            raise LedgerDown
        known = self.keys.get(key)
        if known is None:
            self.keys[key] = (body, None)
            await asyncio.sleep(0)  # it is on disk by now, and the answer on its way
            return Claim("new")
        await asyncio.sleep(0)
        if known[0] != body:
            return Claim("different")
        return Claim("running") if known[1] is None else Claim("done", known[1])

    async def keep(self, key: str, reply: bytes | None) -> None:
        await asyncio.sleep(0)
        if reply is None:
            del self.keys[key]
        else:
            self.keys[key] = (self.keys[key][0], reply)

    async def own(self, things: Sequence[str], team: str, caller: str, provider: str, at: float) -> None:
        await asyncio.sleep(0)
        if self.full:
            raise LedgerDown
        for thing in things:
            self.things.setdefault(thing, (team, caller, provider))

    async def owners(self, things: Sequence[str]) -> dict[str, tuple[str, str, str]]:
        await asyncio.sleep(0)
        if self.full:
            raise LedgerDown
        return {thing: self.things[thing] for thing in things if thing in self.things}

    async def close(self) -> None:
        self.closed = True


def _done(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.set_result(None)


class FakeStore(MemoryStore):
    """The store of one process, reached over something that takes a turn of the loop. `down`: it cannot be reached.
    `far`: its answer to a reservation takes a turn too. `verbs` are those it was asked, in order."""

    def __init__(self, clock: Any = None) -> None:
        super().__init__(clock or SystemClock())
        self.down = self.far = False
        self.verbs: list[tuple[str, object]] = []

    async def reserve(self, lease: str, asks: Sequence[Ask], ttl_s: float) -> Granted | Denied | Unseeded:
        self._reach("reserve", lease)
        answer = await super().reserve(lease, asks, ttl_s)
        if self.far:
            await asyncio.sleep(0)
        return answer

    async def grow(self, lease: str, extra: Any) -> bool:
        self._reach("grow", lease)
        await asyncio.sleep(0)
        return await super().grow(lease, extra)

    async def settle(self, lease: str, actual: Any) -> bool:
        self._reach("settle", lease)
        await asyncio.sleep(0)
        return MemoryStore.book(self, lease, actual)

    def book(self, lease: str, actual: Any) -> Any:
        return None

    async def forget(self, asks: Sequence[Ask]) -> None:
        self._reach("forget", [ask.key for ask in asks])
        await super().forget(asks)

    async def seed(self, ask: Ask, seed: Seed, ttl_s: float) -> None:
        self._reach("seed", ask.key)
        await asyncio.sleep(0)
        await super().seed(ask, seed, ttl_s)

    async def renew(self, leases: Sequence[str], ttl_s: float) -> None:
        self._reach("renew", sorted(leases))
        await super().renew(leases, ttl_s)

    def lose_everything(self) -> None:
        super().__init__(self._clock)

    @property
    def reserved(self) -> dict[str, int]:
        """What running calls hold, by counter; only where it is not 0."""
        return {key: counter.reserved for key, counter in self._counters.items() if counter.reserved}

    @property
    def open_leases(self) -> list[str]:
        return list(self._leases)

    def _reach(self, verb: str, about: object) -> None:
        self.verbs.append((verb, about))
        if self.down:
            raise StoreDown("it does not answer")


TOKENIZER = lru_cache(Tokenizer)


def accounts_for(
    ledger: Ledger | None = None, store: Store | None = None, clock: Any = None, tasks: Tasks | None = None
) -> Accounts:
    clock = clock or SystemClock()
    shared = store or MemoryStore(clock)
    log = structlog.get_logger()
    given = (shared, shared, ledger or FakeLedger(), TOKENIZER(), clock, Tasks() if tasks is None else tasks, log)
    return Accounts(*given, node="here", retention_s=1e9)


async def opened(call: Call, plan: Plan, runtime: Runtime, told: Record, accounts: Accounts | None = None) -> Account:
    """The call's account, its first attempt reserved."""
    account = Account(accounts or accounts_for(), call, plan, told, runtime)
    await account.open()
    return account


async def forwarded(call: Call, plan: Plan, runtime: Runtime, told: Record) -> UpstreamReply:
    return await forward(call, plan, runtime, told, SystemClock(), await opened(call, plan, runtime, told))


class FakeClient:
    """Implements Client: one POST of a JSON body. It leaves instead of taking the write (or the answer) of number
    `leaves_at`, counted from 0, the head being none."""

    def __init__(
        self, body: bytes, target: str = "/v1/chat/completions", key: str = "app", leaves_at: int | None = None,
        headers: Headers | None = None, method: str = "POST",
    ) -> None:  # fmt: skip
        self.method = method
        self.target = target
        self.headers: Headers = [
            (b"host", b"gateway"),
            (b"authorization", b"Bearer " + key.encode()),
            (b"content-type", b"application/json"),
            *(headers or []),
        ]
        self.content_length: int | None = len(body)
        self.started = False
        self.status = 0
        self.answered: Headers = []
        self.body = b""
        self.finished = self.aborted = False
        self._asked = body
        self._leaves_at = leaves_at
        self._writes = 0

    def header(self, name: str) -> str | None:
        return next((value.decode() for key, value in self.answered if key == name.encode()), None)

    async def read_body(self, max_bytes: int) -> bytes:
        await asyncio.sleep(0)
        return self._asked

    def stream_body(self, max_bytes: int) -> AsyncIterator[bytes]:
        return in_pieces(self._asked)

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        await self._take()
        self.started = self.finished = True
        self.status, self.answered, self.body = status, headers, body

    async def start(self, status: int, headers: Headers, length: int | None) -> None:
        self.started = True
        self.status, self.answered = status, headers

    async def write(self, data: bytes) -> None:
        await self._take()
        self.body += data

    async def finish(self) -> None:
        self.finished = True

    def abort(self) -> None:
        self.aborted = True

    async def _take(self) -> None:
        await asyncio.sleep(0)
        if self._writes == self._leaves_at:
            raise ConnectionResetError
        self._writes += 1


@dataclass
class Rig:
    """An engine over fakes. `records` are the settled calls."""

    runtime: Runtime
    ledger: FakeLedger = field(default_factory=FakeLedger)
    clock: FakeClock = field(default_factory=FakeClock)
    records: list[Record] = field(default_factory=list)
    bugs: list[dict[str, object]] = field(default_factory=list)
    store: FakeStore = field(init=False)
    accounts: Accounts = field(init=False)
    engine: Engine = field(init=False)
    tasks: Tasks = field(init=False)

    def __post_init__(self) -> None:
        self.tasks = Tasks()
        self.store = FakeStore(self.clock)
        self.accounts = accounts_for(self.ledger, self.store, self.clock, self.tasks)
        runtime = Runtime(
            self.runtime.policy, Callers(), self.runtime.upstreams, self.runtime.prices, self.runtime.loaded_at
        )
        services = Services(
            accounts=self.accounts,
            things=Things(self.ledger),
            sinks=(self,),
            clock=self.clock,
            tasks=self.tasks,
            log=self,  # type: ignore[arg-type]
            render=render,
            secret=b"mask-canary-key",
        )
        self.engine = Engine(runtime, services)

    def record(self, told: Record) -> None:
        self.records.append(told)

    def error(self, event: str, **facts: object) -> None:
        self.bugs.append({"event": event, **facts})

    async def __aenter__(self) -> Rig:
        self.accounts.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.ledger.slow = self.store.down = False
        self.ledger.flush()
        await self.tasks.paid(5)
        await self.accounts.close()
        await self.tasks.stop()

    async def ask(self, client: FakeClient) -> FakeClient:
        await self.engine.handle(client)
        return client

    async def quiet(self) -> None:
        """Everything that calls left behind is done."""
        await self.tasks.paid(5)
        await self.accounts.flushed(5)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def until(happened: Callable[[], object]) -> None:
    """Takes turns of the loop until it is so."""
    async with patience():
        while not happened():
            await asyncio.sleep(0)
