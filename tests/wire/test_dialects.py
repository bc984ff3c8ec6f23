from __future__ import annotations

import json
import random
from typing import Any

import pytest

from gateway.core.errors import Refusal, UpstreamFault
from gateway.core.usage import COUNTS, Reported
from gateway.wire.dialect import REFUSED_FIELDS, Dialect, refuse_upstream_choice
from gateway.wire.dialects import DIALECTS, refuse_odd_path, route
from gateway.wire.strictjson import parse

CHAT_TOOLS = {
    "model": "gpt-4o",
    "messages": [
        {"role": "developer", "content": "You are a helpful assistant.", "name": "dev"},
        {"role": "user", "content": "What is the weather like in Boston today?"},
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"at":"Boston"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "22 °C"},
        {"role": "assistant", "content": "", "tool_calls": None},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "strict": True,
                "parameters": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]},
            },
        },
        {"type": "custom", "custom": {"name": "code", "format": {"type": "text"}}},
    ],
    "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
    "parallel_tool_calls": True,
    "stream": True,
    "stream_options": {"include_usage": True, "include_obfuscation": False},
    "max_completion_tokens": 300,
    "n": 2,
    "temperature": 0.7,
    "top_p": 1,
    "presence_penalty": -2,
    "frequency_penalty": 1.5,
    "logprobs": True,
    "top_logprobs": 5,
    "seed": -9223372036854775808,
    "stop": ["\n", "END"],
    "logit_bias": {"50256": -100},
    "metadata": {"a": "b"},
    "store": False,
    "user": "user-1",
    "service_tier": "auto",
    "reasoning_effort": "low",
}
CHAT_PARTS = {
    "model": "gpt-4o-audio-preview",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What's in this image?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "high"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {"type": "file", "file": {"file_id": "file-1"}},
            ],
        },
        {"role": "assistant", "audio": {"id": "audio_1"}},
    ],
    "modalities": ["text", "audio"],
    "audio": {"voice": "alloy", "format": "wav"},
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
    "stop": "END",
    "tool_choice": "auto",
    "functions": [{"name": "old"}],
    "max_tokens": 1,
}
COMPLETIONS = {
    "model": "gpt-3.5-turbo-instruct",
    "prompt": "Say this is a test",
    "max_tokens": 0,
    "n": 1,
    "best_of": 1,
    "temperature": 0,
    "top_p": 0.5,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logprobs": 5,
    "seed": 1,
    "stop": ["a", "b"],
    "suffix": " end",
    "echo": True,
    "stream": True,
    "stream_options": {"include_usage": False},
    "logit_bias": {},
    "user": "u",
}
RESPONSES = {
    "model": "gpt-4.1",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "what is in this image?"},
                {"type": "input_image", "image_url": "https://example.com/a.png"},
            ],
        },
        {"type": "function_call_output", "call_id": "call_1", "output": "{}"},
    ],
    "instructions": "You are a helpful assistant.",
    "tools": [{"type": "web_search_preview"}, {"type": "function", "name": "f", "parameters": {}, "strict": True}],
    "tool_choice": {"type": "function", "name": "f"},
    "parallel_tool_calls": False,
    "text": {"format": {"type": "text"}},
    "reasoning": {"effort": "low"},
    "previous_response_id": "resp_1",
    "max_output_tokens": 100,
    "max_tool_calls": 3,
    "temperature": 1,
    "top_p": 1,
    "top_logprobs": 0,
    "store": True,
    "background": False,
    "stream": True,
    "stream_options": {"include_obfuscation": False},
    "metadata": {},
    "user": "u",
    "include": ["reasoning.encrypted_content"],
}
EMBEDDINGS = {
    "model": "text-embedding-3-small",
    "input": ["The food was delicious", "and the waiter"],
    "dimensions": 256,
    "encoding_format": "base64",
    "user": "u",
}
MODERATIONS = {
    "model": "omni-moderation-latest",
    "input": [
        {"type": "text", "text": "..."},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ],
}

