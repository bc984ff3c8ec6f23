from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.core.accounts import Limit
from gateway.core.errors import CLOSED, CONNECT_FAILED, FIRST_BYTE_TIMEOUT, Refusal, UpstreamFault
from gateway.core.model import Call, Plan, Target
from gateway.core.usage import Reported
from gateway.core.windows import bound
from gateway.engine.account import Account
from gateway.engine.accounts import LEASE_S, Accounts, Settlement
from gateway.policy.compile import Accounting, TargetRule
from gateway.policy.limits import LimitRule, Measure
from gateway.policy.load import load
from gateway.stores.local import LocalShare
from gateway.stores.memory import MemoryStore
from tests.engine.fakes import (
    FakeClient,
    FakeClock,
    FakeLedger,
    FakePrices,
    FakeReply,
    FakeStore,
    FakeUpstream,
    Rig,
    accounts_for,
    call_for,
    limit_for,
    opened,
    rates_for,
    record,
    runtime_for,
    turns,
    until,
)
from tests.support.patience import patience

RULES = {"m": (TargetRule("a", None),)}
PRICES = FakePrices({("m", ""): rates_for(input=10**6, output=10**7)})  # 1 and 10 nano-dollars a token
BUDGET = LimitRule("all", (Measure("usd", 10**9, "total"),), {})
AT_ONCE = LimitRule("calls", (Measure("calls", 10, "now"),), {})
JSON, STREAM = "application/json", "text/event-stream"
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
ANSWER = json.dumps({"id": "c", "model": "m", "choices": [], "usage": USAGE}).encode()


def body_of(text: str = "hi", **fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **fields}).encode()


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps({"model": "m", "choices": [], **fields}).encode() + b"\n\n"


def delta(text: str) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}}])


DONE = b"data: [DONE]\n\n"


def rig_of(*replies: Any, looks: Any = None, **policy: Any) -> tuple[Rig, FakeUpstream]:
    upstream = FakeUpstream(*replies, looks=looks)
    given = {"budgets": (BUDGET,), "rate_limits": (AT_ONCE,), **policy}
    return Rig(runtime_for(RULES, {"a": upstream}, prices=PRICES, **given)), upstream


def ended(rig: Rig) -> tuple[str, int | None, tuple[str, ...]]:
    """The one attempt's terminal row: state, cost, flags. Nothing is left open."""
    assert rig.ledger.open == []
    assert rig.ledger.terminal_rows == list(rig.ledger.intents)
    assert rig.store.reserved == {}
    assert rig.store.open_leases == []
    assert len(rig.records) == 1
    (outcome,) = rig.ledger.outcomes.values()
    return outcome.state, outcome.cost_nano, outcome.flags


# -- before it is sent


def call_of(text: str = "hi", **fields: Any) -> Call:
    body = body_of(text, **fields)
    return call_for(body=body, document=json.loads(body), model="m", content_length=len(body))


def plan_of(*limits: Limit) -> Plan:
    return Plan("v-1", (Target("a", "m"),), limits=limits, output_cap=100)


async def refused(account: Any) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        await account
    return refusal.value


async def account_of(
    *limits: Limit, call: Call | None = None, accounts: Accounts | None = None, **policy: Any
) -> Account:
    runtime = runtime_for(RULES, prices=PRICES, **policy)
    return await opened(call or call_of(), plan_of(*limits), runtime, record(), accounts)


async def test_names_of_calls_ascend_with_time() -> None:
    """What is new lies together in the ledger's indices, however long they grow."""
    rig, _ = rig_of()
    async with rig:
        for _ in range(20):
            await rig.ask(FakeClient(b"{"))
            rig.clock.pass_(0.002)
    names = [record.call_id for record in rig.records]
    assert names == sorted(names)
    assert len(set(names)) == 20
    assert {len(name) for name in names} == {len("req_") + 24}


