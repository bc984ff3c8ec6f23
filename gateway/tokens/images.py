"""How many tokens an image has: by its size where that shows, and by the rules that the providers publish.

Sources: OpenAI's guide "Images and vision" (tiles, patches), with the multipliers that its bills show where the guide
differs; Anthropic's guide "Vision". A size that does not show is taken as `UNKNOWN`.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor, sqrt
from typing import Final, Protocol

UNKNOWN: Final = (1024, 1024)
_JPEG_CHARACTERS: Final = 131_072  # of base64: the size may stand behind a large preview
_DATA_URL: Final = re.compile(r"data:[^,]{0,128};base64,")


class _Rule(Protocol):
    @property
    def most(self) -> int:
        """For one picture."""

    def tokens(self, width: int, height: int, detail: str) -> int: ...


@dataclass(frozen=True, slots=True)
class Tiles:
    """Scaled down into 2048 x 2048 and to a short side of 768, then cut into squares of 512: 8 at most."""

    base: int
    each: int

    @property
    def most(self) -> int:
        return self.base + 8 * self.each

    def tokens(self, width: int, height: int, detail: str) -> int:
        if detail == "low":
            return self.base
        scale = min(1.0, 2048 / max(width, height), 768 / min(width, height))
        return self.base + self.each * ceil(width * scale / 512) * ceil(height * scale / 512)


@dataclass(frozen=True, slots=True)
class Patches:
    """Squares of 32, scaled down so that there are at most `cap` (`original`: of the detail with this name)."""

    multiplier: float
    cap: int = 1536
    original: int = 1536

    @property
    def most(self) -> int:
        return ceil(self.original * self.multiplier)

    def tokens(self, width: int, height: int, detail: str) -> int:
        cap = self.original if detail == "original" else self.cap
        patches = ceil(width / 32) * ceil(height / 32)
        if patches > cap:
            scale = sqrt(cap * 32 * 32 / (width * height))
            across, down = width * scale / 32, height * scale / 32
            scale *= min(max(1, floor(across)) / across, max(1, floor(down)) / down)
            patches = min(cap, ceil(width * scale / 32) * ceil(height * scale / 32))
        return ceil(patches * self.multiplier)


@dataclass(frozen=True, slots=True)
class Area:
    """Pixels by 750, scaled down to a long side of 1568."""

    most: int = 4784

    def tokens(self, width: int, height: int, _: str) -> int:
        scale = min(1.0, 1568 / max(width, height))
        return min(self.most, ceil(width * scale * height * scale / 750))


# The first that matches.
_RULES: Final[tuple[tuple[str, _Rule], ...]] = (
    ("gpt-4o-mini", Tiles(2833, 5667)),
    (r"gpt-4\.1-mini", Patches(1.62)),
    (r"gpt-4\.1-nano", Patches(2.46)),
    (r"gpt-5[\d.]*-mini", Patches(1.2)),
    (r"gpt-5[\d.]*-nano", Patches(1.5)),
    ("o4-mini", Patches(1.72)),
    (r"gpt-5\.[4-9]", Patches(1.2, 2500, 10_000)),
    ("gpt-5", Tiles(70, 140)),
    ("o[13]", Tiles(75, 150)),
    ("computer-use", Tiles(65, 129)),
    ("gpt-4|chatgpt-4o", Tiles(85, 170)),
    ("claude", Area()),
)
_OTHER: Final = Tiles(85, 170)
LARGEST: Final = 50_000
"""No rule that is known gives one image more."""


def image_tokens(url: str, detail: str, model: str) -> int:
    """`url`: of a picture inside the request (data:) or elsewhere; "" for a stored file."""
    return (_rule(model) or _OTHER).tokens(*(_size(url) or UNKNOWN), detail)


def most_per_image(model: str) -> int:
    """Of the upstream's model; `LARGEST` for one whose rule is not known."""
    found = _rule(model)
    return LARGEST if found is None else found.most


@lru_cache(maxsize=1024)
def _rule(model: str) -> _Rule | None:
    base = model.lower().rpartition("/")[2].removeprefix("ft:")
    return next((rule for pattern, rule in _RULES if re.match(pattern, base)), None)


def _size(url: str) -> tuple[int, int] | None:
    """(width, height) as a PNG, JPEG, WebP or GIF says in its head; None where it cannot be told."""
    head = _DATA_URL.match(url, 0, 256)
    if head is None:
        return None
    data = _decoded(url, head.end(), 64)
    size = _png(data) or _gif(data) or _webp(data)
    if size is None and data.startswith(b"\xff\xd8"):
        size = _jpeg(_decoded(url, head.end(), _JPEG_CHARACTERS))
    return size if size is not None and min(size) > 0 else None


def _decoded(url: str, start: int, characters: int) -> bytes:
    encoded = url[start : start + characters]
    try:
        return base64.b64decode(encoded[: len(encoded) // 4 * 4])
    except (binascii.Error, ValueError):
        return b""


def _png(data: bytes) -> tuple[int, int] | None:
    if not data.startswith(b"\x89PNG\r\n\x1a\n") or len(data) < 24:
        return None
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def _gif(data: bytes) -> tuple[int, int] | None:
    if not data.startswith((b"GIF87a", b"GIF89a")) or len(data) < 10:
        return None
    return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")


def _webp(data: bytes) -> tuple[int, int] | None:
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return None
    kind = data[12:16]
    if kind == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """The frame's header stands behind segments of any size."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        kind = data[at + 1]
        if 0xC0 <= kind <= 0xCF and kind not in {0xC4, 0xC8, 0xCC}:
            return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None
