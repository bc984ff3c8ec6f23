"""Acceptance row BUD-08: what a stream said is known although nobody tells."""

from __future__ import annotations

import json

from gateway.engine.meter import HELD_BYTES, OutputMeter
from gateway.tokens.tokenizer import Tokenizer


def frame(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"


class Watched(Tokenizer):
    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def estimate(self, text: str, model: str) -> int:
        self.asked += 1
        return super().estimate(text, model)


def test_a_stream_counts_as_the_text_that_it_is() -> None:
    """BUD-08: words that are cut over frames are one text."""
    meter = OutputMeter("chat", Tokenizer(), "gpt-4o")
    for piece in ("tik", "token", " is", " gre", "at!"):
        meter.feed(frame(piece))
    meter.feed(b"data: [DONE]\n\n")
    assert meter.output_tokens() == Tokenizer().count("tiktoken is great!", "gpt-4o").tokens == 6


def test_a_short_stream_is_not_read_before_somebody_asks() -> None:
    tokenizer = Watched()
    meter = OutputMeter("chat", tokenizer, "gpt-4o")
    for _ in range(50):
        meter.feed(frame(" word"))
    assert (tokenizer.asked, meter.frames) == (0, 50)


def test_a_long_stream_is_held_in_bounded_memory() -> None:
    tokenizer = Watched()
    meter = OutputMeter("chat", tokenizer, "gpt-4o")
    most = 0
    for _ in range(5000):
        meter.feed(frame(" word"))
        most = max(most, sum(map(len, meter._held)))
    assert most <= HELD_BYTES
    assert tokenizer.asked > 1
    assert (meter.frames, meter.output_tokens()) == (5000, 5000)


def test_comments_are_no_frames() -> None:
    meter = OutputMeter("chat", Tokenizer(), "gpt-4o")
    meter.feed(b": keep-alive\n\n")
    assert (meter.frames, meter.output_tokens()) == (0, 0)


def test_asking_twice_counts_once() -> None:
    meter = OutputMeter("chat", Tokenizer(), "gpt-4o")
    meter.feed(frame(" word"))
    assert [meter.output_tokens(), meter.output_tokens()] == [1, 1]
    meter.feed(frame(" more"))
    assert (meter.output_tokens(), meter.frames) == (2, 2)


def test_one_enormous_frame_is_sampled() -> None:
    meter = OutputMeter("chat", Tokenizer(), "gpt-4o")
    meter.feed(frame(" word" * 400_000))
    assert abs(meter.output_tokens() - 400_000) < 4_000
