"""Policy is replaced while calls run."""

import asyncio
import json
import re
import signal
from pathlib import Path

import gateway
from gateway.core.model import Record
from tests.support.patience import patience
from tests.support.process import serving, until
from tests.support.provider import DONE, LAST_CHUNK, STREAM_HEAD, chunk, delta, plain
from tests.support.raw import chat
from tests.support.running import KEY, digest, policy_for, running


def version(base_url: str, mark: str) -> dict[str, str]:
    """Two files that belong together: the model's name and the provider's header both say which version they are of."""
    return {
        "policy.yaml": (
            f"providers:\n  fake: {{shape: openai, base_url: '{base_url}', api_key: env:FAKE_KEY, headers: {{x-mark: {mark}}}}}\n"
            f"callers:\n  app: {{key_sha256: ['{digest(KEY)}'], team: t, models: ['*']}}\n"
        ),
        "models.yaml": f"models:\n  m: {{targets: [{{provider: fake, model: model-{mark}}}]}}\n",
    }


async def test_every_call_sees_exactly_one_version_through_a_thousand_reloads(provider, tmp_path):
    """OPS-10: 0 errors, and never the model of one version with the header of another."""

    async def echo(call, writer):
        writer.write(plain(json.dumps([call.json()["model"], call.header("x-mark").decode()]).encode()))

    provider.script = echo
    one, two = version(provider.base_url, "one"), version(provider.base_url, "two")
    seen: set[tuple[str, str]] = set()
    async with running(one["policy.yaml"] + one["models.yaml"], tmp_path) as gateway:
        stop = asyncio.Event()

        async def caller() -> int:
            raw = await gateway.connect()
            calls = 0
            while not stop.is_set():
                answer = await raw.ask(body=chat(), key=KEY)
                assert answer.status == 200
                model, mark = answer.json()
                assert model == f"model-{mark}"
                seen.add((mark, answer.header("x-gateway-policy")))
                calls += 1
            raw.close()
            return calls

        callers = [asyncio.create_task(caller()) for _ in range(8)]
        for turn in range(1000):
            files = two if turn % 2 == 0 else one
            source = tuple(sorted((name, text.encode()) for name, text in files.items()))
            assert await gateway.gateway.reload(source)
        stop.set()
        calls = await asyncio.gather(*callers)
    assert min(calls) > 10
    assert {mark for mark, _ in seen} == {"one", "two"}
    assert len({policy for mark, policy in seen if mark == "two"}) == 1  # the same files, the same version


async def test_a_reload_closes_nothing_that_is_in_use(provider, tmp_path):
    """OPS-12: a hundred streams go on over the pool of the old version, which is closed after the last of them."""
    go_on = asyncio.Event()

    async def script(_, writer):
        writer.write(STREAM_HEAD + chunk(delta("a")))
        await go_on.wait()
        writer.write(chunk(delta("b")) + chunk(DONE) + LAST_CHUNK)
        await writer.drain()

    provider.script = script
    async with running(policy_for(provider.base_url), tmp_path) as gateway:
        streams = [await gateway.connect() for _ in range(100)]
        for raw in streams:
            await raw.send(raw.request(body=chat(stream=True), key=KEY))
            await raw.head()
            assert await raw.chunk() == delta("a")
        old = gateway.gateway.engine.runtime.upstreams["fake"]
        other = policy_for(provider.base_url, provider="    timeouts: {total_s: 77}\n").encode()
        assert await gateway.gateway.reload((("policy.yaml", other),))
        assert gateway.gateway.engine.runtime.upstreams["fake"] is not old
        go_on.set()
        for raw in streams:
            assert (await raw.chunk() + (await raw.chunk() or b"")) == delta("b") + DONE
            raw.close()
        async with patience():
            while old._http._all:
                await asyncio.sleep(0.01)
        assert [line["outcome"] for line in gateway.lines] == ["ok"] * 100


async def test_an_unchanged_provider_keeps_its_connections(provider, tmp_path):
    """OPS-12"""
    policy = policy_for(provider.base_url)
    async with running(policy, tmp_path) as gateway:
        await gateway.ask(body=chat(), key=KEY)
        changed = policy.replace("alias:", "brand-new:").encode()
        assert await gateway.gateway.reload((("policy.yaml", changed),))
        await gateway.ask(body=chat(), key=KEY)
    assert provider.connections == 1


async def test_putting_the_old_files_back_is_the_old_version(provider, tmp_path):
    """OPS-13"""
    policy = policy_for(provider.base_url)
    async with serving(policy, tmp_path, GATEWAY_RELOAD_INTERVAL_S="3600") as gateway:
        file = tmp_path / "policies" / "policy.yaml"

        async def version_after(text: str) -> str:
            loads = gateway.output.count("policy_loaded")
            file.write_text(text)
            gateway.signal(signal.SIGHUP)
            await until(lambda: gateway.output.count("policy_loaded") > loads)
            return (await gateway.ask("GET", "/v1/models", key=KEY)).header("x-gateway-policy")

        first = (await gateway.ask("GET", "/v1/models", key=KEY)).header("x-gateway-policy")
        assert await version_after(policy.replace("alias:", "worse:")) != first
        assert await version_after(policy) == first


async def test_a_rotated_key_file_is_used_without_a_restart(provider, tmp_path):
    """OPS-25"""
    key = tmp_path / "provider.key"
    key.write_text("sk-first-canary-000000000000")
    policy = policy_for(provider.base_url).replace("env:FAKE_KEY", f"file:{key}")
    async with running(policy, tmp_path, reload_interval_s=0.01) as gateway:
        gateway.worker.watch()
        await gateway.ask(body=chat(), key=KEY)
        key.with_suffix(".new").write_text("sk-second-canary-00000000000")
        key.with_suffix(".new").replace(key)
        async with patience():
            while provider.calls[-1].header("authorization") != b"Bearer sk-second-canary-00000000000":
                await asyncio.sleep(0.02)
                await gateway.ask(body=chat(), key=KEY)
    assert provider.calls[0].header("authorization") == b"Bearer sk-first-canary-000000000000"


def test_a_record_holds_no_content_by_its_type():
    """LOG-09: there is no field that could carry a prompt, an answer, a header or a key, but the one that policy must ask
    for, which only spans are made from."""
    assert set(Record.__dataclass_fields__) == {
        "call_id", "caller", "detail", "duration_s", "endpoint", "error", "first_byte_s", "marked", "method", "model",
        "outcome", "path", "phase_s", "policy_version", "provider", "request_bytes", "response_bytes", "started",
        "started_at", "status", "stream", "team", "unknown_fields", "upstream_model", "upstream_s", "verdicts", "attempts",
        "balances", "warnings", "trace", "steps", "asked", "content",
    }  # fmt: skip
    assert Record("", 0.0, 0.0).content is None
    (package,) = map(Path, gateway.__path__)
    readers = {
        file.name for file in package.rglob("*.py") if re.search(r"(record|oldest)\.content\b", file.read_text())
    }
    assert readers == {"pipeline.py", "genai.py", "profiles.py", "ring.py"}
