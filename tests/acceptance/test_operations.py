"""The gateway as a process: start, reload, drain, workers, admin."""

import asyncio
import json
import os
import signal
import sys

import pytest

from tests.support.process import ADMIN_TOKEN, environment, run_gateway, serving, until
from tests.support.provider import DONE, LAST_CHUNK, STREAM_HEAD, chunk, delta
from tests.support.raw import chat
from tests.support.running import KEY, policy_for


def gated_stream(release: asyncio.Event):
    """A stream that ends when it is released."""

    async def script(_, writer):
        writer.write(STREAM_HEAD + chunk(delta("a")))
        await writer.drain()
        await release.wait()
        writer.write(chunk(delta("b", "stop") + DONE) + LAST_CHUNK)

    return script


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_drain_is_red_at_once_accepts_a_little_longer_and_lets_streams_end(provider, tmp_path, workers):
    """OPS-01"""
    release = asyncio.Event()
    provider.script = gated_stream(release)
    async with serving(policy_for(provider.base_url), tmp_path, GATEWAY_WORKERS=workers) as gateway:
        streams = [await gateway.connect() for _ in range(20)]
        for raw in streams:
            await raw.send(raw.request(body=chat(stream=True), key=KEY))
            assert (await raw.head()).status == 200
        late = await gateway.connect()
        gateway.signal(signal.SIGTERM)
        while (await gateway.admin("GET", "/readyz", None)).status != 503:
            await asyncio.sleep(0.01)
        answers = [await late.ask("GET", "/v1/models", key=KEY)]
        while answers[-1].header("connection") is None:  # the supervisor is red a moment before its workers know
            answers.append(await late.ask("GET", "/v1/models", key=KEY))
        assert {answer.status for answer in answers} == {200}
        assert answers[-1].header("connection") == "close"
        assert (await gateway.ask("GET", "/v1/models", key=KEY)).status == 200
        release.set()
        for raw in streams:
            assert await raw.chunk() == delta("a")
            assert await raw.chunk() == delta("b", "stop") + DONE
            assert await raw.chunk() is None
            raw.close()
        late.close()
        assert await gateway.ended() == 0
        assert sum(event["event"] == "call" for event in gateway.events) == 21 + len(answers)


async def test_what_outlasts_the_grace_is_cut_with_an_error_event(provider, tmp_path):
    """OPS-02"""
    provider.script = gated_stream(asyncio.Event())
    async with serving(policy_for(provider.base_url), tmp_path, GATEWAY_GRACE_S="0.3") as gateway:
        raw = await gateway.connect()
        await raw.send(raw.request(body=chat(stream=True), key=KEY))
        await raw.head()
        assert await raw.chunk() == delta("a")
        gateway.signal(signal.SIGTERM)
        event = await raw.chunk()
        assert json.loads(event.removeprefix(b"data: "))["error"]["code"] == "draining"
        assert await raw.chunk() is None
        raw.close()
        assert await gateway.ended() == 0
        (call,) = [event for event in gateway.events if event["event"] == "call"]
        assert (call["outcome"], call["error"]) == ("cut", "draining")


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_an_interrupt_stops_without_the_delay(provider, tmp_path, workers):
    """Ctrl-C on a terminal."""
    settings = {"GATEWAY_DRAIN_DELAY_S": "600", "GATEWAY_WORKERS": workers}
    async with serving(policy_for(provider.base_url), tmp_path, **settings) as gateway:
        gateway.signal(signal.SIGINT)
        assert await gateway.ended() == 0


async def test_workers_get_the_whole_delay_also_without_grace(provider, tmp_path):
    settings = {"GATEWAY_DRAIN_DELAY_S": "6", "GATEWAY_GRACE_S": "0", "GATEWAY_WORKERS": "2"}
    async with serving(policy_for(provider.base_url), tmp_path, **settings) as gateway:
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0
        assert gateway.output.count('"cut":0') == 2


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_second_signal_makes_the_drain_short(provider, tmp_path, workers):
    provider.script = gated_stream(asyncio.Event())
    settings = {"GATEWAY_GRACE_S": "600", "GATEWAY_WORKERS": workers}
    async with serving(policy_for(provider.base_url), tmp_path, **settings) as gateway:
        raw = await gateway.connect()
        await raw.send(raw.request(body=chat(stream=True), key=KEY))
        await raw.head()
        gateway.signal(signal.SIGTERM)
        await until(lambda: "draining" in gateway.output)
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0
        raw.close()


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("how", ["watch", "SIGHUP", "admin"])
async def test_a_changed_policy_is_loaded_and_a_broken_one_is_not(provider, tmp_path, workers, how):
    """OPS-09, OPS-11"""
    settings = {"GATEWAY_WORKERS": workers, "GATEWAY_RELOAD_INTERVAL_S": "0.1" if how == "watch" else "3600"}
    policy = policy_for(provider.base_url)
    async with serving(policy, tmp_path, **settings) as gateway:
        file = tmp_path / "policies" / "policy.yaml"

        async def change(text: str, expected: int) -> dict:
            file.with_suffix(".new").write_text(text)
            file.with_suffix(".new").rename(file)
            if how == "SIGHUP":
                gateway.signal(signal.SIGHUP)
            elif how == "admin":
                assert (await gateway.admin("POST", "/reload")).status == expected
            wanted, times = ("policy_loaded", int(workers)) if expected == 200 else ("policy_refused", 1)
            await until(lambda: gateway.output.split("ready", 1)[1].count(wanted) >= times)
            return (await gateway.admin("GET", "/policy")).json()

        before = (await gateway.admin("GET", "/policy")).json()["version"]
        refused = await change(policy + "unknown_section: {}\n", 422)
        assert (refused["version"], "unknown_section" in refused["last_error"]) == (before, True)
        assert (await gateway.ask(body=chat(), key=KEY)).header("x-gateway-policy") == before
        loaded = await change(policy.replace("alias:", "brand-new:"), 200)
        assert loaded["version"] != before
        answer = await gateway.ask("GET", "/v1/models", key=KEY)
        assert [row["id"] for row in answer.json()["data"]] == ["brand-new"]
        assert answer.header("x-gateway-policy") == loaded["version"]


