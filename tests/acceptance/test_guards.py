"""Guards on calls through the running gateway; the provider's own log proves what left."""

import asyncio
import gzip
import json
import random
import zlib

import pytest

from tests.support.process import until
from tests.support.provider import ANSWER, DONE, LAST_CHUNK, STREAM_HEAD, chunk, delta, plain
from tests.support.raw import chat
from tests.support.running import KEY, policy_for, running

NAMES = "  names: {type: patterns, patterns: {CODE_NAME: 'falcon-[0-9]+'}, action: %s, on_error: block%s}\n"


def guarded(action: str = "mask", where: str = "input: [names], output: [names]", more: str = "", row: str = "") -> str:
    return f"guards:\n{NAMES % (action, row)}guard_sets:\n  default: {{{where}, unreadable: allow{more}}}\n"


def serving(provider, tmp_path, rest: str, **settings):
    return running(policy_for(provider.base_url, rest=rest), tmp_path, **settings)


def said(text: str) -> bytes:
    document = json.loads(ANSWER)
    document["choices"][0]["message"]["content"] = text
    return plain(json.dumps(document).encode())


def content(answer) -> str:
    return answer.json()["choices"][0]["message"]["content"]


def streamed(*texts: str) -> tuple[bytes, ...]:
    return (STREAM_HEAD, *(chunk(delta(text)) for text in texts), chunk(delta("", "stop")), chunk(DONE), LAST_CHUNK)


def text_of(body: bytes) -> str:
    events = [json.loads(frame[6:]) for frame in body.decode().split("\n\n") if frame.startswith("data: {")]
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event.get("choices"))


async def test_what_is_masked_never_reaches_the_provider_and_comes_back_to_the_caller(provider, tmp_path):
    async with serving(provider, tmp_path, guarded()) as gateway:
        provider.says(said("So [CODE_NAME_1] is late."))
        answer = await gateway.ask(body=chat("falcon-7 and falcon-7, not falcon-8"), key=KEY)
        assert (
            provider.calls[0].json()["messages"][0]["content"] == "[CODE_NAME_1] and [CODE_NAME_1], not [CODE_NAME_2]"
        )
        assert content(answer) == "So falcon-7 is late."
        assert answer.header("x-gateway-guards") == "input/names=mask, output/names=allow"
        (line,) = gateway.lines
        assert line["guards"][0] | {"ms": 0} == {
            "guard": "names", "direction": "input", "verdict": "mask", "kinds": {"CODE_NAME": 3}, "ms": 0,
        }  # fmt: skip
        assert "falcon" not in gateway.output.getvalue().decode()


async def test_a_body_without_findings_travels_byte_for_byte(provider, tmp_path):
    """I3"""
    async with serving(provider, tmp_path, guarded()) as gateway:
        body = b'{"model" : "m", "messages":[ {"role":"user","content":"caf\\u00e9"} ] }'
        await gateway.ask(body=body, key=KEY)
        assert provider.calls[0].body == body


async def test_what_is_blocked_is_a_400_and_nothing_is_asked(provider, tmp_path):
    async with serving(provider, tmp_path, guarded("block")) as gateway:
        answer = await gateway.ask(body=chat("falcon-7"), key=KEY)
        assert (answer.status, answer.code) == (400, "guard_blocked")
        assert "'names'" in answer.json()["error"]["message"]
        assert "CODE_NAME" in answer.json()["error"]["message"]
        assert [row["direction"] for row in gateway.lines[0]["guards"]] == [
            "input"
        ]  # GRD-11: the answer was never seen
        assert "falcon" not in answer.body.decode()
        assert provider.calls == []
        assert gateway.lines[0]["error"] == "guard_blocked"


async def test_an_answer_is_masked_or_blocked(provider, tmp_path):
    provider.says(said("It is falcon-7!"))
    async with serving(provider, tmp_path, guarded()) as gateway:
        assert content(await gateway.ask(body=chat(), key=KEY)) == "It is [CODE_NAME_1]!"
    async with serving(provider, tmp_path, guarded("block")) as gateway:
        answer = await gateway.ask(body=chat(), key=KEY)
        assert (answer.status, answer.code) == (400, "guard_blocked")
        assert b"falcon" not in answer.body


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 100])
async def test_a_stream_is_masked_and_restored_whatever_its_chunks(provider, tmp_path, size):
    """GRD-03, I1, I4"""
    text = "Hello [CODE_NAME_1], meet falcon-42 and falcon-7 there."
    provider.says(*streamed(*(text[at : at + size] for at in range(0, len(text), size))))
    async with serving(provider, tmp_path, guarded()) as gateway:
        answer = await gateway.ask(body=chat("I am falcon-1", stream=True), key=KEY)
        assert text_of(answer.body) == "Hello falcon-1, meet [CODE_NAME_1] and [CODE_NAME_2] there."
        assert answer.body.endswith(DONE)


