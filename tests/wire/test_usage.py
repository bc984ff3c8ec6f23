"""Acceptance rows BUD-08 and BUD-09: the usage objects of providers, as they are sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import COUNTS, Reported
from gateway.wire.dialects import DIALECTS
from gateway.wire.usage import usage_of

OPENAI_CHAT = {
    "prompt_tokens": 1200,
    "completion_tokens": 300,
    "total_tokens": 1500,
    "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 64, "audio_tokens": 8, "image_tokens": 4},
    "completion_tokens_details": {
        "reasoning_tokens": 128,
        "audio_tokens": 16,
        "accepted_prediction_tokens": 3,
        "rejected_prediction_tokens": 5,
    },
}
USAGES: dict[str, tuple[dict[str, Any], Reported]] = {
    "OpenAI chat": (OPENAI_CHAT, Reported(1200, 300, 1500, 1024, 64, 8, 4, 128, 16)),
    "OpenAI responses": (
        {
            "input_tokens": 36,
            "input_tokens_details": {"cached_tokens": 7, "cache_write_tokens": 2},
            "output_tokens": 87,
            "output_tokens_details": {"reasoning_tokens": 64},
            "total_tokens": 123,
        },
        Reported(36, 87, 123, 7, 2, reasoning_tokens=64),
    ),
    "OpenAI embeddings": ({"prompt_tokens": 8, "total_tokens": 8}, Reported(8, 0, 8)),
    "OpenAI transcription": (
        {
            "type": "tokens",
            "input_tokens": 14,
            "input_token_details": {"text_tokens": 0, "audio_tokens": 14},
            "output_tokens": 45,
            "total_tokens": 59,
        },
        Reported(14, 45, 59, audio_input_tokens=14),
    ),
    "OpenAI transcription by time": ({"type": "duration", "seconds": 9}, Reported()),
    "OpenAI images": (
        {
            "input_tokens": 50,
            "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
            "output_tokens": 4160,
            "output_tokens_details": {"text_tokens": 0, "image_tokens": 4160},
            "total_tokens": 4210,
        },
        Reported(50, 4160, 4210, image_input_tokens=40, image_output_tokens=4160),
    ),
    "DeepSeek": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 64},
            "prompt_cache_hit_tokens": 64,
            "prompt_cache_miss_tokens": 36,
        },
        Reported(100, 20, 120, 64),
    ),
    "Anthropic": (
        {
            "input_tokens": 21,
            "cache_creation_input_tokens": 188,
            "cache_read_input_tokens": 1000,
            "cache_creation": {"ephemeral_5m_input_tokens": 88, "ephemeral_1h_input_tokens": 100},
            "output_tokens": 393,
            "service_tier": "standard",
        },
        Reported(1209, 393, None, 1000, 188),
    ),
    "cache beside the prompt, as the total tells": (
        {"prompt_tokens": 20, "cache_read_input_tokens": 1000, "completion_tokens": 5, "total_tokens": 1025},
        Reported(1020, 5, 1025, 1000),
    ),
    "cache beside the prompt, as its size tells": (
        {"prompt_tokens": 20, "cache_read_input_tokens": 1000, "completion_tokens": 5},
        Reported(1020, 5, None, 1000),
    ),
    "a proxy that adds Anthropic's names to an inclusive prompt": (
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "cache_creation_tokens": 50},
            "cache_read_input_tokens": 1920,
            "cache_creation_input_tokens": 50,
        },
        Reported(2006, 300, 2306, 1920, 50),
    ),
    "xAI: reasoning beside the completion": (
        {
            "prompt_tokens": 12,
            "completion_tokens": 1,
            "total_tokens": 399,
            "prompt_tokens_details": {"text_tokens": 12, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 386, "audio_tokens": 0},
        },
        Reported(12, 387, 399, 3, None, 0, 0, 386, 0),
    ),
    "xAI: reasoning inside the completion": (
        {
            "prompt_tokens": 12,
            "completion_tokens": 387,
            "total_tokens": 399,
            "completion_tokens_details": {"reasoning_tokens": 386},
        },
        Reported(12, 387, 399, reasoning_tokens=386),
    ),
    "Gemini: thoughts only in the total": (
        {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 530},
        Reported(10, 520, 530),
    ),
    "details that are null": (
        {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "prompt_tokens_details": None},
        Reported(3, 4, 7),
    ),
    "only an output": ({"completion_tokens": 4, "total_tokens": 7}, Reported(3, 4, 7)),
    "zeros": ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, Reported(0, 0, 0)),
}


@pytest.mark.parametrize(("usage", "reported"), USAGES.values(), ids=USAGES)
def test_the_usage_of_a_provider_is_read_as_totals_with_their_parts(usage: dict[str, Any], reported: Reported) -> None:
    assert usage_of({"usage": usage}) == reported


@pytest.mark.parametrize("shape", DIALECTS)
def test_every_shape_reads_every_usage(shape: str) -> None:
    for usage, reported in USAGES.values():
        assert DIALECTS[shape].usage_of({"usage": usage}) == reported


@pytest.mark.parametrize("value", [-5, "7", True, 7.0, 1e300, [], {}])
@pytest.mark.parametrize("name", ["prompt_tokens", "cached_tokens"])
def test_what_is_no_count_is_left_out_and_told(name: str, value: Any) -> None:
    """BUD-09: negative counts and the like are as if they were not reported."""
    usage = {"prompt_tokens": 10, "completion_tokens": 5, name: value}
    read = usage_of({"usage": usage})
    assert read.odd
    assert read.output_tokens == 5
    assert read.input_tokens == (None if name == "prompt_tokens" else 10)
    assert read.cached_tokens is None


@pytest.mark.parametrize("absurd", [10**15, 2**63])
def test_an_absurd_count_is_passed_on_to_be_clamped(absurd: int) -> None:
    """BUD-09"""
    assert usage_of({"usage": {"prompt_tokens": absurd, "completion_tokens": 1}}).input_tokens == absurd


@pytest.mark.parametrize(
    ("tier", "read"),
    [("flex", "flex"), ("priority", "priority"), ("default", ""), ("auto", ""), ("on_demand", ""), (None, ""), (7, "")],
)
def test_the_model_and_the_tier_are_those_that_served(tier: Any, read: str) -> None:
    reported = usage_of({"model": "gpt-4o-2024-08-06", "service_tier": tier, "usage": None})
    assert reported == Reported(model="gpt-4o-2024-08-06", service_tier=read)


@pytest.mark.parametrize("model", [None, 7, [], "x" * 1000])
def test_a_model_that_is_no_name_is_none(model: Any) -> None:
    assert usage_of({"model": model}).model == ""


@given(
    st.dictionaries(
        st.sampled_from(["prompt_tokens", "completion_tokens", "total_tokens", "cache_read_input_tokens", "x"]),
        st.none() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    )
)
def test_no_usage_breaks_the_reader(usage: dict[str, Any]) -> None:
    reported = usage_of({"usage": usage})
    assert all(count is None or count >= 0 for count in (getattr(reported, name) for name in COUNTS))


# -- streams


def frame(document: Any, event: str = "") -> bytes:
    named = f"event: {event}\n".encode() if event else b""
    return named + b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


def chunk(usage: Any = None, **more: Any) -> bytes:
    return frame({"model": "m-1", "choices": [{"index": 0, "delta": {"content": "x"}}], "usage": usage, **more})


def counts(asked: int, said: int) -> dict[str, int]:
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


@pytest.mark.parametrize("shape", ["chat", "completions"])
def test_running_usage_is_the_last_and_not_the_sum(shape: str) -> None:
    """BUD-09: cumulative usage in every chunk."""
    state = DIALECTS[shape].stream_state()
    for said in range(1, 6):
        state.observe(chunk(counts(10, said)))
    assert state.usage == Reported(10, 5, 15, model="m-1")


def test_two_usage_frames_count_once() -> None:
    """BUD-09"""
    state = DIALECTS["chat"].stream_state()
    for _ in range(2):
        state.observe(frame({"choices": [], "usage": counts(10, 5)}))
    assert state.usage == Reported(10, 5, 15)


def test_input_told_first_and_output_told_last_are_both_kept() -> None:
    state = DIALECTS["chat"].stream_state()
    state.observe(chunk({"prompt_tokens": 10}))
    state.observe(chunk({"completion_tokens": 5}))
    assert (state.usage.input_tokens, state.usage.output_tokens) == (10, 5)


def test_a_stream_that_breaks_before_its_usage_has_named_its_model() -> None:
    state = DIALECTS["chat"].stream_state()
    state.observe(chunk(service_tier="flex"))
    assert state.usage == Reported(model="m-1", service_tier="flex")


def test_the_tier_of_the_last_chunk_is_the_one_that_served() -> None:
    state = DIALECTS["chat"].stream_state()
    state.observe(chunk(service_tier="auto"))
    state.observe(chunk(counts(1, 1), service_tier="priority"))
    assert state.usage.service_tier == "priority"


def test_a_responses_stream_names_its_model_first_and_its_usage_last() -> None:
    state = DIALECTS["responses"].stream_state()
    state.observe(frame({"response": {"model": "m-2", "service_tier": "auto"}}, "response.created"))
    assert (state.usage, state.ended) == (Reported(model="m-2"), False)
    done = {"model": "m-2", "service_tier": "flex", "usage": {"input_tokens": 3, "output_tokens": 4}}
    state.observe(frame({"response": done}, "response.completed"))
    assert (state.usage, state.ended) == (Reported(3, 4, model="m-2", service_tier="flex"), True)


def test_frames_without_usage_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    monkeypatch.setattr("gateway.wire.choices._parsed", lambda found: parsed.append(found) or {})
    state = DIALECTS["chat"].stream_state()
    for _ in range(50):
        state.observe(chunk())
    assert len(parsed) == 1