async def test_workers_share_the_port_add_up_their_metrics_and_are_replaced(provider, tmp_path):
    async with serving(policy_for(provider.base_url), tmp_path, GATEWAY_WORKERS="2") as gateway:
        for _ in range(10):
            assert (await gateway.ask(body=chat(), key=KEY)).status == 200
        text = (await gateway.admin("GET", "/metrics")).body.decode()
        assert 'gateway_calls_total{endpoint="chat",provider="fake",status="200",outcome="ok"} 10' in text
        assert "gateway_ledger_up 1\n" in text and "gateway_ledger_waiting " in text
        worker = next(event["worker"] for event in gateway.events if "worker" in event)
        os.kill(int(str(worker)), signal.SIGKILL)
        await until(lambda: "worker_died" in gateway.output)
        assert (await gateway.ask(body=chat(), key=KEY)).status == 200
        await until(lambda: gateway.output.count("policy_loaded") >= 3)
        for _ in range(10):
            assert (await gateway.ask(body=chat(), key=KEY)).status == 200
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0


async def test_the_admin_listener_shows_nothing_without_its_token(provider, tmp_path):
    """ADM-01, ADM-02, LOG-05"""
    postures = {
        ("GET", "/healthz"): True,
        ("GET", "/readyz"): True,
        ("GET", "/metrics"): False,
        ("GET", "/policy"): False,
    }
    async with serving(policy_for(provider.base_url), tmp_path) as gateway:
        for (method, path), public in postures.items():
            assert (await gateway.admin(method, path, None)).status == (200 if public else 401)
            assert (await gateway.admin(method, path, "wrong")).status == (200 if public else 401)
            assert (await gateway.admin(method, path)).status == 200
        for method, path in (
            ("POST", "/reload"),
            ("GET", "/x"),
            ("GET", "/metrics?x=1"),
            ("POST", "/metrics"),
            ("GET", "//metrics"),
        ):
            assert (await gateway.admin(method, path, None)).status == 401
        for probe in ("/healthz", "/readyz"):
            body = (await gateway.admin("GET", probe, None)).body
            assert body in {b"ok\n", b"ready\n"}
        assert (await gateway.ask("GET", "/metrics", key=ADMIN_TOKEN)).status == 401


async def test_a_provider_that_is_down_changes_neither_probe(tmp_path):
    """OPS-05"""
    async with serving(policy_for("http://127.0.0.1:9/v1"), tmp_path) as gateway:
        answer = await gateway.ask(body=chat(), key=KEY)
        assert (answer.status, answer.code) == (502, "upstream_unreachable")
        assert (await gateway.admin("GET", "/healthz", None)).status == 200
        assert (await gateway.admin("GET", "/readyz", None)).status == 200


async def test_a_start_that_cannot_work_says_why_in_one_line(provider, tmp_path):
    """OPS-27, AUTH-19"""
    env = environment(tmp_path)
    status, _, err = await run_gateway("serve", env=env)
    assert (status, len(err.splitlines())) == (2, 1)
    assert "gateway init" in err
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "policy.yaml").write_text(policy_for(provider.base_url))
    for wrong, named in (
        ({"GATEWAY_PORT": str(provider.port)}, "GATEWAY_PORT"),
        ({"GATEWAY_ADMIN_TOKEN": ""}, "GATEWAY_ADMIN_TOKEN"),
        ({"FAKE_KEY": ""}, "policy.yaml:5"),
        ({"GATEWAY_TYPO": "1"}, "GATEWAY_TYPO"),
    ):
        status, _, err = await run_gateway("serve", env={**env, **wrong})
        assert (status, len(err.splitlines())) == (2, 1), err
        assert named in err


async def test_the_first_run_needs_nothing_and_its_three_lines_work(tmp_path):
    env = environment(tmp_path, GATEWAY_READY_FILE=str(tmp_path / "ready"))
    assert (await run_gateway("init", str(tmp_path / "policies"), env=env))[0] == 0
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "serve", "--quickstart", env=env, stdout=-1, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await until((tmp_path / "ready").exists)
        key = (tmp_path / "data" / "quickstart.key").read_text().strip()
        assert (tmp_path / "data" / "quickstart.key").stat().st_mode & 0o077 == 0
        banner = await process.stdout.readuntil(b"OpenAI's models.\n")
        assert key.encode() in banner
        command = banner.decode().split("curl    ", 1)[1].split("\n\n")[0].replace("\\\n", " ")
        curl = await asyncio.create_subprocess_shell(f"curl -s {command.removeprefix('curl ')}", stdout=-1)
        out, _ = await curl.communicate()
        assert json.loads(out)["choices"][0]["message"]["role"] == "assistant"
    finally:
        process.terminate()
        await process.wait()
