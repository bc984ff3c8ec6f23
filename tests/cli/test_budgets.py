from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.fakes import FakeLedger, entry

TOKEN = "admin-canary-0123456789"
POLICY = """\
providers:
  demo: {shape: demo}
models:
  fast: {targets: [{provider: demo}]}
callers:
  app: {key_sha256: ["AAAA"], team: team-a, models: ["*"]}
  idle: {key_sha256: ["BBBB"], team: team-b, models: ["*"]}
budgets:
  month: {each: [caller], usd: 2, window: month}
  slow: {match: {model: fast}, usd: 1, window: day, mode: soft}
rate_limits:
  rate: {requests_per_minute: 5}
"""
ROW = {
    "name": "month", "counter": "c", "scope": {"caller": "app"}, "unit": "usd", "window": "month", "mode": "hard",
    "amount_nano": 2_000_000_000, "spent_nano": 500_000_000, "reserved_nano": 1, "remaining_nano": 1_499_999_999,
    "resets_at": "2026-12-01T00:00:00Z",
}  # fmt: skip
RATE = {
    "name": "rate", "counter": "r", "scope": {}, "unit": "requests", "window": "minute", "mode": "hard", "amount": 5,
    "spent": 1, "reserved": 0, "remaining": 4, "resets_at": None,
}  # fmt: skip


@contextmanager
def admin(status: int, body: object) -> Iterator[int]:
    """An admin listener on a free port that gives one answer to the right token."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            right = (self.path, self.headers["authorization"]) == ("/budgets", f"Bearer {TOKEN}")
            self.send_response(status if right else 401)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode() if not isinstance(body, bytes) else body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server.server_port
        server.shutdown()


def env(port: int) -> dict[str, str]:
    return {"GATEWAY_ADMIN_PORT": str(port), "GATEWAY_ADMIN_TOKEN": TOKEN}


@pytest.fixture
def no_gateway(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "policy.yaml").write_text(POLICY.replace("AAAA", "a" * 64).replace("BBBB", "b" * 64))
    return {"GATEWAY_POLICIES": str(tmp_path / "policies"), "GATEWAY_DATA_DIR": str(tmp_path), **env(1)}


def test_the_running_gateway_is_asked(run: Run) -> None:
    with admin(200, {"budgets": [ROW, RATE]}) as port:
        result = run(FakeLedger(), "budgets", **env(port))
    assert (result.returncode, result.stderr) == (0, "")
    assert [line.split() for line in result.stdout.splitlines()[2:]] == [
        [
            "month",
            "caller=app",
            "month",
            "hard",
            "usd",
            "2",
            "0.5",
            "0.000000001",
            "1.499999999",
            "2026-12-01T00:00:00Z",
        ],
        ["rate", "all", "minute", "hard", "requests", "5", "1", "0", "4"],
    ]


def test_one_caller_may_be_meant(run: Run) -> None:
    with admin(200, {"budgets": [ROW, RATE]}) as port:
        found = json.loads(run(FakeLedger(), "budgets", "--caller", "app", "--json", **env(port)).stdout)
    assert found == {"running": True, "budgets": [ROW]}


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, {"error": {"message": "Send the admin token."}}, "401: Send the admin token."),
        (500, b"<html>", "500: this is not"),
    ],
)
def test_a_gateway_that_refuses_is_told(run: Run, status: int, body: object, said: str) -> None:
    with admin(status, body) as port:
        result = run(FakeLedger(), "budgets", **env(port))
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr


def test_without_a_gateway_money_is_told_from_the_ledger(run: Run, no_gateway: dict[str, str]) -> None:
    ledger = FakeLedger(entry(cost=500_000_000), entry("req_2.1", outcome=None))
    result = run(ledger, "budgets", **no_gateway)
    assert (result.returncode, result.stderr) == (0, "")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [
        "month",
        "caller=app",
        "month",
        "hard",
        "usd",
        "2",
        "0.5",
        "0.000005",
        "1.499995",
        "2026-12-01T00:00:00Z",
    ] in lines
    assert ["month", "caller=idle", "month", "hard", "usd", "2", "0", "0", "2", "2026-12-01T00:00:00Z"] in lines
    assert [
        "slow",
        "model=fast",
        "day",
        "soft",
        "usd",
        "1",
        "0.5",
        "0.000005",
        "0.499995",
        "2026-11-06T00:00:00Z",
    ] in lines
    assert "no gateway runs" in result.stdout
    assert "rate " not in result.stdout


def test_no_token_is_made_by_looking(run: Run, no_gateway: dict[str, str], tmp_path: Path) -> None:
    settings = {name: value for name, value in no_gateway.items() if name != "GATEWAY_ADMIN_TOKEN"}
    assert run(FakeLedger(), "budgets", **settings).returncode == 0
    assert not (tmp_path / "admin.token").exists()


def test_a_wrong_setting_is_told(run: Run) -> None:
    result = run(FakeLedger(), "budgets", GATEWAY_ADMIN_PORT="many")
    assert (result.returncode, result.stdout) == (2, "")
    assert "GATEWAY_ADMIN_PORT" in result.stderr
