"""The SQLite ledger when the disk is full or slow, when values are odd, and when its process is killed."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.core.accounts import Query
from gateway.core.ports import LedgerDown
from gateway.core.usage import Usage
from gateway.ledgers.sqlite import SqliteLedger, open_sqlite
from gateway.ledgers.sqlite_files import check
from tests.ledgers.contract import NOON, ask, everything, intent, outcome, spend


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


async def room(ledger: SqliteLedger) -> Callable[[int | None], None]:
    """Lets the file grow by so many pages; None: as it likes. It is a setting of the connection that writes."""
    connection: sqlite3.Connection = await ledger._put(lambda connection: connection)

    def allow(more: int | None) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {2**31 if more is None else pages + more}")

    return allow


class TestFull:
    """LED-04"""

    async def test_intents_are_refused_and_outcomes_are_kept(self, path: Path) -> None:
        ledger = await open_sqlite(path, node="a")
        allow = await room(ledger)
        attempts = [str(number) for number in range(20)]
        await asyncio.gather(*(ledger.intend(intent(attempt)) for attempt in attempts))
        allow(0)
        kept = [ledger.conclude(outcome(attempt, rates="r" * 9000 + attempt)) for attempt in attempts]
        refused = [attempt async for attempt in refusals(ledger, 5)]
        assert not any(future.done() for future in kept)
        assert (ledger.up, ledger.waiting) == (False, len(kept))
        allow(None)
        await asyncio.gather(*kept)
        assert (ledger.up, ledger.waiting) == (True, 0)
        await ledger.intend(intent("after"))
        found = {entry.intent.attempt: entry.outcome for entry in await everything(ledger)}
        assert all(found[attempt] for attempt in attempts)
        assert "after" in found and not found.keys() & set(refused)
        await ledger.close()
        assert check(path) == []

    async def test_intents_alone_are_refused_one_by_one(self, path: Path) -> None:
        ledger = await open_sqlite(path, node="a")
        allow = await room(ledger)
        allow(0)
        refused = [attempt async for attempt in refusals(ledger, 3)]
        assert not ledger.up
        allow(None)
        await ledger.intend(intent("after"))
        assert ledger.up
        assert not {entry.intent.attempt for entry in await everything(ledger)} & set(refused)
        await ledger.close()

    async def test_an_extension_that_does_not_fit_is_refused_and_counts_nothing(self, path: Path) -> None:
        ledger = await open_sqlite(path, node="a")
        await ledger.intend(intent("1"))
        allow = await room(ledger)
        allow(0)
        extended = 0
        with pytest.raises(LedgerDown):
            while True:
                await ledger.extend("1", 1, 1, NOON)
                extended += 1
        allow(None)
        assert dict((await ledger.seed(ask())).open) == {"1": 1000 + extended}
        await ledger.close()

    async def test_closing_tells_what_could_not_be_written(self, path: Path) -> None:
        ledger = await open_sqlite(path, node="a")
        await ledger.intend(intent("1", reserved_nano=77))
        (await room(ledger))(0)
        future = ledger.conclude(outcome("1", rates="r" * 99_000))
        with pytest.raises(LedgerDown, match="1 outcomes"):
            await ledger.close()
        with pytest.raises(LedgerDown):
            await future
        await ledger.close()
        again = await open_sqlite(path, node="b")
        assert await again.recover(NOON) == 1
        assert await again.close_orphan("1", NOON) == 77
        await again.close()

    def test_a_file_that_may_not_grow_does_no_harm(self, path: Path) -> None:
        """A limit of the kernel: writes come up short, as on a full disk."""
        done = subprocess.run(
            [sys.executable, "-c", GROWING, str(path)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert said["refused"] > 0 and said["acknowledged"] > 5 and said["afterwards"]
        assert check(path) == []


GROWING = """
import asyncio, json, pathlib, resource, signal, sys
from gateway.core.ports import LedgerDown
from gateway.ledgers.sqlite import open_sqlite
from tests.ledgers.contract import everything, intent, outcome

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

async def main():
    ledger = await open_sqlite(pathlib.Path(sys.argv[1]), node="a")
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
    acknowledged, outcomes, refused = [], [], 0
    for number in range(4000):
        try:
            await ledger.intend(intent(str(number)))
        except LedgerDown:
            refused += 1
            if refused == 5:
                break
        else:
            acknowledged.append(str(number))
            outcomes.append(ledger.conclude(outcome(str(number))))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await asyncio.gather(*outcomes)
    await ledger.intend(intent("after"))
    found = {entry.intent.attempt: entry.outcome for entry in await everything(ledger) }
    assert set(found) == {*acknowledged, "after"}, set(found) ^ set(acknowledged)
    assert all(found[attempt] for attempt in acknowledged)
    await ledger.close()
    print(json.dumps({"refused": refused, "acknowledged": len(acknowledged), "afterwards": True}))

