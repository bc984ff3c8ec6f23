"""Prompts and answers in spans: only where policy says so, and never with what its guards find."""

import gzip
import json

import pytest

from gateway.core.accounts import Query
from tests.support.otlp import collecting
from tests.support.provider import DONE, LAST_CHUNK, STREAM_HEAD, chunk, delta, plain, usage_chunk
from tests.support.raw import chat
from tests.support.running import KEY, digest, policy_for, running

MAIL, CARD, PHONE = "ann.canary@example.com", "4111 1111 1111 1111", "max.canary@example.org"
RAW = (MAIL, CARD, PHONE, CARD.replace(" ", ""))
CAPTURE = "tracing: {content: {capture: true}}\n"


def guards(mode="enforce", action="mask", where="input: [pii], output: [pii]", more=""):
    row = f"{{type: pii, action: {action}, on_error: block, mode: {mode}}}"
    return f"guards: {{pii: {row}}}\nguard_sets: {{default: {{{where}, unreadable: allow{more}}}}}\n"


async def exported(provider, tmp_path, ask, rest=CAPTURE, environ=None):
    """(the spans, all bytes that left for the collector, what `gateway trace` would be given, the log)."""
    async with collecting(200) as collector:
        named = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **(environ or {})}
        async with running(policy_for(provider.base_url, rest=rest), tmp_path, environ=named) as gateway:
            await ask(gateway)
            await gateway.gateway.tasks.paid(5)
            kept = gateway.gateway.traces.last(99)
            rows = [entry async for entry in gateway.gateway.accounts.ledger.entries(Query())]
        left = b"".join(
            gzip.decompress(one.body) if one.body[:2] == b"\x1f\x8b" else one.body for one in collector.taken
        )
        return collector.spans(), left, kept, gateway.output.getvalue() + repr(rows).encode()


def client(spans):
    return next(span["attributes"] for span in reversed(spans) if span["kind"] == 3)


def texts(attributes, name):
    return [part.get("content") for message in json.loads(attributes[name]) for part in message["parts"]]


def answer(content, **message):
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": "stop"}
    return plain(json.dumps({"id": "c", "model": "m", "choices": [choice]}).encode())


def streaming(*frames):
    async def script(_, writer):
        writer.write(STREAM_HEAD + b"".join(map(chunk, frames)) + chunk(usage_chunk()) + chunk(DONE) + LAST_CHUNK)

    return script


def said(provider, tmp_path, rest=CAPTURE, body=None, environ=None):
    return exported(provider, tmp_path, lambda gateway: gateway.ask(body=body or chat(), key=KEY), rest, environ)


TOOL = {
    "type": "function",
    "function": {"name": "look_up", "description": "Finds a person.", "parameters": {"type": "object"}},
}


def full(stream=False):
    call = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": json.dumps({"who": MAIL})}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": f"Write to {MAIL}, card {CARD}."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": f"no {PHONE}"},
    ]
    return chat(messages=messages, tools=[TOOL], stream=stream)


async def test_without_a_word_in_the_policy_nothing_is_captured(provider, tmp_path):
    provider.says(answer(f"Hello {MAIL}"))
    spans, left, _, _ = await said(provider, tmp_path, rest="", body=full())
    assert spans
    assert MAIL.encode() not in left
    assert not any("messages" in name or "content" in name for name in client(spans))


async def test_what_is_captured_has_the_shape_that_each_profile_reads(provider, tmp_path):
    provider.says(answer("Hello."))
    spans, _, _, _ = await said(provider, tmp_path, body=full())
    told = client(spans)
    assert [message["role"] for message in json.loads(told["gen_ai.input.messages"])] == [
        "system",
        "user",
        "assistant",
        "tool",
    ]
    assert json.loads(told["gen_ai.input.messages"])[2]["parts"] == [
        {"type": "tool_call", "id": "call_1", "name": "look_up", "arguments": {"who": MAIL}}
    ]
    assert json.loads(told["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Hello."}], "finish_reason": "stop"}
    ]
    assert json.loads(told["gen_ai.tool.definitions"])[0]["name"] == "look_up"
    assert told["input.value"] == told["langfuse.observation.input"] == told["mlflow.spanInputs"]
    assert told["output.value"] == told["langfuse.observation.output"] == told["mlflow.spanOutputs"]
    assert told["input.mime_type"] == told["output.mime_type"] == "application/json"
    assert json.loads(told["input.value"])["messages"][3]["tool_call_id"] == "call_1"
    assert "gw.content.cut" not in told


