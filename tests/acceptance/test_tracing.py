"""Spans as a collector gets them from the running gateway."""

import json

from gateway.core.accounts import Query
from tests.support.otlp import collecting
from tests.support.patience import patience
from tests.support.provider import DONE, STREAM_HEAD, chunk, delta, plain, usage_chunk
from tests.support.raw import chat
from tests.support.running import KEY, digest, policy_for, running

PRICES = "prices:\n  any: {model: '*', input: 1, output: 10}\n"
TRACE, PARENT = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
SENT = f"00-{TRACE:032x}-{PARENT:016x}-01"


def policy(provider, mode="link", rest=""):
    callers = (
        f"  app: {{key_sha256: ['{digest(KEY)}'], team: t, models: ['*'], trace: {{mode: {mode}, trusted: true}}}}\n"
    )
    return policy_for(provider.base_url, callers=callers, rest=PRICES + rest)


def answered(body=b""):
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    choices = [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]
    return plain(body or json.dumps({"id": "c-1", "model": "m-1", "choices": choices, "usage": usage}).encode())


async def spans_of(provider, tmp_path, ask, text=None, environ=None):
    """What the collector was sent of the calls that `ask` makes, by the time the gateway has stopped."""
    async with collecting(200) as collector:
        named = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_METRICS_EXPORTER": "none", **(environ or {})}
        async with running(text or policy(provider), tmp_path, environ=named) as gateway:
            await ask(gateway)
        return collector.spans()


def attributes(span):
    return span.get("attributes", {})


async def test_a_call_is_one_server_span_and_one_client_span_with_usage_and_cost_once(provider, tmp_path):
    provider.says(answered())
    spans = await spans_of(provider, tmp_path, lambda gateway: gateway.ask(body=chat(), key=KEY))
    (server,) = [span for span in spans if span["kind"] == 2]
    (client,) = [span for span in spans if span["kind"] == 3]
    assert server["name"] == "POST /v1/chat/completions"
    assert client["parent_span_id"] == server["span_id"]
    told = attributes(client)
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (3, 4)
    assert told["gen_ai.usage.cost"] == 43_000 / 10**9
    assert told["gen_ai.response.id"] == "c-1"
    assert told["gen_ai.response.finish_reasons"] == ["stop"]
    assert not any(name.startswith("gen_ai.usage") for span in spans if span is not client for name in attributes(span))


async def test_a_stream_tells_when_its_first_chunk_came_and_why_it_ended(provider, tmp_path):
    async def script(call, writer):
        writer.write(STREAM_HEAD + chunk(delta("a")) + chunk(delta("b", "stop")) + chunk(usage_chunk()) + chunk(DONE))
        writer.write(b"0\r\n\r\n")

    provider.script = script
    spans = await spans_of(provider, tmp_path, lambda gateway: gateway.ask(body=chat(stream=True), key=KEY))
    told = attributes(next(span for span in spans if span["kind"] == 3))
    assert told["gen_ai.request.stream"] is True
    assert told["gen_ai.response.time_to_first_chunk"] > 0
    assert told["gen_ai.response.finish_reasons"] == ["stop"]


async def test_a_callers_trace_is_joined_or_linked_as_policy_says(provider, tmp_path):
    provider.says(answered())
    for mode in ("continue", "link"):
        folder = tmp_path / mode
        folder.mkdir()

        async def ask(gateway):
            await gateway.ask(body=chat(), key=KEY, headers=[("traceparent", SENT)])

        spans = await spans_of(provider, folder, ask, policy(provider, mode))
        server = next(span for span in spans if span["kind"] == 2)
        joined = server["trace_id"] in {TRACE, f"{TRACE:032x}", TRACE.to_bytes(16, "big")}
        assert joined is (mode == "continue")
        assert bool(server.get("links")) is (mode == "link")


async def test_a_collector_that_hangs_is_noticed_by_no_call_and_holds_no_stop_up(provider, tmp_path):
    """OPS-18"""
    provider.says(answered())
    async with collecting("hang") as collector:
        named = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "10"}
        named["OTEL_EXPORTER_OTLP_TIMEOUT"] = "600000"
        async with patience(), running(policy(provider), tmp_path, environ=named) as gateway:
            for _ in range(20):
                assert (await gateway.ask(body=chat(), key=KEY)).status == 200
            rows = [entry async for entry in gateway.gateway.accounts.ledger.entries(Query())]
    assert len(rows) == 20


async def test_calls_that_are_not_sampled_leave_no_span_and_all_their_rows(provider, tmp_path):
    provider.says(answered())
    text = policy(provider, rest="tracing: {sample: 0}\n")

    async def ask(gateway):
        for _ in range(5):
            await gateway.ask(body=chat(), key=KEY)
        assert len([entry async for entry in gateway.gateway.accounts.ledger.entries(Query())]) == 5
        assert len(gateway.gateway.traces.last(9)) == 5

    assert await spans_of(provider, tmp_path, ask, text) == []
