from __future__ import annotations

import base64
import json
import math
import random
import struct
from typing import Any

import pytest

from gateway.core.errors import Refusal
from gateway.core.ports import UpstreamReply, UpstreamRequest
from gateway.providers.demo.provider import DIMENSIONS, Demo
from gateway.providers.demo.responses import MAX_STORED
from gateway.wire.dialects import DIALECTS
from gateway.wire.sse import Frames, data_of, event_of
from tests.engine.fakes import in_pieces
from tests.wire.test_dialects import DOCUMENTS, mutated

NOW = 1_700_000_000
HELLO = {"model": "demo", "messages": [{"role": "user", "content": "Hello there, größe 🎉"}]}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}},
            "required": ["city"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "read_clock"}}


class StoppedClock:
    """Implements Clock."""

    def monotonic(self) -> float:
        return 0.0

    def wall(self) -> float:
        return NOW + 0.5


def demo() -> Demo:
    return Demo(StoppedClock(), delay_s=0.0)


async def body_of(reply: UpstreamReply) -> bytes:
    return b"".join([piece async for piece in pieces_of(reply)])


async def pieces_of(reply: UpstreamReply) -> Any:
    while piece := await reply.read():
        yield piece


async def asked(path: str, request: Any = None, method: str = "POST", provider: Demo | None = None) -> UpstreamReply:
    body = b"" if request is None else json.dumps(request).encode()
    return await (provider or demo()).send(UpstreamRequest(method, path, [], body, len(body)))


async def answered(path: str, request: Any = None, method: str = "POST", provider: Demo | None = None) -> Any:
    reply = await asked(path, request, method, provider)
    body = await body_of(reply)
    headers = dict(reply.headers)
    assert reply.status == 200
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"content-length"] == b"%d" % len(body)
    return json.loads(body)


async def streamed(path: str, request: Any, method: str = "POST", provider: Demo | None = None) -> list[bytes]:
    """The frames of a stream, its end mark included."""
    reply = await asked(path, request and {**request, "stream": True}, method, provider)
    assert dict(reply.headers)[b"content-type"].startswith(b"text/event-stream")
    frames = Frames()
    found = [frame async for piece in pieces_of(reply) for frame in frames.feed(piece)]
    assert frames.rest() == b""
    return found


async def chunks(path: str, request: Any) -> list[dict[str, Any]]:
    *frames, last = await streamed(path, request)
    assert data_of(last) == b"[DONE]"
    return [json.loads(data_of(frame) or b"") for frame in frames]


def without_ids(document: dict[str, Any]) -> str:
    return json.dumps(document).replace(document["id"], "ID").replace(document["id"][-12:], "ID")


# -- chat


async def test_the_same_question_has_the_same_answer() -> None:
    first, second = await answered("/chat/completions", HELLO), await answered("/chat/completions", HELLO)
    assert without_ids(first) == without_ids(second)
    assert first["id"] != second["id"]


