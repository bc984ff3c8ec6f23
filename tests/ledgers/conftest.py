"""PostgreSQL for the modules that test the ledger on it: a server for each, for some of them stop theirs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.ledgers import postgres as module
from tests.support.postgres import Postgres, postgres_server


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ledgers tell who is dead from their first moment on; tests of that wait set it themselves."""
    monkeypatch.setattr(module, "_COME_BACK_S", 0.0)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server


@pytest.fixture
async def dsn(postgres: Postgres) -> str:
    return await postgres.emptied()
