from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.tokens.estimate import estimate_input
from gateway.tokens.tokenizer import Tokenizer


async def estimated(document: dict[str, Any], endpoint: str = "chat", model: str = "gpt-4o") -> int:
    return await estimate_input({"model": "alias", **document}, endpoint, model, Tokenizer())


COOKBOOK = [
    (
        "system",
        None,
        "You are a helpful, pattern-following assistant that translates corporate jargon into plain English.",
    ),
    ("system", "example_user", "New synergies will help drive top-line growth."),
    ("system", "example_assistant", "Things working well together will increase revenue."),
    (
        "system",
        "example_user",
        "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
    ),
    ("system", "example_assistant", "Let's talk later when we're less busy about how to do better."),
    ("user", None, "This late pivot means we don't have time to boil the ocean for the client deliverable."),
]


@pytest.mark.parametrize(("model", "tokens"), [("gpt-4-0613", 129), ("gpt-4o", 124)])
async def test_messages_count_as_the_cookbook_says(model: str, tokens: int) -> None:
    messages = [{"role": role, "content": said} | ({"name": name} if name else {}) for role, name, said in COOKBOOK]
    assert await estimated({"messages": messages}, model=model) == tokens


async def test_functions_count_as_the_cookbook_says() -> None:
    """Its example: 101 tokens for gpt-4o."""
    properties = {
        "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
        "unit": {
            "type": "string",
            "description": "The unit of temperature to return",
            "enum": ["celsius", "fahrenheit"],
        },
    }
    function = {
        "name": "get_current_weather",
        "description": "Get the current weather in a given location",
        "parameters": {"type": "object", "properties": properties, "required": ["location"]},
    }
    messages = [
        {"role": "system", "content": "You are a helpful assistant that can answer to questions about the weather."},
        {"role": "user", "content": "What's the weather like in San Francisco?"},
    ]
    tools = [{"type": "function", "function": function}]
    assert await estimated({"messages": messages, "tools": tools}) == 101
    flat = {
        "instructions": messages[0]["content"],
        "input": messages[1]["content"],
        "tools": [{"type": "function", **function}],
    }
    assert abs(await estimated(flat, "responses") - 101) <= 4


async def test_nested_parameters_count_too() -> None:
    def tool(schema: dict[str, Any]) -> dict[str, Any]:
        function = {"name": "f", "parameters": {"type": "object", "properties": {"a": schema}}}
        return {"messages": [], "tools": [{"type": "function", "function": function}]}

    flat = await estimated(tool({"type": "object"}))
    nested = {"type": "object", "properties": {"b": {"type": "string", "description": "the name of a town"}}}
    assert await estimated(tool(nested)) > flat + 6
    assert await estimated(tool({"type": "array", "items": nested})) > flat + 6


async def test_tools_that_are_no_functions_count_as_json() -> None:
    assert await estimated({"messages": [], "tools": [{"type": "custom", "custom": {"name": "code"}}]}) > 15


async def test_tool_calls_and_their_results_count() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"at":"Boston"}'}}
    without = await estimated({"messages": [{"role": "assistant", "content": None}]})
    assert await estimated({"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]}) >= without + 7


async def test_what_a_model_does_not_read_does_not_count() -> None:
    document = {"messages": [{"role": "user", "content": "Hi"}]}
    more = {"user": "somebody with a long name", "metadata": {"a": "b c d"}, "stop": ["one", "two"]}
    assert await estimated({**document, **more}) == await estimated(document) == 8


async def test_a_picture_counts_by_its_rule_and_not_by_its_bytes() -> None:
    def said(part: dict[str, Any]) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": [part]}]}

    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    assert await estimated(said(picture)) == 3 + 4 + 765
    low = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4000, "detail": "low"}}
    assert await estimated(said(low)) == 3 + 4 + 85
    stored = {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]}
    assert await estimated(stored, "responses") == 3 + 4 + 765
    screen = {"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": "https://e/a.png"}}
    assert await estimated({"input": [screen]}, "responses") == 3 + 4 + 765


@pytest.mark.parametrize(
    ("endpoint", "document", "tokens"),
    [
        ("completions", {"prompt": "tiktoken is great!"}, 6),
        ("completions", {"prompt": ["tiktoken is great!"] * 2, "suffix": " great"}, 13),
        ("completions", {"prompt": [1, 2, 3]}, 3),
        ("completions", {"prompt": [[1, 2], [3]]}, 3),
        ("embeddings", {"input": "tiktoken is great!"}, 6),
        ("embeddings", {"input": [[1, 2], [3, 4]]}, 4),
        ("moderations", {"input": [{"type": "text", "text": "tiktoken is great!"}]}, 6),
        ("responses", {"input": "tiktoken is great!"}, 13),
        ("responses", {}, 3),
    ],
)
async def test_other_shapes_count_their_texts(endpoint: str, document: dict[str, Any], tokens: int) -> None:
    assert await estimated(document, endpoint) == tokens


async def test_a_large_request_counts_like_a_small_one_and_lets_the_loop_run() -> None:
    messages = [{"role": "user", "content": "tiktoken is great!"}] * 3000
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(others())
    assert await estimated({"messages": messages}) == 3 + 10 * 3000
    running.cancel()
    assert turns > 10