DOCUMENTS: list[tuple[str, dict[str, Any]]] = [
    ("chat", CHAT_TOOLS),
    ("chat", CHAT_PARTS),
    ("chat", {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}),
    ("completions", COMPLETIONS),
    ("responses", RESPONSES),
    ("responses", {"model": "gpt-4.1", "input": "Tell me a story."}),
    ("embeddings", EMBEDDINGS),
    ("moderations", MODERATIONS),
]
OTHER_GOOD: list[tuple[str, dict[str, Any]]] = [
    ("completions", {"model": "m", "prompt": ["a", "b"]}),
    ("completions", {"model": "m", "prompt": [1, 2]}),
    ("completions", {"model": "m", "prompt": [[1, 2], [3]]}),
    ("completions", {"model": "m"}),
    ("responses", {"model": "m", "input": None, "instructions": None, "stream": None}),
    ("embeddings", {"model": "m", "input": "text"}),
    ("moderations", {"input": "text"}),
    ("chat", {"model": "m", "messages": [{"role": "user"}], "unknown_field": {"a": 1}, "temperature": None}),
]
TOKEN_INPUTS = [[1212, 318, 257], [[1212, 318], [257]]]


def refusal_of(dialect: str, document: dict[str, Any]) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        DIALECTS[dialect].validate(document)
    return refusal.value


@pytest.mark.parametrize(("dialect", "document"), [*DOCUMENTS, *OTHER_GOOD])
def test_what_openai_takes_is_taken(dialect: str, document: dict[str, Any]) -> None:
    """JSON-08"""
    DIALECTS[dialect].validate(document)


@pytest.mark.parametrize("tokens", TOKEN_INPUTS)
def test_embeddings_take_tokens(tokens: list[Any]) -> None:
    """JSON-08: OpenAI's input is a string, strings, tokens, or lists of tokens."""
    DIALECTS["embeddings"].validate({"model": "m", "input": tokens})


def test_moderations_take_parts() -> None:
    """JSON-08: OpenAI's input is a string, strings, or text and image parts."""
    DIALECTS["moderations"].validate(MODERATIONS)


@pytest.mark.parametrize(("dialect", "document"), DOCUMENTS)
def test_every_checked_field_of_the_good_documents_is_known(dialect: str, document: dict[str, Any]) -> None:
    """JSON-08"""
    assert document.keys() <= DIALECTS[dialect].known_fields