async def test_the_provider_is_asked_when_its_intent_is_on_disk() -> None:
    """LED-02: whoever looks into the ledger when the request arrives finds it."""
    seen: list[tuple[list[str], list[str]]] = []
    rig, upstream = rig_of(
        FakeReply(body=ANSWER, kind=JSON),
        looks=lambda: seen.append((list(rig.ledger.intents), list(rig.ledger.outcomes))),
    )
    async with rig:
        await rig.ask(FakeClient(body_of()))
    (intent,) = rig.ledger.intents.values()
    assert seen == [([intent.attempt], [])]
    assert (b"x-client-request-id", intent.attempt.encode()) in upstream.sent[0].headers
    assert (intent.origin.caller, intent.origin.team, intent.origin.model, intent.origin.target) == (
        "app",
        "team",
        "m",
        "m",
    )
    assert intent.reserved_nano > 1000


async def test_what_calls_of_one_plan_share_is_written_down_as_one_origin_and_a_narrower_plan_has_its_own() -> None:
    plan = Plan("v-1", (Target("a", "m"), Target("b", "n")), output_cap=100)
    ledger = FakeLedger()
    accounts, runtime = accounts_for(ledger), runtime_for({"m": (TargetRule("a", None), TargetRule("b", None))})
    for number, each in enumerate((plan, plan, replace(plan, targets=plan.targets[1:]))):
        told = record()
        told.call_id = f"call-{number}"
        await opened(call_of(), each, runtime, told, accounts)
    first, second, narrower = [intent.origin for intent in ledger.intents.values()]
    assert first is second
    assert (first.provider, first.target, narrower.provider, narrower.target) == ("a", "m", "b", "n")


async def test_a_ledger_that_takes_no_rows_refuses_the_call_and_nothing_is_sent() -> None:
    """LED-04."""
    rig, upstream = rig_of()
    async with rig:
        await rig.ask(FakeClient(body_of(), key="first"))
        rig.ledger.full = True
        client = await rig.ask(FakeClient(body_of()))
        await rig.quiet()
        assert rig.store.reserved == {}
        assert rig.store.open_leases == []
    assert (client.status, json.loads(client.body)["error"]["code"]) == (503, "ledger_unavailable")
    assert client.header("retry-after") == "5"
    assert len(upstream.sent) == 1
    assert rig.records[1].attempts[0].state == "voided"


async def test_a_ledger_that_cannot_be_read_refuses_too() -> None:
    ledger = FakeLedger()
    ledger.full = True
    said = await refused(account_of(limit_for(), accounts=accounts_for(ledger)))
    assert said.code == "ledger_unavailable"


async def test_counters_that_the_store_does_not_know_are_seeded_once_however_many_wait() -> None:
    rig, _ = rig_of(*(FakeReply(body=ANSWER, kind=JSON) for _ in range(8)), rate_limits=())
    async with rig:
        clients = await asyncio.gather(*(rig.ask(FakeClient(body_of(max_tokens=5))) for _ in range(8)))
    assert [client.status for client in clients] == [200] * 8
    assert rig.ledger.seeded == ["usd/all"]


async def test_a_store_that_is_down_refuses_where_a_hard_limit_holds() -> None:
    """OPS-14."""
    rig, upstream = rig_of()
    async with rig:
        rig.store.down = True
        client = await rig.ask(FakeClient(body_of()))
    assert (client.status, json.loads(client.body)["error"]["code"]) == (503, "limits_unavailable")
    assert upstream.sent == []
    assert rig.ledger.intents == {}


async def test_a_store_that_fails_between_the_reservation_and_the_seed_is_a_store_that_is_down() -> None:
    store = FakeStore()

    async def fails(*_: Any) -> None:
        store.down = True
        store._reach("seed", "")

    store.seed = fails  # type: ignore[method-assign]
    said = await refused(account_of(limit_for(), accounts=accounts_for(store=store)))
    assert said.code == "limits_unavailable"


async def test_a_store_that_is_down_stops_nothing_where_all_limits_are_soft() -> None:
    store = FakeStore()
    store.down = True
    account = await account_of(limit_for(hard=False), accounts=accounts_for(store=store))
    assert (await account.durable()).sent


