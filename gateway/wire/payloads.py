"""What a media field holds: data URIs (RFC 2397) and base64, told apart from text, and read where they are text."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

_HEAD: Final = re.compile(r"data:([^,]{0,512}),", re.IGNORECASE)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_TEXT_TYPE: Final = re.compile(
    r"text/.+|application/(?:.+\+)?(?:json|xml|yaml|x-yaml|jsonl|x-ndjson|sql|javascript|toml)", re.IGNORECASE
)
_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii", "iso-8859-1", "latin-1", "windows-1252", "utf-16"})
_BINARY: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_PROBE: Final = 4096  # characters of a payload that show whether the rest is worth decoding; a multiple of 4
_SHORT: Final = 256  # a payload so short can also be a word


@dataclass(frozen=True, slots=True)
class Payload:
    """`text`: what it says, None where it is not text. `media`: it is, or may be, more than that text: an image, a
    file of a kind nobody here reads. `literal`: the field's own characters may be text as well."""

    text: str | None
    media: bool
    literal: bool


def payload_of(value: str) -> Payload:
    """Of the string in a media field. Only what is declared to be text, and is, is no media at all."""
    head = _HEAD.match(value)
    if head is not None:
        declared, *parameters = [part.strip().lower() for part in head.group(1).split(";")]
        body = value[head.end() :]
        text = _read(body, "base64" in parameters, _charset(parameters))
        is_text = _TEXT_TYPE.fullmatch(declared) is not None or not declared
        return Payload(text, media=text is None or not is_text, literal=False)
    body = value.strip()
    if _BASE64.fullmatch(_plain(body)):
        return Payload(_read(body, is_base64=True, charset="utf-8"), media=True, literal=len(body) <= _SHORT)
    return Payload(None, media=value[:8].lower().startswith(("http://", "https://")), literal=True)


def is_base64(value: str) -> bool:
    return _BASE64.fullmatch(value) is not None


def _charset(parameters: list[str]) -> str:
    named = [part.removeprefix("charset=").strip('"') for part in parameters if part.startswith("charset=")]
    return named[-1] if named and named[-1] in _CHARSETS else "utf-8"


def _plain(body: str) -> str:
    """Without the line breaks that MIME encoders put in."""
    return body.replace("\r", "").replace("\n", "") if "\n" in body[:100] or "\r" in body[:100] else body


def _read(body: str, is_base64: bool, charset: str) -> str | None:
    """The text, None where the bytes are none. The first few are tried alone: an image of megabytes costs nothing."""
    if is_base64:
        body = _plain(body.strip()).translate({ord("-"): "+", ord("_"): "/"})
        data = _decoded(body[:_PROBE])
        if data is None or _text(data, charset, cut=len(body) > _PROBE) is None:
            return None
        data = _decoded(body) if len(body) > _PROBE else data
    else:
        data = unquote_to_bytes(body)
    return None if data is None else _text(data, charset, cut=False)


def _decoded(body: str) -> bytes | None:
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except ValueError:
        return None


def _text(data: bytes, charset: str, *, cut: bool) -> str | None:
    """`cut`: the bytes may end within a character, so the last three do not count."""
    try:
        text = data.decode(charset)
    except UnicodeDecodeError as error:
        if not cut or error.start < len(data) - 3:
            return None
        text = data[: error.start].decode(charset)
    return None if _BINARY.search(text) else text
