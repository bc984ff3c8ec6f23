"""The ledger on a PostgreSQL that dies, hangs and comes back, and under a gateway that is killed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from time import monotonic

import pytest

from gateway.core.accounts import Entry
from gateway.core.ports import LedgerDown
from gateway.ledgers import postgres as module
from gateway.ledgers import postgres_writer
from gateway.ledgers.postgres import PostgresLedger, open_postgres
from tests.ledgers.contract import NOON, ask, everything, intent, outcome, spend
from tests.support.patience import PATIENCE_S, patience
from tests.support.postgres import Postgres, client


@pytest.fixture
async def ledger(dsn: str) -> AsyncIterator[PostgresLedger]:
    ledger = await open_postgres(dsn, node="a")
    yield ledger
    with suppress(LedgerDown):
        await ledger.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines short enough for a test."""
    for name in ("DEADLINE_S", "CONNECT_S", "_LONG_S"):
        for place in (module, postgres_writer):
            if hasattr(place, name):
                monkeypatch.setattr(place, name, 0.5)


async def until_written(ledger: PostgresLedger, attempt: str) -> None:
    """A caller that asks again, as callers do after a 503."""
    async with patience():
        while True:
            with suppress(LedgerDown):
                return await ledger.intend(intent(attempt))
            await asyncio.sleep(0.01)


async def test_a_server_that_restarts_in_between_is_not_noticed(postgres: Postgres, ledger: PostgresLedger) -> None:
    await spend(ledger, "1", 5)
    postgres.stop()
    postgres.start()
    await spend(ledger, "2", 6)
    assert [entry.outcome and entry.outcome.cost_nano for entry in await everything(ledger)] == [5, 6]


async def test_without_a_server_nothing_is_admitted_and_nothing_is_lost(
    postgres: Postgres, ledger: PostgresLedger
) -> None:
    """LED-04's rule for a server: admission stops, what was admitted is booked when it is back"""
    await asyncio.gather(*(ledger.intend(intent(str(number))) for number in range(20)))
    postgres.stop()
    ended = [ledger.conclude(outcome(str(number), 1)) for number in range(20)]
    refused = await asyncio.gather(*(ledger.intend(intent(f"refused {n}")) for n in range(5)), return_exceptions=True)
    assert {type(error) for error in refused} == {LedgerDown}
    for question in (
        ledger.seed(ask()), ledger.beat(NOON), ledger.entry("1"), ledger.claim("k", "b", "c", NOON),
        ledger.extend("1", 500, 25, NOON), ledger.close_orphan("1", NOON),
    ):  # fmt: skip
        with pytest.raises(LedgerDown):
            await question
    assert not any(future.done() for future in ended)
    assert not ledger.up
    assert ledger.waiting >= len(ended)  # what was refused in doubt is voided besides
    postgres.start()
    await asyncio.gather(*ended)
    await until_written(ledger, "after")
    assert (ledger.up, ledger.waiting) == (True, 0)
    states = {entry.intent.attempt: entry.outcome and entry.outcome.state for entry in await everything(ledger)}
    assert states == {**{str(number): "settled" for number in range(20)}, "after": None}


@pytest.mark.usefixtures("impatient")
async def test_a_server_that_hangs_holds_nobody_up(postgres: Postgres, ledger: PostgresLedger) -> None:
    """Its commits are in doubt: what was refused costs nothing, even when the server takes it after all"""
    await asyncio.gather(*(spend(ledger, f"before {number}", 1) for number in range(3)))
    await ledger.intend(intent("running"))
    postgres.freeze()
    ended = ledger.conclude(outcome("running", 1))
    try:
        async with patience():
            for number in range(2):
                with pytest.raises(LedgerDown):
                    await ledger.intend(intent(f"refused {number}"))
            for question in (ledger.seed(ask()), ledger.entry("running"), ledger.claim("k", "b", "c", NOON)):
                with pytest.raises(LedgerDown):
                    await question
    finally:
        postgres.thaw()
    await asyncio.wait_for(ended, PATIENCE_S)
    await until_written(ledger, "after")
    seed = await ledger.seed(ask())
    assert (seed.spent, set(seed.open)) == (4, {"after"})


@pytest.mark.usefixtures("impatient")
async def test_a_commit_in_doubt_is_voided_even_when_it_comes_late(
    postgres: Postgres, ledger: PostgresLedger, dsn: str
) -> None:
    await spend(ledger, "1", 1)
    async with client(dsn) as operator:
        postgres.freeze()
        with pytest.raises(LedgerDown):
            await ledger.intend(intent("late"))
        postgres.thaw()
        await until_written(ledger, "after")
        while await operator.fetchval("SELECT count(*) FROM outcomes WHERE attempt = 'late'") == 0:
            await asyncio.sleep(0.01)
        await operator.execute("INSERT INTO intents SELECT 'late', call, number, at, node, caller, team, labels, endpoint, model, "
                               "provider, target, policy, reserved_nano, reserved_tokens FROM intents WHERE attempt = '1' ON CONFLICT DO NOTHING")  # fmt: skip
    entry = await ledger.entry("late")
    assert entry and entry.outcome
    assert (entry.outcome.state, entry.outcome.cost_nano) == ("voided", 0)
    assert (await ledger.seed(ask())).spent == 1


