from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.core.errors import CLOSED, UpstreamFault
from gateway.engine.things import Things
from gateway.policy.compile import Passthrough, TargetRule
from tests.engine.fakes import FakeClient, FakeReply, FakeUpstream, Rig, runtime_for

POST, GET = frozenset({"POST"}), frozenset({"GET", "DELETE"})
FILES = (Passthrough("/v1/files", POST | GET, "a", 0), Passthrough("/v1/files/*", POST | GET, "a", 0))
BATCHES = (Passthrough("/v1/batches", POST | GET, "a", 0), Passthrough("/v1/batches/*", POST | GET, "a", 0))
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


def made(thing: str, **fields: Any) -> FakeReply:
    return FakeReply(body=json.dumps({"id": thing, **fields}).encode(), kind="application/json")


def posts(path: str, caller: str = "one", **document: Any) -> FakeClient:
    return FakeClient(json.dumps(document).encode(), path, key=caller)


def gets(path: str, caller: str = "one", method: str = "GET") -> FakeClient:
    return FakeClient(b"", path, key=caller, method=method)


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
async def test_a_conversation_that_nobody_made_here_is_not_found(previous: dict[str, str], named: Any) -> None:
    """AUTH-15: also beside a response of one's own."""
    rig, upstream = rig_of(whole())
    async with rig:
        await rig.ask(creates())
        await rig.quiet()
        assert code_of(await rig.ask(creates(conversation=named, **previous))) == (404, "object_not_found")
    assert len(upstream.sent) == 1


async def test_a_conversation_is_for_the_caller_that_made_it() -> None:
    """AUTH-15"""
    rows = (Passthrough("/v1/conversations", POST, "a", 0), Passthrough("/v1/conversations/*", GET, "a", 0))
    rig, upstream = rig_of(made("conv_1"), whole(), passthrough=rows)
    async with rig:
        await rig.ask(posts("/v1/conversations"))
        for named in ("conv_1", {"id": "conv_1"}):
            foreign = await rig.ask(creates("two", conversation=named))
            assert code_of(foreign) == (404, "object_not_found")
        assert code_of(await rig.ask(gets("/v1/conversations/conv_1/items", "two"))) == (404, "object_not_found")
        assert len(upstream.sent) == 1
        assert (await rig.ask(creates(conversation="conv_1"))).status == 200
        assert (await rig.ask(gets("/v1/conversations/conv_1/items"))).status == 200


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
            things.made(rig.accounts, [f"resp_{number}"], caller, "a")
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


