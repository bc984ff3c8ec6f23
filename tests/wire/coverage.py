"""The table of text positions: a marker is planted at each, and looked for in what guards are given.

.venv/bin/python -m tests.wire.coverage      prints it as Markdown (docs/coverage.md)
"""

from __future__ import annotations

import base64
import copy
import sys
from collections.abc import Sequence
from typing import Any

from gateway.core.span import Delta, Span
from gateway.wire.texts import answer_spans, logprob_paths, request_spans, stream_deltas
from tests.wire import documents as docs

MARKER = "the canary, seven of them"
ENDPOINTS = ("chat", "responses", "completions", "embeddings", "moderations")
KEY = "{name}"  # the last step of a path: the marker is the name of a member there

_ITEMS = {item["type"]: index for index, item in enumerate(docs.RESPONSES_REQUEST["input"]) if "type" in item}
_OUTPUT = {item["type"]: index for index, item in enumerate(docs.RESPONSES_ANSWER["output"])}
_EVENTS = {event["type"]: event for event in docs.RESPONSES_EVENTS}


def _item(kind: str, rest: str) -> str:
    return f"input.{_ITEMS[kind]}.{rest}"


def _out(kind: str, rest: str) -> str:
    return f"output.{_OUTPUT[kind]}.{rest}"


def _every(path: str) -> dict[str, str]:
    return dict.fromkeys(ENDPOINTS, path)


