"""What limits say to callers: refusals that name the limit, and headers. Pure.

A refusal names the limit, its window and when it resets, and shows no figures: a team's are not its callers' business.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from gateway.core.accounts import Ask, Balance, Denied, Limit
from gateway.core.errors import Refusal
from gateway.core.model import Headers
from gateway.core.money import dollars
from gateway.policy.limits import warned

_RETRY_RESERVED_S = 2


def refusal(asks: Sequence[Ask], denied: Denied, now: float) -> Refusal:
    """402 for money, 429 for rates. `now` is the wall time."""
    ask = asks[denied.ask]
    limit = ask.limit
    described: dict[str, object] = {"name": limit.name, "unit": limit.unit, "window": limit.window}
    if ask.window_end_at is not None:
        described["resets_at"] = int(ask.window_end_at)
    if limit.unit == "usd":
        return _money(ask, denied.balance, described, now)
    if limit.unit == "calls":
        message = f'The limit "{limit.name}" of calls at the same time is reached.'
        return Refusal("concurrency_limit_exceeded", message, retry_after_s=1, limit=described)
    if ask.amount > limit.amount:
        message = f'This request alone needs more tokens than the limit "{limit.name}" allows a minute: ask for fewer.'
        return Refusal("rate_limit_exceeded", message, limit=described)
    message = f'The limit "{limit.name}" of {limit.unit} a minute is reached.'
    wait = math.ceil(denied.retry_after_s) if denied.retry_after_s is not None else 60
    return Refusal("rate_limit_exceeded", message, retry_after_s=max(1, wait), limit=described)


def _money(ask: Ask, balance: Balance, described: dict[str, object], now: float) -> Refusal:
    name, wait = ask.limit.name, None
    if ask.window_end_at is not None:
        wait = max(1, math.ceil(ask.window_end_at - now))
    if ask.amount > ask.limit.amount:
        message = f'This request alone could cost more than the budget "{name}" holds: ask for fewer output tokens.'
        return Refusal("budget_exceeded", message, limit=described)
    if balance.spent + ask.amount <= balance.amount:
        message = f'What is left of the budget "{name}" is reserved by calls that are running; try again soon.'
        return Refusal("budget_reserved", message, retry_after_s=_RETRY_RESERVED_S, limit=described)
    return Refusal(
        "budget_exceeded", f'The budget "{name}" has no room for this request.', retry_after_s=wait, limit=described
    )


def headers(balances: Iterable[tuple[Limit, Balance]], warnings: Sequence[tuple[str, int]]) -> Headers:
    """What the caller may know of its limits: OpenAI's rate limit headers for the tightest of each kind, the smallest
    remaining budget, and the thresholds that are passed."""
    found: Headers = []
    remaining: int | None = None
    tightest: dict[str, Balance] = {}
    for limit, balance in balances:
        if limit.unit == "usd":
            left = balance.remaining
            remaining = left if remaining is None or left < remaining else remaining
        elif limit.unit != "calls" and _fuller(tightest.get(limit.unit), balance):
            tightest[limit.unit] = balance
    for unit, balance in tightest.items():
        found += _rate_headers(unit, balance)
    if remaining is not None:
        found.append((b"x-gateway-budget-remaining-usd", dollars(remaining).encode()))
    if warnings:
        passed = ", ".join([f"{name}={percent}" for name, percent in warnings])
        found.append((b"x-gateway-budget-warning", passed.encode("ascii", "replace")))
    return found


def warnings(balances: Iterable[tuple[Limit, Balance]]) -> tuple[tuple[str, int], ...]:
    """The name of each limit with a threshold that is passed, and the highest such threshold in percent."""
    found = []
    for limit, balance in balances:
        if limit.warn_at and (percent := warned(limit, balance)) is not None:
            found.append((limit.name, percent))
    return tuple(found)


def _fuller(known: Balance | None, balance: Balance) -> bool:
    return known is None or balance.remaining * known.amount < known.remaining * balance.amount


def _rate_headers(unit: str, balance: Balance) -> Headers:
    name = unit.encode()
    return [
        (b"x-ratelimit-limit-" + name, str(balance.amount).encode()),
        (b"x-ratelimit-remaining-" + name, str(balance.remaining).encode()),
        (b"x-ratelimit-reset-" + name, duration(balance.resets_s or 0.0).encode()),
    ]


def duration(seconds: float) -> str:
    """As OpenAI writes them: "17ms", "1.5s", "6m0s"."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    text = f"{rest:.3f}".rstrip("0").rstrip(".")
    return f"{int(minutes)}m{text}s" if minutes else f"{text}s"
