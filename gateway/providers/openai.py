"""Any provider that speaks OpenAI's HTTP API: adds the address and the credentials, nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol
from urllib.parse import urlsplit

from gateway.core.model import Headers, Provider
from gateway.core.ports import UpstreamReply, UpstreamRequest


class HttpSender(Protocol):
    """What is needed of the transport: one origin, pooled, with this provider's time-outs."""

    async def send(
        self,
        method: str,
        target: str,
        headers: Headers,
        body: bytes | AsyncIterator[bytes],
        content_length: int | None,
    ) -> UpstreamReply: ...

    async def close(self) -> None: ...


class OpenAI:
    """Implements `core.ports.Upstream` for one provider row."""

    def __init__(self, provider: Provider, http: HttpSender) -> None:
        self._http = http
        self._prefix = urlsplit(provider.base_url).path.rstrip("/")
        self._own = _own_headers(provider)
        self._secrets = _secrets(provider)
        self._own_names = frozenset(name for name, _ in self._own)

    def send(self, request: UpstreamRequest) -> Coroutine[Any, Any, UpstreamReply]:
        # The policy's headers win over the caller's: a caller cannot pick the operator's organisation or project.
        headers = [pair for pair in request.headers if pair[0] not in self._own_names]
        headers += self._own
        target = self._prefix + request.path
        return self._http.send(request.method, target, headers, request.body, request.content_length)

    def holds_secret(self, text: bytes) -> bool:
        return any(secret in text for secret in self._secrets)

    async def close(self) -> None:
        await self._http.close()


def _own_headers(provider: Provider) -> Headers:
    own: Headers = []
    if provider.api_key is not None:
        own.append((b"authorization", b"Bearer " + provider.api_key.reveal().encode()))
    if provider.organization is not None:
        own.append((b"openai-organization", provider.organization.encode()))
    if provider.project is not None:
        own.append((b"openai-project", provider.project.encode()))
    own += [(name.lower().encode(), value.encode()) for name, value in provider.headers]
    return own


def _secrets(provider: Provider) -> list[bytes]:
    """The API key, and header values long enough to be one (a policy may pass a credential in any header)."""
    secrets = [value.encode() for _, value in provider.headers if len(value) >= 20]
    if provider.api_key is not None:
        secrets.append(provider.api_key.reveal().encode())
    return secrets
