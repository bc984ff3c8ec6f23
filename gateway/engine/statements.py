"""What the ledger and the limits say, as JSON documents: for the admin listener, and for callers about themselves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from urllib.parse import parse_qsl

import orjson

from gateway.core.accounts import Ask, Balance, Entry, Limit, Query
from gateway.core.errors import Refusal
from gateway.core.model import Caller, Names
from gateway.core.ports import Ledger, LedgerDown, Store, StoreDown
from gateway.core.reports import LABEL, Asked, Pairs, Row, asked, balance_row, entry_row, month_start, report
from gateway.core.windows import bound
from gateway.policy.compile import PolicySet
from gateway.policy.limits import limits_for

Balances = Sequence[tuple[Ask, Balance]]

_MAX_PARAMETERS = 32
_EVERYTHING = Names.of(["*"])


def parameters(query: str) -> Pairs:
    """A URL's query; Refusal `bad_request`."""
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        raise Refusal("bad_request", f"At most {_MAX_PARAMETERS} query parameters are read.") from None


def understood(pairs: Pairs, now: float) -> Asked:
    try:
        return asked(pairs, now)
    except ValueError as problem:
        raise Refusal("invalid_value", f"{problem}.") from None


def unreadable() -> Refusal:
    """What a LedgerDown is to whoever wants to read."""
    return Refusal("ledger_unavailable", "The ledger cannot be read now.", retry_after_s=1)


async def usage(ledger: Ledger, wanted: Asked) -> Row:
    try:
        return report(wanted, await ledger.totals(wanted.query, wanted.by))
    except LedgerDown:
        raise unreadable() from None


async def own_usage(ledger: Ledger, caller: Caller, query: str, balances: Balances, now: float) -> bytes:
    """The answer of GET /v1/usage: this caller's own rows, and the limits that hold for it."""
    pairs = parameters(query)
    for name, _ in pairs:
        if name in {"caller", "team"}:
            raise Refusal("invalid_value", "This shows the usage of the key that asks, and no other.", param=name)
    by = [] if any(name == "by" for name, _ in pairs) else [("by", "model")]
    wanted = understood([*pairs, *by, ("caller", caller.name), ("team", caller.team)], now)
    limits = [_own(balance_row(ask, balance, now), ask, caller) for ask, balance in balances]
    return orjson.dumps({**await usage(ledger, wanted), "limits": limits})


def _own(row: Row, ask: Ask, caller: Caller) -> Row:
    """What others spent is not this caller's business: of a counter that it shares, only what remains."""
    shared = ("caller", caller.name) not in ask.limit.scope
    hidden = ("counter", "scope", *(("amount", "spent", "reserved") if shared else ()))
    return {name: value for name, value in row.items() if not name.startswith(hidden)}


async def attempts_of(ledger: Ledger, name: str) -> list[Entry]:
    """Those of a call, or the one with this id."""
    one = await ledger.entry(name)
    return [one] if one is not None else [entry async for entry in _numbered(ledger, name)]


async def _numbered(ledger: Ledger, call: str) -> AsyncIterator[Entry]:
    number = 1
    while (entry := await ledger.entry(f"{call}.{number}")) is not None:
        yield entry
        number += 1


async def attempts(ledger: Ledger, name: str) -> Row:
    try:
        found = await attempts_of(ledger, name)
    except LedgerDown:
        raise unreadable() from None
    if not found:
        raise Refusal("unknown_path", "The ledger knows no call and no attempt with this id.")
    return {"attempts": [{**entry_row(entry), "rates": _rates(entry)} for entry in found]}


def _rates(entry: Entry) -> orjson.Fragment | None:
    return orjson.Fragment(entry.outcome.rates) if entry.outcome and entry.outcome.rates else None


async def known_limits(policy: PolicySet, ledger: Ledger, at: float) -> list[Limit]:
    """The limits with a counter for each caller of the policy, and for whoever used something this month."""
    keys = {key for rule in policy.limit_table.rules for key in (*rule.match, *rule.each)}
    labels = sorted(key for key in keys if key.startswith(LABEL))
    found: dict[tuple[str, str, str], Limit] = {}
    callers = [(row.caller, "") for row in policy.keys.values()]
    for total in await ledger.totals(Query(month_start(at)), ("caller", "team", "model", *labels)):
        caller, team, model, *values = total.group
        held = {label.removeprefix(LABEL): value for label, value in zip(labels, values, strict=True) if value}
        callers.append((Caller(caller, team, _EVERYTHING, _EVERYTHING, held), model))
    for number, (who, model) in enumerate(callers, 1):
        for limit in limits_for(policy, who, model):
            if model or ("model", "") not in limit.scope:
                found.setdefault((limit.counter, limit.unit, limit.window), limit)
        if number % 200 == 0:
            await asyncio.sleep(0)  # thousands of callers must not hold up the calls
    return list(found.values())


async def balances(limits: Sequence[Limit], ledger: Ledger, store: Store | None, at: float) -> Balances:
    """As the store counts them; what it does not know, and everything without a store, as the ledger does."""
    asks = [bound(limit, 0, at) for limit in limits]
    known: list[Balance | None] = [None] * len(asks)
    if store is not None:
        with contextlib.suppress(StoreDown):
            known = await store.balances(asks)
    return [(ask, balance or await _booked(ask, ledger)) for ask, balance in zip(asks, known, strict=True)]


async def _booked(ask: Ask, ledger: Ledger) -> Balance:
    if ask.limit.unit != "usd":
        return Balance(ask.key, ask.limit.amount, 0, 0)
    seed = await ledger.seed(ask)
    return Balance(ask.key, ask.limit.amount, seed.spent, sum(seed.open.values()))
