"""AUTH-15: callers share one account at the provider, and none can use what another has stored there."""

import itertools
import json

import pytest

from tests.support.provider import LAST_CHUNK, STREAM_HEAD, chunk, plain
from tests.support.running import KEY, digest, policy_for, running

OTHER_KEY = "gw-" + "o" * 43
CALLERS = (
    f"  app: {{key_sha256: ['{digest(KEY)}'], team: team-a, models: ['*']}}\n"
    f"  other: {{key_sha256: ['{digest(OTHER_KEY)}'], team: team-b, models: ['*']}}\n"
)
KINDS = (
    "files",
    "vector_stores",
    "batches",
    "assistants",
    "threads",
    "conversations",
    "containers",
    "uploads",
    "videos",
)
KINDS += ("evals", "fine_tuning/jobs")
ROWS = "passthrough:\n" + "".join(
    f"  p{number}{below}: {{path: '/v1/{kind}{below and '/*'}', methods: [GET, POST, DELETE], provider: fake}}\n"
    for number, kind in enumerate(KINDS)
    for below in ("", "x")
)
REFERENCES = {
    "files": [
        ("/v1/batches", {"input_file_id": "@", "endpoint": "/v1/responses"}),
        ("/v1/fine_tuning/jobs", {"model": "m", "training_file": "@"}),
        ("/v1/vector_stores", {"file_ids": ["@"]}),
        ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "@"}]}]}),
        ("/v1/responses", {"input": "x", "tools": [{"type": "code_interpreter", "container": {"file_ids": ["@"]}}]}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "@"}}]}]}),
    ],
    "vector_stores": [
        ("/v1/responses", {"input": "x", "tools": [{"type": "file_search", "vector_store_ids": ["@"]}]}),
        ("/v1/assistants", {"model": "m", "tool_resources": {"file_search": {"vector_store_ids": ["@"]}}}),
    ],
    "containers": [("/v1/responses", {"input": "x", "tools": [{"type": "code_interpreter", "container": "@"}]})],
    "conversations": [("/v1/responses", {"input": "x", "conversation": "@"})],
    "assistants": [("/v1/threads/runs", {"assistant_id": "@"})],
}  # fmt: skip


def serving(provider, tmp_path, shared=False):
    row = "    objects: shared\n" if shared else ""
    return running(policy_for(provider.base_url, provider=row, callers=CALLERS, rest=ROWS), tmp_path)


def naming(provider):
    """What is posted gets a new id; what is asked for answers empty."""
    numbers = itertools.count(1)

    async def script(call, writer):
        made = {"id": f"thing-{next(numbers)}"} if call.method == "POST" else {"object": "list", "data": []}
        writer.write(plain(json.dumps({**made, "model": "m", "output": [], "choices": [], "usage": None}).encode()))
        await writer.drain()

    provider.script = script


async def posted(gateway, path, key=KEY, **document):
    return await gateway.ask("POST", path, json.dumps(document).encode(), key)


def without_id(answer):
    """Its error but for the call's own id."""
    return answer.status, answer.json()["error"] | {"request_id": ""}


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_what_one_caller_made_is_to_another_as_if_it_did_not_exist(provider, tmp_path, kind, restarted):
    naming(provider)
    async with serving(provider, tmp_path) as gateway:
        thing = (await posted(gateway, f"/v1/{kind}", name="x")).json()["id"]
        if not restarted:
            await used_by_its_caller_alone(gateway, provider, kind, thing)
    if restarted:
        async with serving(provider, tmp_path) as gateway:
            await used_by_its_caller_alone(gateway, provider, kind, thing)


async def used_by_its_caller_alone(gateway, provider, kind, thing):
    before = len(provider.calls)
    asked = [
        ("GET", f"/v1/{kind}/@", None),
        ("GET", f"/v1/{kind}/@/content?x=1", None),
        ("DELETE", f"/v1/{kind}/@", None),
    ]
    asked += [("POST", f"/v1/{kind}/@/cancel", {})]
    asked += [("POST", path, {"model": "m", **document}) for path, document in REFERENCES.get(kind, ())]
    for method, path, document in asked:
        foreign, unheard = [
            await gateway.ask(
                method, path.replace("@", name), document and json.dumps(document).replace("@", name).encode(), OTHER_KEY
            )
            for name in (thing, "thing-unheard-of")
        ]  # fmt: skip
        assert (foreign.status, foreign.code) == (404, "object_not_found"), path
        assert without_id(foreign) == without_id(unheard)
    assert len(provider.calls) == before
    for method, path, document in asked:
        body = json.dumps(document).replace("@", thing).encode() if document is not None else None
        assert (await gateway.ask(method, path.replace("@", thing), body, KEY)).status == 200, path
    assert len(provider.calls) == before + len(asked)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_list_of_what_all_callers_stored_is_refused(provider, tmp_path, kind):
    async with serving(provider, tmp_path) as gateway:
        answer = await gateway.ask("GET", f"/v1/{kind}?limit=100", key=KEY)
        assert (answer.status, answer.code) == (403, "listing_not_allowed")
    assert provider.calls == []