async def test_an_answer_has_openais_shape_and_shows_what_was_asked() -> None:
    answer = await answered("/chat/completions", HELLO)
    assert (answer["object"], answer["model"], answer["created"]) == ("chat.completion", "demo", NOW)
    [choice] = answer["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["role"] == "assistant"
    assert "Hello there, größe 🎉" in choice["message"]["content"]


async def test_a_body_that_arrives_in_pieces_is_read_whole() -> None:
    raw = json.dumps(HELLO).encode()
    reply = await demo().send(UpstreamRequest("POST", "/chat/completions", [], in_pieces(raw[:9], raw[9:]), len(raw)))
    assert "Hello" in json.loads(await body_of(reply))["choices"][0]["message"]["content"]


@pytest.mark.parametrize("extra", [{}, {"n": 3}, {"max_tokens": 3}, {"stop": "repeats"}, {"stop": ["zzz", "You"]}])
async def test_a_stream_says_what_the_whole_answer_says(extra: dict[str, Any]) -> None:
    whole = await answered("/chat/completions", {**HELLO, **extra})
    said = {choice["index"]: choice["message"]["content"] for choice in whole["choices"]}
    reasons = {choice["index"]: choice["finish_reason"] for choice in whole["choices"]}
    heard: dict[int, str] = dict.fromkeys(said, "")
    ended: dict[int, str] = {}
    for chunk in await chunks("/chat/completions", {**HELLO, **extra}):
        assert chunk["object"] == "chat.completion.chunk"
        for choice in chunk["choices"]:
            assert choice["index"] not in ended
            heard[choice["index"]] += choice["delta"].get("content") or ""
            if choice["finish_reason"]:
                ended[choice["index"]] = choice["finish_reason"]
    assert (heard, ended) == (said, reasons)


async def test_a_stream_reports_the_usage_of_the_whole_answer_when_asked() -> None:
    whole = await answered("/chat/completions", HELLO)
    *said, last = await chunks("/chat/completions", {**HELLO, "stream_options": {"include_usage": True}})
    assert last["choices"] == []
    assert last["usage"] == whole["usage"]
    assert all(chunk["usage"] is None for chunk in said)


async def test_a_stream_reports_no_usage_unasked() -> None:
    assert all("usage" not in chunk and chunk["choices"] for chunk in await chunks("/chat/completions", HELLO))


async def test_a_stream_is_one_frame_a_read() -> None:
    reply = await asked("/chat/completions", {**HELLO, "stream": True})
    async for piece in pieces_of(reply):
        assert piece.count(b"\n\n") == 1
        assert piece.endswith(b"\n\n")


@pytest.mark.parametrize("extra", [{}, {"n": 4}, {"max_tokens": 2}, {"tools": [WEATHER], "tool_choice": "required"}])
async def test_the_counts_of_usage_add_up(extra: dict[str, Any]) -> None:
    usage = (await answered("/chat/completions", {**HELLO, **extra}))["usage"]
    assert usage["prompt_tokens"] > 0
    assert usage["completion_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert DIALECTS["chat"].usage_of({"usage": usage}).total_tokens == usage["total_tokens"]


async def test_more_choices_cost_more_tokens() -> None:
    one, three = await answered("/chat/completions", HELLO), await answered("/chat/completions", {**HELLO, "n": 3})
    assert three["usage"]["completion_tokens"] == 3 * one["usage"]["completion_tokens"]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_an_answer_that_is_too_long_is_cut(name: str) -> None:
    answer = await answered("/chat/completions", {**HELLO, name: 2})
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 2


async def test_pictures_are_seen() -> None:
    parts = [{"type": "text", "text": "look"}, *[{"type": "image_url", "image_url": {"url": "data:,"}}] * 2]
    answer = await answered("/chat/completions", {"model": "demo", "messages": [{"role": "user", "content": parts}]})
    assert "You said: look I see 2 images." in answer["choices"][0]["message"]["content"]


async def test_logprobs_come_when_asked_for() -> None:
    [choice] = (await answered("/chat/completions", {**HELLO, "logprobs": True}))["choices"]
    assert "".join(entry["token"] for entry in choice["logprobs"]["content"]) == choice["message"]["content"]
    assert (await answered("/chat/completions", HELLO))["choices"][0]["logprobs"] is None


async def test_a_json_object_is_one() -> None:
    answer = await answered("/chat/completions", {**HELLO, "response_format": {"type": "json_object"}})
    assert "Hello" in json.loads(answer["choices"][0]["message"]["content"])["answer"]


async def test_a_json_schema_is_filled() -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "kind": {"enum": ["a", "b"]},
            "count": {"type": "integer", "minimum": 7},
            "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 2},
            "tree": {"$ref": "#/$defs/leaf"},
            "none": {"type": ["null", "string"]},
            "either": {"anyOf": [{"const": 5}, {"type": "string"}]},
        },
        "$defs": {"leaf": {"type": "object", "properties": {"v": {"type": "number"}}}},
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = await answered("/chat/completions", {**HELLO, "response_format": wanted})
    assert json.loads(answer["choices"][0]["message"]["content"]) == {
        "name": "example",
        "kind": "a",
        "count": 7,
        "tags": [True, True],
        "tree": {"v": 1.0},
        "none": None,
        "either": 5,
    }


async def test_a_schema_that_contains_itself_is_filled_to_a_depth() -> None:
    schema = {"type": "object", "properties": {"child": {"$ref": "#"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = await answered("/chat/completions", {**HELLO, "response_format": wanted})
    assert "child" in json.loads(answer["choices"][0]["message"]["content"])


# -- tools


async def called(request: dict[str, Any]) -> list[tuple[str, Any]]:
    [choice] = (await answered("/chat/completions", request))["choices"]
    calls = choice["message"].get("tool_calls", [])
    assert choice["finish_reason"] == ("tool_calls" if calls else "stop")
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]


@pytest.mark.parametrize(
    ("said", "choice", "name"),
    [
        ("What is the weather in Paris?", "auto", "get_weather"),
        ("What is the weather in Paris?", None, "get_weather"),
        ("please read_clock", "auto", "read_clock"),
        ("Hello", "auto", None),
        ("What is the weather in Paris?", "none", None),
        ("Hello", "required", "get_weather"),
        ("Hello", {"type": "function", "function": {"name": "read_clock"}}, "read_clock"),
    ],
)
async def test_a_tool_is_called_when_it_is_asked_for(said: str, choice: Any, name: str | None) -> None:
    request = {"model": "demo", "messages": [{"role": "user", "content": said}], "tools": [WEATHER, CLOCK]}
    calls = await called({**request, "tool_choice": choice} if choice else request)
    assert [found for found, _ in calls] == ([name] if name else [])


async def test_the_arguments_fill_the_tools_schema() -> None:
    request = {**HELLO, "tools": [WEATHER, CLOCK], "tool_choice": "required"}
    assert await called(request) == [("get_weather", {"city": "example", "days": 3})]


async def test_the_answer_of_a_tool_is_told() -> None:
    messages = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "tool_call_id": "call_1", "content": "22 degrees"},
    ]
    answer = await answered("/chat/completions", {"model": "demo", "messages": messages, "tools": [WEATHER]})
    assert answer["choices"][0]["message"]["content"] == "The tool answered: 22 degrees"


async def test_a_streamed_tool_call_is_the_whole_one() -> None:
    request = {**HELLO, "tools": [WEATHER], "tool_choice": "required"}
    deltas = [chunk["choices"][0]["delta"] for chunk in await chunks("/chat/completions", request)]
    parts = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert [part["index"] for part in parts] == [0] * len(parts)
    assert parts[0]["id"].startswith("call_")
    name = parts[0]["function"]["name"]
    arguments = "".join(part["function"]["arguments"] for part in parts)
    assert [(name, json.loads(arguments))] == await called(request)


# -- the other endpoints


async def test_a_legacy_completion_streams_what_it_answers() -> None:
    request = {"model": "demo", "prompt": "Once upon a time", "stream_options": {"include_usage": True}}
    whole = await answered("/completions", request)
    *said, last = await chunks("/completions", request)
    assert whole["object"] == "text_completion"
    assert "".join(chunk["choices"][0]["text"] for chunk in said) == whole["choices"][0]["text"]
    assert said[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"] == "stop"
    assert last["usage"] == whole["usage"]
    usage = whole["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize(("given", "count"), [("a b", 1), (["a", "b", "c"], 3), ([1, 2, 3], 1), ([[1], [2, 3]], 2)])
async def test_embeddings_are_unit_vectors_one_an_input(given: Any, count: int) -> None:
    answer = await answered("/embeddings", {"model": "e", "input": given})
    assert [row["index"] for row in answer["data"]] == list(range(count))
    for row in answer["data"]:
        assert len(row["embedding"]) == DIMENSIONS
        assert math.isclose(sum(value * value for value in row["embedding"]), 1.0)
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] > 0


async def test_embeddings_are_the_same_in_base64() -> None:
    request = {"model": "e", "input": "near", "dimensions": 8}
    plain = (await answered("/embeddings", request))["data"][0]["embedding"]
    packed = (await answered("/embeddings", {**request, "encoding_format": "base64"}))["data"][0]["embedding"]
    assert struct.unpack("<8f", base64.b64decode(packed)) == pytest.approx(plain)


async def test_texts_that_share_words_are_near_each_other() -> None:
    request = {"model": "e", "input": ["the red cat sleeps", "the red cat runs", "quarterly tax report"]}
    one, two, other = [row["embedding"] for row in (await answered("/embeddings", request))["data"]]
    assert dot(one, two) > dot(one, other)


def dot(one: list[float], two: list[float]) -> float:
    return sum(left * right for left, right in zip(one, two, strict=True))


@pytest.mark.parametrize(("given", "count"), [("x", 1), (["x", "y"], 2)])
async def test_moderations_flag_nothing(given: Any, count: int) -> None:
    answer = await answered("/moderations", {"model": "m", "input": given})
    assert [row["flagged"] for row in answer["results"]] == [False] * count


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/chat/completions"), ("POST", "/images"), ("GET", "/responses/x")]
)
async def test_what_is_not_there_is_404(method: str, path: str) -> None:
    reply = await asked(path, {}, method)
    assert reply.status == 404
    assert json.loads(await body_of(reply))["error"]["type"] == "invalid_request_error"


async def test_a_closed_reply_says_no_more() -> None:
    reply = await asked("/chat/completions", {**HELLO, "stream": True})
    assert await reply.read()
    reply.close()
    reply.close()
    assert await reply.read() == b""


# -- responses

RESPONSE = {"model": "demo", "input": "Hello there", "instructions": "Be brief.", "metadata": {"a": "b"}}


def text_in(response: dict[str, Any]) -> str:
    return response["output"][0]["content"][0]["text"]


async def test_a_response_has_openais_shape() -> None:
    answer = await answered("/responses", RESPONSE)
    assert (answer["object"], answer["status"], answer["created_at"]) == ("response", "completed", NOW)
    assert answer["metadata"] == {"a": "b"}
    assert "Hello there" in text_in(answer)
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["input_tokens"] > 0
    assert usage["output_tokens"] > 0


async def test_a_response_is_stored_fetched_and_deleted() -> None:
    provider = demo()
    made = await answered("/responses", RESPONSE, provider=provider)
    at = f"/responses/{made['id']}"
    assert await answered(at, method="GET", provider=provider) == made
    deleted = await answered(at, method="DELETE", provider=provider)
    assert deleted == {"id": made["id"], "object": "response", "deleted": True}
    assert (await asked(at, method="GET", provider=provider)).status == 404
    assert (await asked(at, method="DELETE", provider=provider)).status == 404


async def test_a_response_that_shall_not_be_stored_is_not() -> None:
    provider = demo()
    made = await answered("/responses", {**RESPONSE, "store": False}, provider=provider)
    assert (await asked(f"/responses/{made['id']}", method="GET", provider=provider)).status == 404


async def test_the_input_items_of_a_stored_response_are_listed() -> None:
    provider = demo()
    made = await answered("/responses", RESPONSE, provider=provider)
    listed = await answered(f"/responses/{made['id']}/input_items", method="GET", provider=provider)
    [item] = listed["data"]
    assert item["content"] == [{"type": "input_text", "text": "Hello there"}]
    assert listed["first_id"] == listed["last_id"] == item["id"]


async def test_the_oldest_stored_response_is_forgotten_first() -> None:
    provider = demo()
    made = [await answered("/responses", RESPONSE, provider=provider) for _ in range(MAX_STORED + 1)]
    statuses = [
        (await asked(f"/responses/{made[at]['id']}", method="GET", provider=provider)).status for at in (0, 1, -1)
    ]
    assert statuses == [404, 200, 200]


async def events(path: str, request: Any, method: str = "POST", provider: Demo | None = None) -> list[dict[str, Any]]:
    found = []
    for frame in await streamed(path, request, method, provider):
        if data_of(frame) == b"[DONE]":
            continue
        event = json.loads(data_of(frame) or b"")
        assert event_of(frame) == event["type"].encode()
        found.append(event)
    return found


async def test_a_streamed_response_leads_to_the_stored_one() -> None:
    provider = demo()
    steps = await events("/responses", RESPONSE, provider=provider)
    assert [step["sequence_number"] for step in steps] == list(range(len(steps)))
    assert (steps[0]["type"], steps[-1]["type"]) == ("response.created", "response.completed")
    response = steps[-1]["response"]
    deltas = [step["delta"] for step in steps if step["type"] == "response.output_text.delta"]
    assert "".join(deltas) == text_in(response)
    assert await answered(f"/responses/{response['id']}", method="GET", provider=provider) == response


async def test_a_stored_stream_can_be_taken_up_again() -> None:
    provider = demo()
    steps = await events("/responses", RESPONSE, provider=provider)
    at = f"/responses/{steps[-1]['response']['id']}?stream=true"
    assert await events(at, None, "GET", provider) == steps
    assert await events(f"{at}&starting_after=3", None, "GET", provider) == steps[4:]


@pytest.mark.parametrize("after", ["x", "-1", "", "%C2%B2", "1.5", "9" * 5000])
async def test_an_odd_place_to_take_up_a_stream_breaks_nothing(after: str) -> None:
    provider = demo()
    made = await answered("/responses", RESPONSE, provider=provider)
    reply = await asked(f"/responses/{made['id']}?stream=true&starting_after={after}", None, "GET", provider)
    assert reply.status in {200, 400}


async def test_a_response_that_is_cut_is_incomplete() -> None:
    *_, last = await events("/responses", {**RESPONSE, "max_output_tokens": 2})
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


async def test_a_response_calls_a_tool() -> None:
    tool = {"type": "function", **WEATHER["function"]}
    steps = await events("/responses", {**RESPONSE, "tools": [tool], "tool_choice": "required"})
    [item] = steps[-1]["response"]["output"]
    assert (item["type"], item["name"]) == ("function_call", "get_weather")
    deltas = [step["delta"] for step in steps if step["type"] == "response.function_call_arguments.delta"]
    assert "".join(deltas) == item["arguments"]
    assert json.loads(item["arguments"]) == {"city": "example", "days": 3}


async def test_the_output_of_a_tool_is_told() -> None:
    given = [{"type": "function_call_output", "call_id": "call_1", "output": "22 degrees"}]
    assert text_in(await answered("/responses", {"model": "demo", "input": given})) == "The tool answered: 22 degrees"


async def test_a_response_fills_a_json_schema() -> None:
    wanted = {"type": "json_schema", "name": "x", "schema": {"type": "object", "properties": {"a": {"type": "null"}}}}
    answer = await answered("/responses", {**RESPONSE, "text": {"format": wanted}})
    assert json.loads(text_in(answer)) == {"a": None}


# -- what the gateway lets through

PATHS = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "responses": "/responses",
    "embeddings": "/embeddings",
    "moderations": "/moderations",
}
ODD: list[tuple[str, dict[str, Any]]] = [
    ("chat", {**HELLO, "tools": [{"type": "function", "function": {}}], "tool_choice": "required"}),
    ("chat", {**HELLO, "tools": [{"function": {"name": 1}}], "tool_choice": "required"}),
    ("chat", {**HELLO, "tools": [{"function": {"name": "f", "parameters": "x"}}], "tool_choice": "required"}),
    ("chat", {**HELLO, "tools": [CLOCK], "tool_choice": {"function": "read_clock"}}),
    ("chat", {**HELLO, "response_format": {"type": "json_schema", "json_schema": "x"}}),
    ("chat", {**HELLO, "response_format": {"type": "json_schema", "json_schema": {"schema": {"properties": 1}}}}),
    (
        "chat",
        {**HELLO, "response_format": {"type": "json_schema", "json_schema": {"schema": {"anyOf": [{"anyOf": 1}]}}}},
    ),
    ("chat", {**HELLO, "response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": 1}}}}),
    ("completions", {"model": "m", "prompt": "x", "max_tokens": None, "stop": None}),
    ("responses", {"model": "m", "input": "x", "text": {"format": "x"}}),
    ("embeddings", {"model": "m", "input": []}),
    ("embeddings", {"model": "m", "input": [None, {}, 1]}),
    ("embeddings", {"model": "m", "input": ""}),
    ("moderations", {"model": "m", "input": []}),
]


