"""The admin listener's routes about usage and budgets, and what a caller may see of its own."""

from __future__ import annotations

import json
import time
from typing import Any

import orjson
import pytest

from gateway.core.accounts import Ask, Balance, Limit
from gateway.core.errors import Refusal
from gateway.core.model import Caller, Names
from gateway.core.ports import LedgerDown
from gateway.engine.statements import own_usage
from gateway.server.accounts import routes
from tests.cli.fakes import NOON, FakeLedger, entry
from tests.server import listener
from tests.server.listener import TOKEN

ALL = Names.of(["*"])
APP = Caller("app", "team-a", ALL, ALL, {})


async def budgets() -> list[dict[str, object]]:
    return [{"name": "month", "spent_nano": 5}]


async def asked(ledger: object, target: str, method: str = "GET", token: str = TOKEN) -> tuple[int, Any]:
    exchange = await listener.asked(routes(ledger, budgets), target, method, token)  # type: ignore[arg-type]
    is_json = exchange.sent[b"content-type"] == b"application/json"
    return exchange.status, json.loads(exchange.body) if is_json else exchange.body


@pytest.fixture
def ledger() -> FakeLedger:
    rates = '{"source":"policy","rates":{"input":1}}'
    return FakeLedger(
        entry("req_1.1", cost=10, rates=rates), entry("req_1.2", cost=None), entry("req_2.1", caller="other", cost=30), entry("req_3.1", team="team-b", cost=7),
    )  # fmt: skip


async def test_usage_is_grouped_and_selected_by_the_query(ledger: FakeLedger) -> None:
    status, found = await asked(ledger, "/usage?by=caller,day&since=2026-11-01&until=2026-12&team=team-a")
    assert status == 200
    assert [(row["caller"], row["day"], row["cost_nano"]) for row in found["rows"]] == [
        ("app", "2026-11-05", 10),
        ("other", "2026-11-05", 30),
    ]
    assert (found["total"]["attempts"], found["total"]["unpriced"], found["where"]) == (3, 1, {"team": "team-a"})


async def test_values_of_the_query_are_decoded(ledger: FakeLedger) -> None:
    _, found = await asked(ledger, "/usage?since=2026-11-01&label.env=a%26b+c")
    assert found["where"] == {"label.env": "a&b c"}


@pytest.mark.parametrize(
    "query", ["by=colour", "since=soon", "team=a&team=b", "colour=red", "&".join(f"label.{n}=x" for n in range(40))]
)
async def test_a_query_that_is_not_understood_is_refused(ledger: FakeLedger, query: str) -> None:
    status, found = await asked(ledger, f"/usage?{query}")
    assert status == 400
    assert found["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(("name", "numbers"), [("req_1", [1, 2]), ("req_1.2", [2]), ("req_2%2E1", [1])])
async def test_a_call_or_an_attempt_is_shown_with_its_rates(ledger: FakeLedger, name: str, numbers: list[int]) -> None:
    status, found = await asked(ledger, f"/usage/{name}")
    assert (status, [row["number"] for row in found["attempts"]]) == (200, numbers)
    rates = [row["rates"] for row in found["attempts"]]
    assert rates[0] == ({"source": "policy", "rates": {"input": 1}} if name == "req_1" else None)


@pytest.mark.parametrize("target", ["/usage/req_9", "/usage/", "/usage/a/b", "/usag/req_1", "/budgets/x"])
async def test_what_is_not_there_is_not_found(ledger: FakeLedger, target: str) -> None:
    assert (await asked(ledger, target))[0] == 404


async def test_budgets_are_those_of_the_worker(ledger: FakeLedger) -> None:
    assert await asked(ledger, "/budgets") == (200, {"budgets": [{"name": "month", "spent_nano": 5}]})


@pytest.mark.parametrize("target", ["/usage", "/usage/req_1", "/usage/req_9", "/budgets", "/nowhere"])
async def test_nothing_is_told_without_the_token(ledger: FakeLedger, target: str) -> None:
    status, found = await asked(ledger, target, token="wrong-canary-0123456789")
    assert (status, found["error"]["code"]) == (401, "invalid_api_key")


async def test_nothing_can_be_changed(ledger: FakeLedger) -> None:
    """LED-08"""
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert (await asked(ledger, "/usage/req_1", method))[0] == 404


async def test_probes_need_no_token(ledger: FakeLedger) -> None:
    assert await asked(ledger, "/healthz", token="") == (200, b"ok\n")


class Down(FakeLedger):
    async def totals(self, *_: object) -> list[Any]:
        raise LedgerDown

    async def entry(self, attempt: str) -> None:
        raise LedgerDown


async def unreadable() -> list[dict[str, object]]:
    raise LedgerDown


@pytest.mark.parametrize("target", ["/usage", "/usage/req_1", "/budgets"])
async def test_a_ledger_that_is_down_is_told_and_when_to_ask_again(target: str) -> None:
    answer = await listener.asked(routes(Down(), unreadable), target)  # type: ignore[arg-type]
    assert (answer.status, answer.sent[b"retry-after"]) == (503, b"1")
    assert json.loads(answer.body)["error"]["code"] == "ledger_unavailable"


def counter(name: str, scope: tuple[tuple[str, str], ...]) -> tuple[Ask, Balance]:
    limit = Limit(name, f"usd/{name}", "usd", 100, "month", scope=scope)
    return Ask(limit, f"usd/{name}@2026-11", 0, 0.0, NOON), Balance("k", 100, 30, 20)


async def own(ledger: FakeLedger, query: str = "since=2026-11-01") -> dict[str, Any]:
    held = [counter("mine", (("caller", "app"),)), counter("team", (("team", "team-a"),))]
    return orjson.loads(await own_usage(ledger, APP, query, held, time.time()))  # type: ignore[arg-type,no-any-return]


async def test_a_caller_sees_its_own_rows_only(ledger: FakeLedger) -> None:
    """BUD-12: a caller of the same name in another team is another caller."""
    found = await own(ledger)
    assert [(row["model"], row["attempts"], row["cost_nano"]) for row in found["rows"]] == [("fast", 2, 10)]
    for query in ("caller=other", "team=team-b", "caller=app&caller=other"):
        with pytest.raises(Refusal) as refusal:
            await own(ledger, query)
        assert refusal.value.status == 400


async def test_a_caller_sees_its_own_figures_and_of_shared_limits_what_remains(ledger: FakeLedger) -> None:
    """BUD-13: not others' figures."""
    mine, team = (await own(ledger))["limits"]
    assert (mine["spent_nano"], mine["reserved_nano"], mine["remaining_nano"]) == (30, 20, 50)
    assert team == {
        "name": "team", "unit": "usd", "window": "month", "mode": "hard", "remaining_nano": 50, "resets_at": "2026-11-05T12:00:00Z",
    }  # fmt: skip