async def test_a_profile_that_is_off_repeats_nothing(provider, tmp_path):
    provider.says(answer("Hello."))
    rest = "tracing: {profiles: [], content: {capture: true}}\n"
    spans, _, _, _ = await said(provider, tmp_path, rest=rest)
    assert "gen_ai.input.messages" in client(spans)
    assert not {"input.value", "langfuse.observation.input", "mlflow.spanInputs"} & client(spans).keys()


@pytest.mark.parametrize("mode", ["enforce", "monitor"])
@pytest.mark.parametrize("where", ["input: [pii], output: [pii]", "input: [pii]"])
@pytest.mark.parametrize("size", [1, 7, 100])
async def test_no_byte_of_what_a_guard_finds_leaves_in_a_stream(provider, tmp_path, mode, where, size):
    """In messages, arguments, results and streams; masked or only monitored; and never in the log or the ledger."""
    words = f"I wrote to {MAIL} with card {CARD} and to {PHONE}."
    arguments = json.dumps({"to": MAIL, "card": CARD.replace(" ", "")})
    pieces = [words[at : at + size] for at in range(0, len(words), size)]
    call = {"index": 0, "id": "call_2", "type": "function", "function": {"name": "send", "arguments": ""}}
    grown = [
        {"index": 0, "function": {"arguments": arguments[at : at + size]}} for at in range(0, len(arguments), size)
    ]
    frames = [delta(piece) for piece in pieces]
    frames += [event(tool_calls=[one]) for one in (call, *grown)] + [delta("", "tool_calls")]
    provider.script = streaming(*frames)
    spans, left, kept, rest = await said(provider, tmp_path, CAPTURE + guards(mode, where=where), full(stream=True))
    told = client(spans)
    assert [raw for raw in RAW if raw.encode() in left or raw in repr(kept) or raw.encode() in rest] == []
    assert "I wrote to [EMAIL_ADDRESS_" in texts(told, "gen_ai.output.messages")[0]
    assert "[EMAIL_ADDRESS_1]" in told["gen_ai.input.messages"]
    (called,) = [part for part in json.loads(told["gen_ai.output.messages"])[0]["parts"] if part["type"] == "tool_call"]
    assert called["arguments"]["to"].startswith("[EMAIL_ADDRESS_")
    assert "gw.content.left_out" not in told


def event(**members):
    choice = {"index": 0, "delta": members, "finish_reason": None}
    return b"data: " + json.dumps({"id": "c", "model": "m", "choices": [choice]}).encode() + b"\n\n"


@pytest.mark.parametrize("mode", ["enforce", "monitor"])
async def test_no_byte_of_what_a_guard_finds_leaves_in_a_document(provider, tmp_path, mode):
    call = {"id": "x", "type": "function", "function": {"name": "send", "arguments": json.dumps({"to": PHONE})}}
    provider.says(answer(f"To {PHONE}.", tool_calls=[call]))
    spans, left, kept, rest = await said(provider, tmp_path, CAPTURE + guards(mode), full())
    assert [raw for raw in RAW if raw.encode() in left or raw in repr(kept) or raw.encode() in rest] == []
    assert texts(client(spans), "gen_ai.output.messages")[0].startswith("To [EMAIL_ADDRESS_")


async def test_the_callers_own_values_come_back_to_the_caller_and_not_to_the_trace(provider, tmp_path):
    provider.says(answer("Done, [EMAIL_ADDRESS_1]."))
    heard = []

    async def ask(gateway):
        heard.append(await gateway.ask(body=chat(f"Mail {MAIL}"), key=KEY))

    spans, left, _, _ = await exported(provider, tmp_path, ask, CAPTURE + guards(where="input: [pii]"))
    assert heard[0].json()["choices"][0]["message"]["content"] == f"Done, {MAIL}."
    assert MAIL.encode() not in left
    assert texts(client(spans), "gen_ai.output.messages") == ["Done, [EMAIL_ADDRESS_1]."]


