"""`gateway budgets`: what is spent, reserved and left of every limit."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.cli.admin import ask
from gateway.cli.books import opened, settings
from gateway.cli.common import Commands, load_policy
from gateway.cli.table import table
from gateway.core.money import dollars
from gateway.core.reports import balance_row
from gateway.engine.statements import balances, known_limits
from gateway.settings import Settings


def add_to(commands: Commands) -> None:
    command = commands.add_parser(
        "budgets",
        help="print what is spent, reserved and left of each limit",
        description="Asks the gateway that runs with the same settings. When none runs, money is told from the ledger; "
        "rates are not, for they begin anew with it.",
        epilog="Exit codes: 0 done, 1 the policy is not sound, 2 could not run.",
    )
    command.add_argument("--caller", metavar="NAME", help="only counters of this caller alone")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    found = settings()
    asked = from_gateway(found)
    rows = asyncio.run(from_ledger(found)) if asked is None else asked
    if options.caller is not None:
        rows = [row for row in rows if row["scope"].get("caller") == options.caller]
    if options.json:
        print(orjson.dumps({"running": asked is not None, "budgets": rows}).decode())
    elif rows:
        print(_table(rows))
    else:
        print("no limit of the policy holds")
    if asked is None and not options.json:
        print("\nno gateway runs with these settings: money as the ledger knows it")
    return 0


def from_gateway(found: Settings) -> list[dict[str, Any]] | None:
    """None: none runs."""
    document = ask(found, "/budgets")
    return None if document is None else list(document["budgets"])


async def from_ledger(found: Settings) -> list[dict[str, Any]]:
    policy, now = load_policy(found.policies), time.time()
    async with opened() as ledger:
        limits = [limit for limit in await known_limits(policy, ledger, now) if limit.unit == "usd"]
        return [balance_row(ask, balance, now) for ask, balance in await balances(limits, ledger, None, now)]


def _table(rows: list[dict[str, Any]]) -> str:
    head = ("limit", "of", "window", "mode", "unit", "limit", "spent", "reserved", "remaining", "resets")
    return table(head, [_line(row) for row in rows], frozenset({5, 6, 7, 8}))


def _line(row: Mapping[str, Any]) -> list[str]:
    scope = " ".join(f"{name}={value}" for name, value in row["scope"].items()) or "all"
    amounts = (_amount(row, name) for name in ("amount", "spent", "reserved", "remaining"))
    return [row["name"], scope, row["window"], row["mode"], row["unit"], *amounts, row["resets_at"] or ""]


def _amount(row: Mapping[str, Any], name: str) -> str:
    return dollars(row[f"{name}_nano"]) if row["unit"] == "usd" else str(row[name])