@pytest.mark.parametrize(
    ("policy", "codes"), [("refuse", ["limits_unavailable"] * 3), ("local", ["", "", "concurrency"])]
)
async def test_without_the_store_a_process_goes_on_within_its_share_where_policy_wants_it(
    policy: Any, codes: list[str]
) -> None:
    """OPS-14."""
    store, clock = FakeStore(), FakeClock()
    accounts = accounts_for(store=store, clock=clock)
    accounts.store = LocalShare(store, MemoryStore(clock), 0.5)
    store.down = True
    found = []
    for number in range(3):
        told = record()
        told.call_id = f"call-{number}"
        runtime = runtime_for(RULES, prices=PRICES, accounting=Accounting(when_store_is_down=policy))
        try:
            await opened(call_of(), plan_of(limit_for("calls", 4), limit_for()), runtime, told, accounts)
            found.append("")
        except Refusal as refusal:
            found.append(refusal.code)
    assert all(
        code.startswith(wanted) and bool(code) is bool(wanted) for code, wanted in zip(found, codes, strict=True)
    )


async def test_what_its_bytes_do_not_fit_is_counted_in_tokens_and_admitted() -> None:
    call = call_of("word " * 400, max_tokens=10)
    account = await account_of(limit_for("tokens", 1000), call=call)
    assert account.need.counted
    assert 400 < account.need.input_tokens < 450
    assert account.need.input_bound > 2000


async def test_what_does_not_fit_counted_either_is_refused() -> None:
    call = call_of("word " * 400, max_tokens=10)
    said = await refused(account_of(limit_for("tokens", 300), call=call))
    assert (said.status, said.code) == (429, "rate_limit_exceeded")


async def test_a_call_that_only_unsettled_calls_stand_in_the_way_of_waits_for_them() -> None:
    """No over-refusal: what is finished is given back before anybody is refused for it."""
    tight = LimitRule("calls", (Measure("calls", 1, "now"),), {})
    rig, _ = rig_of(*(FakeReply(body=ANSWER, kind=JSON) for _ in range(2)), rate_limits=(tight,))
    async with rig:
        rig.ledger.slow = True
        assert (await rig.ask(FakeClient(body_of()))).status == 200
        assert rig.store.open_leases
        second = asyncio.create_task(rig.ask(FakeClient(body_of())))
        await turns(20)
        assert not second.done()
        rig.ledger.slow = False
        rig.ledger.flush()
        assert (await second).status == 200


async def test_what_ended_later_is_not_waited_for() -> None:
    """A busy process is never without something to settle."""
    accounts, loop = accounts_for(store=FakeStore()), asyncio.get_running_loop()
    first, later = loop.create_future(), loop.create_future()
    accounts.start()
    accounts.settle(Settlement("first", (), {}), after=first)
    waiting = asyncio.create_task(accounts.flushed(0.5))
    await turns(3)
    accounts.settle(Settlement("later", (), {}), after=later)
    first.set_result(None)
    assert await waiting
    later.cancel()
    await accounts._tasks.stop()


async def test_a_refusal_tells_the_limit_that_is_reached_in_its_headers() -> None:
    """BUD-18."""
    rig, _ = rig_of(rate_limits=(LimitRule("rpm", (Measure("requests", 1, "minute"),), {}),), budgets=())
    async with rig:
        assert (await rig.ask(FakeClient(body_of()))).header("x-ratelimit-remaining-requests") == "0"
        client = await rig.ask(FakeClient(body_of()))
    assert client.status == 429
    assert client.header("retry-after") == "60"
    assert client.header("x-ratelimit-limit-requests") == "1"
    assert client.header("x-ratelimit-remaining-requests") == "0"
    assert client.header("x-ratelimit-reset-requests") == "1m0s"


async def test_that_requests_are_the_limit_counts_no_tokens() -> None:
    rules = (LimitRule("rpm", (Measure("requests", 1, "minute"),), {}),)
    rig, _ = rig_of(rate_limits=rules, budgets=())
    async with rig:
        await rig.ask(FakeClient(body_of()))
        rig.accounts.tokenizer = None  # type: ignore[assignment]
        assert (await rig.ask(FakeClient(body_of()))).status == 429


# -- every way a call can end: one terminal row


async def test_a_call_is_settled_at_what_its_provider_counted() -> None:
    rig, _ = rig_of(FakeReply(body=ANSWER, kind=JSON))
    async with rig:
        client = await rig.ask(FakeClient(body_of()))
    assert ended(rig) == ("settled", 43, ())
    assert client.header("x-gateway-cost-usd") == "0.000000043"
    assert client.header("x-gateway-budget-remaining-usd") is not None