async def test_what_is_blocked_is_not_captured(provider, tmp_path):
    provider.says(answer(f"It is {MAIL}, you know."))
    rest = CAPTURE + guards(action="block", where="output: [pii]")
    spans, left, _, _ = await said(provider, tmp_path, rest, chat("Who is it?"))
    assert client(spans)["gw.content.left_out"] == ["output=blocked"]
    assert "gen_ai.output.messages" not in client(spans)
    assert b"you know" not in left
    assert "Who is it?" in client(spans)["gen_ai.input.messages"]


async def test_a_request_that_is_blocked_is_not_captured(provider, tmp_path):
    provider.says(answer("never asked"))
    spans, left, kept, _ = await said(provider, tmp_path, CAPTURE + guards(action="block"), chat(f"I am {MAIL} canary"))
    assert spans
    assert b"canary" not in left
    assert "canary" not in repr(kept)


async def test_a_request_that_is_blocked_while_the_provider_works_is_not_captured(provider, tmp_path):
    provider.says(answer("too late, canary"))
    rest = CAPTURE + guards(action="block", where="input: [pii]", more=", screen: alongside")
    _, left, kept, _ = await said(provider, tmp_path, rest, chat(f"I am {MAIL} canary"))
    assert b"canary" not in left
    assert "canary" not in repr(kept)


async def test_what_a_guard_could_not_look_at_is_not_captured(provider, tmp_path):
    provider.says(answer("Hello, canary."))
    row = "{type: webhook, url: 'http://127.0.0.1:9/', action: flag, on_error: allow, budget_ms: 300, timeout_ms: 200}"
    rest = f"guards: {{away: {row}}}\nguard_sets: {{default: {{input: [away], output: [away], unreadable: allow}}}}\n"
    spans, left, _, _ = await said(provider, tmp_path, CAPTURE + rest, chat("I am canary"))
    assert client(spans)["gw.content.left_out"] == ["input=not_checked", "output=not_checked"]
    assert b"canary" not in left


async def test_a_stream_that_breaks_leaves_no_begin_of_a_finding(provider, tmp_path):
    async def script(_, writer):
        writer.write(STREAM_HEAD + chunk(delta("All well. Write to ")) + chunk(delta(MAIL[:-4])))
        await writer.drain()
        writer.close()

    provider.script = script
    spans, left, _, _ = await said(provider, tmp_path, CAPTURE + guards("monitor"), chat("x", stream=True))
    assert "All well." in texts(client(spans), "gen_ai.output.messages")[0]
    assert MAIL[:-4].encode() not in left


async def test_who_and_what_is_captured_is_a_matter_of_policy(provider, tmp_path):
    provider.says(answer("Hello."))

    async def ask(gateway):
        await gateway.ask(body=chat(model="wanted-1"), key=KEY)
        await gateway.ask(body=chat(model="other"), key=KEY)

    rest = "tracing: {content: {capture: true, callers: ['a*'], models: ['wanted-*']}}\n"
    spans, _, _, _ = await exported(provider, tmp_path, ask, rest)
    captured = {
        span["attributes"]["gen_ai.request.model"]: "gen_ai.input.messages" in span["attributes"]
        for span in spans
        if span["kind"] == 3
    }
    assert captured == {"wanted-1": True, "other": False}


@pytest.mark.parametrize("stream", [False, True])
async def test_no_attribute_is_longer_than_policy_says_and_what_was_cut_is_told(provider, tmp_path, stream):
    long = "Größe " * 4000
    provider.script = streaming(*[delta(long[at : at + 100]) for at in range(0, len(long), 100)], delta("", "stop"))
    if not stream:
        provider.says(answer(long))
    rest = "tracing: {content: {capture: true, max_bytes: 2048}}\n"
    body = chat(messages=[{"role": "user", "content": long}] * 3, stream=stream)
    spans, _, _, _ = await said(provider, tmp_path, rest, body)
    told = client(spans)
    for name in ("gen_ai.input.messages", "gen_ai.output.messages", "input.value", "output.value"):
        assert len(told[name].encode()) <= 2048
        assert "Größe Größe" in str(json.loads(told[name]))
    assert told["gw.content.cut"] == ["input", "asked", "output", "answered"]
    assert json.loads(told["gen_ai.output.messages"])[0]["finish_reason"] == "stop"


