"""The ledger where two servers keep it: one takes writes, the other follows it and takes over."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from gateway.core.accounts import Query
from gateway.core.ports import LedgerDown, LedgerUnusable
from gateway.ledgers.postgres import PostgresLedger, open_postgres
from gateway.ledgers.postgres_connect import addresses
from tests.ledgers.contract import NOON, everything, intent, outcome, spend
from tests.support.patience import PATIENCE_S, patience
from tests.support.postgres import Postgres, client, postgres_server

Pair = tuple[Postgres, Postgres]
"""A primary and its standby."""


@contextmanager
def two_servers() -> Iterator[Pair]:
    with postgres_server() as primary, postgres_server(standby_of=primary) as standby:
        yield primary, standby


@pytest.fixture(scope="module")
def lasting() -> Iterator[Pair]:
    with two_servers() as pair:
        yield pair


@pytest.fixture
async def primary(lasting: Pair) -> Postgres:
    await lasting[0].emptied()
    return lasting[0]


@pytest.fixture
def standby(lasting: Pair) -> Postgres:
    return lasting[1]


@pytest.fixture
def mortal() -> Iterator[Pair]:
    """For a test that ends or changes them."""
    with two_servers() as pair:
        yield pair


def dsn_of(*servers: Postgres | int, options: str = "") -> str:
    ports = [server if isinstance(server, int) else server.port for server in servers]
    return f"postgresql://gateway@{','.join(f'127.0.0.1:{port}' for port in ports)}/postgres{options}"


@contextmanager
def silent() -> Iterator[int]:
    """The port of a machine that swallows what is sent to it: nobody ever accepts there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def until_written(ledger: PostgresLedger, attempt: str) -> None:
    """A caller that asks again, as callers do after a 503."""
    async with patience():
        while True:
            with suppress(LedgerDown):
                return await ledger.intend(intent(attempt))
            await asyncio.sleep(0.01)


async def until_claimed(ledger: PostgresLedger, key: str) -> None:
    async with patience():
        while True:
            with suppress(LedgerDown):
                assert (await ledger.claim(key, "body", "call", NOON)).state == "new"
                return
            await asyncio.sleep(0.01)


async def caught_up(primary: Postgres) -> None:
    """The standby has everything that was written."""
    async with client(primary.dsn) as operator, patience():
        while not await operator.fetchval("SELECT pg_current_wal_lsn() = replay_lsn FROM pg_stat_replication"):
            await asyncio.sleep(0.01)


def test_a_url_may_name_several_hosts() -> None:
    assert addresses("postgresql://u@a:1,b:2/db?sslmode=require") == [
        "postgresql://u@a:1/db?sslmode=require",
        "postgresql://u@b:2/db?sslmode=require",
    ]
    assert addresses("postgres://[::1]:1,[::2]") == ["postgres://[::1]:1", "postgres://[::2]"]
    assert addresses("postgresql:///db?host=a,b") == ["postgresql:///db?host=a,b"]


@pytest.mark.parametrize("options", ["", "?target_session_attrs=read-write", "?target_session_attrs=any"])
async def test_of_two_addresses_the_one_that_takes_writes_is_used(
    primary: Postgres, standby: Postgres, options: str
) -> None:
    ledger = await open_postgres(dsn_of(standby, primary, options=options), node="a")
    await spend(ledger, "1", 5)
    assert [total.cost_nano for total in await ledger.totals(Query(), ())] == [5]
    await ledger.close()


async def test_addresses_may_stand_in_the_options(primary: Postgres, standby: Postgres) -> None:
    address = f"postgresql://gateway@/postgres?host=127.0.0.1,127.0.0.1&port={standby.port},{primary.port}"
    ledger = await open_postgres(address, node="a")
    await spend(ledger, "1", 5)
    await ledger.close()


async def test_an_address_that_never_answers_does_not_hide_the_next(primary: Postgres) -> None:
    with silent() as port:
        ledger = await open_postgres(dsn_of(port, primary), node="a")
        await until_written(ledger, "1")
        assert [entry.intent.attempt for entry in await everything(ledger)] == ["1"]
        await ledger.close()


async def test_a_standby_alone_cannot_keep_a_ledger(primary: Postgres, standby: Postgres) -> None:
    await (await open_postgres(primary.dsn, node="a")).close()
    await caught_up(primary)
    with pytest.raises(LedgerUnusable, match="ReadOnlyServer"):
        await open_postgres(standby.dsn, node="b")


async def test_reports_can_be_read_from_a_standby(primary: Postgres, standby: Postgres) -> None:
    ledger = await open_postgres(primary.dsn, node="a")
    await spend(ledger, "1", 5)
    await ledger.close()
    await caught_up(primary)
    for options in ("", "?target_session_attrs=read-write"):  # one URL serves the gateway and its reports
        reader = await open_postgres(dsn_of(standby, options=options), node="reader", read_only=True)
        assert [total.cost_nano for total in await reader.totals(Query(), ())] == [5]
        await reader.close()


@pytest.mark.parametrize("same_address", [False, True])
async def test_what_was_admitted_is_booked_at_the_server_that_takes_over(mortal: Pair, *, same_address: bool) -> None:
    """First it still takes no writes, as between the death of the one and the promotion of the other"""
    primary, standby = mortal
    ledger = await open_postgres(primary.dsn if same_address else dsn_of(primary, standby), node="a")
    await ledger.intend(intent("running"))
    await caught_up(primary)
    primary.stop()
    if same_address:
        standby.stop()
        standby.port = primary.port
        standby.start()
    ended = ledger.conclude(outcome("running", 7))
    for question in (ledger.intend(intent("refused")), ledger.beat(NOON), ledger.claim("k", "b", "c", NOON)):
        with pytest.raises(LedgerDown):
            await question
    assert not ended.done()
    standby.promote()
    await asyncio.wait_for(ended, PATIENCE_S)
    await until_written(ledger, "after")
    await ledger.beat(NOON)
    states = {entry.intent.attempt: entry.outcome and entry.outcome.cost_nano for entry in await everything(ledger)}
    assert states == {"running": 7, "after": None}
    await ledger.close()


async def test_a_server_that_is_told_to_take_no_writes_is_left_for_the_next(mortal: Pair) -> None:
    """As in a planned change: its connections stay open, and all of them are given up"""
    primary, standby = mortal
    ledger = await open_postgres(dsn_of(primary, standby), node="a")
    await spend(ledger, "1", 5)
    await caught_up(primary)
    async with client(primary.dsn) as operator:
        await operator.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await operator.fetchval("SELECT pg_reload_conf()")
    standby.promote()
    await until_written(ledger, "2")
    await until_claimed(ledger, "k")
    assert {entry.intent.attempt for entry in await everything(ledger)} == {"1", "2"}
    await ledger.close()
