"""Nothing secret and nothing that was said reaches what an operator reads (LOG-01, LOG-09, AUTH-10).

Every secret and every content is a text with "canary" in it that stands nowhere else. Calls go out by every way, and then
all that the gateway has written or shows is searched for them.
"""

from __future__ import annotations

import gzip
import json
import signal
from pathlib import Path

import pytest

from tests.stores.servers import VALKEY, server
from tests.support.otlp import Collector, collecting
from tests.support.process import ADMIN_TOKEN, GatewayProcess, environment, run_gateway, serving, until
from tests.support.provider import ANSWER, DONE, LAST_CHUNK, STREAM_HEAD, Provider, chunk, delta, plain, usage_chunk
from tests.support.raw import Answer, chat
from tests.support.running import KEY, PROVIDER_KEY, policy_for

SECRETS = {
    "provider key": PROVIDER_KEY,
    "caller key": KEY,
    "unknown key": "gw-unknown-canary-0123456789",
    "admin token": ADMIN_TOKEN,
    "unknown token": "token-canary-0123456789",
    "mask key": "mask-canary-0123456789",
    "store password": "store-canary-0123456789",
    "collector credential": "otlp-canary-0123456789",
    "row header": "row-canary-0123456789",
    "policy key": "policy-canary-0123456789",
}
SAID = {
    "prompt": "prompt-canary",
    "masked": "masked-canary",
    "blocked": "blocked-canary",
    "instruction": "instruction-canary",
    "tool": "described-canary",
    "schema": "schema-canary",
    "metadata": "metadata-canary",
    "unknown field": "unknown-canary",
    "header": "header-canary",
    "query": "query-canary",
    "idempotency key": "idempotency-canary",
    "answer": "answer-canary",
    "stream": "streamed-canary",
    "cut stream": "cutoff-canary",
    "reasoning": "reasoned-canary",
    "tool arguments": "arguments-canary",
    "provider error": "page-canary",
}
PARAMETERS = {"stop word": "stopword-canary", "user": "user-canary"}
"""GenAI conventions have them as attributes of spans; they are nowhere else."""
CANARIES = SECRETS | SAID | PARAMETERS

POLICY = """
guards:
  hidden: {type: words, words: [masked-canary], kind: HIDDEN, action: mask, on_error: block}
  stopped: {type: words, words: [blocked-canary], kind: STOPPED, action: block, on_error: block}
guard_sets:
  default: {input: [hidden, stopped], output: [hidden, stopped], unreadable: allow}
budgets:
  month: {each: [caller], usd: 100, window: month}
rate_limits:
  calls: {each: [caller], requests_per_minute: 10000, concurrency: 100}
prices:
  any: {model: "*", input: 1, output: 10}
passthrough:
  files: {path: /v1/files, methods: [POST], provider: fake, charge_usd: 0}
"""


def message(**fields: object) -> bytes:
    """A chat's answer with these fields in its message."""
    document = json.loads(ANSWER)
    document["choices"][0]["message"] |= fields
    return json.dumps(document).encode()


