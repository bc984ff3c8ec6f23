from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from gateway.core.accounts import Ask, Balance, Denied, Limit
from gateway.core.errors import Refusal
from gateway.core.windows import bound
from gateway.engine.limits import duration, headers, refusal
from gateway.server.errors import render
from tests.engine.fakes import limit_for

NOON = 1_767_614_400.0  # 2026-01-05T12:00:00Z
DOLLAR = 10**9


def refusal_of(limit: Limit, asked: int, spent: int, reserved: int = 0, retry_after_s: float | None = None) -> Refusal:
    ask: Ask = bound(limit, asked, NOON)
    other = bound(limit_for("usd", name="other"), 0, NOON)
    balance = Balance(ask.key, limit.amount, spent, reserved)
    return refusal([other, ask], Denied(1, balance, retry_after_s), NOON)


def test_a_budget_that_is_spent_is_402_until_its_window_ends() -> None:
    """BUD-18: Retry-After is true."""
    said = refusal_of(limit_for("usd", window="day", name="daily"), 10, DOLLAR)
    assert (said.status, said.code, said.retry_after_s) == (402, "budget_exceeded", 12 * 3600)
    assert said.limit == {"name": "daily", "unit": "usd", "window": "day", "resets_at": int(NOON) + 12 * 3600}


def test_a_budget_without_a_reset_promises_no_time() -> None:
    said = refusal_of(limit_for("usd", window="total"), 10, DOLLAR)
    assert (said.code, said.retry_after_s) == ("budget_exceeded", None)
    assert said.limit is not None
    assert "resets_at" not in said.limit


def test_money_that_running_calls_hold_may_come_back_soon() -> None:
    said = refusal_of(limit_for("usd"), 10, DOLLAR // 2, reserved=DOLLAR // 2)
    assert (said.status, said.code, said.retry_after_s) == (402, "budget_reserved", 2)


def test_a_call_that_no_empty_budget_could_hold_is_told_to_ask_for_less() -> None:
    said = refusal_of(limit_for("usd", window="day"), DOLLAR + 1, 0)
    assert (said.code, said.retry_after_s) == ("budget_exceeded", None)
    assert "fewer output tokens" in said.message


def test_a_rate_is_429_until_the_bucket_has_room() -> None:
    """BUD-18: never below one second, and never before there is room."""
    said = refusal_of(limit_for("requests", 10, name="calls"), 1, 10, retry_after_s=5.2)
    assert (said.status, said.code, said.retry_after_s) == (429, "rate_limit_exceeded", 6)
    assert refusal_of(limit_for("requests", 10), 1, 10, retry_after_s=0.01).retry_after_s == 1


def test_a_call_of_more_tokens_than_a_minute_has_is_told_to_ask_for_less() -> None:
    said = refusal_of(limit_for("tokens", 100), 101, 0)
    assert (said.status, said.retry_after_s) == (429, None)
    assert "fewer" in said.message


def test_too_many_calls_at_once_may_try_again_in_a_second() -> None:
    said = refusal_of(limit_for("calls", 2), 1, 0, reserved=2, retry_after_s=1.0)
    assert (said.status, said.code, said.retry_after_s) == (429, "concurrency_limit_exceeded", 1)


@pytest.mark.parametrize("unit", ["usd", "requests", "tokens", "calls"])
def test_a_refusal_names_the_limit_and_shows_no_figures(unit: Any) -> None:
    """BUD-13."""
    said = refusal_of(limit_for(unit, 54_321, name="the-limit"), 1, 54_321, retry_after_s=1.0)
    assert '"the-limit"' in said.message
    _, body = render(said, "req_1")
    assert b"54321" not in body
    assert b"54,321" not in body


@pytest.mark.parametrize(
    ("limit", "reserved", "kind", "retried"),
    [
        (limit_for("usd"), 0, openai.APIStatusError, False),
        (limit_for("usd"), DOLLAR, openai.APIStatusError, True),
        (limit_for("requests", 10), 0, openai.RateLimitError, True),
        (limit_for("calls", 10), 10, openai.RateLimitError, True),
    ],
)
def test_openais_sdk_raises_what_its_users_expect_and_knows_whether_to_retry(
    limit: Limit, reserved: int, kind: type[Exception], retried: bool
) -> None:
    said = refusal_of(limit, 1, limit.amount - reserved, reserved, 1.0)
    head, body = render(said, "req_1")
    given = [(name.decode(), value.decode()) for name, value in head]
    client = openai.AsyncOpenAI(api_key="canary")
    response = httpx.Response(said.status, headers=given, content=body, request=httpx.Request("POST", "http://gw/"))
    error = client._make_status_error_from_response(response)
    assert isinstance(error, kind)
    assert error.code == said.code
    assert client._should_retry(response) is retried


def test_headers_tell_of_each_kind_the_tightest_as_openai_does() -> None:
    """BUD-18."""
    wide, tight, tokens = limit_for("requests", 100), limit_for("requests", 10), limit_for("tokens", 1000)
    told = dict(
        headers(
            [
                (wide, Balance("a", 100, 50, 0, 30.0)),
                (tight, Balance("b", 10, 9, 0, 54.0)),
                (tokens, Balance("c", 1000, 250, 0, 15.0)),
            ],
            (),
        )
    )
    assert told == {
        b"x-ratelimit-limit-requests": b"10",
        b"x-ratelimit-remaining-requests": b"1",
        b"x-ratelimit-reset-requests": b"54s",
        b"x-ratelimit-limit-tokens": b"1000",
        b"x-ratelimit-remaining-tokens": b"750",
        b"x-ratelimit-reset-tokens": b"15s",
    }


def test_the_budget_with_the_least_left_is_told_exactly_and_never_below_zero() -> None:
    money = limit_for("usd")
    pairs = [(money, Balance("a", DOLLAR, 1, 0)), (money, Balance("b", DOLLAR, 10**8, 123_456_789))]
    assert dict(headers(pairs, ())) == {b"x-gateway-budget-remaining-usd": b"0.776543211"}
    assert dict(headers([(money, Balance("a", 5, 9, 0))], ())) == {b"x-gateway-budget-remaining-usd": b"0"}


def test_concurrency_has_no_header() -> None:
    assert headers([(limit_for("calls", 5), Balance("a", 5, 0, 1))], ()) == []


def test_warnings_are_listed_by_limit() -> None:
    found = headers([], [("monthly", 80), ("daily", 100)])
    assert found == [(b"x-gateway-budget-warning", b"monthly=80, daily=100")]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0ms"), (0.0165, "17ms"), (1.0, "1s"), (1.5, "1.5s"), (60.0, "1m0s"), (361.25, "6m1.25s")],
)
def test_durations_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
