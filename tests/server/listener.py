"""The admin listener without its socket."""

from __future__ import annotations

import io

from gateway.core.model import Headers
from gateway.core.secret import Secret
from gateway.server.admin import Admin, Routes
from gateway.sinks.audit import Audit
from gateway.sinks.log import make_log
from gateway.sinks.repeats import Repeats

TOKEN = "admin-canary-0123456789"


class Exchange:
    """What of an exchange the admin listener uses; `sent` are the answer's headers."""

    def __init__(self, method: str, target: str, token: str) -> None:
        self.remote = "127.0.0.1"
        self.method = method
        self.target = target
        self.headers: Headers = [(b"authorization", f"Bearer {token}".encode())]

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        self.status, self.sent, self.body = status, dict(headers), body


class Fleet:
    def alive(self) -> bool:
        return True

    async def policy(self) -> dict[str, object]:
        return {"version": "0123456789ab"}


async def asked(
    more: Routes, target: str, method: str = "GET", token: str = TOKEN, said: io.BytesIO | None = None
) -> Exchange:
    """The exchange after its answer; what the listener logs goes to `said`."""
    exchange = Exchange(method, target, token)
    log = make_log("json", "info", lines=io.BytesIO() if said is None else said)
    await Admin(Fleet(), Secret(TOKEN), log, Audit(log, Repeats()), more).handle(exchange)  # type: ignore[arg-type]
    return exchange
