"""Renders a Refusal in OpenAI's shape. The only place that turns "no" into bytes before an answer began."""

from __future__ import annotations

import orjson

from gateway.core.errors import Refusal
from gateway.core.model import Headers
from gateway.wire.dialect import error_object

# Money that running calls hold may come back in seconds; that a budget is spent does not change so soon.
_SOON = frozenset({"budget_reserved", "idempotency_in_progress"})


def refusal_body(refusal: Refusal, call_id: str) -> bytes:
    return orjson.dumps({"error": error_object(refusal, call_id)})


def render(refusal: Refusal, call_id: str) -> tuple[Headers, bytes]:
    """Header list and body of an error answer."""
    return refusal_headers(refusal), refusal_body(refusal, call_id)


def refusal_headers(refusal: Refusal) -> Headers:
    headers: Headers = [(b"content-type", b"application/json")]
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, refusal.retry_after_s)).encode()))
    if refusal.code in _SOON:
        headers.append((b"x-should-retry", b"true"))  # OpenAI's SDKs follow it whatever the status
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers
