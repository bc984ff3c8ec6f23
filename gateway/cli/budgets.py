"""`gateway budgets`: what is spent, reserved and left of every limit."""

from __future__ import annotations

import argparse
import asyncio
import http.client
import time
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.cli.books import opened, settings
from gateway.cli.common import Commands, load_policy
from gateway.cli.errors import Failure
from gateway.cli.table import table
from gateway.core.money import dollars
from gateway.core.reports import balance_row
from gateway.engine.statements import balances, known_limits
from gateway.server.process import StartError, admin_token
from gateway.settings import Settings

_TIMEOUT_S = 10


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
    host = "127.0.0.1" if found.admin_host in {"0.0.0.0", "::"} else found.admin_host  # noqa: S104  # compared
    connection = http.client.HTTPConnection(host, found.admin_port, timeout=_TIMEOUT_S)
    try:
        connection.connect()
        connection.request("GET", "/budgets", headers={"authorization": f"Bearer {_token(found)}"})
        answer = connection.getresponse()
        body = answer.read()
    except ConnectionRefusedError:
        return None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise Failure(f"no answer from {host}:{found.admin_port}: {reason}") from None
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise Failure(f"{host}:{found.admin_port} answers {answer.status}: {_message(body)}")
    return list(orjson.loads(body)["budgets"])


def _token(found: Settings) -> str:
    try:
        return admin_token(found).reveal()
    except StartError as error:
        raise Failure(str(error)) from None


def _message(body: bytes) -> str:
    try:
        return str(orjson.loads(body)["error"]["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "this is not the admin listener of a gateway"


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
