"""`gateway usage`: what was used and what it cost; one call explained; a correction.

CSV lines end with CR LF (RFC 4180): only then does the writer put a cell with either of them in quotes.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TextIO

import orjson

from gateway.cli.books import add_selection, opened, selected
from gateway.cli.common import Commands
from gateway.cli.errors import Failure
from gateway.cli.progress import Progress
from gateway.cli.statement import told
from gateway.cli.table import table
from gateway.core.accounts import Total
from gateway.core.money import dollars, nano_of
from gateway.core.ports import Ledger
from gateway.core.reports import (
    ENTRY_COLUMNS,
    Asked,
    cells,
    entry_row,
    iso,
    remarks,
    report,
    sum_of,
    total_columns,
    total_row,
)
from gateway.engine.statements import attempts_of

_COUNTS = ("attempts", "input_tokens", "output_tokens", "cost_usd")
_NOTES = ("failed", "unpriced", "estimated", "unknown")  # shown where there are some


def add_to(commands: Commands) -> None:
    command = commands.add_parser(
        "usage",
        help="print what was used and what it cost",
        description="Sums of the ledger. Works while the gateway runs.",
        epilog="Exit codes: 0 done, 1 there is no such attempt, 2 could not run.",
    )
    command.add_argument(
        "--by",
        metavar="NAMES",
        default="caller",
        help="a line for each: caller, team, model, provider, label.NAME, day, month; several with commas",
    )
    add_selection(command)
    form = command.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_const", const="csv", dest="form", help="as CSV, safe for spreadsheets")
    form.add_argument("--json", action="store_const", const="json", dest="form", help="as JSON")
    command.add_argument("--rows", action="store_true", help="every attempt as a row, CSV or (--json) JSON lines")
    command.set_defaults(run=lambda options: asyncio.run(_usage(options)))
    actions = command.add_subparsers(dest="action", metavar="ACTION")
    explain = actions.add_parser("explain", help="one call: what was counted, at which rates, and why")
    explain.add_argument("id", metavar="ID", help="the id of a call (x-request-id) or of one of its attempts")
    explain.set_defaults(run=lambda options: asyncio.run(_explain(options.id)))
    correct = actions.add_parser("correct", help="add a compensating row; nothing is ever changed")
    correct.add_argument("id", metavar="ID", help="the id of the attempt")
    correct.add_argument("--usd", metavar="AMOUNT", required=True, help="what to add, such as 0.5 or -0.012")
    correct.add_argument("--reason", metavar="TEXT", required=True, help="why; kept with the row")
    correct.set_defaults(run=lambda options: asyncio.run(_correct(options)))


async def _usage(options: argparse.Namespace) -> int:
    wanted = selected(options, options.by)
    async with opened() as ledger:
        if options.rows:
            await write_rows(ledger, wanted, options.form or "csv", sys.stdout)
        else:
            write_totals(await ledger.totals(wanted.query, wanted.by), wanted, options.form or "table", sys.stdout)
    return 0


def write_totals(totals: Sequence[Total], wanted: Asked, form: str, out: TextIO) -> None:
    if form == "json":
        out.write(orjson.dumps(report(wanted, totals)).decode() + "\n")
    elif form == "csv":
        lines = csv.writer(out)
        lines.writerow(total_columns(wanted.by))
        lines.writerows(cells(total_row(wanted.by, total)) for total in totals)
    else:
        everything = sum_of(totals)
        period = f"{iso(wanted.query.since_at)} to {iso(wanted.query.until_at) or 'now'}"
        out.write(f"{period}\n\n{_table(totals, everything, wanted.by)}\n")
        out.writelines(f"{remark}\n" for remark in remarks(everything))


def _table(totals: Sequence[Total], everything: Total, by: Sequence[str]) -> str:
    notes = [name for name in _NOTES if getattr(everything, name)]
    columns = (*_COUNTS, *notes)
    rows = [[*total.group, *_numbers(total, columns)] for total in totals]
    foot = ["total", *([""] * (len(by) - 1)), *_numbers(everything, columns)]
    return table((*by, *columns), rows, frozenset(range(len(by), len(by) + len(columns))), foot)


def _numbers(total: Total, columns: Sequence[str]) -> list[str]:
    row = total_row((), replace(total, group=()))
    return [str(row[column]) for column in columns]


async def write_rows(ledger: Ledger, wanted: Asked, form: str, out: TextIO) -> None:
    """Every attempt, as it is read: memory does not grow with their number."""
    progress = Progress("attempts")
    lines = csv.writer(out)
    if form == "csv":
        lines.writerow(ENTRY_COLUMNS)
    async for entry in ledger.entries(wanted.query):
        if form == "csv":
            lines.writerow(cells(entry_row(entry)))
        else:
            out.write(orjson.dumps(entry_row(entry)).decode() + "\n")
        progress.step()
    progress.end()


async def _explain(name: str) -> int:
    async with opened() as ledger:
        found = await attempts_of(ledger, name)
    if not found:
        raise Failure(f"the ledger knows no call and no attempt {name!r}", exit_code=1)
    print("\n\n".join(told(entry) for entry in found))
    return 0


async def _correct(options: argparse.Namespace) -> int:
    delta = _signed_nano(options.usd)
    async with opened() as ledger:  # a ledger that is not there must not be made
        if await ledger.entry(options.id) is None:
            raise Failure(f"the ledger knows no attempt {options.id!r}", exit_code=1)
    async with opened(read_only=False) as ledger:
        await ledger.correct(options.id, delta, options.reason, time.time())
    print(f"{options.id}: corrected by {dollars(delta)} USD")
    return 0


def _signed_nano(text: str) -> int:
    try:
        nano = nano_of(text.removeprefix("-"))
    except ValueError as error:
        raise Failure(f"--usd {text}: expected {error}; a minus takes it back") from None
    if not nano:
        raise Failure("--usd: a correction of nothing")
    return -nano if text.startswith("-") else nano