async def test_an_answer_without_usage_is_estimated_and_its_head_claims_no_cost() -> None:
    """BUD-08: never zero."""
    choices = [{"index": 0, "message": {"role": "assistant", "content": "one two three four five"}}]
    rig, _ = rig_of(FakeReply(body=json.dumps({"choices": choices}).encode(), kind=JSON))
    async with rig:
        client = await rig.ask(FakeClient(body_of()))
    state, cost, flags = ended(rig)
    assert (state, flags) == ("settled", ("estimated",))
    assert cost is not None
    assert cost > 50
    assert client.header("x-gateway-cost-usd") is None


@pytest.mark.parametrize("disconnect", ["close", "drain"])
@pytest.mark.parametrize(
    "pieces",
    [
        [b" \n", ANSWER],
        [ANSWER[:-1], b" " * 200_000 + b"}"],
        [b'{"data":[{"embedding":"', *[b"x" * 500_000] * 5, b'\\"usage\\": {\\"prompt_tokens\\": 9}"}],', ANSWER[1:]],
        [b'{"choices":[{"message":{"content":"', *[b"x" * 1_100_000] * 2, b'"}}],', ANSWER[1:30], ANSWER[30:]],
    ],
)
@pytest.mark.parametrize("leaves_at", [None, 1])
async def test_an_answer_that_flows_is_settled_at_its_usage_too(
    pieces: list[bytes], disconnect: Any, leaves_at: int | None
) -> None:
    """One that begins with blanks, and one that is too long to be held: the end of it is read."""
    rig, _ = rig_of(
        FakeReply(body=pieces, kind=JSON), accounting=Accounting(disconnect=disconnect, drain_bytes=1 << 24)
    )
    async with rig:
        client = await rig.ask(FakeClient(body_of(), leaves_at=leaves_at))
        await rig.quiet()
    state, cost, flags = ended(rig)
    assert state == "settled"
    if leaves_at is None:
        assert client.body == b"".join(pieces)
        assert (cost, flags) == (43, ())
    elif disconnect == "drain" and len(pieces) > 2:
        assert (cost, flags) == (43, ())
    assert cost


async def test_a_stream_is_settled_at_its_last_usage_counted_once() -> None:
    """BUD-09."""
    running = event(usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})
    pieces = [delta("a"), running, delta("b"), event(usage=USAGE), DONE]
    rig, _ = rig_of(FakeReply(body=pieces, kind=STREAM))
    async with rig:
        await rig.ask(FakeClient(body_of(stream=True)))
    assert ended(rig) == ("settled", 43, ())


async def test_a_stream_without_usage_is_counted_as_it_was_written() -> None:
    """BUD-08."""
    rig, _ = rig_of(FakeReply(body=[delta("one two three"), delta(" four five"), DONE], kind=STREAM))
    async with rig:
        await rig.ask(FakeClient(body_of(stream=True)))
    state, _, flags = ended(rig)
    assert (state, flags) == ("settled", ("estimated",))
    assert next(iter(rig.ledger.outcomes.values())).usage.output == 5


@pytest.mark.parametrize("status", [400, 429, 500, 503])
async def test_an_error_of_the_provider_is_failed_and_free(status: int) -> None:
    """BUD-07."""
    rig, _ = rig_of(FakeReply(status, b'{"error":{}}', JSON))
    async with rig:
        assert (await rig.ask(FakeClient(body_of()))).status == status
    assert ended(rig) == ("failed", 0, ())
    assert next(iter(rig.ledger.outcomes.values())).status == status


@pytest.mark.parametrize(("kind", "state"), [(CONNECT_FAILED, "voided"), (FIRST_BYTE_TIMEOUT, "failed")])
async def test_a_provider_that_dies_before_its_head_costs_nothing(kind: Any, state: str) -> None:
    """BUD-07."""
    rig, _ = rig_of(UpstreamFault(kind))
    async with rig:
        await rig.ask(FakeClient(body_of()))
    assert ended(rig) == (state, 0, ())


@pytest.mark.parametrize("stream", [True, False])
async def test_a_provider_that_dies_in_the_middle_is_charged_for_what_there_was(stream: bool) -> None:
    """BUD-07."""
    pieces = [delta("one two three"), UpstreamFault(CLOSED)] if stream else [ANSWER[:20], UpstreamFault(CLOSED)]
    rig, _ = rig_of(FakeReply(body=pieces, kind=STREAM if stream else JSON))
    async with rig:
        await rig.ask(FakeClient(body_of(stream=stream)))
    state, cost, flags = ended(rig)
    assert (state, flags) == ("settled", ("partial", "estimated"))
    assert cost is not None
    assert cost > (30 if stream else 5)


