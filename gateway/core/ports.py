"""The seams of the engine: what it needs from the outside, as protocols. Tests put fakes here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.core.accounts import (
    Ask,
    Balance,
    Claim,
    Denied,
    Entry,
    Granted,
    Intent,
    Outcome,
    Query,
    Seed,
    Total,
    Unit,
    Unseeded,
)
from gateway.core.model import Caller, Headers, Provider, Record
from gateway.core.rates import Rates
from gateway.core.span import Context, Finding, Text, View


@dataclass(slots=True)  # not frozen: see core/accounts.py
class UpstreamRequest:
    """One request to one provider. `path` is what follows the provider's base URL: raw, with the query, beginning
    with "/". `body` is the whole body, or a stream of it whose length is `content_length` (None: unknown).
    `headers` are the caller's, already filtered; the provider adds its own credentials and framing."""

    method: str
    path: str
    headers: Headers
    body: bytes | AsyncIterator[bytes]
    content_length: int | None = None


class UpstreamReply(Protocol):
    """A response head and the stream of its body bytes, as the provider framed them (still content-encoded)."""

    status: int
    headers: Headers

    async def read(self) -> bytes:
        """The next bytes of the body, b"" at its sound end. Raises UpstreamFault when the provider breaks off,
        stalls or overruns its time. Reading is what lets more be received: an unread reply pauses the provider."""

    def complete(self) -> bytes | None:
        """The whole body when it has already arrived entirely and nothing was read yet, else None. Consumes it."""

    def close(self) -> None:
        """Ends the exchange now. Idempotent. A connection whose response was not finished is closed, not reused."""


class Upstream(Protocol):
    """One provider, ready to be called."""

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        """Raises UpstreamFault when there is no response head to return. Never follows redirects, never retries
        anything that the provider can have seen."""

    def holds_secret(self, text: bytes) -> bool:
        """Whether `text` shows one of this provider's credentials, as error pages of providers sometimes do."""

    async def close(self) -> None:
        """Returns when no connection is left; running replies are cut."""


class Authenticator(Protocol):
    async def authenticate(self, credential: str) -> Caller:
        """The proven caller, or Refusal: `invalid_api_key`, `expired_api_key`; `authentication_unavailable` when it
        cannot be decided. Never returns an identity-less caller."""


class Guard(Protocol):
    """One detector with its parameters, built once for a policy set and used by many calls at the same time.

    It reports and never acts. It may raise anything: that is the verdict *not run*, and policy says what it means.
    """

    def for_call(self, context: Context) -> Guard:
        """The guard for one call; itself, unless it compares the answer with the request."""

    def check(self, view: View) -> Sequence[Finding]:
        """Findings in all texts, in any order. Pure CPU, thread-safe, linear in the size of the texts."""

    def open_tail(self, text: Text) -> int:
        """How many characters at the end of an unfinished text may still become part of a finding, or decide one, once
        more follows. For every continuation: findings that begin before that tail are the same as now."""


class RemoteGuard(Protocol):
    """A guard that asks somebody else. It sees whole texts only."""

    async def ask(self, view: View) -> Sequence[Finding]:
        """Bounded in time by the caller. Raises what went wrong: the verdict *not run*."""

    async def close(self) -> None:
        """Nothing is open afterwards."""


class Prices(Protocol):
    """The price catalogue under the operator's own rows."""

    version: str

    def rates(self, provider: Provider, model: str, tier: str, at: float) -> Rates | None:
        """The rates of the provider's model `model` when served in `tier` ("": standard) at the wall time `at`: the
        same for all of a minute. None: no price is known. Quick: what was found is kept."""


class StoreDown(Exception):
    """The shared state cannot be asked now; the message names no host."""


class Store(Protocol):
    """Shared counters of limits. Every verb is atomic: one critical section, or one script. StoreDown from any of them
    within a bounded time. Money counters (usd; hour, day, month, total) come from the ledger and are seeded; buckets
    (minute) and running calls (now) start full and empty."""

    async def reserve(self, lease: str, asks: Sequence[Ask], ttl_s: float) -> Granted | Denied | Unseeded:
        """All or none. Soft limits are counted and never deny. Doing it twice for one lease changes nothing."""

    async def grow(self, lease: str, extra: Mapping[Unit, int]) -> bool:
        """Reserves more for a running lease; False, and nothing changed, when a hard limit has no room."""

    async def settle(self, lease: str, actual: Mapping[Unit, int]) -> bool:
        """Returns what was reserved and books what was used, which may be more. Doing it twice changes nothing. A unit
        that is missing counts 0. False when the lease is not known, lost with the store's memory or never made."""

    def book(self, lease: str, actual: Mapping[Unit, int]) -> bool | None:
        """`settle`, at once, by a store that ends with this process; None: another must be asked, and nothing was
        done."""

    async def forget(self, asks: Sequence[Ask]) -> None:
        """Drops these money counters, so that they are seeded from the ledger at next contact."""

    async def renew(self, leases: Sequence[str], ttl_s: float) -> None:
        """They expire that much later."""

    async def expired(self, limit: int) -> list[str]:
        """Leases whose time has passed and that nobody settled; they still hold what they reserved."""

    async def seed(self, ask: Ask, seed: Seed, ttl_s: float) -> None:
        """Sets a money counter, unless it is known by now."""

    async def balances(self, asks: Sequence[Ask]) -> list[Balance | None]:
        """None: not known (nothing was counted, or it is to be seeded)."""

    async def close(self) -> None: ...


