"""`gateway reconcile`: does the ledger say what the provider says?"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path

from gateway.cli.books import TIMES, opened, understood
from gateway.cli.common import Commands
from gateway.cli.differences import by_request, by_sum
from gateway.cli.errors import Failure
from gateway.cli.exports import ExportError, Line, read_export
from gateway.cli.table import table
from gateway.core.accounts import Query


def add_to(commands: Commands) -> None:
    command = commands.add_parser(
        "reconcile",
        help="compare the ledger with a provider's usage export",
        description="Reads sums (OpenAI's usage and costs, as JSON pages or the dashboard's CSV; compared by time and "
        "the model that served) or requests (a line each, whose id is the attempt's, which the provider gets as "
        "x-client-request-id), as CSV, JSON or JSON lines. Lists every difference.",
        epilog="Exit codes: 0 equal, 1 differences, 2 could not read.",
    )
    command.add_argument("file", metavar="FILE", type=Path, help="the export")
    command.add_argument("--provider", metavar="NAME", help="only attempts at this provider of the policy")
    command.add_argument("--since", metavar="TIME", help=f"{TIMES} (default: where the export begins)")
    command.add_argument("--until", metavar="TIME", help="before this time (default: where the export ends)")
    command.add_argument(
        "--tolerance", metavar="PERCENT", default="0", help="differences up to this are none (default: 0)"
    )
    command.set_defaults(run=lambda options: asyncio.run(_run(options)))


async def _run(options: argparse.Namespace) -> int:
    tolerance = _tolerance(options.tolerance)
    try:
        lines = read_export(options.file)
    except ExportError as error:
        raise Failure(f"{options.file}: {error}") from None
    query = _query(options, lines)
    compare = by_request if any(line.id for line in lines) else by_sum
    async with opened() as ledger:
        compared = await compare(ledger, lines, query, tolerance)
    if compared.differences:
        rows = [(found.where, found.what, found.here, found.there) for found in compared.differences]
        print(table(("where", "what", "ledger", "export"), rows, frozenset({2, 3})))
    print(f"{compared.number} compared, {len(compared.differences)} differences")
    return 1 if compared.differences else 0


def _tolerance(text: str) -> Decimal:
    try:
        percent = Decimal(text)
    except InvalidOperation:
        percent = Decimal(-1)
    if not (percent.is_finite() and 0 <= percent <= 100):
        raise Failure(f"--tolerance {text}: expected a number from 0 to 100")
    return percent / 100


def _query(options: argparse.Namespace, lines: Sequence[Line]) -> Query:
    """Without a time in the export or the command, the whole ledger."""
    given = [(name, value) for name in ("since", "until", "provider") if (value := getattr(options, name)) is not None]
    query = understood(given).query
    begins = [line.start_at for line in lines if line.start_at is not None]
    ends = [line.end_at if line.end_at is not None else line.start_at for line in lines if line.start_at is not None]
    since = query.since_at if options.since is not None else min(begins, default=0.0)
    until = query.until_at if options.until is not None else max((end for end in ends if end is not None), default=None)
    return Query(since, until, query.where)