async def test_a_bug_in_the_middle_of_an_answer_leaves_one_row_and_no_reservation() -> None:
    """BUD-10."""
    rig, _ = rig_of(FakeReply(body=[delta("one"), RuntimeError("bug")], kind=STREAM))
    async with rig:
        await rig.ask(FakeClient(body_of(stream=True)))
    assert ended(rig)[0] == "settled"
    assert [bug["error"] for bug in rig.bugs] == ["RuntimeError"]


def left(
    leaves_at: int, disconnect: Any, stream: bool = True, **accounting: Any
) -> tuple[Rig, FakeUpstream, FakeClient]:
    pieces = [delta("one "), delta("two "), delta("three"), event(usage=USAGE), DONE]
    reply = FakeReply(body=pieces, kind=STREAM) if stream else FakeReply(body=[ANSWER[:9], ANSWER[9:]], kind=JSON)
    rules = Accounting(disconnect=disconnect, **accounting)
    rig, upstream = rig_of(reply, accounting=rules)
    return rig, upstream, FakeClient(body_of(stream=stream), leaves_at=leaves_at)


@pytest.mark.parametrize("leaves_at", [0, 1, 2])
async def test_when_the_caller_leaves_the_provider_is_left_and_the_part_is_charged(leaves_at: int) -> None:
    """BUD-06, disconnect: close."""
    rig, _, client = left(leaves_at, "close")
    async with rig:
        await rig.ask(client)
    state, cost, flags = ended(rig)
    assert (state, flags) == ("settled", ("partial", "estimated"))
    assert cost is not None
    assert 0 < cost < 60
    assert client.aborted
    assert rig.records[0].outcome == "client_closed"


@pytest.mark.parametrize(("leaves_at", "stream"), [(0, True), (2, True), (3, True), (0, False)])
async def test_when_the_caller_leaves_the_answer_is_read_to_its_usage(leaves_at: int, stream: bool) -> None:
    """BUD-06, disconnect: drain."""
    rig, _, client = left(leaves_at, "drain", stream)
    async with rig:
        await rig.ask(client)
        await rig.quiet()
    assert ended(rig) == ("settled", 43, ())
    assert rig.records[0].outcome == "client_closed"


async def test_reading_on_ends_after_so_many_bytes() -> None:
    """BUD-06."""
    pieces = [delta("one"), *([delta("x" * 1000)] * 50), event(usage=USAGE), DONE]
    reply = FakeReply(body=pieces, kind=STREAM)
    rig, _ = rig_of(reply, accounting=Accounting(disconnect="drain", drain_bytes=5000))
    async with rig:
        await rig.ask(FakeClient(body_of(stream=True), leaves_at=0))
        await rig.quiet()
        assert len(reply._pieces) > 40
        assert reply.closed
    assert ended(rig)[2] == ("partial", "estimated")


async def test_reading_on_ends_after_so_long() -> None:
    """BUD-06."""
    reply = FakeReply(body=[delta("one")], kind=STREAM, hangs=True)
    rig, _ = rig_of(reply, accounting=Accounting(disconnect="drain", drain_s=0.01))
    async with rig:
        await rig.ask(FakeClient(body_of(stream=True), leaves_at=0))
        await rig.quiet()
        assert reply.closed
    assert ended(rig)[2] == ("partial", "estimated")


async def test_reading_on_ends_with_the_streams_own_end() -> None:
    """What comes behind the end mark is not waited for."""
    reply = FakeReply(body=[delta("one"), event(usage=USAGE) + DONE], kind=STREAM, hangs=True)
    rig, _ = rig_of(reply, accounting=Accounting(disconnect="drain", drain_s=3600))
    async with rig:
        await rig.ask(FakeClient(body_of(stream=True), leaves_at=0))
        async with patience():
            await rig.quiet()
        assert reply.closed
    assert ended(rig) == ("settled", 43, ())


