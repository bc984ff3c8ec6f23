from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.tokens.bound import PREAMBLE, PREAMBLE_OF_TOOLS, choices_of, input_bound, output_limit
from gateway.tokens.tokenizer import Tokenizer

HELLO = {"role": "user", "content": "Hello"}
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


def chat(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages) or [HELLO], **more}


def test_a_text_has_no_more_tokens_than_its_body_has_bytes() -> None:
    assert input_bound(1000, chat()) == (1000 + PREAMBLE, 0, False)


@settings(deadline=None)
@given(st.text(max_size=300))
def test_the_bound_holds_for_any_text(text: str) -> None:
    document = chat({"role": "user", "content": text})
    size = len(json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    assert Tokenizer().count(text, "gpt-4o").tokens + 8 <= input_bound(size, document).tokens


@pytest.mark.parametrize(
    "document",
    [
        chat({"role": "user", "content": [PICTURE, {"type": "text", "text": "?"}, PICTURE]}),
        {"model": "m", "input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}] * 2}]},
        {"model": "m", "input": [{"type": "computer_call_output", "output": {"type": "computer_screenshot"}}] * 2},
        {"model": "m", "input": [{"type": "function_call_output", "output": [{"type": "input_image"}] * 2}]},
        {"model": "m", "input": [PICTURE, PICTURE]},
    ],
)
def test_every_picture_is_found(document: dict[str, Any]) -> None:
    assert input_bound(100, document) == (100 + PREAMBLE, 2, False)


def test_what_stands_in_a_message_beside_its_text_is_looked_at() -> None:
    odd = {"content": "Hello", "output": [PICTURE]}
    assert input_bound(100, chat(odd, {**HELLO, "audio": {"id": "audio_1"}})) == (100 + PREAMBLE, 1, True)


def test_tools_add_what_providers_say_about_them() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "g"}}]
    assert input_bound(100, chat(tools=tools)) == (100 + PREAMBLE + PREAMBLE_OF_TOOLS, 0, False)
    assert input_bound(100, chat(functions=[{"name": "f"}])) == (100 + PREAMBLE + PREAMBLE_OF_TOOLS, 0, False)


@pytest.mark.parametrize(
    "more",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"conversation": {"id": "conv_1"}},
        {"prompt": {"id": "pmpt_1"}},
        {"web_search_options": {}},
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
        {"tools": [{"type": "function", "name": "f"}, {"type": "mcp", "server_url": "https://example.com"}]},
        {"tools": [{"type": "code_interpreter"}]},
        {"tools": [{"type": "computer_use_preview"}]},
        {"tools": [{"type": "of_tomorrow"}]},
        {"tools": [{"type": ["function"]}]},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
        {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]},
        {"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "https://e"}}]}]},
    ],
)
def test_what_the_provider_holds_or_looks_up_is_unseen(more: dict[str, Any]) -> None:
    assert input_bound(100, {"model": "m", **more}).unseen


@pytest.mark.parametrize(
    "more",
    [
        {"previous_response_id": None, "conversation": None, "tools": None, "input": None},
        {"prompt": "text"},
        {"tools": []},
        {"input": [1, 2, 3]},
        {"input": ["a", "b"]},
        {"messages": [{"role": "assistant", "audio": None, "content": [{"type": ["image_url"]}, "x", None]}]},
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA"}}]}]},
        {"messages": ["x", None, 7]},
    ],
)
def test_what_stands_in_the_request_is_seen(more: dict[str, Any]) -> None:
    assert input_bound(100, {"model": "m", **more}) == (100 + PREAMBLE, 0, False)


@pytest.mark.parametrize(
    ("endpoint", "document", "limit"),
    [
        ("chat", {"max_tokens": 10}, 10),
        ("chat", {"max_completion_tokens": 20, "n": 3}, 60),
        ("chat", {"max_tokens": 10, "max_completion_tokens": 20}, 20),
        ("chat", {"max_tokens": None}, None),
        ("chat", {"max_output_tokens": 10}, None),
        ("chat", {}, None),
        ("completions", {"max_tokens": 0, "prompt": "x"}, 0),
        ("completions", {"max_tokens": 10, "n": 2, "best_of": 5}, 50),
        ("completions", {"max_tokens": 10, "prompt": ["a", "b", "c"]}, 30),
        ("completions", {"max_tokens": 10, "prompt": [[1, 2], [3]], "n": 2}, 40),
        ("completions", {"max_tokens": 10, "prompt": [1, 2, 3]}, 10),
        ("responses", {"max_output_tokens": 100, "prompt": {"id": "p"}}, 100),
        ("responses", {"max_tokens": 100}, None),
        ("embeddings", {"max_tokens": 5}, 0),
        ("moderations", {}, 0),
        ("unknown", {"max_tokens": 5}, None),
    ],
)
def test_the_output_that_was_asked_for(endpoint: str, document: dict[str, Any], limit: int | None) -> None:
    assert output_limit(document, endpoint) == limit


def test_choices_that_are_thrown_away_count() -> None:
    assert choices_of({"n": 2, "best_of": 4, "prompt": ["a", "b"]}) == 8
    assert choices_of({"n": None, "best_of": 0}) == 1
