"""What was said in a call, under its span: who says it, and what, in lines that fit the terminal.

user: Write to [EMAIL_ADDRESS_1].
assistant: look_up({"who":"[EMAIL_ADDRESS_1]"})
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any, Final

import orjson

from gateway.cli.table import shown
from gateway.core.trace import Value

CONTENT: Final = frozenset(
    {"gen_ai.system_instructions", "gen_ai.input.messages", "gen_ai.tool.definitions", "gen_ai.output.messages"}
    | {"input.value", "input.mime_type", "output.value", "output.mime_type"}
    | {"langfuse.observation.input", "langfuse.observation.output", "langfuse.trace.input", "langfuse.trace.output"}
    | {"mlflow.spanInputs", "mlflow.spanOutputs"}
)
"""The attributes that hold what was said."""


def conversation(attributes: Mapping[str, Value], width: int) -> Iterator[str]:
    """Nothing where nothing was captured."""
    for speaker, said in _turns(attributes):
        for line in f"{speaker}: {said}".splitlines():
            yield from wrap(shown(line), width, subsequent_indent="  ", break_on_hyphens=False)
    for name, words in (("gw.content.cut", "cut to the policy's size"), ("gw.content.left_out", "not captured")):
        value = attributes.get(name)
        if isinstance(value, list | tuple):
            yield from wrap(shown(f"({words}: {', '.join(value)})"), width)


def _turns(attributes: Mapping[str, Value]) -> Iterator[tuple[str, str]]:
    for part in _read(attributes.get("gen_ai.system_instructions")):
        yield "system", _told(part)
    for name in ("gen_ai.input.messages", "gen_ai.output.messages"):
        for message in _read(attributes.get(name)):
            for part in message["parts"]:
                yield message["role"], _told(part)


def _told(part: Mapping[str, Any]) -> str:
    match part["type"]:
        case "text" | "refusal":
            return str(part["content"])
        case "reasoning":
            return f"(thinks) {part['content']}"
        case "tool_call":
            return f"{part['name']}({_json(part['arguments'])})"
        case "tool_call_response":
            response = part["response"]
            return response if isinstance(response, str) else _json(response)
    return f"[{part.get('modality') or part['type']}]"


def _json(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _read(text: Value | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads(text) if isinstance(text, str) else []
    return found
