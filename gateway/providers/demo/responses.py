"""The Responses API of the demo model: objects, typed event streams, stored objects. Pure but for the small table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.providers.demo import chat, text

MAX_STORED = 1_000


class Stored:
    """The responses that were asked to be kept, oldest forgotten first: id -> (response, input items)."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {}

    def put(self, response: dict[str, Any], items: list[dict[str, Any]]) -> None:
        self._rows[response["id"]] = (response, items)
        if len(self._rows) > MAX_STORED:
            del self._rows[next(iter(self._rows))]

    def get(self, id_: str) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
        return self._rows.get(id_)

    def delete(self, id_: str) -> bool:
        return self._rows.pop(id_, None) is not None


def input_items(request: dict[str, Any], id_: str) -> list[dict[str, Any]]:
    given = request.get("input") or ""
    if isinstance(given, str):
        given = [{"role": "user", "content": [{"type": "input_text", "text": given}]}]
    items = []
    for index, item in enumerate(given):
        kept = dict(item) if isinstance(item, dict) else {}
        kept.setdefault("type", "message")
        kept.setdefault("id", f"msg_in{id_[-10:]}{index}")
        if isinstance(kept.get("content"), str):
            kept["content"] = [{"type": "input_text", "text": kept["content"]}]
        items.append(kept)
    return items


def answer(request: dict[str, Any], made_at: int, id_: str) -> dict[str, Any]:
    """A completed response object."""
    said, asked = _said(request, id_)
    given = said.tokens()
    counts = {
        "input_tokens": asked,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": given,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": asked + given,
    }
    cut = said.finish_reason == "length"
    return {
        **_head(request, made_at, id_),
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": [_item(said, id_)],
        "usage": counts,
    }


def events(response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The typed events that lead to `response`, numbered."""
    begun = {**response, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    steps: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for index, item in enumerate(response["output"]):
        steps += _message_events(item, index) if item["type"] == "message" else _call_events(item, index)
    steps.append({"type": f"response.{response['status']}", "response": response})
    for number, step in enumerate(steps):
        yield {**step, "sequence_number": number}


def _said(request: dict[str, Any], id_: str) -> tuple[chat.Said, int]:
    """The chat model's words: the request is put in the chat shape."""
    messages = [_as_message(item) for item in input_items(request, id_)]
    if isinstance(request.get("instructions"), str):
        messages.insert(0, {"role": "system", "content": request["instructions"]})
    tools = [
        {"type": "function", "function": tool} for tool in request.get("tools") or [] if tool.get("type") == "function"
    ]
    choice = request.get("tool_choice")
    if isinstance(choice, dict):
        choice = {"type": "function", "function": {"name": choice.get("name")}}
    wanted = (request.get("text") or {}).get("format")
    wanted = wanted if isinstance(wanted, dict) else {}
    shaped = {
        "messages": messages,
        "tools": tools,
        "tool_choice": choice,
        "max_tokens": request.get("max_output_tokens"),
        "response_format": {"type": wanted.get("type"), "json_schema": wanted},
    }
    said = chat.say(shaped)
    return said, chat.usage(shaped, said)["prompt_tokens"]


def _as_message(item: dict[str, Any]) -> dict[str, Any]:
    if item.get("type") == "function_call_output":
        return {"role": "tool", "content": str(item.get("output", ""))}
    return {"role": item.get("role", "user"), "content": item.get("content")}


def _item(said: chat.Said, id_: str) -> dict[str, Any]:
    if said.calls:
        name, given = said.calls[0]
        return {
            "type": "function_call",
            "id": f"fc_{id_[-12:]}",
            "call_id": f"call_{id_[-12:]}",
            "name": name,
            "arguments": given,
            "status": "completed",
        }
    part = {"type": "output_text", "text": said.content, "annotations": [], "logprobs": []}
    return {"type": "message", "id": f"msg_{id_[-12:]}", "status": "completed", "role": "assistant", "content": [part]}


def _message_events(item: dict[str, Any], index: int) -> list[dict[str, Any]]:
    part = item["content"][0]
    at = {"item_id": item["id"], "output_index": index, "content_index": 0}
    empty_part = {**part, "text": ""}
    steps: list[dict[str, Any]] = [
        {
            "type": "response.output_item.added",
            "output_index": index,
            "item": {**item, "status": "in_progress", "content": []},
        },
        {"type": "response.content_part.added", **at, "part": empty_part},
    ]
    steps += [
        {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}
        for piece in text.pieces(part["text"])
    ]
    steps += [
        {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []},
        {"type": "response.content_part.done", **at, "part": part},
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]
    return steps


def _call_events(item: dict[str, Any], index: int) -> list[dict[str, Any]]:
    at = {"item_id": item["id"], "output_index": index}
    given = item["arguments"]
    steps: list[dict[str, Any]] = [
        {
            "type": "response.output_item.added",
            "output_index": index,
            "item": {**item, "status": "in_progress", "arguments": ""},
        }
    ]
    steps += [
        {"type": "response.function_call_arguments.delta", **at, "delta": given[start : start + 8]}
        for start in range(0, len(given), 8)
    ]
    steps += [
        {"type": "response.function_call_arguments.done", **at, "name": item["name"], "arguments": given},
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]
    return steps


def _head(request: dict[str, Any], made_at: int, id_: str) -> dict[str, Any]:
    return {
        "id": id_,
        "object": "response",
        "created_at": made_at,
        "model": request.get("model", "demo"),
        "error": None,
        "instructions": request.get("instructions"),
        "metadata": request.get("metadata") or {},
        "parallel_tool_calls": request.get("parallel_tool_calls", True),
        "previous_response_id": request.get("previous_response_id"),
        "temperature": request.get("temperature", 1.0),
        "top_p": request.get("top_p", 1.0),
        "tool_choice": request.get("tool_choice") or "auto",
        "tools": request.get("tools") or [],
        "store": request.get("store", True) is not False,
        "background": bool(request.get("background")),
        "max_output_tokens": request.get("max_output_tokens"),
        "text": request.get("text") or {"format": {"type": "text"}},
        "truncation": "disabled",
    }
