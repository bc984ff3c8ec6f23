from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.core.errors import CONNECT_FAILED, UpstreamFault
from gateway.core.model import Call, Plan, Target
from gateway.engine.forward import usage_was_added
from gateway.policy.compile import Passthrough, TargetRule
from tests.engine.fakes import FakeReply, FakeUpstream, call_for, forwarded, in_pieces, record, runtime_for

RULES = {"m": (TargetRule("a", None),), "other": (TargetRule("b", None),)}
SAME = Target("a", "m")
BODY = b'{ "model" : "m", "messages":[{"role":"user","content":"\\u00e9 \xc3\xa9"}], "n": 1.0 }'


def json_call(body: bytes, endpoint: str = "chat", **changed: Any) -> Call:
    document = json.loads(body)
    named = {"model": document.get("model", ""), "stream": document.get("stream") is True}
    return call_for(endpoint, body=body, document=document, content_length=len(body), **{**named, **changed})


async def sent_body(call: Call, target: Target = SAME, stream_usage: bool = True) -> bytes:
    upstream = FakeUpstream()
    runtime = runtime_for(RULES, {"a": upstream}, stream_usage=stream_usage)
    await forwarded(call, Plan("v-1", (target,)), runtime, record())
    [request] = upstream.sent
    assert request.content_length == len(request.body)
    return request.body


async def test_an_untouched_body_travels_byte_for_byte() -> None:
    assert await sent_body(json_call(BODY)) == BODY


async def test_only_the_models_name_changes_for_an_alias() -> None:
    wanted = BODY.replace(b'"m",', b'"real-name",')
    assert await sent_body(json_call(BODY), Target("a", "real-name")) == wanted


async def test_the_name_of_a_model_is_written_as_json() -> None:
    assert json.loads(await sent_body(json_call(BODY), Target("a", 'q"\\é')))["model"] == 'q"\\é'


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
async def test_a_stream_is_asked_for_its_usage(endpoint: str) -> None:
    body = b'{"model":"m", "stream":true}'
    assert await sent_body(json_call(body, endpoint)) == (
        b'{"stream_options":{"include_usage":true},"model":"m", "stream":true}'
    )


async def test_both_edits_can_be_made_at_once() -> None:
    body = b'{"model":"m","stream":true,"stream_options":{"x":1}}'
    assert await sent_body(json_call(body), Target("a", "r")) == (
        b'{"model":"r","stream":true,"stream_options":{"x":1,"include_usage":true}}'
    )


@pytest.mark.parametrize(
    ("body", "endpoint"),
    [
        (b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}', "chat"),
        (b'{"model":"m","stream":false}', "chat"),
        (b'{"model":"m","stream":true}', "responses"),
        (b'{"model":"m","stream":true}', "passthrough"),
    ],
)
async def test_usage_is_not_asked_for_where_it_comes_anyway(body: bytes, endpoint: str) -> None:
    assert await sent_body(json_call(body, endpoint)) == body


async def test_a_provider_that_does_not_know_the_request_for_usage_is_not_sent_it() -> None:
    body = b'{"model":"m","stream":true}'
    assert await sent_body(json_call(body), stream_usage=False) == body


async def test_a_large_body_is_edited_the_same() -> None:
    body = b'{"messages":[{"role":"user","content":"%b"}],"model":"m"}' % (b"word, " * 200_000)
    assert len(body) > 1 << 20
    assert await sent_body(json_call(body), Target("a", "r")) == body.removesuffix(b'"m"}') + b'"r"}'


async def test_the_path_keeps_its_query_and_loses_the_version() -> None:
    upstream = FakeUpstream()
    call = call_for("passthrough", method="GET", path="/v1/files/f%2F1?after=%C3%A9&limit=1")
    await forwarded(call, Plan("v-1", (Target("a", ""),)), runtime_for(RULES, {"a": upstream}), record())
    assert (upstream.sent[0].method, upstream.sent[0].path) == ("GET", "/files/f%2F1?after=%C3%A9&limit=1")


async def test_an_answer_that_is_read_is_asked_for_uncompressed() -> None:
    upstream = FakeUpstream()
    headers = [(b"accept-encoding", b"br"), (b"authorization", b"Bearer gw-key"), (b"user-agent", b"app")]
    call = json_call(BODY, headers=headers)
    await forwarded(call, Plan("v-1", (Target("a", "m"),)), runtime_for(RULES, {"a": upstream}), record())
    assert dict(upstream.sent[0].headers) == {
        b"user-agent": b"app",
        b"accept-encoding": b"identity",
        b"x-client-request-id": b"call-1.1",
    }


async def test_an_upload_streams_through_unread_with_its_coding() -> None:
    upstream = FakeUpstream()
    row = Passthrough("/v1/files", frozenset({"POST"}), "a")
    headers = [(b"content-encoding", b"gzip"), (b"accept-encoding", b"br")]
    call = call_for("passthrough", path="/v1/files", headers=headers, body=in_pieces(b"one", b"two"), content_length=6)
    runtime = runtime_for({}, {"a": upstream}, (row,))
    await forwarded(call, Plan("v-1", (Target("a", ""),)), runtime, record())
    [request] = upstream.sent
    assert request.content_length == 6
    assert [piece async for piece in request.body] == [b"one", b"two"]
    assert dict(request.headers) == {
        b"accept-encoding": b"br",
        b"content-encoding": b"gzip",
        b"x-client-request-id": b"call-1.1",
    }


async def test_the_record_names_where_the_call_went() -> None:
    told = record()
    runtime = runtime_for(RULES, {"a": FakeUpstream()})
    await forwarded(json_call(BODY), Plan("v-1", (Target("a", "real-name"),)), runtime, told)
    assert (told.provider, told.upstream_model) == ("a", "real-name")


async def test_a_fault_of_the_provider_is_not_retried_elsewhere() -> None:
    first, second = FakeUpstream(UpstreamFault(CONNECT_FAILED)), FakeUpstream()
    told = record()
    plan = Plan("v-1", (Target("a", "m"), Target("b", "m")))
    with pytest.raises(UpstreamFault):
        await forwarded(json_call(BODY), plan, runtime_for(RULES, {"a": first, "b": second}), told)
    assert second.sent == []
    assert told.provider == "a"


@pytest.mark.parametrize("status", [200, 400, 404, 429, 500])
async def test_only_the_first_target_is_asked(status: int) -> None:
    reply, second = FakeReply(status), FakeUpstream()
    plan = Plan("v-1", (Target("a", "m"), Target("b", "m")))
    runtime = runtime_for(RULES, {"a": FakeUpstream(reply), "b": second})
    assert await forwarded(json_call(BODY), plan, runtime, record()) is reply
    assert not reply.closed
    assert second.sent == []


@pytest.mark.parametrize(
    ("body", "endpoint", "stream_usage", "added"),
    [
        (b'{"model":"m","stream":true}', "chat", True, True),
        (b'{"model":"m","stream":true}', "chat", False, False),
        (b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}', "chat", True, False),
        (b'{"model":"m"}', "chat", True, False),
        (b'{"model":"m","stream":true}', "responses", True, False),
        (b'{"model":"m","stream":true}', "passthrough", True, False),
    ],
)
async def test_added_usage_is_known_to_be_the_gateways_own(
    body: bytes, endpoint: str, stream_usage: bool, added: bool
) -> None:
    told = record()
    runtime = runtime_for(RULES, {"a": FakeUpstream()}, stream_usage=stream_usage)
    call = json_call(body, endpoint)
    await forwarded(call, Plan("v-1", (Target("a", "m"),)), runtime, told)
    assert usage_was_added(call, told, runtime) is added
