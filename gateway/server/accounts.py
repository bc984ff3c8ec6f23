"""The admin listener's routes about usage, calls and budgets. Reads only."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import orjson

from gateway.core.ports import Ledger, LedgerDown
from gateway.core.reports import Row
from gateway.engine import statements
from gateway.server.admin import JSON, Answer, Asked, Routes

Budgets = Callable[[], Awaitable[list[Row]]]


def routes(ledger: Ledger, budgets: Budgets) -> Routes:
    """GET /usage?by=&since=&until=&caller=..., GET /usage/{id of a call or an attempt}, GET /budgets."""

    async def usage(asked: Asked) -> Answer:
        wanted = statements.understood(statements.parameters(asked.query), time.time())
        return _json(await statements.usage(ledger, wanted))

    async def attempts(asked: Asked) -> Answer:
        return _json(await statements.attempts(ledger, asked.name))

    async def counters(_: Asked) -> Answer:
        try:
            return _json({"budgets": await budgets()})
        except LedgerDown:
            raise statements.unreadable() from None

    return {
        ("GET", "/usage"): (False, usage),
        ("GET", "/usage/*"): (False, attempts),
        ("GET", "/budgets"): (False, counters),
    }


def _json(document: object) -> Answer:
    return 200, JSON, orjson.dumps(document)
