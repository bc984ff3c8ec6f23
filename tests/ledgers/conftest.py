"""PostgreSQL for the modules that test the ledger on it: a server for each, for some of them stop theirs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.postgres import Postgres, postgres_server


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server


@pytest.fixture
async def dsn(postgres: Postgres) -> str:
    return await postgres.emptied()