async def test_a_lock_that_somebody_holds_stops_admission_and_no_longer(
    ledger: PostgresLedger, dsn: str, impatient: None
) -> None:
    async with client(dsn) as operator:
        async with operator.transaction():
            await operator.execute("LOCK TABLE intents IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(LedgerDown):
                await ledger.intend(intent("1"))
        await until_written(ledger, "2")
    assert set((await ledger.seed(ask())).open) == {"2"}


async def test_an_outcome_that_waits_comes_before_the_janitor(ledger: PostgresLedger) -> None:
    await ledger.intend(intent("1", node="gone"))
    waiting = ledger.conclude(outcome("1", 5))
    assert await ledger.close_orphan("1", NOON) == 5
    assert waiting.done()


async def test_after_an_outage_nobody_is_dead_before_he_could_say_that_he_lives(
    ledger: PostgresLedger, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a fail-over, or a step of the server's clock: all who live were silent, also whoever looks"""
    monkeypatch.setattr(module, "_COME_BACK_S", 0.5)
    other, dead = await open_postgres(dsn, node="b"), await open_postgres(dsn, node="c")
    await asyncio.gather(other.intend(intent("lives", node="b")), dead.intend(intent("dead", node="c")))
    await dead.close()
    async with client(dsn) as operator:
        await operator.execute("UPDATE nodes SET beat_at = beat_at - interval '60 seconds'")
    assert [await ledger.close_orphan(attempt, NOON) for attempt in ("lives", "dead")] == [None, None]
    await ledger.beat(NOON)
    assert await ledger.recover(NOON) == 0
    await other.beat(NOON)
    async with patience():
        while await ledger.recover(NOON) == 0:
            await asyncio.sleep(0.01)
    states = {entry.intent.attempt: entry.outcome and entry.outcome.state for entry in await everything(ledger)}
    assert states == {"lives": None, "dead": "unknown"}
    await other.close()


async def test_who_starts_after_an_outage_takes_nobody_for_dead_who_could_not_say_that_he_lives(
    ledger: PostgresLedger, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a process does that is started again and again until the server is back"""
    await ledger.intend(intent("lives"))
    async with client(dsn) as operator:
        await operator.execute("UPDATE nodes SET beat_at = beat_at - interval '60 seconds'")
    monkeypatch.setattr(module, "_COME_BACK_S", 0.5)
    starts = await open_postgres(dsn, node="b")
    assert await starts.recover(NOON) == 0
    assert await starts.close_orphan("lives", NOON) is None
    await ledger.beat(NOON)
    monkeypatch.setattr(module, "monotonic", lambda: monotonic() + 1)
    assert await starts.recover(NOON) == 0
    await starts.close()
    assert (await ledger.conclude(outcome("lives", 1)), await ledger.recover(NOON)) == (None, 0)
    assert [entry.outcome and entry.outcome.state for entry in await everything(ledger)] == ["settled"]


async def test_closing_without_a_server_says_what_is_lost(postgres: Postgres, dsn: str) -> None:
    ledger = await open_postgres(dsn, node="a")
    await ledger.intend(intent("1"))
    postgres.stop()
    try:
        ended = ledger.conclude(outcome("1"))
        with pytest.raises(LedgerDown, match="1 outcome"):
            await ledger.close()
        assert not ended.done()
        with pytest.raises(LedgerDown):
            await ledger.intend(intent("2"))
    finally:
        postgres.start()


async def test_a_killed_gateway_has_every_row_that_was_acknowledged(dsn: str) -> None:
    """LED-01, LED-02"""
    acknowledged: dict[str, set[str]] = {"intent": set(), "outcome": set()}
    for kill in range(5):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.ledgers.postgres_child", dsn, f"n{kill}", stdout=asyncio.subprocess.PIPE
        )
        assert child.stdout
        for _ in range(1 + 37 * kill):
            await child.stdout.readline()
        child.kill()
        lines = (await child.stdout.read()).decode().splitlines()
        await child.wait()
        for line in lines:
            kind, _, attempt = line.partition(" ")
            acknowledged[kind].add(attempt)

    ledger = await open_postgres(dsn, node="checker")
    async with client(dsn) as operator:
        await operator.execute("UPDATE nodes SET beat_at = now() - interval '46 seconds' WHERE node <> 'checker'")
    before = by_attempt(await everything(ledger))
    recovered = await ledger.recover(NOON)
    after = by_attempt(await everything(ledger))
    await ledger.close()
    assert acknowledged["intent"] <= before.keys()
    assert acknowledged["outcome"] <= {attempt for attempt, entry in before.items() if entry.outcome}
    assert recovered == sum(entry.outcome is None for entry in before.values()) > 0
    assert after == {attempt: entry if entry.outcome else after[attempt] for attempt, entry in before.items()}
    assert {entry.outcome.state for entry in after.values() if entry.outcome} == {"settled", "unknown"}
    assert all(entry.outcome for entry in after.values())


def by_attempt(entries: list[Entry]) -> dict[str, Entry]:
    found = {entry.intent.attempt: entry for entry in entries}
    assert len(found) == len(entries)
    return found