ITEM = {"type": "message", "id": "msg_1", "role": "assistant", "content": []}
RAN = {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1", "code": "1"}


def events_of(*items: dict[str, Any]) -> FakeReply:
    events = [
        {"type": "response.created", "response": {**DOCUMENT, "status": "in_progress"}},
        *({"type": "response.output_item.added", "output_index": 0, "item": item} for item in items),
        {"type": "response.output_text.delta", "delta": 'response.output_item.added {"item":{"id":"msg_said"}}'},
        {"type": "response.completed", "response": {**DOCUMENT, "output": items}},
    ]
    return FakeReply(
        body=[f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events],
        kind="text/event-stream",
    )


def referring(*items: Any, caller: str = "one", **fields: Any) -> FakeClient:
    return creates(caller, **{"input": list(items), **fields})


@pytest.mark.parametrize("streams", [False, True])
async def test_items_of_a_stored_response_are_for_its_caller(streams: bool) -> None:
    """AUTH-15"""
    rig, upstream = rig_of(events_of(ITEM, RAN) if streams else whole(output=[ITEM, RAN]))
    reference = {"type": "item_reference", "id": "msg_1"}
    async with rig:
        await rig.ask(creates(stream=streams))
        await rig.quiet()
        foreign = await rig.ask(referring(reference, caller="two"))
        unheard = await rig.ask(referring({**reference, "id": "msg_said"}, caller="two"))
        assert code_of(foreign) == code_of(unheard) == (404, "object_not_found")
        said = [json.loads(client.body)["error"] | {"request_id": ""} for client in (foreign, unheard)]
        assert said[0] == said[1]
        ran = {"type": "code_interpreter", "container": "cntr_1"}
        assert code_of(await rig.ask(creates("two", tools=[ran]))) == (404, "object_not_found")
        assert len(upstream.sent) == 1
        rig.engine._services.things._recent.clear()
        assert (await rig.ask(referring(reference))).status == 200
        assert (await rig.ask(creates(tools=[ran]))).status == 200
    assert rig.ledger.things.keys() == {"resp_mine", "msg_1", "ci_1", "cntr_1"}


@pytest.mark.parametrize("streams", [False, True])
async def test_of_a_response_that_is_not_stored_only_containers_stay(streams: bool) -> None:
    rig, _ = rig_of(events_of(ITEM, RAN) if streams else whole(output=[ITEM, RAN]))
    tools = [{"type": "code_interpreter", "container": {"type": "auto"}}]
    async with rig:
        await rig.ask(creates(stream=streams, store=False, tools=tools))
        await rig.quiet()
    assert rig.ledger.things.keys() == {"cntr_1"}


async def test_items_that_came_later_are_known_once_the_response_is_fetched() -> None:
    """As those of one that runs in the background."""
    rig, _ = rig_of(whole(status="queued"), whole(output=[ITEM]))
    async with rig:
        await rig.ask(creates(background=True))
        await rig.quiet()
        assert code_of(await rig.ask(referring({"id": "msg_1"}))) == (404, "object_not_found")
        await rig.ask(asks("resp_mine", "one"))
        await rig.quiet()
        assert (await rig.ask(referring({"id": "msg_1"}))).status == 200


async def test_what_a_post_made_is_for_its_caller_at_once_and_durably() -> None:
    """AUTH-15"""
    rig, upstream = rig_of(made("file-1"), passthrough=FILES + BATCHES)
    async with rig:
        client = await rig.ask(posts("/v1/files"))
        assert (client.status, json.loads(client.body)) == (200, {"id": "file-1"})
        assert rig.ledger.things == {"file-1": ("team", "one", "a")}
        for foreign in (
            gets("/v1/files/file-1", "two"),
            gets("/v1/files/file-1/content", "two"),
            gets("/v1/files/file-1?x=1", "two", "DELETE"),
            gets("/v1/files/file%2D1", "two"),
            posts("/v1/batches", "two", input_file_id="file-1"),
            creates("two", input=[{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]),
        ):
            assert code_of(await rig.ask(foreign)) == (404, "object_not_found")
        assert len(upstream.sent) == 1
        for own in (gets("/v1/files/file-1/content"), posts("/v1/batches", input_file_id="file-1")):
            assert (await rig.ask(own)).status == 200


async def test_files_that_a_batch_made_are_for_the_caller_of_the_batch() -> None:
    """AUTH-15"""
    done = {"output_file_id": "file-out", "error_file_id": "file-err"}
    rig, _ = rig_of(made("batch_1"), made("batch_1", **done), passthrough=FILES + BATCHES)
    async with rig:
        await rig.ask(posts("/v1/batches"))
        assert code_of(await rig.ask(gets("/v1/files/file-out/content"))) == (404, "object_not_found")
        await rig.ask(gets("/v1/batches/batch_1"))
        assert (await rig.ask(gets("/v1/files/file-out/content"))).status == 200
        assert code_of(await rig.ask(gets("/v1/files/file-err/content", "two"))) == (404, "object_not_found")


async def test_what_a_caller_wrote_into_a_file_makes_nothing_its_own() -> None:
    """AUTH-15: the content of a file looks like an answer of the API."""
    rig, _ = rig_of(made("file-1"), made("x", output_file_id="file-2"), passthrough=FILES)
    async with rig:
        await rig.ask(posts("/v1/files"))
        await rig.ask(gets("/v1/files/file-1/content"))
    assert rig.ledger.things.keys() == {"file-1"}


@pytest.mark.parametrize(
    "answer",
    [
        FakeReply(body=b'{"id":"file-1"', kind="application/json"),
        FakeReply(body=b'["file-1"]', kind="application/json"),
        FakeReply(body=b'{"id":"file-1"}', kind="text/plain"),
        FakeReply(400, body=b'{"id":"file-1"}', kind="application/json"),
        FakeReply(body=[b'{"id":"file-1","x":"', *[b"x" * 65536] * 20, b'"}'], kind="application/json"),
        FakeReply(body=json.dumps({"id": "x" * 300}).encode(), kind="application/json"),
    ],
)
async def test_an_answer_that_names_nothing_readable_passes_and_makes_nothing(answer: FakeReply) -> None:
    told = b"".join(answer._pieces)  # type: ignore[arg-type]
    rig, _ = rig_of(answer, passthrough=FILES)
    async with rig:
        client = await rig.ask(posts("/v1/files"))
    assert (client.status, client.body, client.finished) == (answer.status, told, True)
    assert rig.ledger.things == {}
    assert answer.closed


async def test_a_compressed_answer_is_read_and_passes_as_it_came() -> None:
    body = gzip.compress(b'{"id":"file-1"}')
    answer = FakeReply(body=[body[:5], body[5:]], kind="application/json")
    answer.headers.append((b"content-encoding", b"gzip"))
    rig, _ = rig_of(answer, passthrough=FILES)
    async with rig:
        assert (await rig.ask(posts("/v1/files"))).body == body
    assert rig.ledger.things.keys() == {"file-1"}


async def test_an_answer_that_breaks_off_is_an_error_and_makes_nothing() -> None:
    answer = FakeReply(body=[b'{"id":"file-1"}', UpstreamFault(CLOSED)], kind="application/json")
    rig, _ = rig_of(answer, passthrough=FILES)
    async with rig:
        assert code_of(await rig.ask(posts("/v1/files"))) == (502, "upstream_closed")
    assert (rig.ledger.things, answer.closed) == ({}, True)


async def test_lists_are_refused_as_they_show_what_all_callers_stored() -> None:
    """AUTH-15"""
    rig, upstream = rig_of(passthrough=FILES)
    async with rig:
        for method in ("GET", "DELETE"):
            client = await rig.ask(gets("/v1/files?limit=1", method=method))
            assert code_of(client) == (403, "listing_not_allowed")
    assert upstream.sent == []


async def test_a_path_that_could_be_read_in_two_ways_is_not_found() -> None:
    rig, upstream = rig_of(made("file-1"), passthrough=FILES)
    async with rig:
        await rig.ask(posts("/v1/files"))
        for path in ("file-1%2F..%2Ffile-2", "file-1%2fcontent", "file-1/x%2F..%2F..%2Ffile-2"):
            assert code_of(await rig.ask(gets(f"/v1/files/{path}"))) == (404, "object_not_found")
    assert len(upstream.sent) == 1


def with_rows(rig: Rig, **rows: dict[str, Any]) -> Rig:
    """The policy's rows of these providers say this."""
    runtime = rig.engine.runtime
    known = runtime.policy.providers
    providers = {**known, **{name: replace(known[name], **fields) for name, fields in rows.items()}}
    rig.engine.runtime = replace(runtime, policy=replace(runtime.policy, providers=providers), plans={})
    return rig


SHARED = {"objects": "shared"}


async def test_in_a_shared_account_callers_name_what_nobody_made_and_list_it_all() -> None:
    """AUTH-15: what is known to be another caller's stays closed, and so do responses."""
    rig, upstream = rig_of(made("file-1"), passthrough=FILES)
    async with with_rows(rig, a=SHARED):
        await rig.ask(posts("/v1/files"))
        assert code_of(await rig.ask(gets("/v1/files/file-1", "two"))) == (404, "object_not_found")
        assert code_of(await rig.ask(asks("resp_unheard_of", "two"))) == (404, "response_not_found")
        assert len(upstream.sent) == 1
        for client in (
            gets("/v1/files", "two"),
            gets("/v1/files/file-of-the-operator", "two"),
            referring({"type": "item_reference", "id": "msg_of_old"}, caller="two"),
            creates("two", tools=[{"type": "file_search", "vector_store_ids": ["vs_of_the_operator"]}]),
        ):
            assert (await rig.ask(client)).status == 200
    assert rig.ledger.things.keys() == {"file-1"}


async def test_in_a_shared_account_nobody_takes_what_it_only_looked_at() -> None:
    """AUTH-15"""
    rig, _ = rig_of(made("batch_9", output_file_id="file-9"), made("vs_9"), passthrough=BATCHES)
    async with with_rows(rig, a=SHARED):
        await rig.ask(gets("/v1/batches/batch_9"))
        await rig.ask(posts("/v1/batches/batch_9/cancel"))
    assert rig.ledger.things == {}


@pytest.mark.parametrize(
    ("path", "document", "thing"),
    [("/v1/vector_stores/vs_9", {}, "vs_9"), ("/v1/vector_stores/vs_9/files", {"file_id": "file-9"}, "file-9")],
)
async def test_what_a_post_named_was_not_made_by_it(path: str, document: dict[str, str], thing: str) -> None:
    """AUTH-15: a path that the policy writes out names an object for all."""
    rig, _ = rig_of(made(thing), passthrough=(Passthrough(path, POST, "a", 0),))
    async with with_rows(rig, a=SHARED):
        assert (await rig.ask(posts(path, **document))).status == 200
    assert rig.ledger.things == {}


async def test_a_batch_answers_also_while_the_ledger_is_down() -> None:
    rig, upstream = rig_of(made("batch_1"), made("batch_1", output_file_id="file-1"), passthrough=BATCHES)

    def breaks() -> None:
        rig.ledger.full = len(upstream.sent) == 2

    upstream._looks = breaks
    async with rig:
        await rig.ask(posts("/v1/batches"))
        assert (await rig.ask(gets("/v1/batches/batch_1"))).status == 200
        rig.ledger.full = False
    assert rig.ledger.things.keys() == {"batch_1"}


async def test_how_many_objects_a_call_may_name_is_bounded() -> None:
    rig, upstream = rig_of()
    async with rig:
        tools = [{"type": "file_search", "vector_store_ids": ["vs"] * 5000}]
        assert code_of(await rig.ask(creates(tools=tools))) == (400, "too_many_values")
    assert upstream.sent == []


async def test_two_rows_for_one_account_hold_the_same_objects() -> None:
    upstreams = {"a": FakeUpstream(), "b": FakeUpstream(made("file-1"))}
    rig = Rig(runtime_for(RULES, upstreams, (Passthrough("/v1/files", POST, "b", 0),)))
    account = {"base_url": "http://127.0.0.1:9/v1"}
    part = {"type": "file", "file": {"file_id": "file-1"}}
    asked = {"model": "m", "messages": [{"role": "user", "content": [part]}]}
    async with with_rows(rig, a=account, b=account):
        await rig.ask(posts("/v1/files"))
        assert (await rig.ask(posts("/v1/chat/completions", **asked))).status == 200
        assert code_of(await rig.ask(posts("/v1/chat/completions", "two", **asked))) == (404, "object_not_found")
        with_rows(rig, b={"project": "another"})
        assert code_of(await rig.ask(posts("/v1/chat/completions", **asked))) == (404, "object_not_found")


async def test_an_object_that_could_not_be_written_down_is_nobodys() -> None:
    rig, upstream = rig_of(made("file-1"), passthrough=FILES)

    def breaks() -> None:
        rig.ledger.full = True

    upstream._looks = breaks
    async with rig:
        assert (await rig.ask(posts("/v1/files"))).status == 200
        rig.ledger.full = False
        upstream._looks = None
        assert code_of(await rig.ask(gets("/v1/files/file-1"))) == (404, "object_not_found")