WRONG: dict[str, list[Any]] = {
    "a name": [1, True, [], {}, "", "a\nb", "a\0", "x" * 257],
    "a boolean": [0, 1, "true", [], {}],
    "an integer": ["1", True, 1.0, 1.5, [], {}, 10**30, -(10**30), 1e30],
    "a number": ["1", True, [], {}, 100, -100, 1e300],
    "a string": [1, True, [], {}],
    "an object": ["{}", 1, True, []],
    "objects": ["x", 1, True, {}, ["x"], [None], [[]], [1]],
    "a string or strings": [1, True, {}, [1], [None], [["a"]]],
    "a string or an object": [1, True, []],
    "a string or a list": [1, True, {}, 1.5],
}
KINDS: dict[str, dict[str, str]] = {
    "chat": {
        "model": "a name",
        "messages": "objects",
        "stream": "a boolean",
        "stream_options": "an object",
        "max_tokens": "an integer",
        "max_completion_tokens": "an integer",
        "n": "an integer",
        "temperature": "a number",
        "top_p": "a number",
        "presence_penalty": "a number",
        "frequency_penalty": "a number",
        "top_logprobs": "an integer",
        "logprobs": "a boolean",
        "seed": "an integer",
        "stop": "a string or strings",
        "tools": "objects",
        "functions": "objects",
        "tool_choice": "a string or an object",
        "response_format": "an object",
        "metadata": "an object",
        "logit_bias": "an object",
        "user": "a string",
        "parallel_tool_calls": "a boolean",
        "store": "a boolean",
    },
    "completions": {
        "model": "a name",
        "prompt": "a string or a list",
        "stream": "a boolean",
        "stream_options": "an object",
        "max_tokens": "an integer",
        "n": "an integer",
        "best_of": "an integer",
        "temperature": "a number",
        "top_p": "a number",
        "presence_penalty": "a number",
        "frequency_penalty": "a number",
        "logprobs": "an integer",
        "seed": "an integer",
        "stop": "a string or strings",
        "suffix": "a string",
        "echo": "a boolean",
        "user": "a string",
        "logit_bias": "an object",
    },
    "responses": {
        "model": "a name",
        "input": "a string or a list",
        "stream": "a boolean",
        "stream_options": "an object",
        "max_output_tokens": "an integer",
        "max_tool_calls": "an integer",
        "temperature": "a number",
        "top_p": "a number",
        "top_logprobs": "an integer",
        "tools": "objects",
        "tool_choice": "a string or an object",
        "parallel_tool_calls": "a boolean",
        "store": "a boolean",
        "background": "a boolean",
        "metadata": "an object",
        "previous_response_id": "a string",
        "text": "an object",
        "reasoning": "an object",
        "user": "a string",
    },
    "embeddings": {
        "model": "a name",
        "input": "a string or a list",
        "dimensions": "an integer",
        "encoding_format": "a string",
        "user": "a string",
    },
    "moderations": {"model": "a name", "input": "a string or a list"},
}
BASE: dict[str, dict[str, Any]] = {
    "chat": {"model": "m", "messages": [{"role": "user", "content": "x"}]},
    "completions": {"model": "m", "prompt": "x"},
    "responses": {"model": "m", "input": "x"},
    "embeddings": {"model": "m", "input": "x"},
    "moderations": {"model": "m", "input": "x"},
}


@pytest.mark.parametrize(
    ("dialect", "field", "kind"), [(name, field, kind) for name, rows in KINDS.items() for field, kind in rows.items()]
)
def test_a_wrong_value_is_refused_by_its_field(dialect: str, field: str, kind: str) -> None:
    """JSON-08"""
    for value in WRONG[kind]:
        refusal = refusal_of(dialect, {**BASE[dialect], field: value})
        assert refusal.status == 400, value
        assert refusal.code in {"invalid_type", "invalid_value"}
        assert refusal.param is not None
        assert refusal.param.partition("[")[0] == field
        assert field in refusal.message