@pytest.mark.parametrize("disconnect", ["close", "drain"])
async def test_a_caller_that_leaves_before_the_head_has_a_row_too(disconnect: Any) -> None:
    """BUD-06."""
    rig, upstream = rig_of(FakeReply(body=ANSWER, kind=JSON), accounting=Accounting(disconnect=disconnect))
    upstream.answers.clear()
    async with rig:
        call = asyncio.create_task(rig.ask(FakeClient(body_of())))
        await until(lambda: upstream.sent)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        upstream.answers.set()
        await rig.quiet()
    state, cost, flags = ended(rig)
    assert state == "settled"
    assert (cost, flags) == (43, ()) if disconnect == "drain" else flags == ("partial", "estimated")


async def test_a_background_answer_costs_what_was_reserved_as_nobody_sees_its_end() -> None:
    document = {"id": "resp_1", "status": "queued", "model": "m", "usage": None, "output": []}
    rig, _ = rig_of(FakeReply(body=json.dumps(document).encode(), kind=JSON))
    body = json.dumps({"model": "m", "input": "hi", "background": True, "max_output_tokens": 50}).encode()
    async with rig:
        client = await rig.ask(FakeClient(body, "/v1/responses"))
    state, cost, flags = ended(rig)
    (intent,) = rig.ledger.intents.values()
    assert (state, cost, flags) == ("settled", intent.reserved_nano, ("estimated",))
    assert client.header("x-gateway-cost-usd") is None


# -- a further attempt


async def test_the_headers_of_a_further_attempt_tell_of_requests_too() -> None:
    told = record()
    limits, runtime = (limit_for("requests", 5), limit_for()), runtime_for(RULES, prices=PRICES)
    account = await opened(call_of(), plan_of(*limits), runtime, told)
    await account.again("regenerate")
    assert [limit.unit for limit, _ in told.balances] == ["requests", "usd"]


async def test_a_further_attempt_has_a_lease_and_two_rows_of_its_own() -> None:
    """BUD-15: one request, every attempt its own child; the total is their sum."""
    ledger, store = FakeLedger(), FakeStore()
    accounts, told = accounts_for(ledger, store), record()
    runtime = runtime_for(RULES, prices=PRICES)
    limits = (limit_for("requests", 5), limit_for("calls", 1), limit_for())
    accounts.start()
    account = await opened(call_of(), plan_of(*limits), runtime, told, accounts)
    for _ in range(2):
        attempt = await account.durable()
        attempt.status, attempt.complete, attempt.reported = 200, True, Reported(3, 4, 7)
        await account.again("regenerate")
    assert account.close()
    await accounts.flushed(5)
    assert list(ledger.intents) == ["call-1.1", "call-1.2", "call-1.3"]
    assert [row.state for row in ledger.outcomes.values()] == ["settled", "settled", "voided"]
    assert sum(row.cost_nano or 0 for row in ledger.outcomes.values()) == 86
    assert dict(store.verbs)["settle"] == "call-1.3"
    assert store.reserved == {}
    asks = [bound(limit, 0, 0.0) for limit in (limits[0], limits[2])]
    requests, money = await store.balances(asks)
    assert requests is not None
    assert money is not None
    assert (requests.spent, money.spent) == (1, 86)
    await accounts._tasks.stop()


# -- what was reserved is used up


def long_stream(frames: int) -> FakeReply:
    return FakeReply(body=[delta("word ") for _ in range(frames)] + [DONE], kind=STREAM)


async def test_chunks_are_timed_and_neither_comments_nor_the_end_mark_are_chunks() -> None:
    rig, _ = rig_of(
        FakeReply(body=[b": ping\n\n", *(delta("word ") for _ in range(4)), b": ping\n\n", DONE], kind=STREAM)
    )
    async with rig:
        await rig.ask(FakeClient(body_of(stream=True)))
    (attempt,) = rig.records[0].attempts
    assert attempt.first_chunk_s is not None
    assert attempt.pace is not None
    assert sum(attempt.pace.row[:-1]) == 3


async def test_a_stream_beyond_its_reservation_reserves_more() -> None:
    rig, _ = rig_of(long_stream(30))
    async with rig:
        client = await rig.ask(FakeClient(body_of(stream=True, max_tokens=4)))
    grown = [verb for verb, _ in rig.store.verbs if verb == "grow"]
    assert len(grown) == 3
    assert client.body.endswith(DONE)
    state, cost, _ = ended(rig)
    assert state == "settled"
    assert cost is not None
    assert cost > 300


