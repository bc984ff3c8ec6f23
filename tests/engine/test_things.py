from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.engine.things import Things
from gateway.policy.compile import Passthrough, TargetRule
from tests.engine.fakes import FakeClient, FakeReply, FakeUpstream, Rig, runtime_for

RULES = {"m": (TargetRule("a", None),), "other": (TargetRule("b", None),)}
DOCUMENT = {"id": "resp_mine", "object": "response", "model": "m", "output": [], "usage": None, "status": "completed"}


def whole(**changed: Any) -> FakeReply:
    return FakeReply(body=json.dumps({**DOCUMENT, **changed}).encode(), kind="application/json")


def streamed(**changed: Any) -> FakeReply:
    created = {"type": "response.created", "response": {**DOCUMENT, **changed}}
    done = {"type": "response.completed", "response": {**DOCUMENT, **changed}}
    events = [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in (created, done)]
    return FakeReply(body=[b": waiting\n\n", *events], kind="text/event-stream")


def rig_of(*replies: Any, passthrough: tuple[Passthrough, ...] = ()) -> tuple[Rig, FakeUpstream]:
    upstream = FakeUpstream(*replies)
    return Rig(runtime_for(RULES, {"a": upstream, "b": FakeUpstream()}, passthrough)), upstream


def creates(caller: str = "one", **fields: Any) -> FakeClient:
    return FakeClient(json.dumps({"model": "m", "input": "hi", **fields}).encode(), "/v1/responses", key=caller)


def asks(path: str, caller: str, method: str = "GET") -> FakeClient:
    return FakeClient(b"", f"/v1/responses/{path}", key=caller, method=method)


def code_of(client: FakeClient) -> tuple[int, str]:
    return client.status, json.loads(client.body)["error"]["code"]


FOREIGN = [
    lambda: asks("resp_mine", "two"),
    lambda: asks("resp_mine", "two", "DELETE"),
    lambda: asks("resp_mine/cancel", "two", "POST"),
    lambda: asks("resp_mine/input_items?limit=1", "two"),
    lambda: asks("resp%5Fmine", "two"),
    lambda: creates("two", previous_response_id="resp_mine"),
]


@pytest.mark.parametrize("create", [whole, streamed])
async def test_a_foreign_response_is_not_found_and_its_provider_is_not_asked(create: Any) -> None:
    """AUTH-15: by every way that names it; the same as one that does not exist."""
    rig, upstream = rig_of(create())
    async with rig:
        assert (await rig.ask(creates(stream=create is streamed))).status == 200
        await rig.quiet()
        for client in FOREIGN:
            assert code_of(await rig.ask(client())) == (404, "response_not_found")
        nobodys = await rig.ask(asks("resp_unheard_of", "two"))
        foreign = await rig.ask(asks("resp_mine", "two"))
    assert len(upstream.sent) == 1
    said = [json.loads(client.body)["error"] for client in (nobodys, foreign)]
    assert said[0] | {"request_id": ""} == said[1] | {"request_id": ""}


@pytest.mark.parametrize("create", [whole, streamed])
@pytest.mark.parametrize("restarted", [False, True])
async def test_its_own_responses_are_the_callers_to_use(create: Any, restarted: bool) -> None:
    """AUTH-15: at once, and after a restart."""
    rig, upstream = rig_of(create(), *(whole() for _ in range(6)))
    async with rig:
        await rig.ask(creates(stream=create is streamed))
        await rig.quiet()
        if restarted:
            rig.engine._services.things._recent.clear()
        for client in (
            asks("resp_mine", "one"),
            asks("resp_mine/input_items", "one"),
            asks("resp_mine/cancel", "one", "POST"),
            creates("one", previous_response_id="resp_mine"),
            asks("resp_mine", "one", "DELETE"),
        ):
            assert (await rig.ask(client)).status == 200
    assert [request.path for request in upstream.sent] == [
        "/responses",
        "/responses/resp_mine",
        "/responses/resp_mine/input_items",
        "/responses/resp_mine/cancel",
        "/responses",
        "/responses/resp_mine",
    ]


