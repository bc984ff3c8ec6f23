"""What was said, in the shapes that traces have for it; streams come to the same as whole answers."""

import json

import orjson
import pytest

from gateway.wire.assembly import Assembly
from gateway.wire.content import ANSWERED, TOLD, answer_content, chat_answer, chat_request, request_content
from gateway.wire.fitted import fitted
from tests.wire import documents as docs

# What the JSON schemas of the conventions (main of 2026-08) require beside `type`; parts of other types are free.
REQUIRED = {
    "text": {"content": str},
    "reasoning": {"content": str},
    "tool_call": {"name": str},
    "tool_call_response": {"response": object},
    "server_tool_call": {"name": str, "server_tool_call": dict},
    "blob": {"modality": str, "content": str},
    "uri": {"modality": str, "uri": str},
    "file": {"modality": str, "file_id": str},
}


def is_sound(part):
    required = REQUIRED.get(part["type"], {})
    return type(part["type"]) is str and all(isinstance(part.get(name), kind) for name, kind in required.items())


def are_sound(messages):
    return all(type(message["role"]) is str and all(map(is_sound, message["parts"])) for message in messages)


@pytest.mark.parametrize("endpoint", sorted(TOLD))
def test_every_request_has_the_shape_of_the_schemas(endpoint):
    for document in docs.REQUESTS[endpoint]:
        said = request_content(endpoint, document)
        assert said.messages
        assert are_sound(said.messages)
        assert all(map(is_sound, said.system))
        assert all(type(tool["type"]) is str and type(tool["name"]) is str for tool in said.tools)
        assert {"role", "content"} <= chat_request(said)["messages"][0].keys()


@pytest.mark.parametrize("endpoint", sorted(ANSWERED))
def test_every_answer_has_the_shape_of_the_schemas(endpoint):
    for document in docs.ANSWERS[endpoint]:
        messages = answer_content(endpoint, document)
        assert messages
        assert are_sound(messages)
        assert all(message["finish_reason"] for message in messages)
        assert chat_answer(messages)["choices"][0]["message"]["role"] == "assistant"


def test_tool_calls_and_their_results_are_told_of_both_apis_alike():
    call = {"name": "find", "arguments": '{"town":"Bonn"}'}
    chat = {
        "messages": [
            {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": call}]},
            {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        ]
    }
    items = [
        {"type": "function_call", "call_id": "c1", **call},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
    ]
    wanted = [
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "c1", "name": "find", "arguments": {"town": "Bonn"}}],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "rain"}]},
    ]
    assert request_content("chat", chat).messages == wanted
    said = request_content("responses", {"input": items, "instructions": "be kind"})
    assert said.messages == wanted
    assert said.system == [{"type": "text", "content": "be kind"}]
    assert chat_request(said)["messages"] == [
        {"role": "system", "content": "be kind"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"town":"Bonn"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]


def test_tools_are_told_without_the_level_that_chat_puts_around_them():
    function = {"name": "find", "description": "finds", "parameters": {"type": "object"}}
    wanted = [{"type": "function", **function}]
    assert request_content("chat", {"tools": [{"type": "function", "function": function}]}).tools == wanted
    assert request_content("responses", {"tools": [{"type": "function", **function}]}).tools == wanted
    assert request_content("chat", {"functions": [function]}).tools == wanted
    assert request_content("responses", {"tools": [{"type": "web_search"}]}).tools == [
        {"type": "web_search", "name": "web_search"}
    ]


@pytest.mark.parametrize("document", [{}, {"messages": 3, "input": {}, "tools": "x", "prompt": None, "choices": [1]}])
def test_documents_of_no_shape_say_nothing(document):
    for endpoint in TOLD:
        said = request_content(endpoint, document)
        assert not [part for message in said.messages for part in message["parts"]]
    for endpoint in ANSWERED:
        assert not [part for message in answer_content(endpoint, document) for part in message["parts"]]


# -- streams


def fed(shape, events, most=10_000):
    assembly = Assembly(shape, most)
    for event in events:
        assembly.feed(b"data: " + (event if isinstance(event, bytes) else json.dumps(event).encode()) + b"\n\n")
    return assembly


def test_a_stream_of_chat_comes_to_the_whole_answer():
    events = [
        docs.chunk({"role": "assistant", "content": "Hel"}),
        docs.chunk({"content": "other"}, 1),
        docs.chunk({"content": "lo"}),
        docs.chunk({"reasoning_content": "hm"}),
        docs.chunk(
            {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]}
        ),
        docs.chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]}),
        docs.chunk({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
        b"[DONE]",
        b"no json",
    ]
    assert answer_content("chat", fed("chat", events).document()) == [
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "hm"},
                {"type": "text", "content": "Hello"},
                {"type": "tool_call", "id": "c1", "name": "f", "arguments": {"a": 1}},
            ],
            "finish_reason": "tool_calls",
        },
        {"role": "assistant", "parts": [{"type": "text", "content": "other"}], "finish_reason": "error"},
    ]


