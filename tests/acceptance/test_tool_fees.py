"""What providers charge for tools that they run themselves, end to end: searches, beside the tokens."""

from __future__ import annotations

import json

import openai
import pytest

from tests.acceptance.test_accounting import THREE_AND_FOUR, response, rows, serving, streamed
from tests.support.process import run_gateway
from tests.support.provider import plain
from tests.support.raw import chat
from tests.support.running import KEY

CENT = 10_000_000  # nano-dollars
PRICES = "prices:\n  any: {model: '*', input: 1, output: 10, fees: {web_search: 0.01, image_generation: 0.04}}\n"
UNPRICED = "prices:\n  any: {model: '*', input: 1, output: 10}\n"
DOLLAR = "budgets:\n  all: {usd: 1, window: total}\n"
CUT = "accounting: {max_tool_calls: 5, max_output_tokens: 100}\n"
FOUND = [
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "a"}},
    {"type": "web_search_call", "id": "ws_2", "status": "completed", "action": {"type": "open_page", "url": "b"}},
    {"type": "web_search_call", "id": "ws_3", "status": "completed", "action": {"type": "search", "query": "c"}},
]


def asked(**fields: object) -> bytes:
    return json.dumps({"model": "m", "input": "hi", "tools": [{"type": "web_search"}], **fields}).encode()


def events(*, ends: bool) -> tuple[bytes, ...]:
    told = [{"type": "response.created", "response": response("in_progress", usage=False)}]
    told += [{"type": "response.output_item.done", "output_index": n, "item": item} for n, item in enumerate(FOUND)]
    if ends:
        told.append({"type": "response.completed", "response": response(output=FOUND)})
    frames = [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in told]
    return streamed(*frames) if ends else streamed(*frames)[:-1]


@pytest.mark.parametrize("stream", [False, True])
async def test_searches_are_charged_beside_the_tokens_and_explained(provider, tmp_path, stream):
    """Opening a page that was found costs nothing."""
    provider.says(*(events(ends=True) if stream else (plain(json.dumps(response(output=FOUND)).encode()),)))
    async with serving(provider, tmp_path, PRICES + DOLLAR) as gateway:
        answer = await gateway.ask(target="/v1/responses", body=asked(stream=stream), key=KEY)
        (entry,) = await rows(gateway, 1)
    assert (entry.outcome.cost_nano, entry.outcome.flags) == (THREE_AND_FOUR + 2 * CENT, ())
    assert answer.header("x-gateway-cost-usd") == (None if stream else "0.020043")
    env = {"GATEWAY_DATA_DIR": str(tmp_path), "GATEWAY_POLICIES": str(tmp_path / "policies"), "PATH": ""}
    status, out, err = await run_gateway("usage", "explain", entry.intent.attempt, env=env)
    assert status == 0, err
    assert "web_search" in out and "0.02" in out and "0.020043 USD" in out


async def test_tools_are_found_in_answers_that_are_too_large_to_be_held(provider, tmp_path):
    """An image is megabytes of text, and what is said about items is text as well."""
    said = {"type": "message", "content": [{"type": "output_text", "text": 'no "type":"image_generation_call" here'}]}
    images = [{"type": "image_generation_call", "id": f"ig_{n}", "result": "QUJD" * 300_000} for n in range(3)]
    answer = json.dumps(response(output=[said, *images, FOUND[0]])).encode()
    moved = answer.replace(b'"usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}, ', b"")
    provider.says(plain(moved[:-1] + b', "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}}'))
    async with serving(provider, tmp_path, PRICES) as gateway:
        assert (await gateway.ask(target="/v1/responses", body=asked(), key=KEY)).status == 200
        (entry,) = await rows(gateway, 1)
    assert (entry.outcome.cost_nano, entry.outcome.flags) == (THREE_AND_FOUR + 3 * 4 * CENT + CENT, ())


async def test_a_stream_that_is_cut_pays_for_the_searches_that_were_done(provider, tmp_path):
    async def script(_, writer):
        writer.write(b"".join(events(ends=False)))
        await writer.drain()
        writer.close()

    provider.script = script
    async with serving(provider, tmp_path, PRICES) as gateway:
        await gateway.ask(target="/v1/responses", body=asked(stream=True), key=KEY)
        (entry,) = await rows(gateway, 1)
    assert entry.outcome.cost_nano > 2 * CENT
    assert set(entry.outcome.flags) == {"partial", "estimated"}


async def test_as_many_uses_are_reserved_as_the_provider_is_allowed(provider, tmp_path):
    """BUD-05."""
    provider.says(plain(json.dumps(response()).encode()))
    async with serving(provider, tmp_path, PRICES + DOLLAR + CUT) as gateway:
        for fields in ({}, {"max_tool_calls": None}, {"max_tool_calls": 2}):
            assert (await gateway.ask(target="/v1/responses", body=asked(**fields), key=KEY)).status == 200
        found = await rows(gateway, 3)
        dear = await gateway.ask(target="/v1/responses", body=asked(max_tool_calls=101), key=KEY)
    assert [call.json()["max_tool_calls"] for call in provider.calls] == [5, 5, 2]
    tokens = [
        entry.intent.reserved_nano - (entry.intent.reserved_tokens - 100) * 1000 - 100 * 10_000 for entry in found
    ]
    assert tokens == [5 * CENT, 5 * CENT, 2 * CENT]
    assert (dear.status, dear.code) == (402, "budget_exceeded")


async def test_a_tool_whose_fee_nobody_knows_does_not_pass_a_hard_budget(provider, tmp_path):
    """BUD-04: and the official client is told what is wrong."""
    async with serving(provider, tmp_path, UNPRICED + DOLLAR) as gateway:
        client = openai.AsyncOpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0)
        with pytest.raises(openai.APIStatusError) as refused:
            await client.responses.create(model="m", input="hi", tools=[{"type": "web_search"}])
        await client.close()
    assert (refused.value.status_code, refused.value.code, refused.value.param) == (402, "unpriced_tool", "tools")
    assert provider.calls == []


async def test_without_a_hard_budget_it_passes_and_its_row_says_so(provider, tmp_path):
    """BUD-04."""
    provider.says(plain(json.dumps(response(output=FOUND)).encode()))
    async with serving(provider, tmp_path, UNPRICED) as gateway:
        assert (await gateway.ask(target="/v1/responses", body=asked(), key=KEY)).status == 200
        (entry,) = await rows(gateway, 1)
    assert (entry.outcome.cost_nano, entry.outcome.flags) == (THREE_AND_FOUR, ("unpriced-tool",))


async def test_a_chat_that_searches_is_charged_a_search(provider, tmp_path):
    async with serving(provider, tmp_path, PRICES + DOLLAR) as gateway:
        answer = await gateway.ask(body=chat(web_search_options={}), key=KEY)
        (entry,) = await rows(gateway, 1)
    assert entry.outcome.cost_nano == THREE_AND_FOUR + CENT
    assert answer.header("x-gateway-cost-usd") == "0.010043"