async def test_no_byte_of_what_is_blocked_leaves_a_stream(provider, tmp_path):
    """GRD-03: one character a frame; what was said before it has left, then comes an error event."""
    head, *rest = streamed(*"Well, the name is falcon-42 as you know")
    seen = asyncio.Event()

    async def script(_, writer):
        writer.write(head + b"".join(rest[:18]))
        await seen.wait()
        for part in rest[18:]:
            writer.write(part)
            await writer.drain()

    provider.script = script
    async with serving(provider, tmp_path, guarded("block")) as gateway:
        raw = await gateway.connect()
        await raw.send(raw.request(body=chat(stream=True), key=KEY))
        await raw.head()
        body = await raw.chunk()
        seen.set()
        while (part := await raw.chunk()) is not None:
            body += part
        raw.close()
        assert text_of(body) == "Well, the name is "
        events = [frame for frame in body.decode().split("\n\n") if frame]
        assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "guard_blocked"


async def test_a_stream_that_is_blocked_at_once_is_a_clean_400(provider, tmp_path):
    provider.says(*streamed("falcon-42 ", "it is"))
    async with serving(provider, tmp_path, guarded("block")) as gateway:
        answer = await gateway.ask(body=chat(stream=True), key=KEY)
        assert (answer.status, answer.code) == (400, "guard_blocked")


async def test_prose_flows_while_it_is_guarded(provider, tmp_path):
    """A word leaves as soon as it is followed by a blank."""
    go_on = asyncio.Event()

    async def script(_, writer):
        writer.write(STREAM_HEAD + chunk(delta("Once upon ")))
        await go_on.wait()
        writer.write(chunk(delta("a time", "stop")) + chunk(DONE) + LAST_CHUNK)

    provider.script = script
    async with serving(provider, tmp_path, guarded()) as gateway:
        raw = await gateway.connect()
        await raw.send(raw.request(body=chat(stream=True), key=KEY))
        await raw.head()
        assert text_of(await raw.chunk()) == "Once upon "
        go_on.set()
        raw.close()


async def test_monitoring_tells_and_changes_nothing(provider, tmp_path):
    provider.says(said("falcon-7"))
    async with serving(provider, tmp_path, guarded("block", row=", mode: monitor")) as gateway:
        answer = await gateway.ask(body=chat("falcon-8"), key=KEY)
        assert content(answer) == "falcon-7"
        assert provider.calls[0].json()["messages"][0]["content"] == "falcon-8"
        verdicts = [(row["verdict"], row["mode"]) for row in gateway.lines[0]["guards"]]
        assert verdicts == [("block", "monitor"), ("block", "monitor")]


async def test_an_answer_may_be_replaced_by_a_given_text(provider, tmp_path):
    rest = guarded("replace", "output: [names]", row=", text: 'I cannot say.'")
    for parts in ((said("falcon-7 is the name"),), streamed("falc", "on-7 is ", "the name")):
        provider.says(*parts)
        async with serving(provider, tmp_path, rest) as gateway:
            stream = len(parts) > 1
            answer = await gateway.ask(body=chat(stream=stream), key=KEY)
            assert (text_of(answer.body) if stream else content(answer)) == "I cannot say."
            assert answer.status == 200


async def test_an_answer_is_asked_for_again_and_blocked_when_that_does_not_help(provider, tmp_path):
    rest = guarded("regenerate", "output: [names]", row=", attempts: 3")
    answers = ["falcon-1", "falcon-2", "a bird"]

    async def script(_, writer):
        writer.write(said(answers[len(provider.calls) - 1]))

    provider.script = script
    async with serving(provider, tmp_path, rest) as gateway:
        assert content(await gateway.ask(body=chat(), key=KEY)) == "a bird"
        assert len(provider.calls) == 3
        answers[:] = ["falcon-1"] * 9
        provider.calls.clear()
        answer = await gateway.ask(body=chat(), key=KEY)
        assert (answer.status, answer.code, len(provider.calls)) == (400, "guard_blocked", 3)


