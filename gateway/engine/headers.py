"""Which headers pass, in both directions. Allow-lists: what is not named here stays behind.

Kept from providers on purpose: cookies and everything that names the caller or the network path. Kept from callers:
cookies, `Server`, and the operator's organisation. Hop-by-hop headers (RFC 9110 §7.6.1) are on no list, and what a
`Connection` header lists is dropped even when it is.
"""

from __future__ import annotations

from gateway.core.errors import Refusal
from gateway.core.model import Headers

_TO_PROVIDER = frozenset(
    {b"accept", b"content-type", b"user-agent", b"idempotency-key", b"x-client-request-id", b"openai-beta"}
    | {b"openai-organization", b"openai-project"}
)
_STAINLESS = b"x-stainless-"

_TO_CALLER = frozenset(
    {b"content-type", b"content-disposition", b"content-range", b"accept-ranges", b"etag", b"last-modified"}
    | {b"x-request-id", b"openai-processing-ms", b"openai-version", b"openai-model"}
    | {b"retry-after", b"retry-after-ms", b"x-should-retry"}
)
_RATE_LIMIT = b"x-ratelimit-"

# Headers by which callers of other gateways choose the upstream. Refused, not ignored: an app that sends one believes
# that its request goes elsewhere.
_CHOICE_SUFFIXES = (b"-custom-host", b"-base-url", b"-api-base", b"-target-url", b"-forward-url", b"-upstream-url")
_CHOICE_NAMES = frozenset({b"x-portkey-config", b"x-portkey-provider", b"x-http-method-override", b"x-method-override"})

_SINGLETONS = frozenset(
    {b"host", b"authorization", b"content-type", b"content-length", b"content-encoding"} | {b"transfer-encoding"}
)


def to_provider(headers: Headers, *, coding: bytes | None) -> Headers:
    """The caller's headers that travel. `coding` is the Accept-Encoding to send: identity when the gateway must read
    the answer, else the caller's own."""
    listed = _listed_by_connection(headers)
    passed = [
        pair
        for pair in headers
        if (pair[0] in _TO_PROVIDER or pair[0].startswith(_STAINLESS)) and (listed is None or pair[0] not in listed)
    ]
    passed.append((b"accept-encoding", coding or value_of(headers, b"accept-encoding") or b"identity"))
    return passed


def to_caller(headers: Headers) -> Headers:
    """The provider's headers that travel back; framing and the gateway's own are added later."""
    return [pair for pair in headers if pair[0] in _TO_CALLER or is_rate_limit(pair)]


def is_rate_limit(header: tuple[bytes, bytes]) -> bool:
    return header[0].startswith(_RATE_LIMIT)


def _listed_by_connection(headers: Headers) -> frozenset[bytes] | None:
    value = value_of(headers, b"connection")
    if value is None or value.lower() in {b"keep-alive", b"close"}:
        return None
    return frozenset(token.strip().lower() for token in value.split(b","))


def value_of(headers: Headers, name: bytes) -> bytes | None:
    for key, value in headers:
        if key == name:
            return value
    return None


def refuse_unsound(headers: Headers) -> None:
    """Refusals for headers that mean two things, cannot be written down, or try to choose the upstream."""
    seen: set[bytes] = set()
    for name, value in headers:
        if name in _SINGLETONS:
            if name in seen:
                code = "ambiguous_credentials" if name == b"authorization" else "bad_request"
                raise Refusal(code, f"Send the {name.decode()} header once.", param=name.decode())
            seen.add(name)
        if name == b"transfer-encoding" and value.lower() != b"chunked":
            raise Refusal("bad_request", "The only transfer coding is chunked.", param="Transfer-Encoding")
        if name in _CHOICE_NAMES or name.endswith(_CHOICE_SUFFIXES):
            raise Refusal(
                "refused_header",
                "The provider is chosen by the gateway's policy; remove this header.",
                param=_shown(name),
            )
        if not value.isascii() or b"\x00" in value:
            raise Refusal("bad_request", "Header values must be ASCII text.", param=_shown(name))
    if b"host" not in seen:
        raise Refusal("bad_request", "The Host header is missing.", param="Host")


def _shown(name: bytes) -> str:
    return name[:64].decode("ascii", "replace")
