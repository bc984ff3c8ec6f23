"""The SQLite ledger keeps the contract of ledgers."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.core.ports import Ledger
from gateway.ledgers.sqlite import open_sqlite
from tests.ledgers.contract import Opened, WholeContract


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