async def test_a_schema_mismatch_is_fed_back_to_the_model(provider, tmp_path):
    rest = (
        "guards:\n  shape: {type: json_schema, action: regenerate, on_error: block}\n"
        "guard_sets:\n  default: {output: [shape], unreadable: allow}\n"
    )
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answers = ['{"n": "three"}', '```json\n{"n": 3}\n```']

    async def script(_, writer):
        writer.write(said(answers[len(provider.calls) - 1]))

    provider.script = script
    async with serving(provider, tmp_path, rest) as gateway:
        answer = await gateway.ask(body=chat(response_format=wanted), key=KEY)
        assert json.loads(content(answer)) == {"n": 3}
        first, second = (call.json()["messages"] for call in provider.calls)
        assert second[: len(first)] == first
        assert second[-2] == {"role": "assistant", "content": '{"n": "three"}'}
        assert "n" in second[-1]["content"]
        assert "three" not in second[-1]["content"]


async def test_alongside_the_provider_works_and_nothing_leaves_before_the_verdict(provider, tmp_path):
    """The provider is asked at once; a block cancels it."""
    go_on = asyncio.Event()

    async def script(call, writer):
        await go_on.wait()

    provider.script = script
    rest = guarded("block", "input: [names]", ", screen: alongside")
    async with serving(provider, tmp_path, rest) as gateway:
        answer = await gateway.ask(body=chat("falcon-7", stream=True), key=KEY)
        assert (answer.status, answer.code) == (400, "guard_blocked")
        await until(lambda: not provider.calls or provider.calls[0].closed.is_set())


async def test_tool_arguments_are_masked_as_json_and_restored_as_json(provider, tmp_path):
    """GRD-04, GRD-18: escapes are decoded before they are looked at, and quoting stays right."""
    call = {
        "id": "c",
        "type": "function",
        "function": {"name": "f", "arguments": r'{"who": "\u0066alcon-9", "q": "[CODE_NAME_1]"}'},
    }
    document = json.loads(ANSWER)
    document["choices"][0]["message"] = {"role": "assistant", "content": None, "tool_calls": [call]}
    provider.says(plain(json.dumps(document).encode()))
    async with serving(provider, tmp_path, guarded()) as gateway:
        answer = await gateway.ask(body=chat("falcon-1"), key=KEY)
        (made,) = answer.json()["choices"][0]["message"]["tool_calls"]
        shown = json.loads(made["function"]["arguments"])
        assert shown["q"] == "falcon-1"
        assert shown["who"].startswith("[CODE_NAME_")


async def test_an_answer_that_was_asked_for_as_json_stays_json(provider, tmp_path):
    """GRD-18: a value with a quote is put back inside a string."""
    row = "guards:\n  names: {type: patterns, patterns: {TITLE: 'the \"[a-z]+\"'}, action: mask, on_error: block}\n"
    rest = row + "guard_sets:\n  default: {input: [names], output: [names], unreadable: allow}\n"
    text = '{"title": "[TITLE_1]", "n": 1}'
    for stream in (False, True):
        provider.says(*(streamed(*text) if stream else (said(text),)))
        async with serving(provider, tmp_path, rest) as gateway:
            body = chat('about the "boss"', stream=stream, response_format={"type": "json_object"})
            answer = await gateway.ask(body=body, key=KEY)
            shown = text_of(answer.body) if stream else content(answer)
            assert json.loads(shown) == {"title": 'the "boss"', "n": 1}


async def test_the_callers_own_values_are_no_finding_in_the_answer(provider, tmp_path):
    """A fake looks like what it stands for, and the guard over answers must not take it for a leak."""
    rest = (
        guarded("mask", row=", operator: fake")
        .replace("output: [names]", "output: [strict]")
        .replace(
            "guard_sets:",
            "  strict: {type: patterns, patterns: {CODE_NAME: '[a-z]+-[0-9]+'}, action: block, on_error: block}\nguard_sets:",
        )
    )

    async def echo(call, writer):
        writer.write(said(call.json()["messages"][0]["content"]))

    provider.script = echo
    async with serving(provider, tmp_path, rest) as gateway:
        answer = await gateway.ask(body=chat("falcon-123456 flies"), key=KEY)
        assert "falcon" not in provider.calls[0].body.decode()
        assert content(answer) == "falcon-123456 flies"


