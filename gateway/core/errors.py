"""Every way the gateway says no, in one table.

    Refusal                    a deliberate "no"; rendered by server/errors.py in the caller's dialect
    UpstreamFault              a provider broke its side; the engine turns it into a Refusal or an error event

Anything else that is raised is a bug: logged with the call id and answered as ``internal``.

The codes are stable: clients may match on them. `CODES` maps each to its HTTP status and to the error ``type`` that
OpenAI uses for that class of failure, so that official SDKs raise the class their users expect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

INVALID = "invalid_request_error"
AUTHENTICATION = "authentication_error"
PERMISSION = "permission_error"
NOT_FOUND = "not_found_error"
SERVER = "server_error"
QUOTA = "insufficient_quota"
RATE = "rate_limit_error"

CODES: dict[str, tuple[int, str]] = {
    # who asks
    "missing_api_key": (401, AUTHENTICATION),
    "invalid_api_key": (401, AUTHENTICATION),
    "expired_api_key": (401, AUTHENTICATION),
    "ambiguous_credentials": (400, INVALID),
    "authentication_unavailable": (503, SERVER),
    # what is asked: the HTTP message
    "bad_request": (400, INVALID),
    "unknown_path": (404, NOT_FOUND),
    "method_not_allowed": (405, INVALID),
    "request_timeout": (408, INVALID),
    "body_too_large": (413, INVALID),
    "unsupported_media_type": (415, INVALID),
    "unsupported_encoding": (415, INVALID),
    "headers_too_large": (431, INVALID),
    "refused_header": (400, INVALID),
    # what is asked: the document
    "invalid_json": (400, INVALID),
    "invalid_encoding": (400, INVALID),
    "duplicate_key": (400, INVALID),
    "too_deep": (400, INVALID),
    "too_many_values": (400, INVALID),
    "missing_field": (400, INVALID),
    "invalid_type": (400, INVALID),
    "invalid_value": (400, INVALID),
    "refused_field": (400, INVALID),
    # what the policy allows
    "endpoint_not_allowed": (403, PERMISSION),
    "model_not_allowed": (403, PERMISSION),
    "model_not_found": (404, NOT_FOUND),
    "response_not_found": (404, NOT_FOUND),
    "object_not_found": (404, NOT_FOUND),
    "listing_not_allowed": (403, PERMISSION),
    # budgets and limits
    "budget_exceeded": (402, QUOTA),
    "budget_reserved": (402, QUOTA),
    "unpriced_model": (402, QUOTA),
    "unpriced_tool": (402, QUOTA),
    "rate_limit_exceeded": (429, RATE),
    "concurrency_limit_exceeded": (429, RATE),
    "max_tokens_too_large": (400, INVALID),
    "idempotency_in_progress": (409, INVALID),
    "idempotency_key_used": (409, INVALID),
    "idempotency_mismatch": (422, INVALID),
    "limits_unavailable": (503, SERVER),
    "ledger_unavailable": (503, SERVER),
    # what the guards say
    "guard_blocked": (400, INVALID),
    "guardrail_unavailable": (503, SERVER),
    # what the provider did
    "upstream_unreachable": (502, SERVER),
    "upstream_authentication": (502, SERVER),
    "upstream_redirect": (502, SERVER),
    "upstream_invalid": (502, SERVER),
    "upstream_closed": (502, SERVER),
    "upstream_busy": (503, SERVER),
    "upstream_timeout": (504, SERVER),
    # what the gateway itself cannot do now
    "overloaded": (503, SERVER),
    "draining": (503, SERVER),
    "internal": (500, SERVER),
}


class Refusal(Exception):
    """The only exception that says "no" to a caller.

    `message` is shown to the caller: it names the field and the fix and never quotes content, keys or hosts.
    `param` is the offending body field or header, in OpenAI's sense. `retry_after_s` becomes ``Retry-After``. `limit`
    describes the limit that refused, for programs.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: int | None = None,
        limit: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(code)
        self.limit = limit
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> int:
        return CODES[self.code][0]

    @property
    def type(self) -> str:
        return CODES[self.code][1]


@dataclass(frozen=True, slots=True)
class FaultKind:
    """A class of provider failure: the refusal code it becomes, and whether the provider can have seen the request."""

    code: str
    message: str
    sent: bool


CONNECT_FAILED = FaultKind("upstream_unreachable", "The provider could not be reached.", sent=False)
CONNECT_TIMEOUT = FaultKind("upstream_timeout", "The provider did not accept a connection in time.", sent=False)
POOL_EXHAUSTED = FaultKind("upstream_busy", "All connections to the provider are in use.", sent=False)
FIRST_BYTE_TIMEOUT = FaultKind("upstream_timeout", "The provider did not begin to answer in time.", sent=True)
IDLE_TIMEOUT = FaultKind("upstream_timeout", "The provider stopped sending in the middle of its answer.", sent=True)
TOTAL_TIMEOUT = FaultKind("upstream_timeout", "The provider's answer took longer than allowed.", sent=True)
CLOSED = FaultKind("upstream_closed", "The provider closed the connection before its answer was complete.", sent=True)
BAD_FRAMING = FaultKind("upstream_invalid", "The provider's answer is not valid HTTP.", sent=True)
BAD_CONTENT = FaultKind("upstream_invalid", "The provider's answer could not be read.", sent=True)
REDIRECT = FaultKind(
    "upstream_redirect", "The provider answered with a redirect; redirects are not followed.", sent=True
)


class UpstreamFault(Exception):
    """A provider did not keep its side of HTTP. `detail` is for the log: it names no content and no credential."""

    def __init__(self, kind: FaultKind, detail: str = "") -> None:
        super().__init__(f"{kind.code}: {detail}" if detail else kind.code)
        self.kind = kind
        self.detail = detail

    def refusal(self) -> Refusal:
        return Refusal(self.kind.code, self.kind.message)
