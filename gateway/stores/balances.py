"""What every store says about a counter: the arithmetic of answers, in one place."""

from __future__ import annotations

from math import ceil

from gateway.core.accounts import Ask, Balance, Denied, Window

SEEDED: frozenset[Window] = frozenset(("hour", "day", "month", "total"))
"""Windows whose counters come from the ledger."""

FILL_S = 60.0
FUZZ = 1e-6
"""A bucket's level is a float: this much of a token is not what decides."""

RUNNING_S = 1.0
"""Only running calls stand in the way: one may end any moment."""


def balance_of(ask: Ask, spent: int, reserved: int, wall: float) -> Balance:
    end = ask.window_end_at
    left = None if end is None else end - wall if end > wall else 0.0
    return Balance(ask.key, ask.limit.amount, spent, reserved, left)


def bucket_of(ask: Ask, used: float) -> Balance:
    """`used`: what has not refilled yet."""
    amount = ask.limit.amount
    return Balance(ask.key, amount, ceil(used - FUZZ), 0, used / amount * FILL_S if amount else None)


def denied(index: int, ask: Ask, balance: Balance, used: float = 0.0) -> Denied:
    """`used`: of a bucket, exactly."""
    return Denied(index, balance, _retry_after(ask, balance, used))


def _retry_after(ask: Ask, balance: Balance, used: float) -> float | None:
    amount = ask.limit.amount
    if ask.amount > amount:
        return None
    if ask.limit.window == "minute":
        return (used + ask.amount - amount) / amount * FILL_S
    return RUNNING_S if balance.spent + ask.amount <= amount else None