class LedgerDown(Exception):
    """The ledger cannot take rows now (disk full, not reachable)."""


class LedgerUnusable(Exception):
    """The ledger cannot be opened at all: the message is one clear line with the fix (newer schema, second process,
    damaged file)."""


class Ledger(Protocol):
    """Durable rows; the truth for money. Append-only: what was wrong is corrected by a further row."""

    def intend(self, intent: Intent) -> asyncio.Future[None]:
        """Durable when done; LedgerDown when it could not be written, and then it does not exist. May be cancelled or
        left unawaited."""

    def conclude(self, outcome: Outcome) -> asyncio.Future[None]:
        """Durable when done. Kept and tried again until the ledger takes it. A second outcome of one attempt is
        dropped: the first one holds."""

    async def extend(self, attempt: str, nano: int, tokens: int, at: float) -> None:
        """A running attempt has reserved so much more, and is charged it too when its end is never seen: durable when
        done. What does not run is left as it is."""

    @property
    def up(self) -> bool:
        """Whether the last rows were taken, as far as they have been tried."""

    @property
    def waiting(self) -> int:
        """Rows that were handed in and are not durable yet."""

    async def close_orphan(self, attempt: str, at: float) -> int | None:
        """The attempt's cost in nano-dollars; one that a dead process left open is concluded as `unknown`, charged at
        its reservation. 0 for one without intent. None, and nothing was done: it is open, and its process lives."""

    async def recover(self, at: float) -> int:
        """Concludes as `unknown` what dead processes left open; how many. Asked at start and now and then."""

    async def beat(self, at: float) -> None:
        """This process lives; what it left open is recovered when it has not said so for a while."""

    async def seed(self, ask: Ask) -> Seed:
        """What is booked in the ask's scope since its window began, in its unit."""

    async def entry(self, attempt: str) -> Entry | None: ...

    def entries(self, query: Query) -> AsyncIterator[Entry]:
        """Oldest first, a page at a time: any number in bounded memory."""

    async def totals(self, query: Query, by: Sequence[str]) -> list[Total]:
        """Grouped by dimensions: caller, team, model, provider, label.NAME, day, month."""

    async def correct(self, attempt: str, delta_nano: int, reason: str, at: float) -> None:
        """A compensating row. KeyError when there is no such attempt."""

    async def roll_up(self, before_at: float) -> int:
        """Replaces attempts that began before by daily sums, which `totals` and `seed` still count; how many."""

    async def claim(self, key: str, body: str, call: str, at: float) -> Claim:
        """Takes an idempotency key (a digest, scoped to its caller) for 24 hours. `body` is the digest of the body."""

    async def keep(self, key: str, reply: bytes | None) -> None:
        """The sealed reply of a claimed key; None: there is none to repeat, the key may be claimed anew."""

    async def own(self, things: Sequence[str], team: str, caller: str, provider: str, at: float) -> None:
        """Who made these stored objects, such as a response and its items, and where: all of them durable at once. What
        is owned stays its owner's."""

    async def owners(self, things: Sequence[str]) -> Mapping[str, tuple[str, str, str]]:
        """(team, caller, provider) of those that are known, by id."""

    async def close(self) -> None:
        """Everything handed in is durable, or LedgerDown."""


class Sink(Protocol):
    def record(self, record: Record) -> None:
        """Told once per call, when it is settled. Must not block and must not raise."""


class Client(Protocol):
    """The caller's side of one exchange: the request as received, and the answer as it goes out.

    `target` is the raw request target (path and query). Header names are lower case. After `start` the status is
    out; `started` says so. Every write waits until the caller takes it (back-pressure, bounded in time).
    """

    method: str
    target: str
    headers: Headers
    content_length: int | None

    @property
    def started(self) -> bool: ...

    async def read_body(self, max_bytes: int) -> bytes:
        """The whole body, exact bytes. Refusal `body_too_large`, `request_timeout`, `bad_request` (cut off)."""

    def stream_body(self, max_bytes: int) -> AsyncIterator[bytes]:
        """The body as it arrives; the same refusals, raised while iterating."""

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """One whole answer; nothing was started before and nothing follows."""

    async def start(self, status: int, headers: Headers, length: int | None) -> None:
        """Begins a streamed answer of `length` bytes (None: unknown). The head may leave with the first write."""

    async def write(self, data: bytes) -> None:
        """Raises ConnectionError when the caller is gone, TimeoutError when it does not take the data in time."""

    async def finish(self) -> None:
        """The sound end of a started answer."""

    def abort(self) -> None:
        """Cuts the connection, so that a started answer is seen as incomplete."""
