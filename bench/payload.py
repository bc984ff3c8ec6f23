"""What every subject is asked and what the upstream answers: the same bytes for all."""

from __future__ import annotations

import hashlib
import re

import orjson

KEY = "gw-bench-0000000000000000000000000000000000000"
KEY_DIGEST = hashlib.sha256(KEY.encode()).hexdigest()
MODEL = "bench-model"
PATH = "/v1/chat/completions"

STAMP = re.compile(rb'"content":"([a-j]{10} [a-j]{9}) ')
"""A frame's content begins with the monotonic clock of the machine in nanoseconds at the moment the upstream wrote the
frame. Its digits are written as letters in two words: guards would take so long a number for a card's, and so long a
word for something encoded."""

_LETTERS, _DIGITS = b"abcdefghij", b"0123456789"
_AS_LETTERS, _AS_DIGITS = bytes.maketrans(_DIGITS, _LETTERS), bytes.maketrans(_LETTERS, _DIGITS)


def stamped(letters: bytes) -> int:
    return int(letters.replace(b" ", b"").translate(_AS_DIGITS))


_SENTENCE = "The quarterly report shows that orders rose in the north while returns fell in every other region. "
_TURNS = [
    {"role": "system", "content": "You answer questions about sales reports. " + _SENTENCE * 3},
    {"role": "user", "content": "Which region grew? " + _SENTENCE * 3},
    {"role": "assistant", "content": "The north grew. " + _SENTENCE},
    {"role": "user", "content": "And which one had the fewest returns? " + _SENTENCE * 5},
]


def chat_body(frames: int = 0, interval_ms: int = 0) -> bytes:
    """A chat request of about 1.5 kB; with `frames`, it asks for a stream of so many frames, one each `interval_ms`."""
    document: dict[str, object] = {"model": MODEL, "messages": _TURNS, "temperature": 0.2, "max_tokens": frames or 256}
    if frames:
        document |= {"stream": True, "metadata": {"interval_ms": str(interval_ms)}}
    return orjson.dumps(document)


def request(body: bytes) -> bytes:
    """The whole HTTP/1.1 request as an official client sends it; the host is fixed, as no subject routes by it."""
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: bench.local\r\nauthorization: Bearer {KEY}\r\n"
        "content-type: application/json\r\naccept: application/json\r\nuser-agent: bench/1\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def answer() -> bytes:
    """The upstream's answer without streaming: a chat completion of about 1 kB."""
    message = {"role": "assistant", "content": _SENTENCE * 7, "refusal": None}
    return orjson.dumps(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 310, "completion_tokens": 140, "total_tokens": 450},
        }
    )


def _frame(choices: list[dict[str, object]], **more: object) -> bytes:
    common = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": MODEL}
    return b"data: " + orjson.dumps({**common, "choices": choices, **more}) + b"\n\n"


def stamped_frame(nanoseconds: int) -> bytes:
    letters = (b"%019d" % nanoseconds).translate(_AS_LETTERS)
    return _FRAME_PARTS[0] + letters[:10] + b" " + letters[10:] + _FRAME_PARTS[1]


_FRAME_PARTS = _frame([{"index": 0, "delta": {"content": "STAMP went on "}, "finish_reason": None}]).split(b"STAMP")
USAGE_FRAME = _frame([], usage={"prompt_tokens": 310, "completion_tokens": 140, "total_tokens": 450})
DONE_FRAME = b"data: [DONE]\n\n"