async def test_what_cannot_be_read_is_not_run_and_policy_decides(provider, tmp_path):
    """GRD-08, GRD-11"""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    body = chat(messages=[{"role": "user", "content": [{"type": "text", "text": "what is it"}, image]}])
    async with serving(provider, tmp_path, guarded()) as gateway:
        answer = await gateway.ask(body=body, key=KEY)
        assert answer.header("x-gateway-guards").startswith("input/names=not_run")
    blocking = guarded().replace("unreadable: allow", "unreadable: block")
    async with serving(provider, tmp_path, blocking) as gateway:
        answer = await gateway.ask(body=body, key=KEY)
        assert (answer.status, answer.code) == (503, "guardrail_unavailable")
        assert len(provider.calls) == 1


async def test_an_unknown_role_or_part_is_refused_where_guards_must_understand_it(provider, tmp_path):
    """GRD-06, GRD-07"""
    async with serving(provider, tmp_path, guarded()) as gateway:
        for message in (
            {"role": "wizard", "content": "x"},
            {"role": "user", "content": [{"type": "scroll", "x": "y"}]},
        ):
            assert (await gateway.ask(body=chat(messages=[message]), key=KEY)).status == 400
    async with running(policy_for(provider.base_url), tmp_path) as gateway:
        assert (await gateway.ask(body=chat(messages=[{"role": "wizard", "content": "x"}]), key=KEY)).status == 200


async def test_a_callers_set_holds_over_the_models_and_the_default(provider, tmp_path):
    rest = (
        f"guards:\n{NAMES % ('block', '')}"
        "guard_sets:\n  default: {input: [names], unreadable: allow}\n  none: {unreadable: allow}\n"
    )
    policy = policy_for(provider.base_url, rest=rest).replace('models: ["*"]', 'models: ["*"]\n    guards: none')
    async with running(policy, tmp_path) as gateway:
        assert (await gateway.ask(body=chat("falcon-7"), key=KEY)).status == 200


