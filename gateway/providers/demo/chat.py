"""Chat and legacy completions of the demo model, whole and as streams. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.providers.demo import text


@dataclass(frozen=True, slots=True)
class Said:
    """What the model produced for one choice: text, or calls of tools."""

    content: str
    calls: tuple[tuple[str, str], ...]  # (function name, arguments as JSON)
    finish_reason: str

    def tokens(self) -> int:
        return text.count_tokens(self.content) + sum(text.count_tokens(name + given) for name, given in self.calls)


def answer(request: dict[str, Any], said: Said, made_at: int, id_: str) -> dict[str, Any]:
    """A chat.completion object."""
    choices = [
        {
            "index": index,
            "message": _message(said, id_),
            "logprobs": _logprobs(request, said.content),
            "finish_reason": said.finish_reason,
        }
        for index in range(_count(request))
    ]
    return {**_head(request, made_at, id_, "chat.completion"), "choices": choices, "usage": usage(request, said)}


def chunks(request: dict[str, Any], said: Said, made_at: int, id_: str) -> Iterator[dict[str, Any]]:
    """The chat.completion.chunk objects of a stream."""
    head = _head(request, made_at, id_, "chat.completion.chunk")
    asked = bool((request.get("stream_options") or {}).get("include_usage"))
    if asked:
        head["usage"] = None
    for index in range(_count(request)):
        for delta in _deltas(said, id_):
            yield {**head, "choices": [_choice(index, delta, None)]}
        yield {**head, "choices": [_choice(index, {}, said.finish_reason)]}
    if asked:
        yield {**head, "choices": [], "usage": usage(request, said)}


def say(request: dict[str, Any]) -> Said:
    messages = [message for message in request.get("messages", []) if isinstance(message, dict)]
    function = _function_to_call(request, messages)
    if function is not None:
        return Said(
            "",
            ((function["name"], _json(text.example(function.get("parameters") or {"type": "object"}))),),
            "tool_calls",
        )
    content, reason = text.limited(_content(request, messages), _max_tokens(request), _stops(request))
    return Said(content, (), reason)


def usage(request: dict[str, Any], said: Said) -> dict[str, Any]:
    asked = sum(text.count_tokens(text.text_of(message.get("content"))) + 3 for message in request.get("messages", []))
    given = said.tokens() * _count(request)
    return {
        "prompt_tokens": asked,
        "completion_tokens": given,
        "total_tokens": asked + given,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def completion(request: dict[str, Any], made_at: int, id_: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(a text_completion object, the objects of its stream)."""
    prompt = request.get("prompt") or ""
    prompt = prompt if isinstance(prompt, str) else " ".join(str(part) for part in prompt if isinstance(part, str))
    said, reason = text.limited(
        f" {prompt[:200]} (the demo model goes on here)", request.get("max_tokens"), _stops(request)
    )
    head = {"id": id_, "object": "text_completion", "created": made_at, "model": request.get("model", "demo")}
    counts = {"prompt_tokens": text.count_tokens(prompt), "completion_tokens": text.count_tokens(said)}
    counts["total_tokens"] = sum(counts.values())

    def choice(part: str, finish: str | None) -> dict[str, Any]:
        return {"index": 0, "text": part, "logprobs": None, "finish_reason": finish}

    stream = [{**head, "choices": [choice(part, None)]} for part in text.pieces(said)]
    stream.append({**head, "choices": [choice("", reason)]})
    if (request.get("stream_options") or {}).get("include_usage"):
        stream.append({**head, "choices": [], "usage": counts})
    return {**head, "choices": [choice(said, reason)], "usage": counts}, stream


def _content(request: dict[str, Any], messages: list[dict[str, Any]]) -> str:
    wanted = request.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        named = wanted.get("json_schema")
        schema = named.get("schema") if isinstance(named, dict) else None
        return _json(text.example(schema or {"type": "object"}))
    said = text.reply_to(messages)
    return _json({"answer": said}) if wanted.get("type") == "json_object" else said


def _function_to_call(request: dict[str, Any], messages: list[dict[str, Any]]) -> dict[str, Any] | None:
    functions = [tool["function"] for tool in request.get("tools") or [] if _is_function(tool.get("function"))]
    choice = request.get("tool_choice") or "auto"
    if not functions or choice == "none":
        return None
    if isinstance(choice, dict):
        asked = choice.get("function")
        name = asked.get("name") if isinstance(asked, dict) else None
        return next((function for function in functions if function.get("name") == name), None)
    if messages and messages[-1].get("role") == "tool":
        return None
    if choice == "required":
        return functions[0]  # type: ignore[no-any-return]
    said = text.text_of(messages[-1].get("content")).lower() if messages else ""
    return next((function for function in functions if _is_asked_for(str(function.get("name", "")), said)), None)


def _is_function(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str)


def _is_asked_for(name: str, said: str) -> bool:
    words = [word for word in name.lower().replace("-", "_").split("_") if len(word) > 3]
    return name.lower() in said or any(word in said for word in words)


def _deltas(said: Said, id_: str) -> Iterator[dict[str, Any]]:
    if not said.calls:
        yield {"role": "assistant", "content": "", "refusal": None}
        for piece in text.pieces(said.content):
            yield {"content": piece}
        return
    yield {"role": "assistant", "content": None}
    for index, (name, given) in enumerate(said.calls):
        call = {
            "index": index,
            "id": _call_id(id_, index),
            "type": "function",
            "function": {"name": name, "arguments": ""},
        }
        yield {"tool_calls": [call]}
        for start in range(0, len(given), 8):
            yield {"tool_calls": [{"index": index, "function": {"arguments": given[start : start + 8]}}]}


def _message(said: Said, id_: str) -> dict[str, Any]:
    if not said.calls:
        return {"role": "assistant", "content": said.content, "refusal": None, "annotations": []}
    calls = [
        {"id": _call_id(id_, index), "type": "function", "function": {"name": name, "arguments": given}}
        for index, (name, given) in enumerate(said.calls)
    ]
    return {"role": "assistant", "content": None, "refusal": None, "tool_calls": calls}


def _head(request: dict[str, Any], made_at: int, id_: str, kind: str) -> dict[str, Any]:
    return {
        "id": id_,
        "object": kind,
        "created": made_at,
        "model": request.get("model", "demo"),
        "service_tier": "default",
        "system_fingerprint": "fp_demo",
    }


def _choice(index: int, delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}


def _logprobs(request: dict[str, Any], content: str) -> dict[str, Any] | None:
    if not request.get("logprobs"):
        return None
    tokens = [
        {"token": piece, "logprob": -0.1, "bytes": list(piece.encode()), "top_logprobs": []}
        for piece in text.pieces(content)
    ]
    return {"content": tokens, "refusal": None}


def _call_id(id_: str, index: int) -> str:
    return f"call_{id_[-12:]}{index}"


def _count(request: dict[str, Any]) -> int:
    n = request.get("n")
    return n if isinstance(n, int) and n > 0 else 1


def _max_tokens(request: dict[str, Any]) -> int | None:
    return request.get("max_completion_tokens") or request.get("max_tokens")


def _stops(request: dict[str, Any]) -> list[str]:
    stop = request.get("stop") or []
    return [stop] if isinstance(stop, str) else list(stop)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
