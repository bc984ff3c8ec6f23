"""What the definitions of functions add to an input: OpenAI's cookbook, "How to count tokens with tiktoken".

It knows flat parameters; nested ones are counted by the same rule. Tools that are no functions are counted as JSON.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from gateway.tokens.tokenizer import vocabulary_of
from gateway.tokens.vocabulary import O200K

_FUNCTION: Final = {True: 7, False: 10}  # whether the model has the vocabulary o200k
_PROPERTIES: Final = 3
_PROPERTY: Final = 3
_ENUM: Final = -3
_ENUM_ENTRY: Final = 3
_END: Final = 12


def tool_tokens(tools: Any, model: str) -> tuple[int, list[str]]:
    """(tokens around the texts, the texts) of `tools`, or of the older `functions`."""
    if type(tools) is not list or not tools:
        return 0, []
    begin = _FUNCTION[vocabulary_of(model)[0] == O200K]
    tokens, texts = _END, []
    for tool in tools:
        function = _function(tool)
        if function is None:
            texts.append(orjson.dumps(tool, default=str).decode())
            continue
        tokens += begin + _schema(function.get("parameters"), texts)
        texts.append(f"{function['name']}:{_described(function)}")
    return tokens, texts


def _function(tool: Any) -> dict[str, Any] | None:
    """A chat tool wraps its function, one of Responses and of `functions` is it."""
    if type(tool) is not dict or tool.get("type", "function") != "function":
        return None
    function = tool.get("function", tool)
    return function if type(function) is dict and type(function.get("name")) is str else None


def _schema(parameters: Any, texts: list[str]) -> int:
    tokens = 0
    pending = [parameters]
    while pending:
        schema = pending.pop()
        properties = schema.get("properties") if type(schema) is dict else None
        if type(properties) is not dict or not properties:
            continue
        tokens += _PROPERTIES
        for name, entry in properties.items():
            tokens += _PROPERTY
            if type(entry) is dict:
                tokens += _enum(entry.get("enum"), texts)
                texts.append(f"{name}:{entry.get('type')}:{_described(entry)}")
                pending += [entry, entry.get("items")]
    return tokens


def _enum(entries: Any, texts: list[str]) -> int:
    if type(entries) is not list or not entries:
        return 0
    texts += [str(entry) for entry in entries]
    return _ENUM + _ENUM_ENTRY * len(entries)


def _described(holder: dict[str, Any]) -> str:
    description = holder.get("description")
    return description.removesuffix(".") if type(description) is str else ""
