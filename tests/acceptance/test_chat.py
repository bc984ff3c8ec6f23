"""Calls of the first endpoint, end to end."""

import json

import pytest

from tests.support.provider import ANSWER, DONE, LAST_CHUNK, STREAM_HEAD, chunk, delta, plain, usage_chunk
from tests.support.raw import chat
from tests.support.running import KEY, PROVIDER_KEY


async def test_a_call_is_answered_with_the_providers_bytes(gateway, provider):
    answer = await gateway.ask(body=chat(), key=KEY)
    assert (answer.status, answer.body) == (200, ANSWER)
    assert answer.header("x-gateway-policy") == gateway.gateway.policy.version
    assert answer.header("cache-control") == "no-store"


async def test_the_provider_gets_the_callers_bytes_and_its_own_key(gateway, provider):
    """JSON-02, SSRF-09"""
    body = (
        b'{ "model":"m","big":12345678901234567890123,"neg":-9999.0,"messages":[{"role":"user","content":"\\u00e9"}] }'
    )
    await gateway.ask(body=body, key=KEY, headers=(("Cookie", "a=b"), ("User-Agent", "app"), ("X-Tenant", "t")))
    (call,) = provider.calls
    assert call.body == body
    assert call.header("authorization") == f"Bearer {PROVIDER_KEY}".encode()
    assert call.header("user-agent") == b"app"
    assert call.header("cookie") is None
    assert call.header("x-tenant") is None
    assert KEY.encode() not in b"".join(value for _, value in call.headers)


async def test_an_alias_changes_the_models_name_and_nothing_else(gateway, provider):
    body = b'{"messages":[{"role":"user","content":"\\"model\\": x"}], "model" : "alias"}'
    await gateway.ask(body=body, key=KEY)
    assert provider.calls[0].body == body.replace(b'"alias"', b'"real-name"')


async def test_a_stream_leaves_byte_for_byte(gateway, provider):
    """SSE-01, I3"""
    frames = [b": ping\n\n", delta("a"), delta("ü\u2028"), b"event: x\r\ndata: {}\r\n\r\n", delta("", "stop"), DONE]
    provider.says(STREAM_HEAD, *(chunk(frame) for frame in frames), LAST_CHUNK)
    answer = await gateway.ask(body=chat(stream=True), key=KEY)
    assert answer.body == b"".join(frames)
    assert answer.header("content-type") == "text/event-stream"


async def test_a_stream_cut_at_every_byte_is_the_same_stream(gateway, provider):
    """SSE-01, I4"""
    whole = b": c\r\n\r\n" + delta("ü") + b"data: {}\r\rdata:\r\n\r\n" + delta("x", "stop") + DONE
    provider.says(STREAM_HEAD, *(chunk(whole[place : place + 1]) for place in range(len(whole))), LAST_CHUNK)
    answer = await gateway.ask(body=chat(stream=True), key=KEY)
    assert answer.body == whole


async def test_usage_is_asked_for_and_hidden_from_a_caller_that_did_not_ask(gateway, provider):
    provider.says(STREAM_HEAD, chunk(delta("a", "stop") + usage_chunk() + DONE), LAST_CHUNK)
    answer = await gateway.ask(body=chat(stream=True), key=KEY)
    assert provider.calls[0].json()["stream_options"] == {"include_usage": True}
    assert answer.body == delta("a", "stop") + DONE
    assert gateway.lines[0]["output_tokens"] == 4


async def test_usage_reaches_a_caller_that_asked(gateway, provider):
    provider.says(STREAM_HEAD, chunk(delta("a", "stop") + usage_chunk() + DONE), LAST_CHUNK)
    body = chat(stream=True, stream_options={"include_usage": True})
    answer = await gateway.ask(body=body, key=KEY)
    assert provider.calls[0].body == body
    assert usage_chunk() in answer.body


async def test_an_error_of_the_provider_keeps_its_status_and_shape(gateway, provider):
    for status, body in ((400, b'{"detail":"odd"}'), (429, b'"slow down"'), (503, b"<html>"), (404, b"")):
        provider.says(plain(body, status))
        answer = await gateway.ask(body=chat(stream=True), key=KEY)
        assert (answer.status, answer.body) == (status, body)


@pytest.mark.parametrize("n", [1, 2])
async def test_a_body_of_20_megabytes_passes(gateway, provider, n):
    body = chat("x" * 20_000_000)
    answer = await gateway.ask(body=body, key=KEY)
    assert answer.status == 200
    assert len(provider.calls[0].body) == len(body)


async def test_embeddings_of_2048_inputs_pass(gateway, provider):
    provider.says(plain(b'{"object":"list","data":[],"model":"m","usage":{"prompt_tokens":1,"total_tokens":1}}'))
    body = json.dumps({"model": "m", "input": ["text"] * 2048}).encode()
    answer = await gateway.ask(target="/v1/embeddings", body=body, key=KEY)
    assert answer.status == 200
