"""A provider and a policy that need no network and no files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from gateway.core.model import Call, Caller, Headers, Names, Provider, Record
from gateway.core.ports import UpstreamReply, UpstreamRequest
from gateway.engine.runtime import Runtime
from gateway.policy.compile import Limits, ModelTable, Passthrough, PolicySet, TargetRule

LOADED_AT = 1_700_000_000.9


class FakeReply:
    """Implements UpstreamReply."""

    def __init__(self, status: int = 200, body: bytes = b"{}") -> None:
        self.status = status
        self.headers: Headers = []
        self.closed = False
        self._body = body

    async def read(self) -> bytes:
        body, self._body = self._body, b""
        return body

    def complete(self) -> bytes | None:
        return None

    def close(self) -> None:
        self.closed = True


class FakeUpstream:
    """Implements Upstream: keeps what it was sent, answers with the replies it was given, then with empty ones."""

    def __init__(self, *replies: UpstreamReply | Exception) -> None:
        self.sent: list[UpstreamRequest] = []
        self.closed = 0
        self._replies = list(replies)

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        self.sent.append(request)
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


def runtime_for(
    rules: Mapping[str, tuple[TargetRule, ...]],
    upstreams: Mapping[str, FakeUpstream] | None = None,
    passthrough: tuple[Passthrough, ...] = (),
    stream_usage: bool = True,
) -> Runtime:
    names = {target.provider for targets in rules.values() for target in targets} | {
        row.provider for row in passthrough
    }
    policy = PolicySet(
        version="v-1",
        providers={name: Provider(name=name, shape="openai", stream_usage=stream_usage) for name in names},
        models=ModelTable(rules),
        keys={},
        issuers=(),
        passthrough=passthrough,
        limits=Limits(max_body_bytes=1 << 20, max_upload_bytes=1 << 20, unknown_fields="pass", heartbeat_s=0.0),
        left_out=(),
    )
    return Runtime(policy, NoAuthenticator(), upstreams or {}, LOADED_AT)


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


def record() -> Record:
    return Record(call_id="call-1", started_at=0.0, started=0.0)


async def in_pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
