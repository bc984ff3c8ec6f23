"""The audit as an operator finds it: in the log and in its file (LOG-08)."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import GatewayProcess, environment, run_gateway, serving, until
from tests.support.raw import chat
from tests.support.running import KEY, digest, policy_for

OTHER = "gw-" + "o" * 43


class Kept:
    """The lines of the audit's file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def lines(self, action: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self._file.read_text().splitlines()]
        return [line for line in found if line["action"] == action]

    async def loads(self, count: int) -> list[tuple[object, ...]]:
        """Trigger, result and version before, once there are so many."""
        await until(lambda: len(self.lines("policy_load")) >= count)
        return [(line["trigger"], line["result"], line["before"]) for line in self.lines("policy_load")]


def put(tmp_path: Path, policy: str) -> None:
    """Replaces the policy as a whole."""
    file = tmp_path / "policies" / "policy.yaml"
    file.with_suffix(".new").write_text(policy)
    file.with_suffix(".new").rename(file)


async def version(gateway: GatewayProcess) -> str:
    return str((await gateway.admin("GET", "/policy")).json()["version"])


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_every_load_of_a_policy_says_what_led_to_it_and_the_versions(provider, tmp_path, workers):
    kept, policy = Kept(tmp_path / "audit.jsonl"), policy_for(provider.base_url)
    settings = {"GATEWAY_WORKERS": workers, "GATEWAY_AUDIT_FILE": str(tmp_path / "audit.jsonl")}
    async with serving(policy, tmp_path, **settings, GATEWAY_RELOAD_INTERVAL_S="3600") as gateway:
        first = await version(gateway)
        put(tmp_path, policy.replace("alias:", "other:"))
        assert (await gateway.admin("POST", "/reload")).status == 200
        second = await version(gateway)
        put(tmp_path, policy + "unknown_section: {}\n")
        gateway.signal(signal.SIGHUP)
        assert await kept.loads(3) == [
            ("start", "loaded", ""),
            ("admin", "loaded", first),
            ("signal", "refused", second),
        ]
        refused = kept.lines("policy_load")[-1]
        assert refused["after"] == second
        assert "unknown_section" in refused["problems"]
        logged = [event for event in gateway.events if event["event"] == "audit" and event["action"] == "policy_load"]
        assert [(line["trigger"], line["after"]) for line in logged] == [
            ("start", first),
            ("admin", second),
            ("signal", second),
        ]


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_changed_file_is_its_own_cause_and_a_look_that_fails_is_told_once(provider, tmp_path, workers):
    kept, policy = Kept(tmp_path / "audit.jsonl"), policy_for(provider.base_url)
    settings = {"GATEWAY_WORKERS": workers, "GATEWAY_AUDIT_FILE": str(tmp_path / "audit.jsonl")}
    async with serving(policy, tmp_path, **settings, GATEWAY_RELOAD_INTERVAL_S="0.05") as gateway:
        first = await version(gateway)
        file = tmp_path / "policies" / "policy.yaml"
        file.unlink()
        assert (await kept.loads(2))[1] == ("files", "refused", first)
        put(tmp_path, policy.replace("alias:", "other:"))
        assert await kept.loads(3) == [("start", "loaded", ""), ("files", "refused", first), ("files", "loaded", first)]


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_an_admin_request_that_changes_something_says_who_what_and_what_came_of_it(provider, tmp_path, workers):
    """At any level of the log; reads leave no line."""
    kept = Kept(tmp_path / "audit.jsonl")
    settings = {"GATEWAY_WORKERS": workers, "GATEWAY_AUDIT_FILE": str(tmp_path / "audit.jsonl")}
    async with serving(policy_for(provider.base_url), tmp_path, **settings, GATEWAY_LOG_LEVEL="error") as gateway:
        before = await version(gateway)
        put(tmp_path, policy_for(provider.base_url).replace("alias:", "other:"))
        for _ in range(7):
            assert (await gateway.admin("POST", "/reload?x=1")).status == 200
        assert (await gateway.admin("DELETE", "/policy")).status == 404
        assert (await gateway.admin("POST", "/reload", "wrong")).status == 401
        assert (await gateway.admin("GET", "/metrics")).status == 200
        after = await version(gateway)
        lines = kept.lines("admin_request")
        whole = {"who": "admin", "remote": "127.0.0.1", "method": "POST", "path": "/reload", "status": 200}
        assert lines[0].items() >= {**whole, "before": before, "after": after}.items()
        assert [(line["who"], line["method"], line["path"], line["status"]) for line in lines[1:]] == [
            *[("admin", "POST", "/reload", 200)] * 6,
            ("admin", "DELETE", "/policy", 404),
            ("unknown", "POST", "/reload", 401),
        ]
        assert sum(event.get("action") == "admin_request" for event in gateway.events) == 9


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_key_used_after_it_was_revoked_is_refused_and_told_and_never_shown(provider, tmp_path, workers):
    kept = Kept(tmp_path / "audit.jsonl")
    rows = '  app: {{key_sha256: ["{}"], team: t, models: ["*"]}}\n  late: {{key_sha256: ["{}"], team: t, models: ["*"]}}\n'
    both = policy_for(provider.base_url, callers=rows.format(digest(KEY), digest(OTHER)))
    one = policy_for(provider.base_url, callers=rows.splitlines()[0].format(digest(KEY)) + "\n")
    settings = {"GATEWAY_WORKERS": workers, "GATEWAY_AUDIT_FILE": str(tmp_path / "audit.jsonl")}
    async with serving(both, tmp_path, **settings, GATEWAY_RELOAD_INTERVAL_S="3600") as gateway:
        assert (await gateway.ask(body=chat(), key=OTHER)).status == 200
        put(tmp_path, one)
        assert (await gateway.admin("POST", "/reload")).status == 200
        answers = [await gateway.ask(body=chat(), key=key) for key in [OTHER] * 30 + ["gw-" + "n" * 43]]
        assert {(answer.status, answer.code) for answer in answers} == {(401, "invalid_api_key")}
        assert (await gateway.ask(body=chat(), key=KEY)).status == 200
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0
        lines = kept.lines("revoked_key")
        assert {(line["caller"], line["key"]) for line in lines} == {("late", digest(OTHER)[:8])}
        assert sum(1 + line.get("repeated", 0) for line in lines) == 30
        assert len(lines) < 30
        assert OTHER not in gateway.output
        logged = [event for event in gateway.events if event.get("action") == "revoked_key"]
        assert len(logged) == len(lines)


async def test_a_start_that_fails_is_in_the_file_and_a_file_that_cannot_be_written_ends_the_start(provider, tmp_path):
    file = tmp_path / "audit.jsonl"
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "policy.yaml").write_text(policy_for(provider.base_url) + "unknown_section: {}\n")
    status, _, err = await run_gateway("serve", env=environment(tmp_path, GATEWAY_AUDIT_FILE=str(file)))
    assert (status, len(err.splitlines())) == (2, 1)
    assert [(line["trigger"], line["result"]) for line in Kept(file).lines("policy_load")] == [("start", "refused")]
    status, _, err = await run_gateway("serve", env=environment(tmp_path, GATEWAY_AUDIT_FILE=str(tmp_path)))
    assert (status, len(err.splitlines())) == (2, 1)
    assert f"audit file: {tmp_path}" in err