async def test_a_detector_elsewhere_is_asked_and_its_failure_is_what_policy_says(provider, tmp_path):
    """GRD-10, GRD-12"""
    asked = []

    async def detector(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[16:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: "))
        question = json.loads(await reader.readexactly(length))
        asked.append(question)
        bad = any("bomb" in text["text"] for text in question["texts"])
        broken = any("broken" in text["text"] for text in question["texts"])
        findings = [{"text": 0, "start": 0, "end": 1, "kind": "BAD", "score": 0.9}] if bad else []
        writer.write(plain(b"nonsense" if broken else json.dumps({"findings": findings}).encode()))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(detector, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/check"
    for on_error, status in (("block", 503), ("allow", 200)):
        rest = (
            f"guards:\n  remote: {{type: webhook, url: '{url}', action: block, on_error: {on_error}}}\n"
            "guard_sets:\n  default: {input: [remote], unreadable: allow}\n"
        )
        async with serving(provider, tmp_path, rest) as gateway:
            assert (await gateway.ask(body=chat("hello"), key=KEY)).status == 200
            assert (await gateway.ask(body=chat("a bomb"), key=KEY)).code == "guard_blocked"
            answer = await gateway.ask(body=chat("broken canary"), key=KEY)
            assert answer.status == status
            assert gateway.lines[-1]["guards"][0]["verdict"] == "not_run"
            assert "canary" not in gateway.output.getvalue().decode()
    assert asked[0] == {"direction": "input", "texts": [{"role": "user", "kind": "content", "text": "hello"}]}
    server.close()


BATCH = guarded() + "passthrough:\n  files: {path: /v1/files, methods: [POST], provider: fake}\n"


def form(*parts: tuple[str, bytes]) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    """A multipart body and its header; each part is (the rest of its disposition and more headers, content)."""
    body = b"".join(
        b"--xyz\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + data + b"\r\n"
        for head, data in parts
    )
    return body + b"--xyz--\r\n", (("Content-Type", "multipart/form-data; boundary=xyz"),)


def line(text: str) -> bytes:
    asked = {"model": "m", "messages": [{"role": "user", "content": text}]}
    return json.dumps({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": asked}).encode()


async def test_every_line_of_a_batch_file_is_guarded_as_the_request_that_it_is(provider, tmp_path):
    """GRD-16"""
    body, kind = form(
        ('name="purpose"', b"batch"),
        (
            'name="file"; filename="b.jsonl"\r\nContent-Type: application/jsonl',
            line("hi") + b"\n" + line("of falcon-7") + b"\n",
        ),
    )
    async with serving(provider, tmp_path, BATCH) as gateway:
        answer = await gateway.ask("POST", "/v1/files", body, KEY, kind)
        assert answer.header("x-gateway-guards").startswith("input/names=mask")
        (call,) = provider.calls
        assert call.body == body.replace(b"falcon-7", b"[CODE_NAME_1]")
        assert int(call.header("content-length")) == len(call.body)
    async with serving(provider, tmp_path, BATCH.replace("action: mask", "action: block")) as gateway:
        assert (await gateway.ask("POST", "/v1/files", body, KEY, kind)).code == "guard_blocked"
        assert len(provider.calls) == 1


@pytest.mark.parametrize(
    ("head", "data", "verdict"),
    [
        ('name="prompt"', b"about falcon-7", "mask"),
        ('name="file"; filename="a.txt"', b"about falcon-7", "mask"),
        ('name="file"; filename="a.json"', b'["about falcon-7"]', "mask"),
        ('name="file"; filename="a.wav"\r\nContent-Type: audio/wav', b"\x00\xff", "not_run"),
        ('name="file"; filename="a.txt"\r\nContent-Transfer-Encoding: base64', b"ZmFsY29uLTc=", "not_run"),
        ('name="file"; filename="a.txt"', b"\xff\xfe", "not_run"),
    ],
)
async def test_the_texts_of_an_upload_are_guarded_and_the_rest_is_not_run(provider, tmp_path, head, data, verdict):
    """GRD-16, GRD-11"""
    body, kind = form((head, data))
    async with serving(provider, tmp_path, BATCH) as gateway:
        answer = await gateway.ask("POST", "/v1/files", body, KEY, kind)
        assert (answer.status, answer.header("x-gateway-guards").split(",")[0]) == (200, f"input/names={verdict}")
        assert provider.calls[0].body == body.replace(b"falcon-7", b"[CODE_NAME_1]")
    async with serving(provider, tmp_path, BATCH.replace("unreadable: allow", "unreadable: block")) as gateway:
        answer = await gateway.ask("POST", "/v1/files", body, KEY, kind)
        assert answer.status == (503 if verdict == "not_run" else 200)


async def test_an_upload_that_is_not_soundly_framed_cannot_be_read(provider, tmp_path):
    async with serving(provider, tmp_path, BATCH.replace("unreadable: allow", "unreadable: block")) as gateway:
        _, kind = form()
        for body in (b"", b"--xyz\r\nno end", b"preamble\r\n--xyz\r\n\r\nx\r\n--xyz--\r\n"):
            answer = await gateway.ask("POST", "/v1/files", body, KEY, kind)
            assert answer.status == (503 if body else 200), body


async def test_a_passed_through_document_is_text_in_every_string(provider, tmp_path):
    """GRD-02"""
    async with serving(provider, tmp_path, BATCH) as gateway:
        await gateway.ask("POST", "/v1/files", b'{"a": ["falcon-7"], "b": {"falcon": 1}}', KEY)
        assert provider.calls[0].body == b'{"a": ["[CODE_NAME_1]"], "b": {"falcon": 1}}'
        assert (await gateway.ask("POST", "/v1/anything", b"{}", KEY)).status == 404


async def test_a_guard_that_is_late_or_raises_has_not_run(provider, tmp_path):
    """GRD-10, GRD-12: a webhook that never answers."""

    async def silent(reader, writer):
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    for on_error, status in (("block", 503), ("allow", 200)):
        row = f"type: webhook, url: '{url}', timeout_ms: 100, budget_ms: 100, action: block, on_error: {on_error}"
        rest = f"guards:\n  slow: {{{row}}}\nguard_sets:\n  default: {{input: [slow], unreadable: allow}}\n"
        async with serving(provider, tmp_path, rest) as gateway:
            answer = await gateway.ask(body=chat(), key=KEY)
            assert answer.status == status
            assert answer.header("x-gateway-guards") == "input/slow=not_run"
    server.close()


async def test_a_marker_at_the_end_of_ten_megabytes_is_found(provider, tmp_path):
    """GRD-14"""
    async with serving(provider, tmp_path, guarded("block")) as gateway:
        answer = await gateway.ask(body=chat("word " * 2_000_000 + "falcon-7"), key=KEY)
        assert (answer.status, answer.code) == (400, "guard_blocked")


async def test_tool_definitions_are_read_only_where_the_guard_says_so(provider, tmp_path):
    """GRD-15"""
    tool = {
        "type": "function",
        "function": {"name": "f", "description": "asks falcon-7", "parameters": {"type": "object"}},
    }
    async with serving(provider, tmp_path, guarded("block")) as gateway:
        assert (await gateway.ask(body=chat(tools=[tool]), key=KEY)).status == 200
    async with serving(provider, tmp_path, guarded("block", row=", definitions: true")) as gateway:
        assert (await gateway.ask(body=chat(tools=[tool]), key=KEY)).code == "guard_blocked"


async def test_a_stream_keeps_the_policy_it_began_with(provider, tmp_path):
    """GRD-17"""
    go_on = asyncio.Event()

    async def script(_, writer):
        writer.write(STREAM_HEAD + chunk(delta("It is ")))
        await go_on.wait()
        writer.write(chunk(delta("falcon-7 now", "stop")) + chunk(DONE) + LAST_CHUNK)

    provider.script = script
    async with serving(provider, tmp_path, guarded()) as gateway:
        raw = await gateway.connect()
        await raw.send(raw.request(body=chat(stream=True), key=KEY))
        await raw.head()
        body = await raw.chunk()
        assert await gateway.gateway.reload((("policy.yaml", policy_for(provider.base_url).encode()),))
        go_on.set()
        while (part := await raw.chunk()) is not None:
            body += part
        raw.close()
        assert text_of(body) == "It is [CODE_NAME_1] now"


@pytest.mark.parametrize("field", ["guards", "guardrails", "disable_guardrails", "metadata"])
async def test_no_field_of_a_request_switches_a_guard_off(provider, tmp_path, field):
    """GRD-19"""
    async with serving(provider, tmp_path, guarded("block")) as gateway:
        answer = await gateway.ask(body=chat("falcon-7", **{field: {"guards": "none"}}), key=KEY)
        assert answer.code == "guard_blocked"


async def test_log_probabilities_stay_where_they_repeat_the_answer(provider, tmp_path):
    """GRD-05"""
    tokens = [{"token": "all", "logprob": -1, "bytes": None, "top_logprobs": []}, {"token": " well", "logprob": -1}]
    for text, kept in (("all well", True), ("all ill", False)):
        document = json.loads(ANSWER)
        document["choices"][0] |= {"message": {"role": "assistant", "content": text}, "logprobs": {"content": tokens}}
        provider.says(plain(json.dumps(document).encode()))
        async with serving(provider, tmp_path, guarded()) as gateway:
            answer = await gateway.ask(body=chat(logprobs=True), key=KEY)
            assert (
                bool(answer.json()["choices"][0]["logprobs"] and answer.json()["choices"][0]["logprobs"]["content"])
                == kept
            )


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_compressed_stream_is_read_by_the_guards(provider, tmp_path, coding):
    """HTTP-12: the provider compresses though it was asked not to."""
    frames = b"".join(delta(text) for text in ("It is fal", "con-7", " now")) + delta("", "stop") + DONE
    packed = gzip.compress(frames) if coding == "gzip" else zlib.compress(frames)
    head = STREAM_HEAD.replace(b"\r\n\r\n", b"\r\ncontent-encoding: " + coding.encode() + b"\r\n\r\n")
    provider.says(head, *(chunk(packed[at : at + 7]) for at in range(0, len(packed), 7)), LAST_CHUNK)
    async with serving(provider, tmp_path, guarded()) as gateway:
        answer = await gateway.ask(body=chat(stream=True), key=KEY, headers=(("accept-encoding", "gzip"),))
        assert text_of(answer.body) == "It is [CODE_NAME_1] now"
        assert answer.header("content-encoding") is None


async def test_what_a_guard_saw_is_what_the_provider_gets(provider, tmp_path):
    """JSON-02: every string that the provider receives was shown to the guard, for documents of many odd kinds."""
    shown: list[str] = []

    async def detector(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[16:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: "))
        shown.extend(text["text"] for text in json.loads(await reader.readexactly(length))["texts"])
        writer.write(plain(b'{"findings": []}'))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(detector, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    row = f"type: webhook, url: '{url}', definitions: true, action: flag, on_error: block"
    rest = f"guards:\n  all: {{{row}}}\nguard_sets:\n  default: {{input: [all], unreadable: allow}}\n"
    rng = random.Random(2)

    def odd(depth=0):
        kinds = [
            lambda: f"a text {rng.random()}",
            lambda: '\u00e9\U0001f600 \u2028 \\ " \n',
            lambda: rng.randint(0, 9),
            lambda: None,
        ]
        if depth < 3:
            kinds += [lambda: [odd(depth + 1) for _ in range(3)], lambda: {f"name {rng.random()}": odd(depth + 1)}]
        return rng.choice(kinds)()

    async with serving(provider, tmp_path, rest) as gateway:
        for _ in range(40):
            shown.clear()
            provider.calls.clear()
            body = json.dumps(
                json.loads(chat(f"hello {rng.random()}"))
                | {f"field {rng.random()}": odd(), "metadata": {"a": f"b c {rng.random()}"}}
            )
            assert (await gateway.ask(body=body.encode(), key=KEY)).status == 200
            (call,) = provider.calls
            assert call.body == body.encode()
            for text in said_in(call.json()):
                assert any(text in seen for seen in shown), text
    server.close()


def said_in(value):
    """Every string with a blank in it: what has none may be the name of something."""
    if isinstance(value, str):
        yield from [value] if " " in value else []
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield from said_in(name)
            yield from said_in(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from said_in(entry)


async def test_interleaved_choices_are_texts_of_their_own(provider, tmp_path):
    """GRD-03: n=3, and each of two markers is spread over frames between those of the others."""
    pieces = [
        (0, "a fal"),
        (1, "the falc"),
        (2, "fine"),
        (0, "con"),
        (1, "on"),
        (2, " words"),
        (0, "-7 x"),
        (1, "-9 y"),
    ]
    frames = []
    for index, text in pieces:
        row = json.loads(delta(text)[6:])
        row["choices"][0]["index"] = index
        frames.append(b"data: " + json.dumps(row).encode() + b"\n\n")
    provider.says(STREAM_HEAD, *(chunk(one) for one in frames), chunk(delta("", "stop")), chunk(DONE), LAST_CHUNK)
    async with serving(provider, tmp_path, guarded()) as gateway:
        answer = await gateway.ask(body=chat(stream=True, n=3), key=KEY)
        said_by: dict[int, str] = {}
        for one in answer.body.decode().split("\n\n"):
            for choice in json.loads(one[6:])["choices"] if one.startswith("data: {") else []:
                said_by[choice["index"]] = said_by.get(choice["index"], "") + (choice["delta"].get("content") or "")
        assert said_by == {0: "a [CODE_NAME_1] x", 1: "the [CODE_NAME_2] y", 2: "fine words"}


async def test_observing_holds_nothing_and_tells(provider, tmp_path):
    provider.says(*streamed("It is fal", "con-7 now"))
    async with serving(provider, tmp_path, guarded("block", "output: [names]", ", hold: observe")) as gateway:
        answer = await gateway.ask(body=chat(stream=True), key=KEY)
        assert text_of(answer.body) == "It is falcon-7 now"
        (row,) = gateway.lines[0]["guards"]
        assert (row["verdict"], row["mode"]) == ("block", "monitor")


async def test_a_stream_that_is_held_whole_leaves_whole_or_not_at_all(provider, tmp_path):
    for text, status in (("It is a bird now", 200), ("It is falcon-7 now", 400)):
        provider.says(*streamed(*text.split(" ")))
        async with serving(provider, tmp_path, guarded("block", "output: [names]", ", hold: all")) as gateway:
            answer = await gateway.ask(body=chat(stream=True), key=KEY)
            assert answer.status == status
            assert b"falcon" not in answer.body
