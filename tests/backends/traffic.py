"""What happened in front of a back end: a gateway in a process of its own that exports to it, calls of every kind, and
what its ledger says of them once it has stopped."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from gateway.core.accounts import Entry, Query
from gateway.ledgers.sqlite import open_sqlite
from tests.backends.servers import BIN, clean_environment
from tests.backends.shown import BackEnd
from tests.support.process import GatewayProcess, serving
from tests.support.provider import DONE, LAST_CHUNK, STREAM_HEAD, Provider, Received, chunk, plain
from tests.support.raw import Answer
from tests.support.running import digest, policy_for

MODEL, SERVED = "gpt-4o-mini", "gpt-4o-mini-2024-07-18"
SPANS_OF_A_CALL = 3  # POST, reserve, and the request to the provider
CANARY, ANSWER = "canary-words-of-a-prompt", "canary-words-of-an-answer"
KEYS = {caller: f"gw-canary-{caller:-<40}" for caller in ("link", "continue", "continue-plain", "captured")}
APPLICATION = (
    {"name": "joined", "mode": "continue", "says_itself": False, "says": "plain"},
    {"name": "retried", "mode": "continue", "says_itself": False, "says": "fail once"},
    {"name": "linked", "mode": "link", "says_itself": True, "says": "plain"},
    {"name": "plain", "mode": "continue-plain", "says_itself": True, "says": "plain"},
    {"name": "plain-stream", "mode": "continue-plain", "says_itself": True, "says": "stream", "stream": True},
    {"name": "twice", "mode": "continue", "says_itself": True, "says": "plain"},
)
USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 500,
    "total_tokens": 1500,
    "prompt_tokens_details": {"cached_tokens": 200},
    "completion_tokens_details": {"reasoning_tokens": 100},
}


@dataclass(frozen=True)
class Made:
    """One call of a plain client. `call` is the gateway's id of it."""

    call: str
    status: int


@dataclass(frozen=True)
class Traffic:
    """`calls` by name. `traces` of the application by the name of its call, in hex. `spans`: how many were exported."""

    calls: dict[str, Made]
    traces: dict[str, str]
    ledger: tuple[Entry, ...]
    spans: int

    def tokens(self, *calls: str) -> int:
        return sum(entry.outcome.usage.total_tokens for entry in self._entries(calls))

    def usd(self, *calls: str) -> float:
        return sum(entry.outcome.cost_nano or 0 for entry in self._entries(calls)) / 10**9

    def _entries(self, calls: tuple[str, ...]) -> list[Entry]:
        return [entry for entry in self.ledger if entry.intent.call in calls and entry.outcome is not None]


async def made_for(back_end: BackEnd, folder: Path) -> Traffic:
    async with Provider() as provider:
        provider.script = Script()
        policy = policy_of(provider.base_url, back_end.profile)
        async with serving(policy, folder, **back_end.environment) as gateway:
            calls = await _plain_calls(gateway)
            application = await _application(gateway, back_end, folder)
            gateway.signal(signal.SIGTERM)
            assert await gateway.ended() == 0, gateway.output
    (path,) = (folder / "data").glob("*.db")
    ledger = await open_sqlite(path, node="test", read_only=True)
    entries = tuple([entry async for entry in ledger.entries(Query())])
    await ledger.close()
    own = SPANS_OF_A_CALL * len(entries)
    return Traffic(
        calls,
        {name: told["trace_id"] for name, told in application.items()},
        entries,
        own + sum(told["spans"] for told in application.values()),
    )


class Script:
    """The provider: what it says depends on the last message."""

    def __init__(self) -> None:
        self._has_failed = False

    async def __call__(self, call: Received, writer: asyncio.StreamWriter) -> None:
        document = call.json()
        if call.target.endswith("/embeddings"):
            writer.write(plain(_embedding()))
            return
        says = document["messages"][-1]["content"]
        if says == "fail" or (says == "fail once" and not self._has_failed):
            self._has_failed = self._has_failed or says == "fail once"
            writer.write(plain(b'{"error": {"message": "overloaded", "type": "server_error", "code": null}}', 503))
        elif document.get("stream"):
            writer.write(STREAM_HEAD + b"".join(map(chunk, _events(document, cut=says == "cut"))))
            if says == "cut":
                writer.close()
            else:
                writer.write(LAST_CHUNK)
        else:
            writer.write(plain(_completion(document["model"])))