_U = "messages.2.content"
_A = "messages.3"
_F = "tools.0.function"
_S = "response_format.json_schema"
# position -> endpoint -> path in the endpoint's example
REQUEST: dict[str, dict[str, str]] = {
    "system message": {"chat": "messages.0.content", "responses": "input.0.content"},
    "instructions": {"responses": "instructions"},
    "developer message": {"chat": "messages.1.content.0.text", "responses": "input.1.content.0.text"},
    "user message": {"chat": "messages.8.content", "responses": "input.29.content"},
    "user message, earlier turn, first part": {"chat": f"{_U}.0.text", "responses": "input.2.content.0.text"},
    "user message, second part": {"chat": f"{_U}.1.text", "responses": "input.2.content.1.text"},
    "part after an image": {"chat": f"{_U}.6.text"},
    "assistant message": {"chat": f"{_A}.content.0.text", "responses": _item("message", "content.0.text")},
    "assistant pre-fill": {"chat": "messages.7.content"},
    "assistant refusal": {"chat": f"{_A}.refusal"},
    "refusal part": {"chat": f"{_A}.content.1.refusal", "responses": "input.3.content.1.refusal"},
    "reasoning": {"chat": f"{_A}.reasoning_content", "responses": _item("reasoning", "content.0.text")},
    "reasoning, other name": {"chat": f"{_A}.reasoning"},
    "reasoning summary": {"responses": _item("reasoning", "summary.0.text")},
    "name of a speaker": {"chat": "messages.2.name"},
    "tool call arguments": {
        "chat": f"{_A}.tool_calls.0.function.arguments",
        "responses": _item("function_call", "arguments"),
    },
    "tool call name": {"chat": f"{_A}.tool_calls.0.function.name", "responses": _item("function_call", "name")},
    "custom tool input": {"chat": f"{_A}.tool_calls.1.custom.input", "responses": _item("custom_tool_call", "input")},
    "legacy function_call arguments": {"chat": f"{_A}.function_call.arguments"},
    "tool result": {"chat": "messages.4.content", "responses": f"input.{_ITEMS['function_call_output'] - 1}.output"},
    "tool result, parts": {
        "chat": "messages.5.content.0.text",
        "responses": _item("function_call_output", "output.0.text"),
    },
    "custom tool result": {"responses": _item("custom_tool_call_output", "output")},
    "legacy function result": {"chat": "messages.6.content"},
    "nested tool result": {"chat": f"{_U}.8.content.0.text"},
    "document with inline text": {"chat": f"{_U}.7.source.data"},
    "title of a document": {"chat": f"{_U}.7.title"},
    "file name": {"chat": f"{_U}.4.file.filename", "responses": "input.2.content.4.filename"},
    "file as a data URI of text": {"chat": f"{_U}.4.file.file_data", "responses": "input.2.content.4.file_data"},
    "URL of an image or a file": {
        "chat": f"{_U}.2.image_url.url",
        "responses": "input.2.content.5.file_url",
        "moderations": "input.1.image_url.url",
    },
    "web search query": {"responses": _item("web_search_call", "action.query")},
    "file search query": {"responses": _item("file_search_call", "queries.0")},
    "file search result": {"responses": _item("file_search_call", "results.0.text")},
    "file search attributes": {"responses": _item("file_search_call", f"results.0.attributes.{KEY}")},
    "computer action": {"responses": _item("computer_call", "action.text")},
    "computer safety check": {"responses": _item("computer_call_output", "acknowledged_safety_checks.0.message")},
    "code of the interpreter": {"responses": _item("code_interpreter_call", "code")},
    "output of the interpreter": {"responses": _item("code_interpreter_call", "outputs.0.logs")},
    "shell command": {"responses": _item("shell_call", "action.commands.0")},
    "shell output": {"responses": _item("shell_call_output", "output.0.stdout")},
    "shell errors": {"responses": _item("shell_call_output", "output.0.stderr")},
    "local shell command": {"responses": _item("local_shell_call", "action.command.1")},
    "local shell environment": {"responses": _item("local_shell_call", "action.env.a key")},
    "local shell output": {"responses": _item("local_shell_call_output", "output")},
    "patch": {"responses": _item("apply_patch_call", "operation.diff")},
    "patch output": {"responses": _item("apply_patch_call_output", "output")},
    "MCP arguments": {"responses": _item("mcp_call", "arguments")},
    "MCP result": {"responses": _item("mcp_call", "output")},
    "MCP error": {"responses": _item("mcp_call", "error")},
    "MCP tool list": {"responses": _item("mcp_list_tools", "tools.0.description")},
    "MCP approval request": {"responses": _item("mcp_approval_request", "arguments")},
    "MCP approval reason": {"responses": _item("mcp_approval_response", "reason")},
    "prompt of an image": {"responses": _item("image_generation_call", "revised_prompt")},
    "item of an unknown type": {"responses": _item("tomorrow_call", "deep.0.er")},
    "prompt variable": {"responses": "prompt.variables.town"},
    "prompt variable, part": {"responses": "prompt.variables.why.text"},
    "legacy prompt": {"completions": "prompt.0"},
    "legacy suffix": {"completions": "suffix"},
    "input": {"embeddings": "input.0", "moderations": "input.0.text"},
    "input, second": {"embeddings": "input.1"},
    "tool description": {"chat": f"{_F}.description", "responses": "tools.0.description"},
    "tool name": {"chat": f"{_F}.name", "responses": "tools.0.name"},
    "parameter description": {
        "chat": f"{_F}.parameters.properties.town.description",
        "responses": "tools.0.parameters.properties.town.description",
    },
    "parameter enum": {
        "chat": f"{_F}.parameters.properties.town.enum.0",
        "responses": "tools.0.parameters.properties.town.enum.0",
    },
    "parameter default": {
        "chat": f"{_F}.parameters.properties.town.default",
        "responses": "tools.0.parameters.properties.town.default",
    },
    "parameter name": {
        "chat": f"{_F}.parameters.properties.{KEY}",
        "responses": f"tools.0.parameters.properties.{KEY}",
    },
    "grammar of a custom tool": {
        "chat": "tools.1.custom.format.grammar.definition",
        "responses": "tools.3.format.definition",
    },
    "MCP server headers": {"responses": "tools.1.headers.X-Key"},
    "legacy function description": {"chat": "functions.0.description"},
    "schema of the answer": {"chat": f"{_S}.schema.description", "responses": "text.format.schema.description"},
    "description of the schema": {"chat": f"{_S}.description"},
    "tool choice": {"chat": "tool_choice.function.name", "responses": "tool_choice.name"},
    "prediction": {"chat": "prediction.content.0.text"},
    "stop": {"chat": "stop.0", "completions": "stop"},
    "user": {"chat": "user", "responses": "user", "completions": "user", "embeddings": "user"},
    "metadata value": {"chat": "metadata.the key", "responses": "metadata.the key"},
    "metadata name": {"chat": f"metadata.{KEY}", "responses": f"metadata.{KEY}"},
    "logit_bias name": {"chat": f"logit_bias.{KEY}"},
    "place of the user": {
        "chat": "web_search_options.user_location.approximate.city",
        "responses": "tools.2.user_location.city",
    },
    "cache key": {"chat": "prompt_cache_key", "responses": "prompt_cache_key"},
    "unknown field of a message": {"chat": "messages.8.mood", "responses": "input.29.mood"},
    "unknown field": _every("tomorrow.deep.0"),
    "name of an unknown field": _every(f"tomorrow.{KEY}"),
    "text in a structural field": _every("model"),
}
_M = "choices.0.message"
ANSWER: dict[str, dict[str, str]] = {
    "content": {
        "chat": f"{_M}.content",
        "responses": _out("message", "content.0.text"),
        "completions": "choices.0.text",
    },
    "content of another choice": {"chat": "choices.1.message.content", "completions": "choices.1.text"},
    "refusal": {"chat": f"{_M}.refusal", "responses": _out("message", "content.1.refusal")},
    "reasoning": {"chat": f"{_M}.reasoning_content", "responses": _out("reasoning", "content.0.text")},
    "reasoning, other name": {"chat": f"{_M}.reasoning"},
    "reasoning summary": {"responses": _out("reasoning", "summary.0.text")},
    "tool call arguments": {
        "chat": f"{_M}.tool_calls.0.function.arguments",
        "responses": _out("function_call", "arguments"),
    },
    "tool call name": {"chat": f"{_M}.tool_calls.0.function.name", "responses": _out("function_call", "name")},
    "custom tool input": {"chat": f"{_M}.tool_calls.1.custom.input", "responses": _out("custom_tool_call", "input")},
    "arguments as an object": {"responses": _out("tool_search_call", "arguments.a key")},
    "legacy function_call arguments": {"chat": f"{_M}.function_call.arguments"},
    "audio transcript": {"chat": f"{_M}.audio.transcript"},
    "annotation title": {
        "chat": f"{_M}.annotations.0.url_citation.title",
        "responses": _out("message", "content.0.annotations.0.title"),
    },
    "annotation URL": {
        "chat": f"{_M}.annotations.0.url_citation.url",
        "responses": _out("message", "content.0.annotations.0.url"),
    },
    "citation": {"chat": "citations.0"},
    "log-probability tokens": {
        "chat": "choices.0.logprobs.content.0.token",
        "responses": _out("message", "content.0.logprobs.0.token"),
        "completions": "choices.0.logprobs.tokens.0",
    },
    "web search query": {"responses": _out("web_search_call", "action.query")},
    "file search result": {"responses": _out("file_search_call", "results.0.text")},
    "code of the interpreter": {"responses": _out("code_interpreter_call", "code")},
    "output of the interpreter": {"responses": _out("code_interpreter_call", "outputs.0.logs")},
    "MCP result": {"responses": _out("mcp_call", "output")},
    "instructions, repeated": {"responses": "instructions"},
    "error message": {"responses": "error.message"},
    "unknown field": _every("tomorrow.deep.0"),
}
_D = "choices.0.delta"
EVENT: dict[str, dict[str, tuple[Any, str]]] = {
    "content": {
        "chat": (docs.CHAT_EVENTS[0], f"{_D}.content"),
        "responses": (_EVENTS["response.output_text.delta"], "delta"),
        "completions": (docs.COMPLETIONS_ANSWER, "choices.0.text"),
    },
    "content in parts": {"chat": (docs.CHAT_EVENTS[6], f"{_D}.content.0.text")},
    "refusal": {
        "chat": (docs.CHAT_EVENTS[0], f"{_D}.refusal"),
        "responses": (_EVENTS["response.refusal.delta"], "delta"),
    },
    "reasoning": {
        "chat": (docs.CHAT_EVENTS[1], f"{_D}.reasoning_content"),
        "responses": (_EVENTS["response.reasoning_text.delta"], "delta"),
    },
    "reasoning summary": {"responses": (_EVENTS["response.reasoning_summary_text.delta"], "delta")},
    "tool call arguments": {
        "chat": (docs.CHAT_EVENTS[2], f"{_D}.tool_calls.0.function.arguments"),
        "responses": (_EVENTS["response.function_call_arguments.delta"], "delta"),
    },
    "tool call name": {
        "chat": (docs.CHAT_EVENTS[2], f"{_D}.tool_calls.0.function.name"),
        "responses": (_EVENTS["response.function_call_arguments.done"], "name"),
    },
    "custom tool input": {"responses": (_EVENTS["response.custom_tool_call_input.delta"], "delta")},
    "MCP arguments": {"responses": (_EVENTS["response.mcp_call_arguments.delta"], "delta")},
    "code of the interpreter": {"responses": (_EVENTS["response.code_interpreter_call_code.delta"], "delta")},
    "shell command": {"responses": (_EVENTS["response.shell_call_command.delta"], "delta")},
    "shell output": {"responses": (_EVENTS["response.shell_call_output_content.delta"], "delta.stdout")},
    "legacy function_call arguments": {"chat": (docs.CHAT_EVENTS[3], f"{_D}.function_call.arguments")},
    "audio transcript": {
        "chat": (docs.CHAT_EVENTS[4], f"{_D}.audio.transcript"),
        "responses": (_EVENTS["response.audio_transcript.delta"], "delta"),
    },
    "annotation": {
        "chat": (docs.CHAT_EVENTS[5], f"{_D}.annotations.0.url_citation.title"),
        "responses": (_EVENTS["response.output_text.annotation.added"], "annotation.title"),
    },
    "a text repeated when it is done": {"responses": (_EVENTS["response.output_text.done"], "text")},
    "a part repeated when it is done": {"responses": (_EVENTS["response.content_part.done"], "part.refusal")},
    "an item repeated when it is done": {"responses": (_EVENTS["response.output_item.done"], "item.deep.0.er")},
    "the answer repeated at the end": {
        "responses": (_EVENTS["response.completed"], "response.output.0.content.0.text")
    },
    "error message": {"chat": (docs.CHAT_EVENTS[8], "error.message"), "responses": (_EVENTS["error"], "message")},
    "log-probability tokens": {"responses": (_EVENTS["response.output_text.done"], "logprobs.0.token")},
    "unknown field": {
        "chat": (docs.CHAT_EVENTS[1], f"{_D}.mood"),
        "completions": (docs.COMPLETIONS_ANSWER, "tomorrow.deep.0"),
    },
    "event of an unknown type": {"responses": (_EVENTS["response.tomorrow"], "deep.0.er")},
    "delta of an unknown type": {"responses": (_EVENTS["response.tomorrow.delta"], "delta")},
}


