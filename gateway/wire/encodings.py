"""Content codings (RFC 9110 §8.4), decoded with a bound on what they may expand to.

One coding only: a stack of codings is a known way to hide a bomb and no real client sends one.
"""

from __future__ import annotations

import zlib
from typing import Protocol

import brotli
import zstandard

from gateway.core.errors import BAD_CONTENT, Refusal, UpstreamFault

SUPPORTED = ("gzip", "x-gzip", "deflate", "br", "zstd")
MAX_RATIO = 100
FREE_BYTES = 1 << 20
_STEP = 65_536


class TooLarge(ValueError):
    """The decoded text is larger than allowed."""


class _Decompressor(Protocol):
    left: int  # bytes that may still be produced

    def feed(self, data: bytes) -> bytes: ...

    def done(self) -> bool: ...


class _Zlib:
    def __init__(self, wbits: int) -> None:
        self._inner = zlib.decompressobj(wbits)
        self.left = 0

    def feed(self, data: bytes) -> bytes:
        out = self._inner.decompress(data, self.left + 1)
        self.left = _spend(self.left, out)
        if self._inner.unused_data:
            raise ValueError("bytes after the end of the compressed body")
        return out

    def done(self) -> bool:
        return self._inner.eof


class _Deflate:
    """`deflate` means the zlib format, but some senders leave its header out: decided by the first two bytes."""

    def __init__(self) -> None:
        self.left = 0
        self._start = b""
        self._inner: _Zlib | None = None

    def feed(self, data: bytes) -> bytes:
        if self._inner is None:
            self._start += data
            if len(self._start) < 2:
                return b""
            has_header = self._start[0] & 0x0F == 8 and int.from_bytes(self._start[:2], "big") % 31 == 0
            self._inner = _Zlib(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
            data, self._start = self._start, b""
        self._inner.left = self.left
        return self._inner.feed(data)

    def done(self) -> bool:
        return self._inner is not None and self._inner.done()


class _Brotli:
    def __init__(self) -> None:
        self._inner = brotli.Decompressor()
        self.left = 0

    def feed(self, data: bytes) -> bytes:
        parts = [self._inner.process(data, output_buffer_limit=_STEP)]
        self.left = _spend(self.left, parts[0])
        while not self._inner.can_accept_more_data():
            parts.append(self._inner.process(b"", output_buffer_limit=_STEP))
            self.left = _spend(self.left, parts[-1])
        return b"".join(parts)

    def done(self) -> bool:
        return bool(self._inner.is_finished())


class _Zstd:
    """One frame. The window is capped so that a header alone cannot claim gigabytes."""

    def __init__(self) -> None:
        self._inner = zstandard.ZstdDecompressor(max_window_size=8 * 1024 * 1024).decompressobj(write_size=_STEP)
        self.left = 0

    def feed(self, data: bytes) -> bytes:
        # A block expands to at most 128 KiB, so small steps of input bound every step of output.
        parts = []
        for start in range(0, len(data), 64):
            out = self._inner.decompress(data[start : start + 64])
            self.left = _spend(self.left, out)
            parts.append(out)
        if self._inner.unused_data:
            raise ValueError("bytes after the end of the compressed body")
        return b"".join(parts)

    def done(self) -> bool:
        return bool(self._inner.eof)


def _spend(left: int, out: bytes) -> int:
    if len(out) > left:
        raise TooLarge
    return left - len(out)


def _decompressor(coding: str) -> _Decompressor:
    if coding in {"gzip", "x-gzip"}:
        return _Zlib(zlib.MAX_WBITS | 16)
    if coding == "deflate":
        return _Deflate()
    return _Brotli() if coding == "br" else _Zstd()


def _allowed(received: int, max_bytes: int) -> int:
    """What `received` compressed bytes may expand to: text rarely passes 30 times its size, a bomb reaches 1,000."""
    return min(max_bytes, FREE_BYTES + MAX_RATIO * received)


_BROKEN = (ValueError, zlib.error, brotli.error, zstandard.ZstdError)


def request_coding(value: str) -> str | None:
    """The one coding that a request's ``Content-Encoding`` names; None for identity. Refusal for anything else."""
    coding = value.strip().lower()
    if coding in {"", "identity"}:
        return None
    if coding not in SUPPORTED:
        raise Refusal(
            "unsupported_encoding",
            f"Send the body with one of these Content-Encoding values, or none: {', '.join(SUPPORTED)}.",
            param="Content-Encoding",
        )
    return coding


def decode_request(body: bytes, coding: str, max_bytes: int) -> bytes:
    """The decoded body. Refusal `body_too_large` before more than `max_bytes` were produced, `bad_request` when it
    is broken or cut off."""
    decompressor = _decompressor(coding)
    decompressor.left = _allowed(len(body), max_bytes)
    try:
        decoded = decompressor.feed(body)
    except TooLarge:
        raise Refusal("body_too_large", f"The body expands to over {max_bytes} bytes or {MAX_RATIO} times.") from None
    except _BROKEN:
        raise Refusal("bad_request", f"The body is not valid {coding}.", param="Content-Encoding") from None
    if not decompressor.done():
        raise Refusal("bad_request", f"The {coding} body is cut off.", param="Content-Encoding")
    return decoded


class ReplyDecoder:
    """Decodes a provider's body as it arrives; UpstreamFault when it is broken, cut off or larger than allowed."""

    def __init__(self, coding: str, max_bytes: int) -> None:
        if coding not in SUPPORTED:
            raise UpstreamFault(BAD_CONTENT, "unknown content coding")
        self._inner = _decompressor(coding)
        self._max_bytes = max_bytes
        self._received = self._produced = 0

    def feed(self, data: bytes) -> bytes:
        self._received += len(data)
        self._inner.left = _allowed(self._received, self._max_bytes) - self._produced
        try:
            decoded = self._inner.feed(data)
            self._produced += len(decoded)
            return decoded
        except TooLarge:
            raise UpstreamFault(BAD_CONTENT, "decompressed answer too large") from None
        except _BROKEN:
            raise UpstreamFault(BAD_CONTENT, "broken compression") from None

    def finish(self) -> None:
        if not self._inner.done():
            raise UpstreamFault(BAD_CONTENT, "compressed answer cut off")
