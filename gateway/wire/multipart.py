"""multipart/form-data (RFC 7578), read for its texts and never changed but in them."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_PARTS = 1000
MAX_HEAD_BYTES = 16_384
_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb'filename\*?="?([^";\r\n]*)', re.IGNORECASE)
_KIND = re.compile(rb"^content-type:[ \t]*([^;\r\n]+)", re.IGNORECASE | re.MULTILINE)
_CODED = re.compile(
    rb"^content-(?:transfer-)?encoding:[ \t]*(?!(?:binary|8bit|7bit|identity)\b)", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Part:
    """`body[start:end]` is its content. `filename` is None for a plain form field, `kind` "" where none is given."""

    start: int
    end: int
    filename: str | None
    kind: str
    coded: bool


def boundary_of(content_type: str) -> bytes | None:
    if not content_type.lower().startswith("multipart/"):
        return None
    found = _BOUNDARY.search(content_type)
    return (found[1] or found[2]).encode("latin-1") if found else None


def parts(body: bytes, boundary: bytes) -> list[Part] | None:
    """None for a body that is not soundly framed: two readers could read it in two ways."""
    mark = b"\r\n--" + boundary
    if not body.startswith(mark[2:]):
        return None
    found: list[Part] = []
    at = len(mark) - 2
    while True:
        if body.startswith(b"--", at):
            return found
        head_end = body.find(b"\r\n\r\n", at, at + MAX_HEAD_BYTES)
        end = body.find(mark, head_end + 2) if head_end >= 0 else -1
        if not body.startswith(b"\r\n", at) or end < 0 or len(found) >= MAX_PARTS:
            return None
        found.append(_part(body[at + 2 : head_end], min(head_end + 4, end), end))
        at = end + len(mark)


def _part(head: bytes, start: int, end: int) -> Part:
    name, kind = _NAME.search(head), _KIND.search(head)
    return Part(
        start,
        end,
        name[1].decode("utf-8", "replace") if name else None,
        kind[1].strip().decode("latin-1").lower() if kind else "",
        _CODED.search(head) is not None,
    )
