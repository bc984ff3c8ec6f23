"""The seams of the engine: what it needs from the outside, as protocols. Tests put fakes here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.core.model import Caller, Headers, Record
from gateway.core.span import Context, Finding, Text, View


@dataclass(frozen=True, slots=True)
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


class Sink(Protocol):
    def record(self, record: Record) -> None:
        """Told once per call, at settle. Must not block and must not raise."""


class Client(Protocol):
    """The caller's side of one exchange: the request as received, and the answer as it goes out.

    `target` is the raw request target (path and query). Header names are lower case. After `start` the status is
    out; `started` says so. Every write waits until the caller takes it (back-pressure, bounded in time).
    """

    method: str
    target: str
    headers: Headers
    content_length: int | None
    started: bool

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