def test_a_stream_of_completions_comes_to_the_whole_answer():
    events = [{"choices": [{"index": 0, "text": text, "finish_reason": None}]} for text in ("a", "b")]
    (message,) = answer_content("completions", fed("completions", events).document())
    assert message["parts"] == [{"type": "text", "content": "ab"}]


ITEM = {"type": "message", "id": "m", "role": "assistant"}
TEXT = "response.output_text.delta"


def test_a_stream_of_responses_is_what_its_end_says():
    output = [{**ITEM, "content": [{"type": "output_text", "text": "Hello"}]}]
    events = [
        docs.event("response.output_item.added", item=ITEM),
        docs.event(TEXT, delta="Hel"),
        docs.event("response.completed", response={"status": "completed", "output": output}),
    ]
    assert answer_content("responses", fed("responses", events).document()) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Hello"}], "finish_reason": "stop"}
    ]


def test_a_stream_of_responses_without_its_end_is_what_came():
    done = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    events = [
        docs.event("response.output_item.added", item=ITEM),
        docs.event(TEXT, delta="Hel"),
        docs.event(TEXT, delta="lo"),
        {**docs.event("response.output_item.done", item=done), "output_index": 1},
        {**docs.event("response.custom_tool_call_input.delta", delta="pri"), "output_index": 2},
    ]
    (message,) = answer_content("responses", fed("responses", events).document())
    assert message["parts"][0] == {"type": "text", "content": "Hello"}
    assert message["parts"][1]["name"] == "f"
    assert message["finish_reason"] == "error"


def test_of_a_long_stream_no_more_is_kept_than_is_enough():
    assembly = fed("chat", [docs.chunk({"content": "x" * 100})] * 1000, most=1000)
    assert assembly.is_full
    assert len(assembly.document()["choices"][0]["message"]["content"]) == 1100
    assert not fed("chat", [docs.chunk({"content": "x" * 1000})], most=1000).is_full


def test_no_event_of_any_kind_breaks_an_assembly():
    for shape, events in docs.EVENTS.items():
        assert fed(shape, events).document().keys() & {"choices", "output"}
    assert fed("responses", [docs.event(TEXT, delta="x") | {"output_index": 10**9}]).document()["output"] == []


# -- what has to fit


@pytest.mark.parametrize("most", [2, 50, 100, 1000, 5000, 10**6])
def test_what_is_cut_is_json_and_fits(most):
    value = [{"role": "user", "parts": [{"type": "text", "content": "Grüße \N{GRINNING FACE}" * 100}]}] * 10
    text, is_cut = fitted(value, most)
    assert len(text.encode()) <= most
    assert is_cut is (most < len(orjson.dumps(value)))
    assert type(json.loads(text)) is list
    assert "\ufffd" not in text


def test_of_a_conversation_the_last_messages_stay():
    text, is_cut = fitted([{"content": f"message {number} of many"} for number in range(1000)], 1000)
    assert is_cut
    assert json.loads(text)[-1] == {"content": "message 999 of many"}


def test_of_an_object_the_lists_get_shorter():
    value = {"messages": [{"content": str(number)} for number in range(1000)], "tools": [{"name": "f"}]}
    text, _ = fitted(value, 500)
    assert json.loads(text)["messages"][-1] == {"content": "999"}
    assert fitted({"a": 1, "b" * 100: 2}, 50) == ("{}", True)


def test_half_a_surrogate_pair_and_large_numbers_are_written():
    assert fitted(["\ud83d", 2**70], 100) == ('["\\ud83d",1180591620717411303424]', False)