async def test_where_policy_shares_the_account_only_what_is_known_to_be_anothers_is_closed(provider, tmp_path):
    naming(provider)
    async with serving(provider, tmp_path, shared=True) as gateway:
        thing = (await posted(gateway, "/v1/files")).json()["id"]
        foreign = await gateway.ask("GET", f"/v1/files/{thing}", key=OTHER_KEY)
        assert (foreign.status, foreign.code) == (404, "object_not_found")
        assert (await gateway.ask("GET", "/v1/files/file-of-the-operator", key=OTHER_KEY)).status == 200
        assert (await gateway.ask("GET", "/v1/files", key=OTHER_KEY)).status == 200
        response = await gateway.ask("GET", "/v1/responses/resp_of_nobody", key=OTHER_KEY)
        assert (response.status, response.code) == (404, "response_not_found")


ITEM = {"type": "message", "id": "msg_canary", "role": "assistant", "content": []}
RESPONSE = {"id": "resp_1", "object": "response", "model": "m", "status": "completed", "usage": None, "output": [ITEM]}


def streamed():
    events = [
        {"type": "response.created", "sequence_number": 0, "response": {**RESPONSE, "output": []}},
        {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": ITEM},
        {"type": "response.completed", "sequence_number": 2, "response": RESPONSE},
    ]
    frames = (f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events)
    return STREAM_HEAD, *map(chunk, frames), LAST_CHUNK


@pytest.mark.parametrize("streams", [False, True])
async def test_an_item_of_a_stored_response_is_its_callers_own_also_after_a_restart(provider, tmp_path, streams):
    provider.says(*(streamed() if streams else [plain(json.dumps(RESPONSE).encode())]))
    async with serving(provider, tmp_path) as gateway:
        assert (await posted(gateway, "/v1/responses", model="m", input="hi", stream=streams)).status == 200
    provider.says(plain(json.dumps(RESPONSE).encode()))
    async with serving(provider, tmp_path) as gateway:
        for reference in ({"type": "item_reference"}, {"type": "reasoning"}, {}):
            asked = {"model": "m", "input": [{"role": "user", "content": "x"}, {**reference, "id": "msg_canary"}]}
            unheard = {"model": "m", "input": [{**reference, "id": "msg_unheard_of"}]}
            foreign = await posted(gateway, "/v1/responses", OTHER_KEY, **asked)
            assert (foreign.status, foreign.code) == (404, "object_not_found")
            assert without_id(foreign) == without_id(await posted(gateway, "/v1/responses", OTHER_KEY, **unheard))
        assert len(provider.calls) == 1
        assert (await posted(gateway, "/v1/responses", **asked)).status == 200
        assert len(provider.calls) == 2


async def test_an_answer_that_is_not_stored_leaves_nothing_behind(provider, tmp_path):
    provider.says(plain(json.dumps(RESPONSE).encode()))
    async with serving(provider, tmp_path) as gateway:
        await posted(gateway, "/v1/responses", model="m", input="hi", store=False)
        await posted(gateway, "/v1/chat/completions", model="m", messages=[])
        assert await gateway.gateway.accounts.ledger.owners(["resp_1", "msg_canary"]) == {}


async def test_a_history_that_is_sent_whole_needs_nothing_stored(provider, tmp_path):
    """Its items keep their ids, and say all that they are."""
    provider.says(plain(json.dumps(RESPONSE).encode()))
    history = [
        {"role": "user", "content": "x"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": '{"file_id": "x"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "x"},
        {**ITEM, "content": [{"type": "output_text", "text": "x", "annotations": [{"file_id": "file-x"}]}]},
    ]
    async with serving(provider, tmp_path) as gateway:
        answer = await posted(gateway, "/v1/responses", model="m", input=history, store=False)
    assert answer.status == 200
