"""The official Python SDK, unchanged, against the running gateway."""

import asyncio
import time

import openai
import pytest
from pydantic import BaseModel

from tests.support.patience import PATIENCE_S, patience
from tests.support.provider import ANSWER, DONE, LAST_CHUNK, STREAM_HEAD, Provider, chunk, delta, plain
from tests.support.running import KEY, PROVIDER_KEY, digest, policy_for, running

DEMO = "  local: {shape: demo}\n"
MODELS = '  "*": {targets: [{provider: fake}]}\n  demo: {targets: [{provider: local}]}\n'


@pytest.fixture
async def provider():
    async with Provider() as provider:
        yield provider


@pytest.fixture
async def client(provider, tmp_path):
    rest = "passthrough:\n  files: {path: /v1/files, methods: [POST, GET], provider: fake}\n"
    policy = policy_for(provider.base_url, provider=DEMO, models=MODELS, rest=rest)
    async with (
        running(policy, tmp_path) as gateway,
        openai.AsyncOpenAI(base_url=gateway.base_url, api_key=KEY) as client,
    ):
        yield client


ASK = [{"role": "user", "content": "What is the weather in Rome?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


async def test_a_chat_is_answered(client):
    answer = await client.chat.completions.create(model="demo", messages=ASK)
    assert "weather in Rome" in answer.choices[0].message.content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_a_stream_ends_with_its_usage_when_that_was_asked_for(client):
    options = {"include_usage": True}
    stream = await client.chat.completions.create(model="demo", messages=ASK, stream=True, stream_options=options)
    chunks = [part async for part in stream]
    text = "".join(part.choices[0].delta.content or "" for part in chunks if part.choices)
    assert "weather in Rome" in text
    assert chunks[-1].usage.total_tokens > 0


async def test_tools_are_called_whole_and_streamed(client):
    answer = await client.chat.completions.create(model="demo", messages=ASK, tools=[WEATHER])
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city":"example"}')
    async with client.chat.completions.stream(model="demo", messages=ASK, tools=[WEATHER]) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.arguments == '{"city":"example"}'


async def test_structured_output_is_parsed(client):
    class City(BaseModel):
        name: str
        population: int
        sights: list[str]

    answer = await client.chat.completions.parse(model="demo", messages=ASK, response_format=City)
    assert isinstance(answer.choices[0].message.parsed, City)


async def test_vision_parts_pass(client):
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    answer = await client.chat.completions.create(model="demo", messages=[{"role": "user", "content": parts}])
    assert "1 image" in answer.choices[0].message.content


async def test_embeddings_come_in_the_sdks_own_encoding(client):
    answer = await client.embeddings.create(model="demo", input=["one", "two"])
    assert [len(row.embedding) for row in answer.data] == [256, 256]
    assert abs(sum(value * value for value in answer.data[0].embedding) - 1) < 1e-3


async def test_responses_are_made_streamed_kept_and_deleted(client, provider):
    provider.says(plain(b'{"error":{"message":"not found"}}', 404))  # the other provider does not know the id
    made = await client.responses.create(model="demo", input="Hello there")
    assert "Hello there" in made.output_text
    assert (await client.responses.retrieve(made.id)).id == made.id
    assert [item.role async for item in client.responses.input_items.list(made.id)] == ["user"]
    assert (await client.responses.cancel(made.id)).id == made.id
    async with client.responses.stream(model="demo", input="Hello there") as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert (kinds[0], kinds[-1], final.output_text) == ("response.created", "response.completed", made.output_text)
    await client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(made.id)


async def test_models_completions_and_moderations_work(client):
    assert [model.id async for model in client.models.list()] == ["demo"]
    assert (await client.models.retrieve("demo")).owned_by == "local"
    assert (await client.completions.create(model="demo", prompt="Once")).choices[0].text
    assert (await client.moderations.create(model="demo", input="x")).results[0].flagged is False


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
async def test_errors_raise_the_sdks_own_classes(client, provider, status, error):
    provider.says(plain(b'{"error":{"message":"no","type":"t","param":null,"code":"c"}}', status))
    with pytest.raises(error) as raised:
        await client.with_options(max_retries=0).chat.completions.create(model="m", messages=ASK)
    assert raised.value.code == "c"


async def test_the_gateways_own_errors_raise_them_too(client):
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="wrong").chat.completions.create(model="m", messages=ASK)
    with pytest.raises(openai.BadRequestError) as raised:
        await client.chat.completions.create(model="m", messages=ASK, max_tokens=0)
    assert raised.value.param == "max_tokens"
    with pytest.raises(openai.NotFoundError):
        await client.post("/nowhere", cast_to=object)


async def test_a_retry_of_the_sdk_carries_the_same_idempotency_key(client, provider):
    provider.says(plain(b"{}", 503, (("content-type", "application/json"), ("retry-after-ms", "1"))))
    with pytest.raises(openai.InternalServerError):
        await client.with_options(max_retries=1).chat.completions.create(
            model="m", messages=ASK, extra_headers={"Idempotency-Key": "same"}
        )
    assert [call.header("idempotency-key") for call in provider.calls] == [b"same", b"same"]


async def test_a_broken_stream_raises(client, provider):
    async def script(_, writer):
        writer.write(STREAM_HEAD + chunk(delta("a")))
        await writer.drain()
        writer.transport.abort()

    provider.script = script
    stream = await client.chat.completions.create(model="m", messages=ASK, stream=True)
    with pytest.raises(openai.APIError):
        [part async for part in stream]


async def test_leaving_a_stream_early_leaves_nothing_open(client, provider):
    provider.says(STREAM_HEAD, *(chunk(delta("a")) for _ in range(50)), chunk(delta("", "stop") + DONE), LAST_CHUNK)
    stream = await client.chat.completions.create(model="m", messages=ASK, stream=True)
    async for _ in stream:
        break
    await stream.close()
    assert (await client.models.list()).data


async def test_an_upload_streams_through_where_the_policy_lists_it(client, provider):
    row = b'{"id":"f","object":"file","bytes":3,"created_at":1,"filename":"x","purpose":"batch","status":"processed"}'
    provider.says(plain(row))
    content = bytes(range(256)) * 4_000
    made = await client.files.create(file=("na\u00efve \u2603.bin", content), purpose="batch")
    assert made.id == "f"
    (call,) = provider.calls
    assert content in call.body
    assert call.header("content-type").startswith(b"multipart/form-data; boundary=")


async def test_raw_headers_reach_the_sdk(client, provider):
    headers = (("content-type", "application/json"), ("x-request-id", "up-1"), ("x-ratelimit-remaining-tokens", "9"))
    provider.says(plain(b"{}", headers=headers))
    raw = await client.chat.completions.with_raw_response.create(model="m", messages=ASK)
    assert raw.headers["x-request-id"] == "up-1"
    assert raw.headers["x-ratelimit-remaining-tokens"] == "9"
    assert raw.headers["x-gateway-request-id"].startswith("req_")


STRICT_CALLERS = (
    f'  wide:\n    key_sha256: ["{digest(KEY)}"]\n    team: a\n    models: ["*"]\n'
    f'  narrow:\n    key_sha256: ["{digest("gw-narrow")}"]\n    team: a\n    models: [demo, "m-*"]\n'
    '    endpoints: ["/v1/chat/completions", "/v1/audio/*"]\n'
    f'  past:\n    key_sha256: ["{digest("gw-past")}"]\n    team: a\n    models: ["*"]\n    expires_at: 2020-01-01\n'
)
STRICT_MODELS = '  "m-*": {targets: [{provider: fake}]}\n  demo: {targets: [{provider: local}]}\n'
STRICT_REST = (
    "passthrough:\n  speech: {path: /v1/audio/speech, methods: [POST], provider: fake}\n"
    "  files: {path: /v1/files, methods: [POST], provider: fake}\n"
)
JSON = ("content-type", "application/json")


@pytest.fixture
async def strict(provider, tmp_path):
    """A client of a gateway that knows few models and three callers, and that lists two other paths."""
    parts = {"provider": DEMO, "models": STRICT_MODELS, "callers": STRICT_CALLERS, "rest": STRICT_REST}
    async with (
        running(policy_for(provider.base_url, **parts), tmp_path) as gateway,
        openai.AsyncOpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0) as client,
    ):
        yield client


