"""The ledger on PostgreSQL: the contract of ledgers, and its tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from gateway.core.accounts import Query
from gateway.core.ports import LedgerDown, LedgerUnusable
from gateway.core.usage import Usage
from gateway.ledgers import postgres_schema as schema
from gateway.ledgers.postgres import PostgresLedger, open_postgres
from gateway.ledgers.postgres_rows import row_of_intent
from tests.ledgers.contract import DAY, NOON, WINDOWS, Opened, WholeContract, ask, everything, intent, outcome, spend
from tests.support.postgres import Postgres, client


@pytest.fixture
async def opened(dsn: str) -> AsyncIterator[Opened]:
    ledgers: list[PostgresLedger] = []

    async def open_one(node: str) -> PostgresLedger:
        ledgers.append(await open_postgres(dsn, node=node))
        return ledgers[-1]

    yield open_one
    for ledger in ledgers:
        await ledger.close()


class TestContract(WholeContract):
    @pytest.fixture(autouse=True)
    def _database(self, dsn: str) -> None:
        self.dsn = dsn

    async def lapse(self, node: str) -> None:
        await self.sql(f"UPDATE nodes SET beat_at = now() - interval '46 seconds' WHERE node = '{node}'")

    async def sql(self, statement: str) -> None:
        async with client(self.dsn) as connection:
            await connection.execute(statement)


async def test_nodes_that_start_together_make_the_tables_once(dsn: str) -> None:
    ledgers = await asyncio.gather(*(open_postgres(dsn, node=f"n{number}") for number in range(8)))
    await asyncio.gather(*(spend(ledger, str(number)) for number, ledger in enumerate(ledgers)))
    assert len(await everything(ledgers[0])) == 8
    for ledger in ledgers:
        await ledger.close()


@pytest.mark.parametrize("read_only", [False, True])
async def test_newer_tables_are_refused(dsn: str, opened: Opened, *, read_only: bool) -> None:
    """LED-12"""
    await opened("a")
    async with client(dsn) as connection:
        await connection.execute("UPDATE meta SET version = 99")
    with pytest.raises(LedgerUnusable, match="version 99"):
        await open_postgres(dsn, node="b", read_only=read_only)


async def test_older_tables_are_brought_up_to_date_with_their_rows(
    dsn: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LED-12"""
    async with client(dsn) as connection:
        with monkeypatch.context() as older:
            older.setattr(schema, "VERSION", 1)
            older.setattr(schema, "_MIGRATIONS", schema._MIGRATIONS[:1])
            await schema.migrate(connection)
        row = row_of_intent(intent("1"))
        places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        await connection.execute(f"INSERT INTO gateway.intents VALUES ({places})", *row)
        await connection.execute("INSERT INTO gateway.running VALUES ('1')")
    with pytest.raises(LedgerUnusable, match="older than this gateway"):
        await open_postgres(dsn, node="reader", read_only=True)
    ledger = await opened("a")
    await ledger.extend("1", 500, 25, NOON)
    assert dict((await ledger.seed(ask())).open) == {"1": 1500}


async def test_a_reader_changes_nothing(dsn: str, opened: Opened) -> None:
    with pytest.raises(LedgerUnusable, match="gateway serve"):
        await open_postgres(dsn, node="reader", read_only=True)
    await spend(await opened("a"), "1", 5)
    reader = await open_postgres(dsn, node="reader", read_only=True)
    assert [total.cost_nano for total in await reader.totals(Query(), ())] == [5]
    with pytest.raises(LedgerDown):
        await reader.intend(intent("2"))
    await reader.close()
    async with client(dsn) as connection:
        assert await connection.fetchval("SELECT count(*) FROM nodes") == 1


async def test_a_role_that_may_not_make_tables_can_use_them(dsn: str, opened: Opened) -> None:
    await opened("a")
    async with client(dsn) as connection:
        await connection.execute("""
            DROP ROLE IF EXISTS app;
            CREATE ROLE app LOGIN;
            GRANT USAGE ON SCHEMA gateway TO app;
            GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA gateway TO app;
        """)
    ledger = await open_postgres(dsn.replace("gateway@", "app@"), node="b")
    await spend(ledger, "1", 5)
    await ledger.correct("1", 1, "because", NOON)
    assert (await ledger.seed(ask())).spent == 6
    await ledger.close()


async def test_a_role_that_may_only_read_cannot_keep_a_ledger(dsn: str, opened: Opened) -> None:
    await opened("a")
    async with client(dsn) as connection:
        await connection.execute("""
            DROP ROLE IF EXISTS looker;
            CREATE ROLE looker LOGIN;
            GRANT USAGE ON SCHEMA gateway TO looker;
            GRANT SELECT ON ALL TABLES IN SCHEMA gateway TO looker;
        """)
    looking = dsn.replace("gateway@", "looker@")
    with pytest.raises(LedgerUnusable, match="InsufficientPrivilegeError"):
        await open_postgres(looking, node="b")
    reader = await open_postgres(looking, node="reader", read_only=True)
    assert await everything(reader) == []
    await reader.close()


@pytest.mark.parametrize(
    "address", ["postgresql://gateway@127.0.0.1:1/none", "postgresql://gateway:" + "canary@[", "{server}/none"]
)
async def test_what_cannot_be_reached_is_told_without_the_password(postgres: Postgres, address: str) -> None:
    address = address.format(server=postgres.dsn.rpartition("/")[0])
    with pytest.raises(LedgerUnusable, match="check the address") as error:
        await open_postgres(address, node="a")
    assert "canary" not in str(error.value)


