"""What the accounting commands share: the ledger that the settings name, and which of its rows are meant."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.cli.errors import Failure
from gateway.core.ports import Ledger, LedgerDown, LedgerUnusable
from gateway.core.reports import LABEL, SELECTORS, Asked, Pairs, asked
from gateway.ledgers.table import open_ledger
from gateway.settings import Settings, SettingsError, read_settings

TIMES = "2026-11-01, 2026-11, 2026-11-01T08:00 (UTC) or 36h, 7d, 2w ago"


def settings() -> Settings:
    try:
        return read_settings(os.environ)
    except SettingsError as error:
        raise Failure(str(error)) from None


@asynccontextmanager
async def opened(*, read_only: bool = True) -> AsyncIterator[Ledger]:
    """The ledger, beside a gateway that runs on it."""
    found = settings()
    address = found.ledger.reveal() if found.ledger is not None else ""
    node = f"cli-{os.getpid()}"
    try:
        ledger = await open_ledger(
            address, found.data_dir, node=node, sync=found.ledger_sync, lock=False, read_only=read_only
        )
    except (LedgerUnusable, ValueError) as error:
        raise Failure(str(error)) from None
    try:
        yield ledger
    except LedgerDown as error:
        raise Failure(f"the ledger cannot be used now: {error}") from None
    finally:
        await ledger.close()


def add_selection(command: argparse.ArgumentParser) -> None:
    command.add_argument("--since", metavar="TIME", help=f"begun at or after: {TIMES} (default: this month)")
    command.add_argument("--until", metavar="TIME", help="begun before (default: now)")
    for name in SELECTORS:
        command.add_argument(f"--{name}", metavar="NAME", help=f"only this {name}")
    command.add_argument(
        "--label", metavar="NAME=VALUE", action="append", default=[], help="only with this label; repeat for more"
    )


def selected(options: argparse.Namespace, by: str) -> Asked:
    pairs: list[tuple[str, str]] = [("by", by), *_labels(options.label)]
    for name in ("since", "until", *SELECTORS):
        value = getattr(options, name)
        if value is not None:
            pairs.append((name, value))
    return understood(pairs)


def understood(pairs: Pairs) -> Asked:
    try:
        return asked(pairs, time.time())
    except ValueError as error:
        raise Failure(str(error)) from None


def _labels(texts: list[str]) -> list[tuple[str, str]]:
    pairs = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise Failure(f"--label {text}: expected NAME=VALUE")
        pairs.append((LABEL + name, value))
    return pairs