async def test_speech_is_heard_while_the_provider_still_speaks(strict, provider):
    first, rest = bytes(range(256)) * 8, b"\x00\xff" * 50_000
    heard = asyncio.Event()

    async def script(_, writer):
        head = b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head + chunk(first))
        await writer.drain()
        await asyncio.wait_for(heard.wait(), PATIENCE_S)
        writer.write(chunk(rest) + LAST_CHUNK)
        await writer.drain()

    provider.script = script
    speech = strict.audio.speech.with_streaming_response
    got = b""
    async with speech.create(model="tts", voice="alloy", input="Hello") as answer:
        assert answer.headers["content-type"] == "audio/mpeg"
        async for part in answer.iter_bytes():
            got += part
            if len(got) >= len(first):
                heard.set()
    assert got == first + rest
    (call,) = provider.calls
    assert (call.method, call.target) == ("POST", "/v1/audio/speech")
    assert call.json() == {"model": "tts", "voice": "alloy", "input": "Hello"}
    assert call.header("authorization") == f"Bearer {PROVIDER_KEY}".encode()


async def test_speech_that_breaks_off_raises(strict, provider):
    async def script(_, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b"a"))
        await writer.drain()
        writer.transport.abort()

    provider.script = script
    with pytest.raises(Exception, match="incomplete chunked read"):  # the SDK passes its HTTP library's own
        async with strict.audio.speech.with_streaming_response.create(model="tts", voice="alloy", input="x") as answer:
            await answer.read()


