"""What requests and answers say, in the shapes that traces have for it: messages with their parts (JSON schemas of the
OpenTelemetry GenAI conventions, main of 2026-08), and the same as a chat, which is what most readers can draw.

Only members that are read here by name go on, so that nothing does which guards were not shown: no log-probabilities,
no sealed reasoning, no unknown field. Images, sound and files are named and never repeated. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import orjson

Message = dict[str, Any]
Part = dict[str, Any]

_TEXTS: Final = frozenset({"text", "input_text", "output_text"})
_REASONING: Final = frozenset({"thinking", "reasoning_text", "summary_text"})
_MODALITIES: Final = ("image", "audio", "video")
# What tells of a tool that the provider runs itself.
_SERVED: Final = (
    "arguments",
    "input",
    "code",
    "action",
    "actions",
    "operation",
    "queries",
    "output",
    "outputs",
    "error",
)


class Said(NamedTuple):
    """`system` are parts of instructions that stand apart from the conversation."""

    messages: list[Message]
    system: list[Part]
    tools: list[dict[str, Any]]


def request_content(endpoint: str, document: Mapping[str, Any]) -> Said:
    """`endpoint` is one of TOLD."""
    return _REQUESTS[endpoint](document)


def answer_content(endpoint: str, document: Mapping[str, Any]) -> list[Message]:
    """`endpoint` is one of ANSWERED. Each message also has its `finish_reason`."""
    return _ANSWERS[endpoint](document)


# -- as a chat


def chat_request(said: Said) -> dict[str, Any]:
    system = [{"role": "system", "content": _chat_content(said.system)}] if said.system else []
    found: dict[str, Any] = {"messages": system + [_chat_message(message) for message in said.messages]}
    if said.tools:
        found["tools"] = [_chat_tool(tool) for tool in said.tools]
    return found


def chat_answer(messages: list[Message]) -> dict[str, Any]:
    return {
        "choices": [
            {"index": index, "message": _chat_message(message), "finish_reason": message["finish_reason"]}
            for index, message in enumerate(messages)
        ]
    }


def _chat_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    if tool["type"] != "function":
        return dict(tool)
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}


def _chat_message(message: Message) -> dict[str, Any]:
    calls = [part for part in message["parts"] if part["type"] == "tool_call"]
    results = [part for part in message["parts"] if part["type"] == "tool_call_response"]
    rest = [part for part in message["parts"] if part["type"] not in {"tool_call", "tool_call_response"}]
    found: dict[str, Any] = {"role": message["role"], "content": _chat_content(rest)}
    if "name" in message:
        found["name"] = message["name"]
    if calls:
        found["tool_calls"] = [_chat_call(part) for part in calls]
    if results:
        found |= {"tool_call_id": results[0].get("id"), "content": results[0]["response"]}
    return found


def _chat_call(part: Part) -> dict[str, Any]:
    arguments = part.get("arguments")
    source = arguments if type(arguments) is str else orjson.dumps(arguments).decode()
    return {"id": part.get("id"), "type": "function", "function": {"name": part["name"], "arguments": source}}


def _chat_content(parts: list[Part]) -> Any:
    if not parts:
        return None
    if len(parts) == 1 and parts[0]["type"] == "text":
        return parts[0]["content"]
    return [{"type": "text", "text": part["content"]} if part["type"] == "text" else part for part in parts]


# -- chat completions


def _chat(document: Mapping[str, Any]) -> Said:
    messages = [_message(message) for message in _objects(document.get("messages"))]
    return Said(messages, [], [*_tools(document.get("tools")), *_functions(document.get("functions"))])


def _message(message: Mapping[str, Any]) -> Message:
    role = message.get("role")
    found: Message = {"role": role if type(role) is str else "", "parts": list(_message_parts(message))}
    if type(message.get("name")) is str:
        found["name"] = message["name"]
    return found


def _message_parts(message: Mapping[str, Any]) -> Iterator[Part]:
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if type(reasoning) is str:
        yield {"type": "reasoning", "content": reasoning}
    if message.get("role") in ("tool", "function"):
        yield _result(message.get("tool_call_id") or message.get("name"), message.get("content"))
    else:
        yield from _parts(message.get("content"))
    if type(message.get("refusal")) is str:
        yield {"type": "refusal", "content": message["refusal"]}
    if type(message.get("audio")) is dict:
        yield _sound(message["audio"])
    for call in _objects(message.get("tool_calls")):
        yield from _called(call)
    if type(message.get("function_call")) is dict:
        yield _call(None, message["function_call"], "arguments")


def _sound(audio: Mapping[str, Any]) -> Part:
    found = {"type": "blob", "modality": "audio", "content": ""}
    return found | ({"transcript": audio["transcript"]} if type(audio.get("transcript")) is str else {})


def _called(call: Mapping[str, Any]) -> Iterator[Part]:
    for member, given in (("function", "arguments"), ("custom", "input")):
        if type(call.get(member)) is dict:
            yield _call(call.get("id"), call[member], given)


def _call(name: Any, called: Mapping[str, Any], given: str) -> Part:
    return {
        "type": "tool_call",
        "id": name if type(name) is str else None,
        "name": _text(called.get("name")),
        "arguments": _arguments(called.get(given)),
    }


def _arguments(source: Any) -> Any:
    """An object where it is the JSON of one; a stream may have been cut in it."""
    if type(source) is not str:
        return source if type(source) is dict else None
    try:
        value = orjson.loads(source)
    except orjson.JSONDecodeError:
        return source
    return value if type(value) is dict else source


def _result(name: Any, content: Any) -> Part:
    """A text where it is one, else its parts."""
    return {
        "type": "tool_call_response",
        "id": name if type(name) is str else None,
        "response": content if type(content) is str else list(_parts(content)),
    }


def _choices(document: Mapping[str, Any]) -> list[Message]:
    return [_choice(choice) for choice in _objects(document.get("choices"))]


def _choice(choice: Mapping[str, Any]) -> Message:
    message = choice.get("message")
    if type(message) is dict:
        found = _message(message)
    else:
        found = {"role": "assistant", "parts": list(_parts(choice.get("text")))}
    found["role"] = found["role"] or "assistant"
    reason = choice.get("finish_reason")
    return found | {"finish_reason": reason if type(reason) is str else "error"}


# -- parts


def _parts(content: Any) -> Iterator[Part]:
    if type(content) is str:
        yield {"type": "text", "content": content}
    for part in content if type(content) is list else ():
        if type(part) is str:
            yield {"type": "text", "content": part}
        elif type(part) is dict:
            yield _part(part)


def _part(part: Mapping[str, Any]) -> Part:
    kind = _text(part.get("type"))
    if kind in _TEXTS:
        return {"type": "text", "content": _text(part.get("text"))}
    if kind in _REASONING:
        return {"type": "reasoning", "content": _text(part.get("thinking") or part.get("text"))}
    if kind == "refusal":
        return {"type": "refusal", "content": _text(part.get("refusal"))}
    if kind == "tool_use":
        return _call(part.get("id"), {"name": part.get("name"), "input": part.get("input")}, "input")
    if kind == "tool_result":
        return _result(part.get("tool_use_id"), part.get("content"))
    return _media(kind, part)


def _media(kind: str, part: Mapping[str, Any]) -> Part:
    """By its address or its id, and never its bytes."""
    modality = next((known for known in _MODALITIES if known in kind), "document")
    places = [part, *(value for value in part.values() if type(value) is dict)]
    for place in places:
        if type(place.get("file_id")) is str:
            return {"type": "file", "modality": modality, "file_id": place["file_id"]}
        for name in ("image_url", "file_url", "url"):
            if type(place.get(name)) is str and place[name].startswith(("http://", "https://")):
                return {"type": "uri", "modality": modality, "uri": place[name]}
    return {"type": "blob", "modality": modality, "content": ""}


# -- responses


def _responses(document: Mapping[str, Any]) -> Said:
    asked, told = document.get("input"), document.get("instructions")
    messages = [{"role": "user", "parts": list(_parts(asked))}] if type(asked) is str else _items(asked, "user")
    system = [part for message in _items(told, "system") for part in message["parts"]]
    return Said(messages, [*_parts(told if type(told) is str else None), *system], _tools(document.get("tools")))


def _items(items: Any, role: str) -> list[Message]:
    return [_item(item, role) for item in _objects(items)]


def _item(item: Mapping[str, Any], role: str) -> Message:
    """A message, or what stands in the place of one: `role` says it where the item does not."""
    kind = _text(item.get("type")) or "message"
    if kind == "message":
        return {"role": _text(item.get("role")) or role, "parts": list(_parts(item.get("content")))}
    if kind == "reasoning":
        return {"role": "assistant", "parts": [*_parts(item.get("summary")), *_parts(item.get("content"))]}
    if kind in ("function_call", "custom_tool_call"):
        given = "arguments" if kind == "function_call" else "input"
        return {"role": "assistant", "parts": [_call(item.get("call_id"), item, given)]}
    if kind in ("function_call_output", "custom_tool_call_output"):
        return {"role": "tool", "parts": [_result(item.get("call_id"), item.get("output"))]}
    return {"role": "tool" if kind.endswith("_output") else "assistant", "parts": [_served(kind, item)]}


def _served(kind: str, item: Mapping[str, Any]) -> Part:
    told = {name: _without_logprobs(item[name]) for name in _SERVED if item.get(name) is not None}
    name = _text(item.get("id")) or None
    return {"type": "server_tool_call", "id": name, "name": kind, "server_tool_call": {"type": kind, **told}}


def _without_logprobs(value: Any) -> Any:
    """They tell a text once more, in pieces that no guard can read."""
    if type(value) is dict:
        return {name: _without_logprobs(entry) for name, entry in value.items() if name != "logprobs"}
    return [_without_logprobs(entry) for entry in value] if type(value) is list else value


_ENDS: Final = {"completed": "stop", "incomplete": "length"}


def _response(document: Mapping[str, Any]) -> list[Message]:
    """One message: all items are one answer."""
    parts = [part for message in _items(document.get("output"), "assistant") for part in message["parts"]]
    reason = _ENDS.get(_text(document.get("status")), "error")
    return [{"role": "assistant", "parts": parts, "finish_reason": reason}]


# -- legacy completions, embeddings


def _prompt(member: str) -> Callable[[Mapping[str, Any]], Said]:
    def read(document: Mapping[str, Any]) -> Said:
        asked = document.get(member)
        texts = [text for text in asked if type(text) is str] if type(asked) is list else [asked]
        return Said([{"role": "user", "parts": list(_parts(text))} for text in texts], [], [])

    return read


# -- tools


def _tools(tools: Any) -> list[dict[str, Any]]:
    """A tool is described at its place, or under the name of its type (chat)."""
    found = []
    for tool in _objects(tools):
        kind = _text(tool.get("type"))
        inner = tool.get(kind)
        found.append(_tool(kind, inner if type(inner) is dict else tool))
    return found


def _functions(functions: Any) -> list[dict[str, Any]]:
    return [_tool("function", function) for function in _objects(functions)]


def _tool(kind: str, tool: Mapping[str, Any]) -> dict[str, Any]:
    found = {"type": kind, "name": _text(tool.get("name")) or _text(tool.get("server_label")) or kind}
    return found | {name: tool[name] for name in ("description", "parameters") if tool.get(name) is not None}


# -- what they share


def _objects(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if type(entry) is dict] if type(value) is list else []


def _text(value: Any) -> str:
    return value if type(value) is str else ""


_REQUESTS: Final[Mapping[str, Callable[[Mapping[str, Any]], Said]]] = {
    "chat": _chat,
    "responses": _responses,
    "completions": _prompt("prompt"),
    "embeddings": _prompt("input"),
}
_ANSWERS: Final[Mapping[str, Callable[[Mapping[str, Any]], list[Message]]]] = {
    "chat": _choices,
    "responses": _response,
    "completions": _choices,
}
TOLD: Final = frozenset(_REQUESTS)
"""Endpoints whose requests have content to tell."""
ANSWERED: Final = frozenset(_ANSWERS)
"""Those whose answers are words."""