def _planted(document: Any, dotted: str, marker: str) -> tuple[Any, tuple[str | int, ...]]:
    changed = copy.deepcopy(document)
    value = changed
    path = tuple(int(step) if step.isdigit() else step for step in dotted.split("."))
    for step in path[:-1]:
        value = value[step]
    if path[-1] == KEY:
        value[marker] = 1
    else:
        value[path[-1]] = marker
    return changed, path


def judge(direction: str, endpoint: str, document: Any, dotted: str) -> str:
    """What happens to a marker there: rewritten, judged (found, but in no place of its own), removed, or missed."""
    marker = MARKER
    if dotted.endswith("file_data"):
        marker = "data:text/plain;base64," + base64.b64encode(MARKER.encode()).decode()
    changed, path = _planted(document, dotted, marker)
    found: Sequence[Span | Delta]
    if direction == "request":
        found = request_spans(endpoint, changed)
    else:
        found = answer_spans(endpoint, changed) if direction == "answer" else stream_deltas(endpoint, changed)
    hits = [span for span in found if MARKER in span.text]
    if any(path in _places(span) for span in hits):
        return "rewritten"
    if hits:
        return "judged"
    removed = direction != "request" and any(
        path[: len(place)] == place for place in logprob_paths(endpoint, changed, event=direction == "event")
    )
    return "removed" if removed else "MISSED"