@pytest.mark.parametrize("limits", [{}, {"budgets": (), "rate_limits": ()}])
async def test_a_stream_goes_on_when_what_it_reserved_further_is_on_disk(limits: dict[str, Any]) -> None:
    """LED-02: if the process dies now, it costs all of what it reserved."""
    rig, _ = rig_of(long_stream(30), **limits)
    written: list[int] = []

    class Watched(FakeClient):
        async def write(self, data: bytes) -> None:
            written.append(len(rig.ledger.extensions))
            await super().write(data)

    async with rig:
        await rig.ask(Watched(body_of(stream=True, max_tokens=4)))
    (began,) = rig.ledger.intents.values()
    assert rig.ledger.extensions == [(began.attempt, began.reserved_nano * times) for times in (1, 2, 4)]
    assert written[3:5] == [0, 1]
    assert written[-1] == 3


@pytest.mark.parametrize("limits", [{}, {"budgets": (), "rate_limits": ()}])
async def test_a_stream_beyond_its_reservation_is_cut_while_that_cannot_be_written_down(limits: dict[str, Any]) -> None:
    rig, _ = rig_of(long_stream(30), looks=lambda: setattr(rig.ledger, "full", True), **limits)
    async with rig:
        client = await rig.ask(FakeClient(body_of(stream=True, max_tokens=4)))
    assert client.body.count(b"word") == 4
    assert b"budget_exceeded" in client.body
    assert DONE not in client.body
    assert ended(rig)[0] == "settled"


async def test_a_stream_beyond_its_reservation_is_cut_where_there_is_no_more() -> None:
    """BUD-02: with an event that says why."""
    tight = LimitRule("all", (Measure("usd", 600, "total"),), {})
    rig, _ = rig_of(long_stream(100), budgets=(tight,))
    async with rig:
        client = await rig.ask(FakeClient(body_of(stream=True, max_tokens=20)))
    assert b"budget_exceeded" in client.body
    assert DONE not in client.body
    assert client.finished
    assert ended(rig)[0] == "settled"
    assert (rig.records[0].outcome, rig.records[0].error) == ("cut", "budget_exceeded")


async def test_a_stream_beyond_its_reservation_is_cut_where_policy_wants_it() -> None:
    rig, _ = rig_of(long_stream(30), accounting=Accounting(exhausted="cut"))
    async with rig:
        client = await rig.ask(FakeClient(body_of(stream=True, max_tokens=4)))
    assert b"budget_exceeded" in client.body
    assert ended(rig)[0] == "settled"
    assert not [verb for verb, _ in rig.store.verbs if verb == "grow"]


@pytest.mark.parametrize("rules", [{}, {"budgets": (LimitRule("s", (Measure("usd", 1, "total"),), {}, hard=False),)}])
async def test_where_nothing_hard_is_reserved_nothing_is_cut(rules: dict[str, Any]) -> None:
    given = {"budgets": (), "rate_limits": (), **rules}
    rig, _ = rig_of(long_stream(30), accounting=Accounting(exhausted="cut"), **given)
    async with rig:
        client = await rig.ask(FakeClient(body_of(stream=True, max_tokens=4)))
    assert client.body.endswith(DONE)


# -- cancelled anywhere


GUARDS = b"""
providers: {demo: {shape: demo}}
models: {m: {targets: [{provider: demo}]}}
guards:
  names: {type: words, words: [falcon], action: regenerate, on_error: block}
  asked: {type: words, words: [heron], action: block, on_error: block}
guard_sets:
  default: {input: [asked], output: [names], unreadable: allow}
  beside: {input: [asked], output: [names], unreadable: allow, screen: alongside}
"""


def guards_of(name: str) -> dict[str, Any]:
    """The policy's guard sets, the one of this name holding for every call; "": none."""
    return {"guard_sets": {"default": load((("policy.yaml", GUARDS),), Path(), {}).guard_sets[name]}} if name else {}


def document(text: str) -> FakeReply:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    whole = json.dumps({"model": "m", "choices": [choice], "usage": USAGE}).encode()
    return FakeReply(body=[whole[:9], whole[9:]], kind=JSON)


