"""Documents with a string at every place that an API shape has: requests, answers, events."""

from __future__ import annotations

import base64
from typing import Any

Document = dict[str, Any]

PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 2).decode()
SOUND = base64.b64encode(bytes(range(256)) * 2).decode()
SCHEMA: Document = {
    "type": "object",
    "description": "a place to look at",
    "properties": {
        "town": {"type": "string", "description": "the town", "enum": ["Bonn", "Köln"], "default": "Bonn"},
        "how": {"anyOf": [{"type": "null"}, {"type": ["string", "null"], "const": "by train"}]},
    },
    "required": ["town"],
}
_CITATION = {
    "type": "url_citation",
    "url": "https://a.example/x y",
    "title": "a title",
    "start_index": 0,
    "end_index": 1,
}

CHAT_REQUEST: Document = {
    "model": "gpt-4o",
    "messages": [
        {"role": "system", "content": "be kind", "name": "boss"},
        {"role": "developer", "content": [{"type": "text", "text": "be brief"}]},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "first part, "},
                {"type": "text", "text": "second part"},
                {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}},
                {"type": "file", "file": {"file_data": PNG, "filename": "cv of ann.pdf"}},
                {"type": "file", "file": {"file_id": "file-1"}},
                {"type": "text", "text": "third part"},
                {"type": "document", "title": "a document", "source": {"type": "text", "data": "its own words"}},
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "a nested result"}]},
                {"type": "tool_result", "tool_use_id": "t2", "content": "a flat result"},
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "an answer"}, {"type": "refusal", "refusal": "no way"}],
            "refusal": "never",
            "reasoning_content": "I think",
            "reasoning": "I thought",
            "audio": {"id": "audio_1"},
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"town":"Bonn"}'}},
                {"id": "call_2", "type": "custom", "custom": {"name": "code", "input": "print(1 + 1)"}},
            ],
            "function_call": {"name": "old", "arguments": '{"a":"b c"}'},
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "22 degrees"},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "23 degrees"}]},
        {"role": "function", "name": "old", "content": "24 degrees"},
        {"role": "assistant", "content": "it is"},
        {"role": "user", "content": "and now?", "mood": "an unknown field"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "find", "description": "finds it", "parameters": SCHEMA}},
        {
            "type": "custom",
            "custom": {
                "name": "code",
                "description": "runs it",
                "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: WORD +"}},
            },
        },
    ],
    "functions": [{"name": "old", "description": "an old one", "parameters": SCHEMA}],
    "tool_choice": {"type": "function", "function": {"name": "find"}},
    "function_call": {"name": "old"},
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "shape", "description": "the shape of it", "schema": SCHEMA},
    },
    "prediction": {"type": "content", "content": [{"type": "text", "text": "a forecast"}]},
    "stop": ["the end", "fin"],
    "user": "ann@a.example",
    "metadata": {"the key": "the value"},
    "logit_bias": {"50256": -100},
    "prompt_cache_key": "a cache key",
    "safety_identifier": "a safety id",
    "reasoning_effort": "low",
    "modalities": ["text"],
    "audio": {"voice": "alloy", "format": "wav"},
    "stream_options": {"include_usage": True},
    "web_search_options": {
        "search_context_size": "low",
        "user_location": {"type": "approximate", "approximate": {"city": "Bonn am Rhein"}},
    },
    "tomorrow": {"deep": [{"er": "an unknown text"}, "another one"]},
}
CHAT_ANSWER: Document = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "system_fingerprint": "fp_1",
    "service_tier": "default",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "logprobs": {"content": [{"token": "hi", "logprob": -1.0, "top_logprobs": []}], "refusal": None},
            "message": {
                "role": "assistant",
                "content": "an answer",
                "refusal": "a refusal",
                "reasoning_content": "I think",
                "reasoning": "I thought",
                "annotations": [{"type": "url_citation", "url_citation": _CITATION}],
                "audio": {"id": "audio_1", "data": SOUND, "transcript": "what was said"},
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"a":"b c"}'}},
                    {"id": "call_2", "type": "custom", "custom": {"name": "code", "input": "print(1 + 1)"}},
                ],
                "function_call": {"name": "old", "arguments": '{"a":"b c"}'},
                "mood": "an unknown field",
            },
        },
        {"index": 1, "finish_reason": "stop", "message": {"role": "assistant", "content": "another answer"}},
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens_details": {"reasoning_tokens": 0}},
    "citations": ["https://a.example/x y"],
    "tomorrow": {"deep": [{"er": "an unknown text"}]},
}