def _places(span: Span | Delta) -> list[tuple[str | int, ...]]:
    return [span.path] if isinstance(span, Delta) else [piece.path for piece in span.pieces]


def rows() -> list[tuple[str, str, list[str]]]:
    """(direction, position, what happens to it at each endpoint; "" where the endpoint has no such place)."""
    table: list[tuple[str, str, list[str]]] = []
    for direction, places, examples in (("request", REQUEST, docs.REQUESTS), ("answer", ANSWER, docs.ANSWERS)):
        for position, paths in places.items():
            cells = [judge(direction, e, examples[e][0], paths[e]) if e in paths else "" for e in ENDPOINTS]
            table.append((direction, position, cells))
    for position, planted in EVENT.items():
        table.append(("event", position, [judge("event", e, *planted[e]) if e in planted else "" for e in ENDPOINTS]))
    return table


def markdown() -> str:
    """The table. ✓ can be masked in its place; `judged`: found, and can be blocked but not masked; `removed`: the field
    goes when answers are guarded; a dash: the endpoint has no such place."""
    shown = {"rewritten": "✓", "": "–"}
    lines = ["| where | position | " + " | ".join(ENDPOINTS) + " |", "|---" * (2 + len(ENDPOINTS)) + "|"]
    for direction, position, cells in rows():
        lines.append(f"| {direction} | {position} | " + " | ".join(shown.get(cell, cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def page() -> str:
    return (
        "# Which text positions guards see\n\n"
        "Made by `make docs`, compared by a test; a marker was planted at each place. ✓: found, and can be masked in its\n"
        "place. judged: found, and can be blocked but not masked. removed: log-probabilities stay only where they say what\n"
        "the answer beside them says. –: the endpoint has no such place. Fields that nobody knows are texts as well;\n"
        "images, audio and binary files are not read (verdict not_run).\n\n" + markdown()
    )


if __name__ == "__main__":
    sys.stdout.write(page())