@pytest.mark.parametrize("guards", ["default", "beside"])
async def test_a_question_that_a_guard_refuses_is_voided_unless_it_was_sent(guards: str) -> None:
    rig, upstream = rig_of(document("hi"), **guards_of(guards))
    async with rig:
        client = await rig.ask(FakeClient(body_of("a heron")))
    assert (client.status, json.loads(client.body)["error"]["code"]) == (400, "guard_blocked")
    assert ended(rig)[0] == ("settled" if upstream.sent else "voided")
    assert "input/asked=block" in next(iter(rig.ledger.outcomes.values())).verdicts


@pytest.mark.parametrize("disconnect", ["close", "drain"])
async def test_an_answer_that_a_guard_refuses_is_charged_each_time(disconnect: Any) -> None:
    """BUD-15."""
    replies = [document("falcon"), document("a falcon")]
    rig, _ = rig_of(*replies, accounting=Accounting(disconnect=disconnect), **guards_of("default"))
    async with rig:
        client = await rig.ask(FakeClient(body_of()))
    assert client.status == 400
    assert [(row.state, row.cost_nano) for row in rig.ledger.outcomes.values()] == [("settled", 43)] * 2
    assert [attempt.reason for attempt in rig.records[0].attempts] == ["", "regenerate"]
    assert all(reply.closed for reply in replies)


async def test_a_caller_that_leaves_while_it_is_asked_again_pays_both_and_the_second_is_read() -> None:
    """BUD-06: what is read on is the answer that was under way."""
    second = document("a bird")
    rig, upstream = rig_of(
        document("falcon"), second, accounting=Accounting(disconnect="drain"), **guards_of("default")
    )
    async with rig:
        call = asyncio.create_task(rig.ask(FakeClient(body_of())))
        await until(lambda: len(upstream.sent) == 2)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await rig.quiet()
    assert rig.ledger.open == []
    assert [(row.cost_nano, row.flags) for row in rig.ledger.outcomes.values()] == [(43, ())] * 2
    assert second.closed


async def cancelled_at(turn: int, disconnect: Any, stream: bool, guards: str) -> bool:
    """Whether the call was still running after so many turns of the loop."""
    pieces = [delta("a"), delta("b"), event(usage=USAGE), DONE]
    replies = [FakeReply(body=pieces, kind=STREAM)] if stream else [document("falcon"), document("a bird")]
    rig, _ = rig_of(*replies, accounting=Accounting(disconnect=disconnect), **guards_of(guards))
    key = [(b"idempotency-key", b"once")]
    async with rig:
        call = asyncio.create_task(rig.ask(FakeClient(body_of("word " * 9, stream=stream), headers=key)))
        await turns(turn)
        running = call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await rig.quiet()
        assert rig.ledger.open == []
        assert sorted(rig.ledger.terminal_rows) == sorted(rig.ledger.intents)
        assert rig.store.reserved == {}
        assert rig.store.open_leases == []
        assert rig.accounts.leases == set()
        assert len(rig.records) == 1
        assert all(body and reply is not None for body, reply in rig.ledger.keys.values())
        assert rig.bugs == []
    return running


@pytest.mark.parametrize("disconnect", ["close", "drain"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("guards", ["", "default", "beside"])
async def test_a_call_cancelled_anywhere_leaves_nothing_reserved_and_one_row(
    disconnect: Any, stream: bool, guards: str
) -> None:
    """BUD-10: at every turn of the loop that the call takes; with guards it is asked again."""
    turn = 1
    while await cancelled_at(turn, disconnect, stream, guards):
        turn += 1
    assert turn > 10


async def test_a_call_cancelled_while_the_store_answers_gives_back_when_its_lease_expires() -> None:
    """BUD-10: it was granted, and nobody was told."""
    rig, upstream = rig_of()
    rig.store.far = True
    async with rig:
        call = asyncio.create_task(rig.ask(FakeClient(body_of())))
        await until(lambda: rig.store.open_leases)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert rig.store.reserved
        rig.clock.pass_(LEASE_S + 1)
        await rig.accounts._sweep()
        assert rig.store.reserved == {}
        assert rig.store.open_leases == []
    assert (upstream.sent, rig.ledger.intents) == ([], {})
    (balance,) = await rig.store.balances([bound(limit_for(name="all"), 0, 0.0)])
    assert balance is not None
    assert balance.spent == 0