def chunk(delta: Document, index: int = 0, **more: Any) -> Document:
    """One event of a chat stream."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
    return {**head, "choices": [{"index": index, "delta": delta, "finish_reason": None}], **more}


CHAT_EVENTS: list[Document] = [
    chunk({"role": "assistant", "content": "an answer", "refusal": "no way"}),
    chunk({"reasoning_content": "I think", "reasoning": "I thought", "mood": "an unknown field"}, 1),
    chunk({"tool_calls": [{"index": 1, "id": "call_1", "function": {"name": "find", "arguments": '{"a":"b'}}]}),
    chunk({"function_call": {"name": "old", "arguments": '{"a":"b'}}),
    chunk({"audio": {"id": "audio_1", "data": SOUND, "transcript": "what was said"}}),
    chunk({"annotations": [{"type": "url_citation", "url_citation": _CITATION}]}),
    chunk({"content": [{"type": "text", "text": "one, "}, {"type": "thinking", "thinking": [{"text": "two"}]}]}),
    chunk({}, citations=["https://a.example/x y"], tomorrow={"deep": ["an unknown text"]}, obfuscation="aB3"),
    {"error": {"message": "what went wrong", "type": "server_error", "code": "overloaded"}},
]

_SEARCH = {"type": "search", "query": "what to seek", "sources": [{"type": "url", "url": "https://a.example/x y"}]}
_OUTPUT: list[Document] = [
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [
            {"type": "output_text", "text": "an answer", "annotations": [_CITATION], "logprobs": [{"token": "hi"}]},
            {"type": "refusal", "refusal": "no way"},
        ],
    },
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "in short"}],
        "content": [{"type": "reasoning_text", "text": "I think"}],
        "encrypted_content": SOUND,
    },
    {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "find", "arguments": '{"town":"Bonn"}'},
    {"type": "custom_tool_call", "call_id": "call_2", "name": "code", "input": "print(1 + 1)"},
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": _SEARCH},
    {
        "type": "file_search_call",
        "id": "fs_1",
        "queries": ["what to find"],
        "results": [
            {"file_id": "file-1", "filename": "cv of ann.pdf", "text": "found", "attributes": {"a key": "b c"}}
        ],
    },
    {
        "type": "computer_call",
        "call_id": "call_3",
        "action": {"type": "type", "text": "what to type"},
        "pending_safety_checks": [{"id": "sc_1", "code": "malicious", "message": "take care"}],
    },
    {"type": "code_interpreter_call", "code": "2 + 2", "outputs": [{"type": "logs", "logs": "it is 4"}]},
    {"type": "image_generation_call", "result": SOUND, "revised_prompt": "a cat in a hat"},
    {"type": "local_shell_call", "action": {"type": "exec", "command": ["ls", "-l /"], "env": {"a key": "b c"}}},
    {"type": "shell_call", "call_id": "call_4", "action": {"commands": ["ls -l"]}},
    {"type": "apply_patch_call", "operation": {"type": "create_file", "path": "a b.txt", "diff": "+ a line"}},
    {"type": "mcp_list_tools", "server_label": "shop", "tools": [{"name": "buy", "description": "buys it"}]},
    {"type": "mcp_approval_request", "name": "buy", "server_label": "shop", "arguments": '{"a":"b c"}'},
    {
        "type": "mcp_call",
        "name": "buy",
        "server_label": "shop",
        "arguments": '{"a":"b c"}',
        "output": "was bought",
        "error": "or was not",
    },
    {"type": "tool_search_call", "arguments": {"a key": "b c"}},
    {"type": "tomorrow_call", "deep": [{"er": "an unknown text"}]},
]
RESPONSES_REQUEST: Document = {
    "model": "gpt-4o",
    "instructions": "be kind",
    "input": [
        {"role": "system", "content": "be wise"},
        {"role": "developer", "content": [{"type": "input_text", "text": "be brief"}]},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "first part, "},
                {"type": "input_text", "text": "second part"},
                {"type": "input_image", "image_url": PNG, "detail": "low"},
                {"type": "input_image", "file_id": "file-1"},
                {"type": "input_file", "file_data": PNG, "filename": "cv of ann.pdf"},
                {"type": "input_file", "file_url": "https://a.example/cv of ann.pdf"},
                {"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}},
            ],
        },
        *_OUTPUT,
        {"type": "function_call_output", "call_id": "call_1", "output": "22 degrees"},
        {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "23 degrees"}]},
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "it is 2"},
        {
            "type": "computer_call_output",
            "call_id": "call_3",
            "output": {"type": "computer_screenshot", "image_url": PNG},
            "acknowledged_safety_checks": [{"id": "sc_1", "message": "took care"}],
        },
        {"type": "local_shell_call_output", "output": "some files"},
        {
            "type": "shell_call_output",
            "output": [{"stdout": "out of it", "stderr": "an error", "outcome": {"type": "exit"}}],
        },
        {"type": "apply_patch_call_output", "status": "completed", "output": "was patched"},
        {"type": "mcp_approval_response", "approve": False, "reason": "not today", "approval_request_id": "mcpr_1"},
        {"type": "item_reference", "id": "msg_0"},
        {"role": "user", "content": "and now?", "mood": "an unknown field"},
    ],
    "tools": [
        {"type": "function", "name": "find", "description": "finds it", "strict": True, "parameters": SCHEMA},
        {"type": "mcp", "server_label": "shop", "server_url": "https://shop.example/", "headers": {"X-Key": "a b"}},
        {"type": "web_search", "user_location": {"type": "approximate", "city": "Bonn am Rhein"}},
        {"type": "custom", "name": "code", "format": {"type": "grammar", "syntax": "lark", "definition": "a + b"}},
    ],
    "tool_choice": {"type": "function", "name": "find"},
    "text": {"format": {"type": "json_schema", "name": "shape", "schema": SCHEMA}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "prompt": {
        "id": "pmpt_1",
        "version": "2",
        "variables": {"town": "Bonn am Rhein", "why": {"type": "input_text", "text": "just so"}},
    },
    "metadata": {"the key": "the value"},
    "user": "ann@a.example",
    "prompt_cache_key": "a cache key",
    "safety_identifier": "a safety id",
    "previous_response_id": "resp_0",
    "include": ["reasoning.encrypted_content"],
    "truncation": "auto",
    "tomorrow": {"deep": [{"er": "an unknown text"}, "another one"]},
}
RESPONSES_ANSWER: Document = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "gpt-4o",
    "error": {"code": "server_error", "message": "what went wrong"},
    "incomplete_details": {"reason": "max_output_tokens"},
    "output": _OUTPUT,
    **{name: RESPONSES_REQUEST[name] for name in ("instructions", "tools", "text", "metadata", "user", "tomorrow")},
    "usage": {"input_tokens": 1},
}


def event(kind: str, **members: Any) -> Document:
    """One event of a Responses stream."""
    return {"type": kind, "sequence_number": 7, "item_id": "msg_1", "output_index": 0, **members}


GROWING: dict[str, str] = {
    "response.output_text.delta": "content",
    "response.refusal.delta": "refusal",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "arguments",
    "response.mcp_call_arguments.delta": "arguments",
    "response.code_interpreter_call_code.delta": "arguments",
    "response.shell_call_command.delta": "arguments",
    "response.audio_transcript.delta": "content",
    "response.audio.transcript.delta": "content",
    "response.tomorrow.delta": "content",
}
RESPONSES_EVENTS: list[Document] = [
    *(event(kind, content_index=0, delta="a bit of it") for kind in GROWING),
    event("response.shell_call_output_content.delta", delta={"stdout": "out of it", "stderr": "an error"}),
    event("response.audio.delta", delta=SOUND),
    event("response.output_text.done", text="an answer", logprobs=[{"token": "hi"}]),
    event("response.refusal.done", refusal="no way"),
    event("response.reasoning_summary_text.done", text="in short"),
    event("response.function_call_arguments.done", name="find", arguments='{"a":"b c"}'),
    event("response.custom_tool_call_input.done", input="print(1 + 1)"),
    event("response.code_interpreter_call_code.done", code="2 + 2"),
    event("response.shell_call_command.done", command="ls -l"),
    event("response.content_part.added", part={"type": "output_text", "text": "an answer", "annotations": [_CITATION]}),
    event("response.content_part.done", part={"type": "refusal", "refusal": "no way"}),
    event("response.reasoning_summary_part.done", part={"type": "summary_text", "text": "in short"}),
    event("response.output_text.annotation.added", annotation=_CITATION),
    *(event("response.output_item.done", item=item) for item in _OUTPUT),
    *(event(f"response.{kind}", response=RESPONSES_ANSWER) for kind in ("created", "completed")),
    event("response.image_generation_call.partial_image", partial_image_b64=SOUND),
    event("error", code="server_error", message="what went wrong", param=None),
    event("response.tomorrow", deep=[{"er": "an unknown text"}]),
]

COMPLETIONS_REQUEST: Document = {
    "model": "gpt-3.5-turbo-instruct",
    "prompt": ["once upon", "a time"],
    "suffix": "the end",
    "stop": "fin",
    "user": "ann@a.example",
    "tomorrow": {"deep": ["an unknown text"]},
}
COMPLETIONS_ANSWER: Document = {
    "id": "cmpl-1",
    "object": "text_completion",
    "model": "gpt-3.5-turbo-instruct",
    "choices": [
        {
            "index": 0,
            "text": "an answer",
            "finish_reason": "stop",
            "logprobs": {"tokens": ["an"], "top_logprobs": [{"an": -1}]},
        },
        {"index": 1, "text": "another answer", "finish_reason": "stop"},
    ],
    "tomorrow": {"deep": ["an unknown text"]},
}
EMBEDDINGS_REQUEST: Document = {
    "model": "text-embedding-3-small",
    "input": ["a text", "a second one"],
    "encoding_format": "base64",
    "user": "ann@a.example",
    "tomorrow": {"deep": ["an unknown text"]},
}
EMBEDDINGS_ANSWER: Document = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": SOUND}],
    "model": "text-embedding-3-small",
    "usage": {"prompt_tokens": 1},
    "tomorrow": {"deep": ["an unknown text"]},
}
MODERATIONS_REQUEST: Document = {
    "model": "omni-moderation-latest",
    "input": [{"type": "text", "text": "a text"}, {"type": "image_url", "image_url": {"url": PNG}}],
    "tomorrow": {"deep": ["an unknown text"]},
}
MODERATIONS_ANSWER: Document = {
    "id": "modr-1",
    "model": "omni-moderation-latest",
    "results": [{"flagged": False, "categories": {"self-harm/intent": False}}],
    "tomorrow": {"deep": ["an unknown text"]},
}

REQUESTS: dict[str, list[Document]] = {
    "chat": [CHAT_REQUEST],
    "responses": [
        RESPONSES_REQUEST,
        {"model": "gpt-4o", "input": "a text", "instructions": [{"role": "user", "content": "b c"}]},
    ],
    "completions": [COMPLETIONS_REQUEST, {**COMPLETIONS_REQUEST, "prompt": "once upon a time"}],
    "embeddings": [EMBEDDINGS_REQUEST, {**EMBEDDINGS_REQUEST, "input": "a text"}],
    "moderations": [MODERATIONS_REQUEST, {"input": "a text"}, {"input": ["a text", "a second one"]}],
    "unknown": [{"custom_id": "1", "body": CHAT_REQUEST}],
}
ANSWERS: dict[str, list[Document]] = {
    "chat": [CHAT_ANSWER],
    "responses": [RESPONSES_ANSWER],
    "completions": [COMPLETIONS_ANSWER],
    "embeddings": [EMBEDDINGS_ANSWER],
    "moderations": [MODERATIONS_ANSWER],
    "unknown": [{"result": [{"text": "a text"}]}],
}
EVENTS: dict[str, list[Document]] = {
    "chat": CHAT_EVENTS,
    "responses": RESPONSES_EVENTS,
    "completions": [COMPLETIONS_ANSWER],
    "unknown": [{"result": [{"text": "a text"}]}],
}
