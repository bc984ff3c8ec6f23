"""GRD-01: a forbidden marker at every text position of every endpoint, asked and answered, whole and streamed, through the
running gateway. What is structure and not text is named in tests/wire/test_spans.py, and cannot hold a blank."""

import copy
import json

import pytest

from tests.support.provider import DONE, LAST_CHUNK, STREAM_HEAD, Provider, chunk, plain
from tests.support.running import KEY, policy_for, running
from tests.wire import documents as docs

MARKER = "the forbidden falcon 42"
RULES = (
    "guards:\n  names: {type: patterns, patterns: {NAME: 'falcon [0-9]+'}, action: block, on_error: block, definitions: true}\n"
    "guard_sets:\n  default: {input: [names], output: [names], unreadable: allow}\n"
)
PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
    "moderations": "/v1/moderations",
}
ROUTED = {("model",), ("stream",)}


def strings(value, path=()):
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield from strings(entry, (*path, name))
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from strings(entry, (*path, index))


def planted(document, path, text=MARKER):
    changed = copy.deepcopy(document)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = text
    return changed


async def cells(gateway, requests):
    """What each request led to, on one connection as long as that lasts."""
    raw = await gateway.connect()
    for endpoint, path, document in requests:
        answer = await raw.ask("POST", PATHS[endpoint], json.dumps(document).encode(), KEY)
        if answer.header("connection") == "close":
            raw.close()
            raw = await gateway.connect()
        yield endpoint, path, answer
    raw.close()


REQUESTS = {
    "chat": docs.CHAT_REQUEST,
    "responses": docs.RESPONSES_REQUEST,
    "completions": docs.COMPLETIONS_REQUEST,
    "embeddings": docs.EMBEDDINGS_REQUEST,
    "moderations": docs.MODERATIONS_REQUEST,
}


ANSWERS = {"chat": docs.CHAT_ANSWER, "responses": docs.RESPONSES_ANSWER, "completions": docs.COMPLETIONS_ANSWER}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_marker_in_any_string_of_a_request_reaches_no_provider(tmp_path, stream):
    """GRD-01, GRD-06, GRD-07, I10"""
    async with Provider() as provider, running(policy_for(provider.base_url, rest=RULES), tmp_path) as gateway:
        asked = []
        for endpoint, example in REQUESTS.items():
            document = example | ({"stream": True} if stream and endpoint in ANSWERS else {})
            asked += [(endpoint, path, planted(document, path)) for path in strings(document) if path not in ROUTED]
        count = 0
        async for endpoint, path, answer in cells(gateway, asked):
            count += 1
            assert 400 <= answer.status < 500, (endpoint, path, answer.status)
            assert b"falcon" not in answer.body
        assert count > 150
        assert provider.calls == []


async def test_a_marker_in_any_string_of_an_answer_reaches_no_caller(tmp_path):
    """GRD-01, GRD-05"""
    async with Provider() as provider, running(policy_for(provider.base_url, rest=RULES), tmp_path) as gateway:
        count = 0
        for endpoint, document in ANSWERS.items():
            for path in strings(document):
                provider.says(plain(json.dumps(planted(document, path)).encode()))
                body = json.dumps(simple(endpoint)).encode()
                answer = await gateway.ask("POST", PATHS[endpoint], body, KEY)
                assert b"falcon" not in answer.body, (endpoint, path)
                assert answer.status == 400 or "logprobs" in path, (endpoint, path)
                count += 1
        assert count > 60


def simple(endpoint):
    asked = {
        "chat": {"messages": [{"role": "user", "content": "x"}]},
        "responses": {"input": "x"},
        "completions": {"prompt": "x"},
    }
    return {"model": "m", **asked[endpoint]}


EVENTS = {"chat": docs.CHAT_EVENTS, "responses": docs.RESPONSES_EVENTS}


async def test_a_marker_in_any_string_of_a_streams_events_reaches_no_caller(tmp_path):
    """GRD-01, GRD-03, GRD-05"""
    async with Provider() as provider, running(policy_for(provider.base_url, rest=RULES), tmp_path) as gateway:
        count = 0
        for endpoint, events in EVENTS.items():
            for event in events:
                for path in strings(event):
                    if path == ("type",):
                        continue
                    data = b"data: " + json.dumps(planted(event, path)).encode() + b"\n\n"
                    provider.says(STREAM_HEAD, chunk(data), chunk(DONE), LAST_CHUNK)
                    body = json.dumps(simple(endpoint) | {"stream": True}).encode()
                    answer = await gateway.ask("POST", PATHS[endpoint], body, KEY)
                    assert b"falcon" not in answer.body, (endpoint, event.get("type"), path)
                    count += 1
        assert count > 100