@pytest.mark.parametrize("create", [whole, streamed])
async def test_a_response_that_is_not_stored_is_nobodys(create: Any) -> None:
    rig, upstream = rig_of(create())
    async with rig:
        await rig.ask(creates(store=False, stream=create is streamed))
        await rig.quiet()
        assert code_of(await rig.ask(asks("resp_mine", "one"))) == (404, "response_not_found")
    assert rig.ledger.things == {}
    assert len(upstream.sent) == 1


async def test_what_a_caller_writes_into_its_request_makes_nothing_its_own() -> None:
    """AUTH-15: metadata come back in the event that names the response."""
    victim, thief = streamed(), FakeReply(body=[], kind="text/event-stream")
    created = {
        "type": "response.created",
        "response": {"metadata": {"id": "resp_mine"}, "instructions": '"id":"resp_mine"', **DOCUMENT, "id": "resp_2"},
    }
    thief._pieces = [f"event: response.created\ndata: {json.dumps(created)}\n\n".encode(), b"data: [DONE]\n\n"]
    rig, upstream = rig_of(victim, thief)
    async with rig:
        await rig.ask(creates("one", stream=True))
        await rig.ask(creates("two", stream=True, metadata={"id": "resp_mine"}))
        await rig.quiet()
        assert code_of(await rig.ask(asks("resp_mine", "two"))) == (404, "response_not_found")
        assert rig.ledger.things["resp_2"] == ("team", "two", "a")
    assert len(upstream.sent) == 2


@pytest.mark.parametrize("previous", [{}, {"previous_response_id": "resp_mine"}])
@pytest.mark.parametrize("named", ["conv_1", {"id": "conv_1"}])
async def test_a_conversation_is_not_found_where_nobody_can_make_one(previous: dict[str, str], named: Any) -> None:
    """AUTH-15: also beside a response of one's own."""
    rig, upstream = rig_of(whole())
    async with rig:
        await rig.ask(creates())
        await rig.quiet()
        assert code_of(await rig.ask(creates(conversation=named, **previous))) == (404, "response_not_found")
    assert len(upstream.sent) == 1


async def test_a_conversation_passes_where_policy_lists_their_path() -> None:
    row = Passthrough("/v1/conversations", frozenset({"POST"}), "a")
    rig, upstream = rig_of(whole(), passthrough=(row,))
    async with rig:
        assert (await rig.ask(creates(conversation="conv_1"))).status == 200
    assert len(upstream.sent) == 1


async def test_whose_it_is_cannot_be_told_without_the_ledger() -> None:
    rig, upstream = rig_of()
    async with rig:
        rig.ledger.full = True
        assert code_of(await rig.ask(asks("resp_mine", "one"))) == (503, "ledger_unavailable")
        rig.ledger.full = False
    assert upstream.sent == []


async def test_a_response_is_continued_where_it_lies() -> None:
    """A model of another provider cannot see it: that is not found, and nobody is asked."""
    rig, upstream = rig_of(whole())
    async with rig:
        await rig.ask(creates())
        await rig.quiet()
        client = await rig.ask(creates(model="other", previous_response_id="resp_mine"))
        assert code_of(client) == (404, "response_not_found")
    assert len(upstream.sent) == 1


async def test_what_is_remembered_is_bounded() -> None:
    rig, _ = rig_of()
    async with rig:
        things: Things = rig.engine._services.things
        caller = await rig.engine.runtime.authenticator.authenticate("one")
        for number in range(10_050):
            things.made(rig.accounts, f"resp_{number}", caller, "a")
        await rig.quiet()
    assert len(things._recent) == 10_000
    assert len(rig.ledger.things) == 10_050


async def test_what_a_passed_through_request_calls_a_model_is_a_name() -> None:
    """It goes into rows, lines and spans."""
    row = Passthrough("/v1/files", frozenset({"POST"}), "a", charge_nano=0)
    rig, upstream = rig_of(whole(), passthrough=(row,))
    async with rig:
        for odd in ("x" * 300, "a\nb"):
            client = await rig.ask(FakeClient(json.dumps({"model": odd}).encode(), "/v1/files", key="one"))
            assert (client.status, json.loads(client.body)["error"]["param"]) == (400, "model")
        assert upstream.sent == []