asyncio.run(main())
"""


async def refusals(ledger: SqliteLedger, count: int) -> AsyncIterator[str]:
    """Intents until so many of them were refused, which are given."""
    number = 0
    while count:
        number += 1
        try:
            await ledger.intend(intent(f"more {number}"))
        except LedgerDown:
            yield f"more {number}"
            count -= 1


class TestSlow:
    async def test_the_loop_goes_on_while_the_disk_does_not(self, path: Path) -> None:
        """LED-05: a commit that hangs keeps no turn of the loop from its work; what comes meanwhile is one commit."""
        ledger = await open_sqlite(path, node="a")
        stall, commits = threading.Event(), []

        def slow(connection: sqlite3.Connection) -> None:
            connection.set_trace_callback(
                lambda statement: commits.append(statement) if statement == "COMMIT" else None
            )
            stall.wait(10)

        held = ledger._put(slow)
        await turns(20)
        futures = [ledger.intend(intent(str(number))) for number in range(500)]
        await turns(200)
        assert not held.done() and not any(future.done() for future in futures)
        stall.set()
        await asyncio.gather(held, *futures)
        assert len(commits) == 2
        await ledger.close()


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class TestOddValues:
    async def test_a_row_that_cannot_be_stored_spoils_no_other(self, path: Path) -> None:
        ledger = await open_sqlite(path, node="a")
        futures = [
            ledger.intend(intent("1")),
            ledger.intend(intent("2", model="\ud800")),
            ledger.intend(intent("3", reserved_nano=2**70)),
            ledger.intend(intent("4", labels={"canary": "\ud800"})),
            ledger.intend(intent("5")),
            ledger.conclude(outcome("1", usage=Usage(input=2**70))),
            ledger.conclude(outcome("5")),
        ]
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert [isinstance(result, Exception) for result in results] == [False, True, True, True, False, True, False]
        assert not any(isinstance(result, LedgerDown) for result in results)
        assert {entry.intent.attempt: entry.outcome is None for entry in await everything(ledger)} == {
            "1": True,
            "5": False,
        }
        await ledger.close()

    async def test_shared_values_of_a_transaction_that_failed_are_not_taken_for_written(self, path: Path) -> None:
        ledger = await open_sqlite(path, node="a")
        results = await asyncio.gather(
            ledger.intend(intent("1", caller="new")),
            ledger.intend(intent("2", caller="new", reserved_nano=2**70)),
            return_exceptions=True,
        )
        assert isinstance(results[1], OverflowError)
        await spend(ledger, "3", caller="new")
        assert [total.group for total in await ledger.totals(Query(), ("caller",))] == [("new",)]
        assert len(await everything(ledger)) == 2
        await ledger.close()

    async def test_nothing_is_taken_after_the_end(self, path: Path) -> None:
        ledger = await open_sqlite(path, node="a")
        await ledger.close()
        with pytest.raises(LedgerDown):
            await ledger.intend(intent("1"))
        await ledger.close()


APPENDING = """
import asyncio, pathlib, sys
from gateway.ledgers.sqlite import open_sqlite
from tests.ledgers.contract import intent, outcome

async def one(ledger, attempt):
    await ledger.intend(intent(attempt, node=sys.argv[2]))
    print("i", attempt, flush=True)
    await ledger.conclude(outcome(attempt, 5))
    print("o", attempt, flush=True)

async def main():
    ledger = await open_sqlite(pathlib.Path(sys.argv[1]), node=sys.argv[2])
    print("recovered", await ledger.recover(0.0), flush=True)
    number = 0
    while True:
        await asyncio.gather(*(one(ledger, f"{sys.argv[2]}-{number + more}") for more in range(20)))
        number += 20

asyncio.run(main())
"""


class TestKill:
    def test_what_was_acknowledged_outlives_any_number_of_kills(self, path: Path) -> None:
        """LED-01, LED-02"""
        rand = random.Random(3)
        intents: set[str] = set()
        outcomes: set[str] = set()
        for life in range(8):
            child = subprocess.Popen(
                [sys.executable, "-c", APPENDING, str(path), f"life{life}"], stdout=subprocess.PIPE, text=True
            )
            assert child.stdout
            lines = [child.stdout.readline() for _ in range(rand.randrange(1, 400))]
            child.send_signal(signal.SIGKILL)
            lines += child.communicate()[0].splitlines(keepends=True)
            for kind, attempt in (line.split() for line in lines if line.endswith("\n")):
                (intents if kind == "i" else outcomes if kind == "o" else set()).add(attempt)
        assert len(outcomes) > 100
        states = asyncio.run(recovered(path))
        assert intents <= set(states) and check(path) == []
        assert all(states[attempt] == "settled" for attempt in outcomes)
        assert set(states.values()) <= {"settled", "unknown"}


async def recovered(path: Path) -> dict[str, str | None]:
    ledger = await open_sqlite(path, node="last")
    await ledger.recover(NOON)
    entries = await everything(ledger)
    (total,) = await ledger.totals(Query(), ())
    assert total.cost_nano == sum(entry.outcome.cost_nano or 0 for entry in entries if entry.outcome)
    await ledger.close()
    assert len({entry.intent.attempt for entry in entries}) == len(entries)
    return {entry.intent.attempt: entry.outcome.state if entry.outcome else None for entry in entries}