@pytest.mark.parametrize(
    ("dialect", "field"),
    [
        ("chat", "model"),
        ("chat", "messages"),
        ("completions", "model"),
        ("responses", "model"),
        ("embeddings", "model"),
        ("embeddings", "input"),
        ("moderations", "input"),
    ],
)
def test_a_missing_field_is_named(dialect: str, field: str) -> None:
    """JSON-08"""
    without = {name: value for name, value in BASE[dialect].items() if name != field}
    for document in (without, {**without, field: None}):
        refusal = refusal_of(dialect, document)
        assert (refusal.status, refusal.code, refusal.param) == (400, "missing_field", field)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ([{"role": "user", "content": "x"}, "y"], "messages[1]"),
        ([{}], "messages[0].role"),
        ([{"role": None}], "messages[0].role"),
        ([{"role": 1}], "messages[0].role"),
        ([{"role": "user", "content": 1}], "messages[0].content"),
        ([{"role": "user", "content": {}}], "messages[0].content"),
        ([{"role": "user", "content": True}], "messages[0].content"),
        ([{"role": "user", "content": ["x"]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{"type": "text"}, None]}], "messages[0].content[1]"),
        ([{"role": "user", "content": [{"text": "x"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": 1}]}], "messages[0].content[0].type"),
        ([{"role": "assistant", "tool_calls": "x"}], "messages[0].tool_calls"),
        ([{"role": "assistant", "tool_calls": [1]}], "messages[0].tool_calls[0]"),
    ],
)
def test_a_wrong_part_of_a_message_is_named_with_its_place(messages: list[Any], param: str) -> None:
    """JSON-08"""
    refusal = refusal_of("chat", {"model": "m", "messages": messages})
    assert (refusal.status, refusal.param) == (400, param)


@pytest.mark.parametrize("field", sorted(REFUSED_FIELDS))
def test_a_field_that_would_choose_the_upstream_is_refused(field: str) -> None:
    with pytest.raises(Refusal) as refusal:
        refuse_upstream_choice({"model": "m", field: None})
    assert (refusal.value.status, refusal.value.param) == (400, field)


# -- mutated documents

SCALARS: list[Any] = [None, True, False, 0, 1, -1, 1.5, 10**18, 1e308, "", "x", "é🎉", "system", "include_usage"]


def any_value(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.randrange(4 if depth < 3 else 2)
    if kind < 2:
        return chance.choice(SCALARS)
    if kind == 2:
        return [any_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    keys = ["type", "role", "content", "usage", "text", "function", "x"]
    return {chance.choice(keys): any_value(chance, depth + 1) for _ in range(chance.randrange(4))}


def containers_in(value: Any) -> list[Any]:
    found = []
    level = [value]
    while level:
        level = [entry for entry in level if isinstance(entry, dict | list)]
        found += level
        level = [inner for entry in level for inner in (entry.values() if isinstance(entry, dict) else entry)]
    return found


def mutated(document: Any, chance: random.Random) -> Any:
    """A copy in which one to three random places are replaced, deleted or inserted."""
    copy = json.loads(json.dumps(document))
    for _ in range(chance.randint(1, 3)):
        place = chance.choice(containers_in(copy))
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        action = chance.choice(["replace", "replace", "delete", "insert"])
        if action == "insert" and isinstance(place, list):
            place.insert(chance.randint(0, len(place)), any_value(chance))
        elif action == "insert":
            place[chance.choice(["model", "stream", "stream_options", "usage", "x", *keys])] = any_value(chance)
        elif keys and action == "replace":
            place[chance.choice(keys)] = any_value(chance)
        elif keys:
            del place[chance.choice(keys)]
    return copy


def handled(dialect: Dialect, document: dict[str, Any]) -> bool:
    """Whether the document was taken; what is taken can be asked for usage without breaking."""
    dialect.wants_usage_injected(document)
    dialect.usage_of(document)
    try:
        dialect.validate(document)
    except Refusal as refusal:
        assert refusal.status == 400
        assert refusal.param is not None
        return False
    if dialect.wants_usage_injected(document):
        changed = parse(dialect.with_usage(json.dumps(document).encode(), document))
        assert changed["stream_options"]["include_usage"] is True
        assert not dialect.wants_usage_injected(changed)
    return True


def test_mutated_documents_are_taken_or_refused_and_never_break() -> None:
    """JSON-08: 20,000 documents."""
    chance = random.Random(8)
    taken = 0
    for turn in range(20_000):
        name, document = DOCUMENTS[turn % len(DOCUMENTS)]
        taken += handled(DIALECTS[name], mutated(document, chance))
    assert 1_000 < taken < 19_000


# -- what providers answer

CHAT_ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 19,
        "completion_tokens": 10,
        "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 0},
    },
}
RESPONSES_ANSWER = {
    "id": "resp_1",
    "object": "response",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}],
    "usage": {"input_tokens": 36, "output_tokens": 87, "total_tokens": 123},
}
EMBEDDINGS_ANSWER = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
    "usage": {"prompt_tokens": 8, "total_tokens": 8},
}
ANSWERS: list[tuple[str, dict[str, Any], Reported]] = [
    ("chat", CHAT_ANSWER, Reported(19, 10, 29, 0)),
    ("completions", CHAT_ANSWER, Reported(19, 10, 29, 0)),
    ("responses", RESPONSES_ANSWER, Reported(36, 87, 123)),
    ("embeddings", EMBEDDINGS_ANSWER, Reported(8, 0, 8)),
    ("moderations", {"id": "modr-1", "results": [{"flagged": False}]}, Reported()),
]


