"""Budgets under concurrency, in real processes: no race lets more through than the budget holds."""

import asyncio
import contextlib
import json
import random

import pytest

from chaos.servers import Gateway, Valkey
from tests.support.patience import patience
from tests.support.process import ADMIN_TOKEN
from tests.support.provider import Provider, plain
from tests.support.raw import Raw
from tests.support.running import KEY, PROVIDER_KEY, policy_for

FIXED = (
    "prices: {any: {model: '*', input: 0, output: 0, per_request: 0.01}}\nbudgets: {all: {usd: 0.1, window: total}}\n"
)
BY_TOKEN = "prices: {any: {model: '*', input: 1, output: 1000}}\nbudgets: {all: {usd: 1, window: total}}\n"
DOLLAR, CENT = 10**9, 10**7
INPUT_NANO, OUTPUT_NANO = 10**3, 10**6


@pytest.fixture
async def provider():
    async with Provider() as provider:
        yield provider


@pytest.fixture(params=["one worker", "four workers that share Redis"])
async def serving(request, provider, tmp_path):
    """Starts the gateway with a policy's further rows."""
    async with contextlib.AsyncExitStack() as stack:

        async def started(rows):
            settings = {"FAKE_KEY": PROVIDER_KEY}
            if request.param != "one worker":
                valkey = Valkey(tmp_path / "valkey")
                stack.push_async_callback(valkey.kill)
                await valkey.start()
                url = f"redis://127.0.0.1:{valkey.port}/0"
                # The longest time: a busy machine is no broken store, and this is about the arithmetic.
                settings |= {"GATEWAY_WORKERS": "4", "GATEWAY_STORE": url, "GATEWAY_STORE_DEADLINE_S": "10"}
            gateway = Gateway(tmp_path / "gateway", policy_for(provider.base_url, rest=rows), settings, ADMIN_TOKEN)
            stack.push_async_callback(gateway.kill)
            await gateway.start()
            return gateway

        yield started


def asked(cap=10):
    body = {"model": "m", "max_tokens": cap, "messages": [{"role": "user", "content": "hello"}]}
    return json.dumps(body).encode()


async def budget(gateway):
    (line,) = (await gateway.admin("/budgets"))["budgets"]
    return line


async def settled(gateway):
    """The budget, once nothing is reserved."""
    async with patience():
        while (line := await budget(gateway))["reserved_nano"]:
            await asyncio.sleep(0.02)
    return line


async def test_500_callers_at_once_and_money_for_ten_calls_is_ten_calls(serving, provider):
    """BUD-01."""
    gateway = await serving(FIXED)
    doors = [await Raw.open("127.0.0.1", gateway.port) for _ in range(500)]
    answers = await asyncio.gather(*(door.ask(body=asked(), key=KEY) for door in doors))
    statuses = [answer.status for answer in answers]
    assert (statuses.count(200), statuses.count(402)) == (10, 490)
    assert len(provider.calls) == 10
    codes = {answer.json()["error"]["code"] for answer in answers if answer.status == 402}
    assert codes <= {"budget_exceeded", "budget_reserved"}
    line = await settled(gateway)
    assert (line["spent_nano"], line["amount_nano"]) == (10 * CENT, 10 * CENT)
    late = await doors[0].ask(body=asked(), key=KEY)
    assert late.json()["error"]["code"] == "budget_exceeded"
    for door in doors:
        door.close()


async def test_answers_of_random_size_never_spend_more_than_the_budget(serving, provider):
    """BUD-02: at every instant settled + reserved is within the budget."""
    dice, costs, statuses, held = random.Random(2), [], [], []

    async def script(call, writer):
        output = dice.randint(1, call.json()["max_tokens"])
        costs.append(output * OUTPUT_NANO + 5 * INPUT_NANO)
        usage = {"prompt_tokens": 5, "completion_tokens": output, "total_tokens": 5 + output}
        choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
        writer.write(plain(json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}).encode()))
        await writer.drain()

    async def call_often(seed):
        own, door = random.Random(seed), await Raw.open("127.0.0.1", gateway.port)
        answers = [await door.ask(body=asked(own.randint(1, 30)), key=KEY) for _ in range(10)]
        statuses.extend(answer.status for answer in answers)
        door.close()

    async def watch():
        while True:
            line = await budget(gateway)
            held.append(line["spent_nano"] + line["reserved_nano"])

    provider.script = script
    gateway = await serving(BY_TOKEN)
    watching = asyncio.create_task(watch())
    await asyncio.gather(*(call_often(seed) for seed in range(200)))
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    line = await settled(gateway)
    assert set(statuses) == {200, 402}
    assert held
    assert max(held) <= DOLLAR
    assert line["spent_nano"] == sum(costs)
    assert DOLLAR - 31 * OUTPUT_NANO < sum(costs) <= DOLLAR
