from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from gateway.core.usage import TOOLS, Uses
from gateway.policy.schema import Tool
from gateway.wire.dialects import DIALECTS
from gateway.wire.hosted import offered


def item(kind: str, name: str = "1", **fields: Any) -> dict[str, Any]:
    return {"type": kind, "id": name, **fields}


def search(name: str, action: str) -> dict[str, Any]:
    return item("web_search_call", name, action={"type": action})


def billed(searches: Any) -> dict[str, Any]:
    return {"web_search": {"num_requests": searches}}


@pytest.mark.parametrize(
    ("document", "tools"),
    [
        ({}, ()),
        ({"tools": [{"type": "function", "function": {"name": "web_search"}}]}, ()),
        ({"tools": [{"type": "mcp"}, {"type": "computer_use_preview"}, {"type": "custom"}]}, ()),
        ({"tools": [{"type": "web_search_preview_2025_03_11"}]}, ("web_search",)),
        ({"tools": [{"type": "file_search"}, {"type": "web_search"}, {"type": "web_search"}]}, ("web_search", "file_search")),
        ({"tools": [{"type": "code_interpreter"}, {"type": "image_generation"}]}, ("code_interpreter", "image_generation")),
        ({"tools": [{"type": "x_search"}]}, ("x_search",)),
        ({"web_search_options": {}}, ("web_search",)),
        ({"web_search_options": None}, ()),
        ({"tools": "web_search"}, ()),
        ({"tools": [None, {"type": {}}, {}]}, ()),
    ],
)  # fmt: skip
def test_what_a_request_offers_is_known_by_any_version_of_its_name(
    document: dict[str, Any], tools: tuple[str, ...]
) -> None:
    assert offered(document) == tools


@pytest.mark.parametrize(
    ("response", "uses"),
    [
        ({"output": []}, ()),
        ({"output": [item("message"), item("reasoning"), item("function_call"), item("mcp_call")]}, ()),
        ({"output": [item("web_search_call", "1"), item("web_search_call", "2")]}, (("web_search", 2),)),
        ({"output": [search("1", "search"), search("2", "open_page"), search("3", "find_in_page")]}, (("web_search", 1),)),
        (
            {"output": [item("file_search_call"), item("image_generation_call"), search("2", "search")]},
            (("file_search", 1), ("image_generation", 1), ("web_search", 1)),
        ),
        (
            {"output": [item("code_interpreter_call", str(n), container_id=f"cntr_{n // 2}") for n in range(4)]},
            (("code_interpreter", 2),),
        ),
        ({"output": [search("1", "search")], "tool_usage": billed(3)}, (("web_search", 3),)),
        ({"output": [item("file_search_call")], "tool_usage": billed(3)}, (("file_search", 1), ("web_search", 3))),
        ({"output": [search("1", "search")], "tool_usage": billed(-1)}, (("web_search", 1),)),
        ({"output": [search("1", "search")], "tool_usage": billed("3")}, (("web_search", 1),)),
        ({"output": [search("1", "search")], "tool_usage": {"web_search": None}}, (("web_search", 1),)),
        ({"output": [None, {"type": []}, {"type": "web_search_call", "action": None}], "tool_usage": 1}, (("web_search", 1),)),
        ({"output": None}, ()),
    ],
)  # fmt: skip
def test_a_response_tells_its_uses_or_its_items_do(response: dict[str, Any], uses: Uses) -> None:
    assert DIALECTS["responses"].usage_of(response).uses == uses


@pytest.mark.parametrize(
    ("usage", "uses"),
    [
        ({"server_tool_use": {"web_search_requests": 2}}, (("web_search", 2),)),
        ({"num_search_queries": 3}, (("web_search", 3),)),
        ({"server_tool_use": {"web_search_requests": 0}}, ()),
        ({"server_tool_use": {"web_search_requests": True}}, ()),
        ({"server_tool_use": {"web_search_requests": 10**9}}, ()),
        ({"server_tool_use": None}, ()),
    ],
)
def test_the_usage_of_a_chat_may_tell_searches(usage: dict[str, Any], uses: Uses) -> None:
    assert DIALECTS["chat"].usage_of({"usage": {"prompt_tokens": 1, "completion_tokens": 1, **usage}}).uses == uses


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def test_a_stream_counts_items_as_they_are_done_until_its_end_tells() -> None:
    """So that one that is cut has a count too."""
    state = DIALECTS["responses"].stream_state()
    for found in (search("1", "search"), search("1", "search"), search("2", "open_page"), search("3", "search")):
        state.observe(event("response.output_item.done", item=found))
    assert state.usage.uses == (("web_search", 2),)
    state.observe(event("response.output_item.done", item=None))
    state.observe(event("response.completed", response={"output": [], "tool_usage": billed(4)}))
    assert state.usage.uses == (("web_search", 4),)


def test_a_policy_can_price_every_tool() -> None:
    assert get_args(Tool) == TOOLS
