from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.wire.output_text import text_of, text_of_document


def frame(document: Any) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def delta(**members: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "model": "gpt-4o", "obfuscation": "pad", "choices": [{"index": 0, "delta": members}]}


@pytest.mark.parametrize(
    ("shape", "event", "text"),
    [
        ("chat", delta(role="assistant", content=""), ""),
        ("chat", delta(content="Hi"), "Hi"),
        ("chat", delta(refusal="No"), "No"),
        ("chat", delta(reasoning_content="hm"), "hm"),
        ("chat", delta(reasoning="hm"), "hm"),
        ("chat", delta(reasoning="hm", reasoning_content="hm"), "hm"),
        ("chat", delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]), "f{}"),
        ("chat", delta(tool_calls=[{"index": 0, "custom": {"name": "g", "input": "x"}}]), "gx"),
        ("chat", delta(function_call={"name": "f", "arguments": "{"}), "f{"),
        (
            "chat",
            delta(
                content=[
                    {"type": "thinking", "thinking": [{"type": "text", "text": "a"}]},
                    {"type": "text", "text": "b"},
                ]
            ),
            "ab",
        ),
        ("chat", delta(audio={"id": "audio_1", "transcript": "said", "data": "AAAA"}), "said"),
        ("chat", {"choices": [{"index": 0, "delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]}, "ab"),
        ("chat", {"choices": [], "usage": {"prompt_tokens": 1}}, ""),
        ("completions", {"choices": [{"text": "Hi", "index": 0, "logprobs": None}]}, "Hi"),
        ("responses", {"type": "response.output_text.delta", "delta": "Hi", "obfuscation": "pad"}, "Hi"),
        ("responses", {"type": "response.reasoning_summary_text.delta", "delta": "hm"}, "hm"),
        ("responses", {"type": "response.function_call_arguments.delta", "delta": "{}"}, "{}"),
        ("responses", {"type": "response.output_item.added", "item": {"type": "function_call", "name": "f"}}, "f"),
        ("responses", {"type": "response.output_text.done", "text": "Hi"}, ""),
        ("responses", {"type": "response.completed", "response": {"output": [{"content": [{"text": "Hi"}]}]}}, ""),
        ("responses", {"type": "response.output_audio.delta", "delta": "AAAA"}, ""),
        ("responses", {"type": "response.shell_call_output_content.delta", "delta": {"stdout": "x"}}, ""),
        ("embeddings", delta(content="Hi"), ""),
    ],
)
def test_the_words_of_a_frame_are_read(shape: str, event: dict[str, Any], text: str) -> None:
    assert text_of(shape, frame(event)) == text


@pytest.mark.parametrize(
    "raw", [b": comment\n\n", b"data: [DONE]\n\n", b"data: {\n\n", b"data: 7\n\n", b"data\n\n", b"", b"\n\n"]
)
def test_a_frame_without_words_has_none(raw: bytes) -> None:
    assert text_of("chat", raw) == text_of("responses", raw) == ""


@pytest.mark.parametrize(
    ("shape", "document", "text"),
    [
        (
            "chat",
            {
                "choices": [
                    {"message": {"role": "assistant", "content": "a", "reasoning_content": "b"}},
                    {
                        "message": {
                            "content": None,
                            "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}],
                        }
                    },
                ]
            },
            "abf{}",
        ),
        ("completions", {"choices": [{"text": "a"}, {"text": "b"}]}, "ab"),
        (
            "responses",
            {
                "output": [
                    {
                        "type": "reasoning",
                        "id": "rs_1",
                        "summary": [{"type": "summary_text", "text": "a"}],
                        "encrypted_content": "x",
                    },
                    {
                        "type": "message",
                        "content": [{"type": "output_text", "text": "b"}, {"type": "refusal", "refusal": "c"}],
                    },
                    {"type": "function_call", "name": "f", "arguments": "{}"},
                    {"type": "custom_tool_call", "name": "g", "input": "x"},
                ]
            },
            "abcf{}gx",
        ),
        ("embeddings", {"data": []}, ""),
    ],
)
def test_the_words_of_an_answer_are_read(shape: str, document: dict[str, Any], text: str) -> None:
    assert text_of_document(shape, document) == text


@pytest.mark.parametrize(
    "odd",
    [None, [], 7, {"choices": 7}, {"choices": [7, {"delta": 7, "message": [], "text": 7}]}, {"output": {"content": 7}}],
)
def test_odd_answers_have_no_words(odd: Any) -> None:
    for shape in ("chat", "completions", "responses"):
        assert text_of_document(shape, odd) == ""
        assert text_of(shape, frame(odd)) == ""
