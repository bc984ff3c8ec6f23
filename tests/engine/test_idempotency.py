from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.core.errors import CONNECT_FAILED, UpstreamFault
from gateway.engine.idempotency import MAX_KEPT_BYTES
from gateway.policy.compile import TargetRule
from tests.engine.fakes import FakeClient, FakePrices, FakeReply, FakeUpstream, Rig, rates_for, runtime_for, until

RULES = {"m": (TargetRule("a", None),)}
PRICES = FakePrices({("m", ""): rates_for(input=10**6, output=10**6)})
WORDS = "the-answers-canary-words"


def answer_of(text: str = WORDS) -> FakeReply:
    choices = [{"index": 0, "message": {"role": "assistant", "content": text}}]
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    return FakeReply(body=json.dumps({"choices": choices, "usage": usage}).encode(), kind="application/json")


def rig_of(*replies: Any) -> tuple[Rig, FakeUpstream]:
    upstream = FakeUpstream(*replies)
    return Rig(runtime_for(RULES, {"a": upstream}, prices=PRICES)), upstream


def client_of(text: str = "hi", name: str = "once", caller: str = "app", stream: bool = False) -> FakeClient:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], "stream": stream}).encode()
    return FakeClient(body, key=caller, headers=[(b"idempotency-key", name.encode())])


def code_of(client: FakeClient) -> tuple[int, str]:
    return client.status, json.loads(client.body)["error"]["code"]


async def test_the_same_key_gets_the_same_answer_and_is_charged_once() -> None:
    """LED-07: byte for byte."""
    rig, upstream = rig_of(answer_of(), answer_of("another"))
    async with rig:
        first = await rig.ask(client_of())
        second = await rig.ask(client_of())
        third = await rig.ask(client_of())
    assert first.status == second.status == 200
    assert first.body == second.body == third.body
    assert len(upstream.sent) == 1
    assert len(rig.ledger.outcomes) == 1
    assert first.header("x-gateway-idempotent-replay") is None
    assert second.header("x-gateway-idempotent-replay") == "true"
    assert second.header("content-type") == "application/json"
    assert second.header("x-gateway-cost-usd") == first.header("x-gateway-cost-usd") == "0.000000007"
    assert second.header("x-gateway-request-id") != first.header("x-gateway-request-id")


async def test_the_same_key_while_the_first_call_runs_is_a_conflict_that_ends_soon() -> None:
    """LED-07."""
    rig, upstream = rig_of(answer_of())
    upstream.answers.clear()
    async with rig:
        first = asyncio.create_task(rig.ask(client_of()))
        await until(lambda: upstream.sent)
        second = await rig.ask(client_of())
        upstream.answers.set()
        await first
        third = await rig.ask(client_of())
    assert third.header("x-gateway-idempotent-replay") == "true"
    assert code_of(second) == (409, "idempotency_in_progress")
    assert second.header("x-should-retry") == "true"
    assert len(upstream.sent) == 1


async def test_the_same_key_with_another_body_or_path_is_refused() -> None:
    """LED-07."""
    rig, upstream = rig_of(answer_of())
    async with rig:
        await rig.ask(client_of("hi"))
        assert code_of(await rig.ask(client_of("hello"))) == (422, "idempotency_mismatch")
        other = client_of("hi")
        other.target = "/v1/chat/completions?x=1"
        assert code_of(await rig.ask(other)) == (422, "idempotency_mismatch")
    assert len(upstream.sent) == 1


async def test_a_key_is_its_callers_own() -> None:
    """LED-07: scoped, so that nobody reads another's answer by guessing its key."""
    rig, upstream = rig_of(answer_of("mine"), answer_of("yours"))
    async with rig:
        mine = await rig.ask(client_of(caller="one"))
        yours = await rig.ask(client_of(caller="two"))
    assert (mine.status, yours.status) == (200, 200)
    assert b"yours" in yours.body
    assert len(upstream.sent) == 2


async def test_a_streams_answer_is_not_kept_and_not_charged_again() -> None:
    rig, upstream = rig_of(FakeReply(body=b"data: [DONE]\n\n", kind="text/event-stream"))
    async with rig:
        assert (await rig.ask(client_of(stream=True))).status == 200
        again = await rig.ask(client_of(stream=True))
    assert code_of(again) == (409, "idempotency_key_used")
    assert again.header("x-should-retry") is None
    assert len(upstream.sent) == 1


async def test_a_large_answer_is_not_kept() -> None:
    rig, upstream = rig_of(answer_of("x" * MAX_KEPT_BYTES))
    async with rig:
        assert (await rig.ask(client_of())).status == 200
        assert code_of(await rig.ask(client_of())) == (409, "idempotency_key_used")
    assert len(upstream.sent) == 1


@pytest.mark.parametrize("first", [UpstreamFault(CONNECT_FAILED), FakeReply(500, b"{}"), FakeReply(429, b"{}")])
async def test_a_first_call_that_cost_nothing_frees_the_key(first: Any) -> None:
    rig, upstream = rig_of(first, answer_of())
    async with rig:
        assert (await rig.ask(client_of())).status >= 400
        assert rig.ledger.keys == {}
        assert (await rig.ask(client_of())).status == 200
    assert len(upstream.sent) == 2


async def test_a_caller_that_leaves_while_the_key_is_claimed_does_not_lock_itself_out() -> None:
    rig, _ = rig_of(answer_of())
    async with rig:
        call = asyncio.create_task(rig.ask(client_of()))
        await until(lambda: rig.ledger.keys)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert (await rig.ask(client_of())).status == 200


async def test_what_lies_in_the_ledger_shows_neither_key_nor_answer() -> None:
    """LED-07: sealed under what only the caller sends."""
    rig, _ = rig_of(answer_of())
    async with rig:
        await rig.ask(client_of(name="the-keys-canary"))
    ((name, (body, reply)),) = rig.ledger.keys.items()
    assert reply is not None
    assert len(reply) > 100
    for stored in (name.encode(), body.encode(), reply):
        assert WORDS.encode() not in stored
        assert b"canary" not in stored


async def test_an_answer_sealed_by_another_secret_is_not_opened_and_not_charged_again() -> None:
    rig, upstream = rig_of(answer_of())
    async with rig:
        await rig.ask(client_of())
        ((name, (body, reply)),) = rig.ledger.keys.items()
        assert reply is not None
        rig.ledger.keys[name] = (body, reply[:-1] + bytes([reply[-1] ^ 1]))
        assert code_of(await rig.ask(client_of())) == (409, "idempotency_key_used")
    assert len(upstream.sent) == 1


async def test_a_ledger_that_takes_no_claim_refuses_the_call() -> None:
    rig, upstream = rig_of(answer_of())
    async with rig:
        rig.ledger.full = True
        assert code_of(await rig.ask(client_of())) == (503, "ledger_unavailable")
        rig.ledger.full = False
    assert upstream.sent == []


@pytest.mark.parametrize("name", ["", "k" * 256])
async def test_a_key_has_a_bounded_length(name: str) -> None:
    rig, upstream = rig_of()
    async with rig:
        assert code_of(await rig.ask(client_of(name=name))) == (400, "invalid_value")
    assert upstream.sent == []