async def test_a_form_arrives_as_it_was_sent(strict, provider):
    row = b'{"id":"f","object":"file","bytes":3,"created_at":1,"filename":"x","purpose":"batch","status":"processed"}'
    provider.says(plain(row))
    content = b"--\r\n\r\n\x00" + bytes(range(256)) * 1_000 + b"\r\n--"
    await strict.files.create(file=("a.jsonl", content, "application/jsonl"), purpose="batch")
    (call,) = provider.calls
    boundary = b"--" + call.header("content-type").partition(b"boundary=")[2]
    empty, purpose, file, end = call.body.split(boundary)
    assert (empty, end) == (b"", b"--\r\n")
    assert purpose == b'\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    head, _, body = file.partition(b"\r\n\r\n")
    assert b'name="file"; filename="a.jsonl"' in head
    assert b"application/jsonl" in head
    assert body == content + b"\r\n"


async def test_the_sdk_retries_when_the_provider_says_and_then_succeeds(strict, provider):
    error = b'{"error":{"message":"slow down","type":"t","param":null,"code":"c"}}'
    answers = [
        plain(error, 429, (JSON, ("retry-after-ms", "700"))),
        plain(error, 503, (JSON, ("retry-after-ms", "1"))),
        plain(ANSWER),
    ]

    async def script(_, writer):
        writer.write(answers.pop(0))
        await writer.drain()

    provider.script = script
    began = time.monotonic()
    answer = await strict.with_options(max_retries=2).chat.completions.create(model="m-1", messages=ASK)
    assert time.monotonic() - began >= 0.7  # the SDK's own first wait is half a second at most
    assert answer.choices[0].message.content == "hi"
    assert [call.header("x-stainless-retry-count") for call in provider.calls] == [b"0", b"1", b"2"]