def assert_counts(usage: Reported) -> None:
    for name in COUNTS:
        count = getattr(usage, name)
        assert count is None or (type(count) is int and count >= 0)


@pytest.mark.parametrize(("dialect", "answer", "usage"), ANSWERS)
def test_usage_is_what_the_provider_reported(dialect: str, answer: dict[str, Any], usage: Reported) -> None:
    assert DIALECTS[dialect].usage_of(answer) == usage


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
@pytest.mark.parametrize("answer", [None, [], "x", 1, True, {}, {"usage": None}, {"usage": {}}])
def test_an_answer_without_usage_has_none(dialect: Dialect, answer: Any) -> None:
    """JSON-09"""
    assert dialect.usage_of(answer) == Reported()


def test_mutated_answers_never_break_the_reading_of_usage() -> None:
    """JSON-09"""
    chance = random.Random(9)
    for turn in range(5_000):
        name, answer, _ = ANSWERS[turn % len(ANSWERS)]
        assert_counts(DIALECTS[name].usage_of(mutated(answer, chance)))


# -- streams


def data(document: Any, event: str = "") -> bytes:
    line = b"data: " + json.dumps(document).encode() + b"\n\n"
    return f"event: {event}\n".encode() + line if event else line


CHAT_STREAM: list[tuple[str, Any]] = [
    ("", {"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}], "usage": None}),
    ("", {"id": "c", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}], "usage": None}),
    ("", {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None}),
    ("", {"id": "c", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}),
    ("", {"error": {"message": "x", "type": "server_error"}}),
]
RESPONSES_STREAM: list[tuple[str, Any]] = [
    ("response.created", {"type": "response.created", "sequence_number": 0, "response": {"id": "r", "usage": None}}),
    ("response.output_text.delta", {"type": "response.output_text.delta", "sequence_number": 1, "delta": "Hi"}),
    ("response.completed", {"type": "response.completed", "sequence_number": 2, "response": RESPONSES_ANSWER}),
    ("error", {"type": "error", "sequence_number": 3, "code": "x", "message": "y"}),
]
BROKEN = Refusal("upstream_closed", "The provider closed the connection.")


def test_a_chat_stream_ends_and_reports_usage() -> None:
    for name in ("chat", "completions"):
        state = DIALECTS[name].stream_state()
        hidden = [state.observe(data(document)) for _, document in CHAT_STREAM[:3]]
        assert (hidden, state.ended, state.done) == ([False, False, False], True, False)
        assert state.observe(data(CHAT_STREAM[3][1])) is True
        assert state.usage == Reported(1, 2, 3)
        assert state.observe(b"data: [DONE]\n\n") is False
        assert state.done


@pytest.mark.parametrize(
    "frame", [b"data:[DONE]\n\n", b"data: [DONE]\r\n\r\n", b"data: [DONE]\r\r", b"event: x\ndata: [DONE]\n\n"]
)
def test_the_end_mark_is_seen_however_its_line_is_written(frame: bytes) -> None:
    state = DIALECTS["chat"].stream_state()
    state.observe(frame)
    assert state.ended
    assert state.done


def test_text_that_speaks_of_the_end_does_not_end_a_stream() -> None:
    state = DIALECTS["chat"].stream_state()
    for content in ("[DONE]", '"finish_reason":"stop"', '"usage":{"prompt_tokens":1}', '"error":{"message":"x"}'):
        chunk = {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None}]}
        assert state.observe(data(chunk)) is False
    state.observe(b": [DONE]\n\n")
    assert (state.ended, state.done, state.usage) == (False, False, Reported())