@pytest.mark.parametrize("table", ["intents", "extensions", "outcomes", "corrections"])
async def test_tables_cannot_be_emptied(dsn: str, opened: Opened, table: str) -> None:
    """LED-08"""
    await spend(await opened("a"), "1")
    async with client(dsn) as connection:
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            await connection.execute(f"TRUNCATE {table}")


async def test_only_the_rows_that_were_summed_can_go(dsn: str, opened: Opened) -> None:
    """LED-08"""
    ledger = await opened("a")
    await spend(ledger, "old", 1, NOON - 2 * DAY)
    await spend(ledger, "new", 2)
    await ledger.roll_up(NOON)
    async with client(dsn) as connection:
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            await connection.execute("DELETE FROM intents")
    assert [entry.intent.attempt for entry in await everything(ledger)] == ["new"]


async def test_a_row_that_the_database_has_no_room_for_stops_nobody(opened: Opened) -> None:
    ledger = await opened("a")
    odd = intent("odd", labels={"e\0nv": "x\0", "half": "\udc00"}, model="gpt\ud800")
    await asyncio.gather(ledger.intend(odd), ledger.intend(intent("1")))
    await asyncio.gather(
        ledger.conclude(outcome("odd", 2**70, served="gpt\0", usage=Usage(input=2**70))),
        ledger.conclude(outcome("1", 2)),
    )
    (first, second) = sorted(await everything(ledger), key=lambda entry: entry.intent.attempt)
    assert first.outcome == outcome("1", 2)
    assert (second.intent.origin.labels, second.intent.origin.model) == ({"e\ufffdnv": "x\ufffd", "half": "?"}, "gpt?")
    assert second.outcome
    assert (second.outcome.served, second.outcome.cost_nano, second.outcome.usage.input) == (
        "gpt\ufffd",
        2**63 - 1,
        2**63 - 1,
    )


async def test_a_counter_of_a_pattern_takes_what_matches(opened: Opened) -> None:
    ledger = await opened("a")
    for attempt, model in enumerate(["gpt-4", "gpt-5", "GPT-4", "gpt", "my-gpt-4", "g%_\\x"]):
        await spend(ledger, str(attempt), 10**attempt, model=model)

    async def spent(*patterns: tuple[str, str]) -> int:
        asked = ask()
        return (await ledger.seed(replace(asked, limit=replace(asked.limit, patterns=patterns)))).spent

    assert await spent(("model", "gpt-*")) == 11
    assert await spent(("model", "*gpt-4")) == 10001
    assert await spent(("model", "g%_\\*")) == 100000
    assert await spent(("model", "*")) == 111111
    assert await spent(("model", "gpt-*"), ("label.env", "te*")) == 0


async def test_a_correction_while_rows_are_rolled_up_is_not_lost(opened: Opened) -> None:
    one, other = await opened("a"), await opened("b")
    await asyncio.gather(*(spend(one, str(number), 10, NOON - 2 * DAY) for number in range(50)))

    async def corrected(number: int) -> int:
        try:
            await other.correct(str(number), 1, "because", NOON)
        except KeyError:  # rolled up already
            return 0
        return 1

    rolling = asyncio.create_task(one.roll_up(NOON))
    corrections = await asyncio.gather(*map(corrected, range(50)))
    assert await rolling == 50
    assert [total.cost_nano for total in await one.totals(Query(), ())] == [500 + sum(corrections)]


async def test_a_key_of_a_call_that_was_sent_repeats_nothing_though_the_clock_stepped_back(
    dsn: str, opened: Opened
) -> None:
    """LED-07, after a crash: charged once at most"""
    one, dead = await opened("a"), await opened("b")
    await dead.claim("sent", "body", "call-1", NOON)
    await dead.intend(intent("1", NOON - 3599, node="b"))
    async with client(dsn) as connection:
        await connection.execute("UPDATE nodes SET beat_at = now() - interval '46 seconds' WHERE node = 'b'")
    await one.recover(NOON)
    assert (await one.claim("sent", "body", "call-2", NOON)).state == "done"


async def test_a_clock_that_was_far_ahead_for_a_while_loses_no_cost_and_no_attempt(opened: Opened) -> None:
    """It summed up what is young, and what runs stays"""
    ledger = await opened("a")
    await spend(ledger, "1", 5)
    await ledger.intend(intent("running"))
    await ledger.roll_up(NOON + 365 * DAY)
    await ledger.recover(NOON + 365 * DAY)
    await ledger.conclude(outcome("running", 6))
    await spend(ledger, "2", 7)
    for window in WINDOWS:
        assert (await ledger.seed(ask(window))).spent == 18
    assert await ledger.roll_up(NOON + DAY) == 2
    assert [total.cost_nano for total in await ledger.totals(Query(), ())] == [18]


async def test_what_runs_is_known_without_looking_at_the_history(dsn: str, opened: Opened) -> None:
    ledger = await opened("a")
    await spend(ledger, "1")
    await ledger.intend(intent("2"))
    ledger.intend(intent("3"))
    await ledger.conclude(outcome("3"))
    async with client(dsn) as connection:
        assert [row["attempt"] for row in await connection.fetch("SELECT attempt FROM running")] == ["2"]