async def test_the_sdk_does_not_retry_what_the_provider_called_final(strict, provider):
    provider.says(plain(b"{}", 503, (JSON, ("x-should-retry", "false"))))
    with pytest.raises(openai.InternalServerError):
        await strict.with_options(max_retries=2).chat.completions.create(model="m-1", messages=ASK)
    assert len(provider.calls) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["before the answer", "inside a stream"])
async def test_a_client_that_gives_up_leaves_no_call_at_the_provider(strict, provider, stream):
    async def script(call, writer):
        if stream:
            writer.write(STREAM_HEAD + chunk(delta("a")))
            await writer.drain()
        await asyncio.wait_for(call.closed.wait(), PATIENCE_S)

    provider.script = script
    with pytest.raises(openai.APITimeoutError):
        asked = await strict.with_options(timeout=0.2).chat.completions.create(model="m-1", messages=ASK, stream=stream)
        [part async for part in asked]
    (call,) = provider.calls
    async with patience():
        await call.closed.wait()


@pytest.mark.parametrize(
    ("key", "fields", "error", "code"),
    [
        ("gw-unknown", {}, openai.AuthenticationError, "invalid_api_key"),
        ("gw-past", {}, openai.AuthenticationError, "expired_api_key"),
        (KEY, {"model": "nothing-of-this-name"}, openai.NotFoundError, "model_not_found"),
        (KEY, {"temperature": "hot"}, openai.BadRequestError, "invalid_type"),
        (KEY, {"messages": []}, openai.BadRequestError, "invalid_value"),
        (KEY, {"extra_headers": {"x-portkey-provider": "other"}}, openai.BadRequestError, "refused_header"),
        (KEY, {"extra_body": {"api_base": "elsewhere"}}, openai.BadRequestError, "refused_field"),
        ("gw-narrow", {"model": "gpt-4o"}, openai.PermissionDeniedError, "model_not_allowed"),
    ],
)
async def test_a_refused_chat_raises_the_class_of_its_reason(strict, provider, key, fields, error, code):
    with pytest.raises(error) as raised:
        await strict.with_options(api_key=key).chat.completions.create(**{"model": "demo", "messages": ASK, **fields})
    assert raised.value.code == code
    assert raised.value.request_id.startswith("req_")
    assert raised.value.body["request_id"] == raised.value.request_id
    assert not provider.calls


async def test_a_refused_path_raises_the_class_of_its_reason(strict, provider):
    narrow = strict.with_options(api_key="gw-narrow")
    with pytest.raises(openai.PermissionDeniedError) as raised:
        await narrow.embeddings.create(model="demo", input="x")
    assert raised.value.code == "endpoint_not_allowed"
    with pytest.raises(openai.PermissionDeniedError) as raised:
        await narrow.audio.speech.create(model="tts", voice="alloy", input="x")
    assert raised.value.code == "model_not_allowed"
    with pytest.raises(openai.NotFoundError) as raised:
        await strict.fine_tuning.jobs.list()
    assert raised.value.code == "unknown_path"
    with pytest.raises(openai.APIStatusError) as raised:
        await strict.files.list()
    assert (raised.value.status_code, raised.value.code) == (405, "method_not_allowed")
    assert not provider.calls


async def test_a_refused_stream_raises_before_its_first_part(strict, provider):
    with pytest.raises(openai.NotFoundError) as raised:
        await strict.chat.completions.create(model="nothing-of-this-name", messages=ASK, stream=True)
    assert raised.value.code == "model_not_found"
    assert not provider.calls


async def test_a_provider_that_refuses_the_gateways_key_is_not_the_callers_fault(strict, provider):
    provider.says(plain(b'{"error":{"message":"Incorrect API key provided: sk-provider"}}', 401))
    with pytest.raises(openai.InternalServerError) as raised:
        await strict.chat.completions.create(model="m-1", messages=ASK)
    assert (raised.value.status_code, raised.value.code) == (502, "upstream_authentication")
    assert "sk-provider" not in str(raised.value)
