"""Which headers pass, in both directions. Allow-lists: what is not named here stays behind.

Kept from providers on purpose: cookies and everything that names the caller or the network path. Kept from callers:
cookies, `Server`, and the operator's organisation. Hop-by-hop headers (RFC 9110 §7.6.1) are on no list, and what a
`Connection` header lists is dropped even when it is.

A client sends the same names with every call. What follows from them alone is kept by the tuple of names.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import compress
from typing import TypeVar

from gateway.core.errors import Refusal
from gateway.core.model import Headers

MAX_KEPT = 256
MAX_KEPT_BYTES = 4096

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


T = TypeVar("T")


class ByNames(dict[tuple[bytes, ...], T]):
    """What `make` says of the names of a head, kept in bounds: strangers choose these names."""

    def __init__(self, make: Callable[[tuple[bytes, ...]], T]) -> None:
        self._make = make

    def __missing__(self, names: tuple[bytes, ...]) -> T:
        made = self._make(names)
        if sum(map(len, names)) <= MAX_KEPT_BYTES:
            if len(self) >= MAX_KEPT:
                self.clear()
            self[names] = made
        return made


def to_provider(headers: Headers, *, coding: bytes | None) -> Headers:
    """The caller's headers that travel. `coding` is the Accept-Encoding to send: identity when the gateway must read
    the answer, else the caller's own."""
    names = _names(headers)
    passed = list(compress(headers, _TRAVELLING[names]))
    if b"connection" in names:
        listed = _listed_by_connection(headers)
        passed = [pair for pair in passed if pair[0] not in listed]
    passed.append((b"accept-encoding", coding or value_of(headers, b"accept-encoding") or b"identity"))
    return passed


def _names(headers: Headers) -> tuple[bytes, ...]:
    return tuple([name for name, _ in headers])


def _travelling(names: tuple[bytes, ...]) -> tuple[bool, ...]:
    """Which of these travel to providers."""
    return tuple([name in _TO_PROVIDER or name.startswith(_STAINLESS) for name in names])


_TRAVELLING = ByNames(_travelling)


def to_caller(headers: Headers) -> Headers:
    """The provider's headers that travel back; framing and the gateway's own are added later."""
    return [pair for pair in headers if pair[0] in _TO_CALLER or pair[0].startswith(_RATE_LIMIT)]


def without_rate_limits(headers: Headers) -> Headers:
    return [pair for pair in headers if not pair[0].startswith(_RATE_LIMIT)]


def _listed_by_connection(headers: Headers) -> frozenset[bytes]:
    values = [value.lower() for name, value in headers if name == b"connection"]
    return frozenset([token.strip() for value in values for token in value.split(b",")])


def value_of(headers: Headers, name: bytes) -> bytes | None:
    for key, value in headers:
        if key == name:
            return value
    return None


def refuse_unsound(headers: Headers) -> None:
    """Refusals for headers that mean two things, cannot be written down, or try to choose the upstream."""
    names = _names(headers)
    has_transfer_coding = _HAS_TRANSFER_CODING[names]
    values = b"".join([value for _, value in headers])
    if not values.isascii() or b"\x00" in values:
        name = next(name for name, value in headers if not value.isascii() or b"\x00" in value)
        raise Refusal("bad_request", "Header values must be ASCII text.", param=_shown(name))
    if has_transfer_coding and (value_of(headers, b"transfer-encoding") or b"").lower() != b"chunked":
        raise Refusal("bad_request", "The only transfer coding is chunked.", param="Transfer-Encoding")


def _has_transfer_coding(names: tuple[bytes, ...]) -> bool:
    """Of names that are sound; else the Refusal, which is not kept."""
    seen: set[bytes] = set()
    for name in names:
        if name in _SINGLETONS:
            if name in seen:
                code = "ambiguous_credentials" if name == b"authorization" else "bad_request"
                raise Refusal(code, f"Send the {name.decode()} header once.", param=name.decode())
            seen.add(name)
        if name in _CHOICE_NAMES or name.endswith(_CHOICE_SUFFIXES):
            raise Refusal(
                "refused_header",
                "The provider is chosen by the gateway's policy; remove this header.",
                param=_shown(name),
            )
    if b"host" not in seen:
        raise Refusal("bad_request", "The Host header is missing.", param="Host")
    return b"transfer-encoding" in seen


_HAS_TRANSFER_CODING = ByNames(_has_transfer_coding)


def _shown(name: bytes) -> str:
    return name[:64].decode("ascii", "replace")