def test_usage_beside_choices_is_read_and_not_hidden() -> None:
    state = DIALECTS["chat"].stream_state()
    chunk = {
        "choices": [{"index": 0, "delta": {"content": "x"}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
    assert state.observe(data(chunk)) is False
    assert state.usage == Reported(1, 1, 2)


def test_an_error_event_of_the_provider_ends_a_chat_stream() -> None:
    state = DIALECTS["chat"].stream_state()
    state.observe(data(CHAT_STREAM[4][1]))
    assert state.ended


@pytest.mark.parametrize("end", ["completed", "failed", "incomplete", "cancelled"])
def test_a_terminal_event_ends_a_responses_stream_with_its_usage(end: str) -> None:
    state = DIALECTS["responses"].stream_state()
    for event, document in RESPONSES_STREAM[:2]:
        state.observe(data(document, event))
    assert not state.ended
    state.observe(data(RESPONSES_STREAM[2][1], f"response.{end}"))
    assert state.ended
    assert state.usage == Reported(36, 87, 123)


@pytest.mark.parametrize("name", ["embeddings", "moderations"])
def test_shapes_that_never_stream_wait_for_no_end_mark(name: str) -> None:
    state = DIALECTS[name].stream_state()
    assert state.observe(b"data: x\n\n") is False
    assert state.ended
    assert state.usage == Reported()


@pytest.mark.parametrize(
    ("name", "stream"), [("chat", CHAT_STREAM), ("completions", CHAT_STREAM), ("responses", RESPONSES_STREAM)]
)
def test_mutated_streams_never_break_the_reader(name: str, stream: list[tuple[str, Any]]) -> None:
    """JSON-09"""
    chance = random.Random(name)
    dialect = DIALECTS[name]
    for _ in range(600):
        state = dialect.stream_state()
        for event, document in stream:
            frame = bytearray(data(mutated(document, chance), event))
            for _ in range(chance.choice([0, 0, 1, 3])):
                frame[chance.randrange(len(frame))] = chance.randrange(256)
            try:
                state.observe(bytes(frame))
            except UpstreamFault:
                break
            assert_counts(state.usage)
            assert parse_data(dialect.error_event(BROKEN, "call-1", state))


def parse_data(frame: bytes) -> Any:
    return parse(frame.partition(b"data: ")[2])


@pytest.mark.parametrize("name", ["chat", "completions", "embeddings", "moderations"])
def test_the_error_event_of_choices_is_openais_error_object(name: str) -> None:
    document = parse_data(DIALECTS[name].error_event(BROKEN, "call-1", None))
    assert document["error"]["code"] == "upstream_closed"
    assert document["error"]["request_id"] == "call-1"


def test_the_error_event_of_responses_goes_on_with_the_numbers() -> None:
    state = DIALECTS["responses"].stream_state()
    for event, document in RESPONSES_STREAM[:2]:
        state.observe(data(document, event))
    frame = DIALECTS["responses"].error_event(BROKEN, "call-1", state)
    assert frame.startswith(b"event: error\n")
    assert parse_data(frame)["sequence_number"] == 2


def test_a_comment_does_not_reset_the_numbers_of_a_responses_stream() -> None:
    """The number of the last event, and a keep-alive comment is none."""
    state = DIALECTS["responses"].stream_state()
    for event, document in RESPONSES_STREAM[:2]:
        state.observe(data(document, event))
    state.observe(b": keep-alive\n\n")
    assert parse_data(DIALECTS["responses"].error_event(BROKEN, "call-1", state))["sequence_number"] == 2


@pytest.mark.parametrize("number", [2**64 - 1, 2**63, -(2**63), -5, 1e300, "7", True, None])
def test_an_odd_number_of_the_provider_does_not_break_the_error_event(number: Any) -> None:
    """JSON-09"""
    state = DIALECTS["responses"].stream_state()
    state.observe(data({"type": "response.in_progress", "sequence_number": number}, "response.in_progress"))
    assert type(parse_data(DIALECTS["responses"].error_event(BROKEN, "call-1", state))["sequence_number"]) is int


# -- asking for usage


@pytest.mark.parametrize("name", ["chat", "completions"])
@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        ({}, False),
        ({"stream": False}, False),
        ({"stream": None}, False),
        ({"stream": True}, True),
        ({"stream": True, "stream_options": None}, True),
        ({"stream": True, "stream_options": {}}, True),
        ({"stream": True, "stream_options": {"include_usage": False}}, True),
        ({"stream": True, "stream_options": {"include_usage": None}}, True),
        ({"stream": True, "stream_options": {"include_usage": True}}, False),
    ],
)
def test_usage_is_asked_for_when_a_stream_would_not_report_it(
    name: str, document: dict[str, Any], wanted: bool
) -> None:
    assert DIALECTS[name].wants_usage_injected(document) is wanted


@pytest.mark.parametrize("name", ["responses", "embeddings", "moderations"])
def test_other_shapes_report_usage_unasked(name: str) -> None:
    document = {"stream": True}
    assert not DIALECTS[name].wants_usage_injected(document)
    assert DIALECTS[name].with_usage(b'{ "stream":true }', document) == b'{ "stream":true }'


def test_asking_for_usage_keeps_the_other_options_and_bytes() -> None:
    raw = b'{ "stream" : true, "stream_options": {"include_obfuscation": false}, "n" : 1 }'
    changed = DIALECTS["chat"].with_usage(raw, json.loads(raw))
    assert changed == (
        b'{ "stream" : true, "stream_options": {"include_obfuscation":false,"include_usage":true}, "n" : 1 }'
    )


# -- paths


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/chat/completions", "chat"),
        ("/v1/completions", "completions"),
        ("/v1/responses", "responses"),
        ("/v1/embeddings", "embeddings"),
        ("/v1/moderations", "moderations"),
        ("/v1/models", "models"),
        ("/v1/models/gpt-4o", "models"),
        ("/v1/models/org/name", "models"),
        ("/v1/responses/resp_1", "responses.object"),
        ("/v1/responses/resp_1/cancel", "responses.object"),
        ("/v1/responses/resp_1/input_items", "responses.object"),
    ],
)
def test_a_built_in_path_has_a_route(path: str, name: str) -> None:
    found = route(path)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/", "/v1/models/", "/v1/responses/", "/v1/responses/a/b", "/v1/chat", "/V1/models", "/v1/files"],
)
def test_another_path_has_none(path: str) -> None:
    assert route(path) is None


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "v1/models",
        "/v1//models",
        "/v1/models/",
        "/v1/../admin",
        "/v1/./models",
        "/v1/%2e%2e/admin",
        "/v1/%2E%2E/admin",
        "/v1/a%252fb",
        "/v1/a\\b",
        "/v1/a%5cb",
        "/v1/a;b=c",
        "/v1/a%00",
        "/v1/a%0d%0aB:c",
        "/v1/a%7f",
        "/v1/a%2",
        "/v1/a%zz",
        "/v1/a b",
        "/v1/a#b",
        "/v1/é",
        "/v1/..",
        "/v1/a..",
        "/v1/" + "a" * 2048,
    ],
)
def test_a_path_that_can_be_read_in_two_ways_is_refused(path: str) -> None:
    with pytest.raises(Refusal) as refusal:
        refuse_odd_path(path)
    assert refusal.value.status == 400


@pytest.mark.parametrize("path", ["/v1/models/org%2Fname", "/v1/models/ft:gpt-4o:org::id", "/v1/files/file-1/content"])
def test_ids_with_marks_pass(path: str) -> None:
    refuse_odd_path(path)
