from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tokens.images import LARGEST, _size, image_tokens, most_per_image


def url(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def png(width: int, height: int) -> str:
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + width.to_bytes(4) + height.to_bytes(4)
    return url(head + b"\x08\x06\0\0\0")


def jpeg(width: int, height: int, before: int = 0) -> str:
    preview = b"\xff\xe1" + (before + 2).to_bytes(2) + bytes(before)
    frame = b"\xff\xc0\0\x11\x08" + height.to_bytes(2) + width.to_bytes(2) + b"\x03"
    return url(b"\xff\xd8" + preview + frame, "jpeg")


def webp(kind: bytes, body: bytes) -> str:
    return url(b"RIFF\0\0\0\0WEBP" + kind + b"\0\0\0\0" + body.ljust(24, b"\0"), "webp")


@pytest.mark.parametrize(
    "picture",
    [
        png(640, 480),
        jpeg(640, 480),
        jpeg(640, 480, before=60_000),
        url(b"GIF89a" + (640).to_bytes(2, "little") + (480).to_bytes(2, "little"), "gif"),
        webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + (640).to_bytes(2, "little") + (480).to_bytes(2, "little")),
        webp(b"VP8L", b"\x2f" + (639 | 479 << 14).to_bytes(4, "little")),
        webp(b"VP8X", b"\0\0\0\0" + (639).to_bytes(3, "little") + (479).to_bytes(3, "little")),
    ],
    ids=["png", "jpeg", "jpeg with a preview", "gif", "webp lossy", "webp lossless", "webp extended"],
)
def test_the_size_of_a_picture_stands_in_its_head(picture: str) -> None:
    assert _size(picture) == (640, 480)


@pytest.mark.parametrize(
    "picture",
    [
        "",
        "https://example.com/a.png",
        "data:,x",
        "data:image/png;base64,",
        "data:image/png;base64,####",
        png(0, 5),
        url(b"\xff\xd8\xff"),
    ],
)
def test_a_size_that_does_not_show_is_taken_as_usual(picture: str) -> None:
    assert image_tokens(picture, "", "gpt-4o") == 765


@given(
    st.binary(max_size=64),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8L"]),
)
def test_no_bytes_break_the_reader(data: bytes, head: bytes) -> None:
    assert image_tokens(url(head + data), "high", "gpt-4o") > 0


@pytest.mark.parametrize(
    ("model", "size", "detail", "tokens"),
    [
        ("gpt-4o", (1024, 1024), "high", 765),  # OpenAI's guide
        ("gpt-4o", (2048, 4096), "high", 1105),
        ("gpt-4o", (4096, 8192), "low", 85),
        ("openai/gpt-4o-mini", (1024, 1024), "auto", 2833 + 4 * 5667),
        ("gpt-4.1-mini", (1024, 1024), "", 1659),
        ("gpt-4.1-mini", (1800, 2400), "", 2353),  # 1452 patches
        ("gpt-5-mini", (256, 256), "", 77),  # as billed
        ("gpt-5-mini", (2048, 768), "", 1844),
        ("gpt-5-nano-2025-08-07", (4096, 4096), "", 2282),
        ("gpt-5", (512, 512), "", 210),
        ("o3-2025-04-16", (512, 512), "", 225),
        ("o4-mini", (32, 32), "", 2),
        ("gpt-5.4", (8000, 8000), "original", 12_000),
        ("claude-sonnet-4", (1000, 1000), "", 1334),
        ("claude-sonnet-4", (10_000, 100), "", 33),
        ("llama", (1024, 1024), "", 765),
    ],
)
def test_pictures_count_by_the_rules_of_the_providers(
    model: str, size: tuple[int, int], detail: str, tokens: int
) -> None:
    assert image_tokens(png(*size), detail, model) == tokens


@given(
    st.sampled_from(["gpt-4o", "gpt-4o-mini", "gpt-4.1-mini", "gpt-5-nano", "gpt-5.4", "o3", "claude-opus-4", "llama"]),
    st.integers(1, 20_000),
    st.integers(1, 20_000),
    st.sampled_from(["", "low", "high", "original"]),
)
def test_no_picture_counts_more_than_the_most(model: str, width: int, height: int, detail: str) -> None:
    assert 0 < image_tokens(png(width, height), detail, model) <= most_per_image(model) <= LARGEST