def called(arguments: str) -> dict[str, object]:
    return {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": arguments}}


def delta_of(**fields: object) -> bytes:
    row = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps({**row, "choices": [{"index": 0, "delta": fields}]}).encode() + b"\n\n"


ARGUMENTS = json.dumps({"query": SAID["tool arguments"]})
WHOLE = chunk(delta("", "stop")) + chunk(usage_chunk() + DONE) + LAST_CHUNK
ERROR = json.dumps({"error": {"message": f"Incorrect API key {PROVIDER_KEY}: {SAID['provider error']}"}}).encode()
PAGE = f"<pre>Authorization: Bearer {PROVIDER_KEY} {SAID['provider error']}</pre>".encode()
EMBEDDED = json.dumps({"object": "list", "model": "m", "data": [], "usage": {"prompt_tokens": 1, "total_tokens": 1}})
SAYS = {
    "plain": plain(message(content=SAID["answer"], reasoning_content=SAID["reasoning"])),
    "tools": plain(message(content=None, tool_calls=[called(ARGUMENTS)])),
    "blocked": plain(message(content=f"{SAID['answer']} {SAID['blocked']}")),
    "embedding": plain(EMBEDDED.encode()),
    "stream": STREAM_HEAD + chunk(delta(SAID["stream"])) + chunk(delta_of(reasoning_content=SAID["reasoning"])) + WHOLE,
    "tool-stream": STREAM_HEAD + chunk(delta_of(tool_calls=[called(ARGUMENTS)])) + WHOLE,
    "cut": STREAM_HEAD + chunk(delta(SAID["cut stream"])) + chunk(delta(" and so on")),
    "endless": STREAM_HEAD + chunk(delta(SAID["stream"])) + chunk(delta(" and so on")),
    "not-json": plain(f"not JSON {SAID['answer']}".encode()),
    "401": plain(ERROR, 401),
    "429": plain(ERROR, 429),
    "500": plain(PAGE, 500, (("content-type", "text/html"), ("x-echo", PROVIDER_KEY))),
    "redirect": plain(b"", 302, (("location", f"http://127.0.0.1/?key={PROVIDER_KEY}"),)),
}  # fmt: skip


def scripted(provider: Provider) -> None:
    """It answers by the name of the model."""

    async def script(call, writer):
        name = call.json()["model"]
        writer.write(SAYS[name])
        await writer.drain()
        if name == "cut":
            writer.close()
        if name == "endless":
            await call.closed.wait()

    provider.script = script


def asked(model: str, **fields: object) -> bytes:
    """A chat with a canary in every place that a caller can write to."""
    tool = {
        "type": "function",
        "function": {"name": "look_up", "description": SAID["tool"], "parameters": {"title": SAID["schema"]}},
    }
    said = {"role": "assistant", "tool_calls": [called(ARGUMENTS)]}
    everything = {
        "model": model,
        "messages": [
            {"role": "system", "content": SAID["instruction"]},
            said,
            {"role": "tool", "tool_call_id": "call_1", "content": SAID["prompt"]},
            {"role": "user", "content": [{"type": "text", "text": f"{SAID['prompt']} {SAID['masked']}"}]},
        ],
        "tools": [tool],
        "stop": [PARAMETERS["stop word"]],
        "user": PARAMETERS["user"],
        "metadata": {"note": SAID["metadata"]},
        "unheard_of": SAID["unknown field"],
        **fields,
    }
    return json.dumps(everything).encode()


HEADERS = (("User-Agent", SAID["header"]), ("X-Client-Request-Id", SAID["header"]), ("X-Own", SAID["header"]))


class Sweep:
    """What is searched, by where it was found."""

    def __init__(self) -> None:
        self.places: list[tuple[str, bytes]] = []

    def add(self, place: str, data: bytes) -> None:
        self.places.append((place, data))

    def hits(self) -> list[tuple[str, str]]:
        return [
            (what, place) for what, text in CANARIES.items() for place, data in self.places if text.encode() in data
        ]


async def errors(gateway: GatewayProcess, sweep: Sweep) -> None:
    """Every way out that is the gateway's own answer."""

    async def refused(place: str, answer: Answer) -> None:
        assert answer.status >= 400, place
        sweep.add(f"error body: {place}", answer.body)

    for model in ("401", "429", "500", "redirect", "not-json", "blocked"):
        await refused(model, await gateway.ask(body=asked(model), key=KEY, headers=HEADERS))
    unsound = {
        "a blocked prompt": chat(f"{SAID['prompt']} {SAID['blocked']}"),
        "a wrong value": asked("plain", n=SAID["prompt"]),
        "no document": SAID["prompt"].encode(),
        "half a document": asked("plain")[:-1],
        "a key twice": b'{"model": "prompt-canary", "model": "prompt-canary"}',
    }
    for place, body in unsound.items():
        await refused(place, await gateway.ask(body=body, key=KEY, headers=HEADERS))
    query = f"?key={KEY}&text={SAID['query']}"
    await refused("no such path", await gateway.ask(target=f"/v1/x{query}", body=b"", key=KEY))
    await refused("a wrong key", await gateway.ask(body=asked("plain"), key=SECRETS["unknown key"]))
    await refused("no key", await gateway.ask(target=f"/v1/models{query}", body=asked("plain")))
    await refused("two keys", await gateway.ask(body=asked("plain"), key=KEY, headers=(("x-api-key", PROVIDER_KEY),)))
    await refused(
        "a header twice",
        await gateway.ask(body=asked("plain"), key=KEY, headers=(("Host", "a"), ("Host", SAID["header"]))),
    )
    await refused("a wrong token", await gateway.admin("POST", "/reload", SECRETS["unknown token"]))


async def answers(gateway: GatewayProcess) -> list[Answer]:
    """Every way out that ends with what the provider said, whole or not."""
    once = (*HEADERS, ("Idempotency-Key", SAID["idempotency key"]))
    found = [await gateway.ask(body=asked("plain"), key=KEY, headers=once) for _ in range(2)]
    for model, stream in (("plain", False), ("tools", False), ("stream", True), ("tool-stream", True), ("cut", True)):
        found.append(await gateway.ask(body=asked(model, stream=stream), key=KEY, headers=HEADERS))
    embedding = json.dumps({"model": "embedding", "input": SAID["prompt"]}).encode()
    found.append(await gateway.ask(target="/v1/embeddings", body=embedding, key=KEY, headers=HEADERS))
    found.append(
        await gateway.ask(target=f"/v1/files?q={SAID['query']}", body=asked("plain"), key=KEY, headers=HEADERS)
    )
    leaver = await gateway.connect()
    await leaver.send(leaver.request(body=asked("endless", stream=True), key=KEY, headers=HEADERS))
    await leaver.head()
    leaver.close()
    return found


async def operators(gateway: GatewayProcess, sweep: Sweep, tmp_path: Path) -> None:
    """What the admin listener and the command line show of it, a policy with a key in it that was refused included."""
    file = tmp_path / "policies" / "policy.yaml"
    sound = file.read_text()
    file.write_text(sound.replace("env:FAKE_KEY", SECRETS["policy key"]))
    assert (await gateway.admin("POST", "/reload")).status == 422
    targets = ["/policy", "/metrics", "/budgets", "/usage?by=caller,model", "/traces?last=100", "/usage/x", "/traces/x"]
    call = next(event["call"] for event in gateway.events if event["event"] == "call" and event["outcome"] == "ok")
    for target in (*targets, f"/usage/{call}", f"/traces/{call}"):
        sweep.add(f"admin {target}", (await gateway.admin("GET", target)).body)
    env = environment(tmp_path, GATEWAY_ADMIN_PORT=str(gateway.admin_port))
    status, out, err = await run_gateway("trace", "--last", "100", env=env)
    assert (status, "POST /v1/chat/completions" in out) == (0, True), err
    sweep.add("gateway trace", out.encode())


def processes(pid: int) -> list[Path]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [Path(f"/proc/{number}") for number in (pid, *map(int, children))]


def titles(gateway: GatewayProcess, sweep: Sweep) -> int:
    """What `ps` shows of the gateway's processes; how many these are."""
    found = processes(gateway.process.pid)
    for process in found:
        for name in ("cmdline", "comm", *(f"task/{task.name}/comm" for task in (process / "task").iterdir())):
            sweep.add(f"{process.name}/{name}", (process / name).read_bytes())
    return len(found)


def files(folder: Path, sweep: Sweep, when: str) -> None:
    found = [file for file in folder.iterdir() if file.is_file()]
    assert "ledger.db" in {file.name for file in found}
    for file in found:
        sweep.add(f"{file.name} {when}", file.read_bytes())


def collected(collector: Collector, sweep: Sweep) -> None:
    for number, posted in enumerate(collector.posted):
        assert posted.headers["authorization"] == f"Bearer {SECRETS['collector credential']}"
        sweep.add(f"{posted.path} {number}", posted.body)
        sweep.add(f"{posted.path} {number} unzipped", gzip.decompress(posted.body))


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_no_secret_and_nothing_that_was_said_is_anywhere_that_an_operator_looks(provider, tmp_path, workers):
    """LOG-01, LOG-09, AUTH-10"""
    sweep, password = Sweep(), SECRETS["store password"]
    scripted(provider)
    rows = '    headers: {x-row: "' + SECRETS["row header"] + '"}\n'
    policy = policy_for(provider.base_url, provider=rows, rest=POLICY)
    async with collecting(200) as collector:
        with server(VALKEY, "--requirepass", password) as port:
            settings = {
                "GATEWAY_WORKERS": workers,
                "GATEWAY_LOG_LEVEL": "debug",
                "GATEWAY_MASK_KEY": SECRETS["mask key"],
                "GATEWAY_STORE": "redis://" + f":{password}" + f"@127.0.0.1:{port}",
                "GATEWAY_AUDIT_FILE": str(tmp_path / "data" / "audit.jsonl"),
                "GATEWAY_RELOAD_INTERVAL_S": "3600",
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{SECRETS['collector credential']}",
                "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
                "OTEL_BSP_SCHEDULE_DELAY": "50",
                "OTEL_METRIC_EXPORT_INTERVAL": "200",
            }
            async with serving(policy, tmp_path, **settings) as gateway:
                given = await answers(gateway)
                await errors(gateway, sweep)
                await until(lambda: '"client_closed"' in gateway.output)
                await operators(gateway, sweep, tmp_path)
                assert titles(gateway, sweep) == (1 if workers == "1" else 3)
                files(tmp_path / "data", sweep, "while it runs")
                assert "ledger.db-wal while it runs" in dict(sweep.places)
                await collector.until(lambda it: {"/v1/traces", "/v1/metrics"} <= {posted.path for posted in it.taken})
                gateway.signal(signal.SIGTERM)
                assert await gateway.ended() == 0
                sweep.add("log", gateway.output.encode())
        files(tmp_path / "data", sweep, "after the stop")
        collected(collector, sweep)
    found = sweep.hits()
    assert [hit for hit in found if hit[0] not in PARAMETERS] == []
    assert [place for _, place in found if "traces" not in place] == []
    assert_all_of_it_was_there(provider, given, sweep, collector)


def assert_all_of_it_was_there(provider: Provider, given: list[Answer], sweep: Sweep, collector: Collector) -> None:
    """A canary that was never sent is never found: every one went its way, and what could show it was written."""
    sent = b"".join(call.target.encode() + repr(call.headers).encode() + call.body for call in provider.calls)
    got = b"".join(answer.body for answer in given)
    there = sent + got
    by_gateway = {"masked", "blocked", "header", "idempotency key", "provider error"}  # these it kept from both
    assert [
        what for what, text in (SAID | PARAMETERS).items() if text.encode() not in there and what not in by_gateway
    ] == []
    assert all(secret.encode() in sent for secret in (PROVIDER_KEY, SECRETS["row header"]))
    assert [answer.header("x-gateway-idempotent-replay") for answer in given[:2]] == [None, "true"]
    found = dict(sweep.places)
    outcomes = {event.get("outcome") for event in map(json.loads, found["log"].splitlines())}
    assert {"ok", "refused", "failed", "client_closed"} <= outcomes
    assert b"gateway_store_up 1" in found["admin /metrics"]
    assert len(collector.spans()) >= 2 * len(given)
