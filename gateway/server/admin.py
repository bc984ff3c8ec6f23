"""The admin listener: probes, metrics, the policy version and reload. Every route but the probes needs the token."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol
from urllib.parse import unquote

import orjson
from structlog.typing import FilteringBoundLogger

from gateway.core.bugs import place
from gateway.core.errors import Refusal
from gateway.core.model import Headers
from gateway.core.secret import Secret
from gateway.server.errors import render
from gateway.server.exchange import Exchange
from gateway.sinks.audit import Audit, Trigger
from gateway.sinks.log import clean
from gateway.sinks.metrics import Snapshot, merged

Answer = tuple[int, bytes, bytes]  # status, content type, body
JSON = b"application/json"
_QUESTIONS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Asked:
    """`name` is the last part of the path where the route leaves it open; `query` is raw, without the "?"."""

    name: str
    query: str


Handler = Callable[[Asked], Awaitable[Answer]]
Routes = Mapping[tuple[str, str], tuple[bool, Handler]]
"""(method, path) -> (is it public?, handler). A path that ends in "/*" leaves its last part open."""


class Fleet(Protocol):
    """The worker or workers behind this listener."""

    def alive(self) -> bool: ...

    def ready(self) -> bool: ...

    async def snapshots(self) -> list[Snapshot]: ...

    async def policy(self) -> dict[str, object]: ...

    async def reload(self, *, trigger: Trigger) -> bool: ...


class Admin:
    """`routes` is the whole surface; `more` are those that need more than the fleet."""

    def __init__(
        self,
        fleet: Fleet,
        token: Secret,
        log: FilteringBoundLogger,
        audit: Audit,
        more: Routes = MappingProxyType({}),
    ) -> None:
        self._fleet = fleet
        self._log = log
        self._audit = audit
        self._token_digest = hashlib.sha256(token.reveal().encode()).digest()
        self.routes: Routes = {
            ("GET", "/healthz"): (True, self._healthz),
            ("GET", "/readyz"): (True, self._readyz),
            ("GET", "/metrics"): (False, self._metrics),
            ("GET", "/policy"): (False, self._policy),
            ("POST", "/reload"): (False, self._reload),
            **more,
        }

    async def handle(self, exchange: Exchange) -> None:
        answered = self._answered if exchange.method in _QUESTIONS else self._audited
        await exchange.answer(*await answered(exchange))

    async def _audited(self, exchange: Exchange) -> tuple[int, Headers, bytes]:
        before = await self._version()
        status = None
        try:
            answer = await self._answered(exchange)
            status = answer[0]
            return answer
        finally:
            path, _, _ = exchange.target.partition("?")
            asked = (exchange.remote, exchange.method, path, status)
            self._audit.request(*asked, before, await self._version(), has_token=self._has_token(exchange.headers))

    async def _version(self) -> str:
        return str((await self._fleet.policy())["version"])

    async def _answered(self, exchange: Exchange) -> tuple[int, Headers, bytes]:
        try:
            status, kind, body = await self._dispatch(exchange)
            headers: Headers = [(b"content-type", kind)]
        except Refusal as refusal:
            status = refusal.status
            headers, body = render(refusal, "")
        except Exception as bug:
            path, _, _ = exchange.target.partition("?")
            self._log.error("bug", admin=clean(path), error=type(bug).__name__, at=place(bug))
            status = 500
            headers, body = render(Refusal("internal", "The gateway failed to handle this request."), "")
        headers += [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
        return status, headers, body

    async def _dispatch(self, exchange: Exchange) -> Answer:
        path, _, query = exchange.target.partition("?")
        parent, _, name = path.rpartition("/")
        exact = self.routes.get((exchange.method, path))
        route = exact or (self.routes.get((exchange.method, f"{parent}/*")) if name else None)
        if route is None or not route[0]:
            self._authorise(exchange.headers)
        if route is None:
            raise Refusal("unknown_path", "The admin listener does not serve this path.")
        return await route[1](Asked(unquote(name), query))

    def _authorise(self, headers: Headers) -> None:
        if not self._has_token(headers):
            raise Refusal("invalid_api_key", "Send the admin token as 'Authorization: Bearer <token>'.")

    def _has_token(self, headers: Headers) -> bool:
        shown = [value for name, value in headers if name == b"authorization"]
        digest = hashlib.sha256(shown[0][len(b"Bearer ") :] if shown else b"").digest()
        right = hmac.compare_digest(digest, self._token_digest)
        return len(shown) == 1 and shown[0].startswith(b"Bearer ") and right

    async def _healthz(self, _: Asked) -> Answer:
        alive = self._fleet.alive()
        return (200 if alive else 503), b"text/plain", b"ok\n" if alive else b"failing\n"

    async def _readyz(self, _: Asked) -> Answer:
        ready = self._fleet.ready()
        return (200 if ready else 503), b"text/plain", b"ready\n" if ready else b"not ready\n"

    async def _metrics(self, _: Asked) -> Answer:
        text = merged(await self._fleet.snapshots()).render()
        return 200, b"text/plain; version=0.0.4; charset=utf-8", text.encode()

    async def _policy(self, _: Asked) -> Answer:
        return 200, JSON, orjson.dumps(await self._fleet.policy())

    async def _reload(self, _: Asked) -> Answer:
        loaded = await self._fleet.reload(trigger="admin")
        return (200 if loaded else 422), JSON, orjson.dumps({"loaded": loaded, **await self._fleet.policy()})
