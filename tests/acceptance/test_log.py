"""The log under attack and in trouble (LOG-04): a few kilobytes a request, and few lines about one and the same thing."""

from __future__ import annotations

import json
import signal

import pytest

from tests.support.process import serving, until
from tests.support.raw import chat
from tests.support.running import KEY, policy_for, running

ODD = '\x00\x1b[31m\r\n\u2028\U0001f600"\\'
PASSED = "passthrough:\n  files: {path: /v1/files, methods: [POST], provider: fake, charge_usd: 0}\n"
LIMITED = "rate_limits:\n  polite: {each: [caller], requests_per_minute: 1000000}\n"


async def test_no_request_makes_more_than_ten_kilobytes_of_log(provider, tmp_path):
    many = {f"{ODD}{number}": ODD * 1000 for number in range(1000)}
    async with running(policy_for(provider.base_url, rest=PASSED), tmp_path) as gateway:
        before = len(gateway.output.getvalue())
        asked = [
            {"target": "/v1/files", "body": json.dumps({"model": ODD * 10_000}).encode()},
            {"target": "/v1/files", "body": json.dumps({"model": "x" * 1_000_000}).encode()},
            {"target": "/v1/files?" + "%00%0d%0a&" * 700, "body": b"{}"},
            {"target": "/v1/" + "\"'<>{}" * 1000, "body": b"{}"},
            {"body": json.dumps({"model": ODD * 10_000, "messages": []}).encode()},
            {"body": chat(ODD * 10_000, **many)},
            {"body": chat(model="m" * 256, **{"x" * 40 + str(number): 1 for number in range(5000)})},
            {"method": "X" * 5000, "body": b"{}"},
            {"body": chat(), "headers": tuple((f"X-{number}", "h" * 1000) for number in range(20))},
        ]
        for request in asked:
            await gateway.ask(**request, key=KEY)
            await gateway.ask(**request, key="wrong" * 500)
            said = gateway.output.getvalue()[before:]
            before += len(said)
            assert said.count(b"\n") <= 2
            assert len(said) <= 2 * 10_000


async def test_when_the_store_and_the_collector_are_away_no_line_is_written_for_each_call(provider, tmp_path):
    settings = {
        "GATEWAY_STORE": "redis://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_BSP_SCHEDULE_DELAY": "10",
        "GATEWAY_LOG_LEVEL": "debug",
    }
    async with serving(policy_for(provider.base_url, rest=LIMITED), tmp_path, **settings) as gateway:
        raw = await gateway.connect()
        for number in range(500):
            await raw.ask(body=chat() if number % 2 else b"no document", key=KEY)
        raw.close()
        await until(lambda: gateway.output.count('"event":"call"') == 500)
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0
        others = [event["event"] for event in gateway.events if event["event"] != "call"]
        assert {"store_down", "export_failing"} <= set(others)
        assert len(others) < 50


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_of_equal_lines_few_are_written_and_all_are_counted_by_the_time_of_the_stop(provider, tmp_path, workers):
    """Workers count for themselves."""
    async with serving(policy_for(provider.base_url), tmp_path, GATEWAY_WORKERS=workers) as gateway:
        for _ in range(40):
            assert (await gateway.admin("POST", "/reload")).status == 200
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0
        loads = [event for event in gateway.events if event["event"] == "policy_loaded"]
        assert sum(1 + event.get("repeated", 0) for event in loads) == 41 * int(workers)
        assert len(loads) < 41 * int(workers)