def _completion(model: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
    row = {"id": "c-1", "object": "chat.completion", "created": 1, "model": _served(model), "choices": [choice]}
    return json.dumps(row | {"usage": USAGE}).encode()


def _events(document: dict[str, object], *, cut: bool) -> list[bytes]:
    head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": _served(str(document["model"]))}
    texts = [
        {"index": 0, "delta": {"role": "assistant", "content": ANSWER[:4]}, "finish_reason": None},
        {"index": 0, "delta": {"content": ANSWER[4:]}, "finish_reason": "stop"},
    ]
    rows = [head | {"choices": [choice]} for choice in texts]
    if cut:
        return [_event(rows[0])]
    return [*map(_event, [*rows, head | {"choices": [], "usage": USAGE}]), DONE]


def _event(row: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(row).encode() + b"\n\n"


def _embedding() -> bytes:
    row = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    return json.dumps({"object": "list", "data": [row], "model": "text-embedding-3-small", "usage": usage}).encode()


def _served(model: str) -> str:
    return SERVED if model == MODEL else model


def policy_of(base_url: str, profile: str) -> str:
    callers = "".join(
        f"  {caller}: {{key_sha256: ['{digest(key)}'], team: t, models: ['*'], "
        f"trace: {{mode: {'link' if caller == 'captured' else caller}, trusted: true}}}}\n"
        for caller, key in KEYS.items()
    )
    prices = "prices:\n  house: {model: house-model, input: 3, output: 30}\n"
    content = "{capture: true, callers: [captured]}"
    return policy_for(
        base_url,
        provider="    catalogue: openai\n",
        callers=callers,
        rest=f"{prices}tracing: {{profiles: [{profile}], content: {content}}}\n",
    )


async def _plain_calls(gateway: GatewayProcess) -> dict[str, Made]:
    return {
        "chat": await _chat(gateway, "chat", messages=_messages("plain")),
        "stream": await _chat(gateway, "stream", stream=True, messages=_messages("stream")),
        "cut": await _chat(gateway, "cut", stream=True, messages=_messages("cut")),
        "error": await _chat(gateway, "error", messages=_messages("fail")),
        "house": await _chat(gateway, "house", model="house-model", messages=_messages("plain")),
        "embeddings": await _ask(
            gateway, "/v1/embeddings", {"model": "text-embedding-3-small", "input": "x", "user": "u-embeddings"}
        ),
        "captured": await _chat(gateway, "captured", key="captured", messages=_messages("plain")),
        "captured-stream": await _chat(
            gateway, "captured-stream", key="captured", stream=True, messages=_messages("stream")
        ),
        "long": await _chat(gateway, "long" + "x" * 300, messages=_messages("plain")),
    }


def _messages(says: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": CANARY}, {"role": "user", "content": says}]


async def _chat(gateway: GatewayProcess, name: str, key: str = "link", **fields: object) -> Made:
    document = {"model": MODEL, "user": f"u-{name}", "metadata": {"session_id": f"s-{name}"}, **fields}
    return await _ask(gateway, "/v1/chat/completions", document, key)


async def _ask(gateway: GatewayProcess, path: str, document: dict[str, object], key: str = "link") -> Made:
    answer: Answer = await gateway.ask(target=path, body=json.dumps(document).encode(), key=KEYS[key])
    return Made(str(answer.header("x-request-id")), answer.status)


async def _application(gateway: GatewayProcess, back_end: BackEnd, folder: Path) -> dict[str, dict[str, object]]:
    process = await asyncio.create_subprocess_exec(
        str(BIN / "python"),
        str(Path(__file__).with_name("application.py")),
        f"http://127.0.0.1:{gateway.port}/v1",
        env=clean_environment(folder, **back_end.environment),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=sys.stderr,
    )
    calls = [{**call, "key": KEYS[str(call["mode"])]} for call in APPLICATION]
    async with asyncio.timeout(120):
        told, _ = await process.communicate(json.dumps(calls).encode())
    assert process.returncode == 0
    return json.loads(told)
