"""The SQLite ledger keeps the contract of ledgers."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from gateway.core.ports import Ledger
from gateway.ledgers.sqlite import open_sqlite
from gateway.ledgers.sqlite_schema import USAGE
from tests.ledgers.contract import NOON, Opened, WholeContract, everything, intent, spend


class TestSqlite(WholeContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "ledger.db"

    @pytest.fixture
    async def opened(self) -> AsyncIterator[Opened]:
        ledgers: list[Ledger] = []

        async def opened(node: str) -> Ledger:
            ledgers.append(await open_sqlite(self.path, node=node, lock=False))
            return ledgers[-1]

        yield opened
        for ledger in ledgers:
            await ledger.close()

    async def lapse(self, node: str) -> None:
        await self.sql(f"UPDATE nodes SET beat_at = beat_at - 31 WHERE node = '{node}'")

    async def sql(self, statement: str) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(statement)

    @pytest.mark.parametrize(
        "statement",
        [
            "INTO intents SELECT id, attempt, call, number, at, origin, 1, 1 FROM intents",
            "INTO intents SELECT id, attempt || 'x', call, number, at, origin, 1, 1 FROM intents",
            "INTO intents (attempt, call, number, at, origin, reserved_nano, reserved_tokens) "
            "SELECT attempt, call, number, at, origin, 1, 1 FROM intents",
            f"INTO outcomes SELECT id, at, ending, 1, {USAGE}, duration_s FROM outcomes",
            "INTO corrections SELECT id, intent, at, 1, reason FROM corrections",
            "INTO extensions SELECT id, intent, at, 1, 1 FROM extensions",
        ],
    )
    async def test_a_row_cannot_be_replaced(self, ledger: Ledger, statement: str) -> None:
        """LED-08. What stands in the way of INSERT OR REPLACE is removed without a trigger of its own."""
        await spend(ledger, "1")
        await ledger.correct("1", 5, "refund", NOON)
        await ledger.intend(intent("2"))
        await ledger.extend("2", 7, 3, NOON)
        before = await everything(ledger)
        await self.sql(f"INSERT OR IGNORE {statement}")
        with suppress(sqlite3.IntegrityError):
            await self.sql(f"REPLACE {statement}")
        assert await everything(ledger) == before