async def tried(name: str, document: dict[str, Any]) -> None:
    reply = await asked(PATHS[name], document)
    await body_of(reply)
    assert reply.status in {200, 400}


@pytest.mark.parametrize(("name", "document"), ODD)
async def test_what_validation_passes_is_answered(name: str, document: dict[str, Any]) -> None:
    """JSON-08: an odd value behind a checked field is an answer or a 400, never a failure of the gateway."""
    DIALECTS[name].validate(document)
    await tried(name, document)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}, "required": ["a", "b"]},
        {"type": "array", "minItems": 2, "items": {"$ref": "#"}},
    ],
)
async def test_a_small_schema_that_branches_into_itself_is_not_a_large_answer(schema: dict[str, Any]) -> None:
    """Two branches double at each level; ten would keep the process busy for ever."""
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert len(await body_of(await asked("/chat/completions", {**HELLO, "response_format": wanted}))) < 50_000


async def test_vectors_of_very_many_dimensions_are_refused() -> None:
    """Validation passes up to 2**31 - 1, which would take 16 GiB."""
    reply = await asked("/embeddings", {"model": "e", "input": "x", "dimensions": 1_000_000})
    assert reply.status == 400


async def test_mutated_documents_that_validation_passes_are_answered() -> None:
    """JSON-08"""
    chance = random.Random(80)
    broken: dict[str, str] = {}
    for turn in range(3_000):
        name, good = DOCUMENTS[turn % len(DOCUMENTS)]
        document = mutated(good, chance)
        try:
            DIALECTS[name].validate(document)
        except Refusal:
            continue
        document.pop("dimensions", None)
        try:
            await tried(name, document)
        except Exception as bug:  # each kind is shown once
            broken.setdefault(f"{name}: {bug!r}"[:120], json.dumps(document)[:600])
    assert broken == {}