async def test_a_callers_own_instrumentation_is_not_doubled(provider, tmp_path):
    provider.says(answer("Hello."))
    callers = "  app: {key_sha256: ['%s'], team: t, models: ['*'], trace: {mode: continue-plain, trusted: true}}\n"
    async with collecting(200) as collector:
        text = policy_for(provider.base_url, callers=callers % digest(KEY), rest=CAPTURE)
        async with running(text, tmp_path, environ={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}) as gateway:
            trace = f"00-{7:032x}-{8:016x}-01"
            await gateway.ask(body=chat("canary"), key=KEY, headers=[("traceparent", trace)])
        assert collector.spans()
        assert not any(b"canary" in gzip.decompress(one.body) for one in collector.taken if one.body[:2] == b"\x1f\x8b")
        assert not any(b"canary" in one.body for one in collector.taken)


async def test_an_image_is_named_and_not_repeated(provider, tmp_path):
    provider.says(answer("A cat."))
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0KGgo" * 99}}
    body = chat(messages=[{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}])
    spans, left, _, _ = await said(provider, tmp_path, body=body)
    parts = json.loads(client(spans)["gen_ai.input.messages"])[0]["parts"]
    assert parts == [
        {"type": "text", "content": "What is it?"},
        {"type": "blob", "modality": "image", "content": ""},
    ]
    assert b"iVBORw0KGgo" not in left


async def test_a_call_is_answered_before_its_content_is_read_and_still_told_with_it(provider, tmp_path):
    """The ring that `gateway trace` shows has it without any collector."""
    provider.says(answer("Hello."))
    async with running(policy_for(provider.base_url, rest=CAPTURE), tmp_path) as gateway:
        assert (await gateway.ask(body=chat("Hi"), key=KEY)).status == 200
        await gateway.gateway.tasks.paid(5)
        ((_, *_, span),) = gateway.gateway.traces.last(1)
    assert texts(span.attributes, "gen_ai.input.messages") == ["Hi"]


@pytest.mark.parametrize("more", [", hold: observe", ", hold: all"])
async def test_no_byte_of_what_a_guard_finds_leaves_in_events_of_responses(provider, tmp_path, more):
    """Whatever of the stream is held for the caller."""
    words = f"I wrote to {MAIL} and to {PHONE}."
    item = {"type": "message", "id": "m", "role": "assistant"}
    done = {**item, "content": [{"type": "output_text", "text": words}]}
    events = [typed("output_item.added", item=item)]
    events += [typed("output_text.delta", content_index=0, delta=words[at : at + 3]) for at in range(0, len(words), 3)]
    events += [
        typed("output_item.done", item=done),
        typed("completed", response={"status": "completed", "output": [done]}),
    ]

    async def script(_, writer):
        writer.write(STREAM_HEAD + b"".join(map(chunk, events)) + LAST_CHUNK)

    provider.script = script
    body = json.dumps({"model": "m", "input": f"Mail {MAIL}", "instructions": f"Be kind to {PHONE}.", "stream": True})
    rest = CAPTURE + guards("monitor", where="input: [pii], output: [pii]", more=more)

    async def ask(gateway):
        answered = await gateway.ask(target="/v1/responses", body=body.encode(), key=KEY)
        assert MAIL.encode() in "".join(event["delta"] for event in deltas(answered.body)).encode()

    spans, left, kept, log = await exported(provider, tmp_path, ask, rest)
    assert [raw for raw in RAW if raw.encode() in left or raw in repr(kept) or raw.encode() in log] == []
    told = client(spans)
    assert texts(told, "gen_ai.output.messages") == ["I wrote to [EMAIL_ADDRESS_1] and to [EMAIL_ADDRESS_2]."]
    assert json.loads(told["gen_ai.system_instructions"]) == [
        {"type": "text", "content": "Be kind to [EMAIL_ADDRESS_2]."}
    ]
    assert texts(told, "gen_ai.input.messages") == ["Mail [EMAIL_ADDRESS_1]"]


def typed(kind, **members):
    event = {"type": f"response.{kind}", "output_index": 0, **members}
    return f"event: response.{kind}\ndata: {json.dumps(event)}\n\n".encode()


def deltas(body):
    lines = [line[6:] for line in body.decode().splitlines() if line.startswith("data: {")]
    return [event for event in map(json.loads, lines) if "delta" in event]
