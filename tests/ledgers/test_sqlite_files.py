"""The files of the SQLite ledger: locks, versions, damage, the loss of power."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.accounts import Entry, Query
from gateway.core.ports import LedgerDown, LedgerUnusable
from gateway.core.usage import BUCKETS
from gateway.ledgers.rows import origin_of
from gateway.ledgers.sqlite import SqliteLedger, open_sqlite
from gateway.ledgers.sqlite_files import check, connect, salvage
from gateway.ledgers.sqlite_schema import MIGRATIONS, migrate
from gateway.ledgers.table import open_ledger
from tests.ledgers.contract import DAY, NOON, ask, everything, intent, outcome, spend, write

PAGE = 4096


async def rows(path: Path) -> list[Entry]:
    ledger = await open_sqlite(path, node="reader", read_only=True)
    try:
        return await everything(ledger)
    finally:
        await ledger.close()


async def filled(path: Path, count: int) -> None:
    ledger = await open_sqlite(path, node="a")
    await write(ledger, *(Entry(intent(str(number), NOON + number), outcome(str(number))) for number in range(count)))
    await ledger.correct("1", 5, "because", NOON)
    await ledger.close()


async def left_open(path: Path) -> SqliteLedger:
    """One attempt each of two processes that have ended; the ledger of a third, with the name of the first and an
    attempt of its own."""
    for node in ("a", "b"):
        ledger = await open_sqlite(path, node=node, lock=False)
        await ledger.intend(intent(node, node=node))
        await ledger.close()
    ledger = await open_sqlite(path, node="a")
    await ledger.intend(intent("new", node="a"))
    return ledger


class TestLock:
    async def test_a_second_process_is_refused(self, tmp_path: Path) -> None:
        """LED-11"""
        ledger = await open_sqlite(tmp_path / "ledger.db", node="a")
        script = (
            "import asyncio, pathlib\n"
            "from gateway.core.ports import LedgerUnusable\n"
            "from gateway.ledgers.sqlite import SqliteLedger, open_sqlite\n"
            "try:\n"
            f"    asyncio.run(open_sqlite(pathlib.Path({str(tmp_path / 'ledger.db')!r}), node='b'))\n"
            "except LedgerUnusable as no:\n"
            "    print(no)\n"
        )
        said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        assert "in use by another gateway" in said and "\n" not in said.strip()
        await spend(ledger, "1")
        await ledger.close()

    async def test_a_lock_ends_with_its_ledger(self, tmp_path: Path) -> None:
        for node in "ab":
            ledger = await open_sqlite(tmp_path / "ledger.db", node=node)
            with pytest.raises(LedgerUnusable, match="in use"):
                await open_sqlite(tmp_path / "ledger.db", node="c")
            await ledger.close()

    async def test_a_ledger_that_could_not_be_opened_holds_no_lock(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger.db"
        path.write_bytes(b"no database, canary " * 300)
        for _ in range(2):
            with pytest.raises(LedgerUnusable, match="gateway ledger check"):
                await open_sqlite(path, node="a")

    async def test_a_reader_needs_no_lock_and_writes_nothing(self, tmp_path: Path) -> None:
        ledger = await open_sqlite(tmp_path / "ledger.db", node="a")
        await spend(ledger, "1")
        reader = await open_sqlite(tmp_path / "ledger.db", node="b", read_only=True)
        assert len(await everything(reader)) == 1
        with pytest.raises(LedgerDown):
            reader.intend(intent("2"))
        await reader.close()
        await ledger.close()

    async def test_whoever_has_the_lock_recovers_at_once(self, tmp_path: Path) -> None:
        """Also what a process of the same name left open."""
        ledger = await left_open(tmp_path / "ledger.db")
        assert await ledger.recover(NOON) == 2
        assert {entry.intent.attempt: entry.outcome is None for entry in await everything(ledger)} == {
            "a": False,
            "b": False,
            "new": True,
        }
        await ledger.close()

    async def test_whoever_has_the_lock_knows_whose_attempts_are_orphans(self, tmp_path: Path) -> None:
        """Also those of a process of the same name."""
        ledger = await left_open(tmp_path / "ledger.db")
        assert [await ledger.close_orphan(attempt, NOON) for attempt in ("a", "b", "new")] == [1000, 1000, None]
        await ledger.close()


class TestVersions:
    async def test_an_older_file_is_brought_up_to_date(self, tmp_path: Path) -> None:
        """LED-12"""
        path = tmp_path / "ledger.db"
        await filled(path, 3)
        with closing(connect(path)) as connection:
            migrate(
                connection, (*MIGRATIONS, "CREATE TABLE later (id INTEGER);\nALTER TABLE things ADD COLUMN note TEXT;")
            )
            assert connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone() == (
                len(MIGRATIONS) + 1,
            )
            assert connection.execute("SELECT COUNT(*) FROM intents, (SELECT COUNT(*) FROM later)").fetchone() == (3,)
            assert len(connection.execute("SELECT * FROM things").description) == 6

    async def test_rows_of_the_first_version_are_there_in_the_newest(self, tmp_path: Path) -> None:
        """LED-12"""
        path = tmp_path / "ledger.db"
        first_version(path)
        ledger = await open_sqlite(path, node="b")
        assert await everything(ledger) == FIRST_ROWS
        assert [total.cost_nano for total in await ledger.totals(Query(), ())] == [12]
        assert dict((await ledger.seed(ask("total"))).open) == {"3": 1000}
        assert await ledger.recover(NOON) == 1
        await spend(ledger, "4")
        await ledger.conclude(outcome("1", 99))
        assert [entry.outcome and entry.outcome.cost_nano for entry in await everything(ledger)] == [5, None, 1000, 700]
        await ledger.close()
        assert check(path) == []

    async def test_a_file_of_an_older_version_is_not_read_before_it_is_brought_up_to_date(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger.db"
        first_version(path)
        with pytest.raises(LedgerUnusable, match=r"older gateway: start the gateway on it once"):
            await open_sqlite(path, node="a", read_only=True)
        assert check(path) == []

    @pytest.mark.parametrize("read_only", [True, False])
    async def test_a_newer_file_is_refused_and_left_as_it_is(self, tmp_path: Path, read_only: bool) -> None:
        """LED-12"""
        path = tmp_path / "ledger.db"
        await filled(path, 3)
        with closing(connect(path)) as connection:
            migrate(connection, (*MIGRATIONS, "CREATE TABLE later (id INTEGER);"))
        with pytest.raises(LedgerUnusable, match=r"newer gateway.*run the newer version"):
            await open_sqlite(path, node="a", read_only=read_only)
        with closing(connect(path)) as connection:
            assert connection.execute("SELECT COUNT(*) FROM intents").fetchone() == (3,)

    async def test_a_migration_that_fails_changes_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger.db"
        await filled(path, 3)
        with closing(connect(path)) as connection:
            with pytest.raises(sqlite3.OperationalError):
                migrate(connection, (*MIGRATIONS, "CREATE TABLE later (id INTEGER);\nDROP TABLE nothing;"))
            assert connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone() == (len(MIGRATIONS),)
        assert len(await rows(path)) == 3

    async def test_processes_that_begin_at_once_make_one_schema(self, tmp_path: Path) -> None:
        """Time and again: one in twenty such starts had once a process that found the new file locked."""
        for start in range(20):
            path = tmp_path / f"{start}.db"
            ledgers = await asyncio.gather(*(open_sqlite(path, node=node, lock=False) for node in "abcdefgh"))
            for ledger in ledgers:
                await spend(ledger, ledger._node)
                await ledger.close()
            assert len(await rows(path)) == 8

    async def test_another_database_is_not_taken_for_a_ledger(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger.db"
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE songs (name TEXT)")
        with pytest.raises(LedgerUnusable, match="not a ledger"):
            await open_sqlite(path, node="a")


class TestDamage:
    """LED-06"""

    async def test_a_damaged_page_is_told_with_the_way_out(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger.db"
        await filled(path, 2000)
        assert check(path) == []
        damage(path, "outcomes")
        with pytest.raises(LedgerUnusable, match=r"`gateway ledger check .*`gateway ledger rebuild"):
            await open_sqlite(path, node="a")
        assert check(path)

    @pytest.mark.parametrize("table", ["intents", "outcomes"])
    async def test_what_can_be_read_is_saved(self, tmp_path: Path, table: str) -> None:
        path, into = tmp_path / "ledger.db", tmp_path / "saved.db"
        await filled(path, 2000)
        damage(path, table)
        counts = salvage(path, into)
        assert 1800 < counts[table] < 2000
        assert counts["intents"] + counts["outcomes"] > 3800 and counts["corrections"] == 1
        assert check(into) in ([], [f"{2000 - counts['intents']} outcomes without an intent"])
        ledger = await open_sqlite(into, node="a")
        before = await everything(ledger)
        assert len(before) == counts["intents"]
        assert await ledger.recover(NOON) == sum(not entry.outcome for entry in before)
        await ledger.close()

    async def test_a_sound_ledger_is_saved_whole(self, tmp_path: Path) -> None:
        path, into = tmp_path / "ledger.db", tmp_path / "saved.db"
        await filled(path, 500)
        ledger = await open_sqlite(path, node="a")
        await ledger.intend(intent("open", NOON + 10**6))
        await ledger.extend("open", 500, 25, NOON + 10**6)
        await ledger.own(["resp"], "t", "c", "p", NOON)
        before, totals = await everything(ledger), await ledger.totals(Query(), ("day", "caller"))
        await ledger.close()
        salvage(path, into)
        saved = await open_sqlite(into, node="a", read_only=True)
        assert (await everything(saved), await saved.totals(Query(), ("day", "caller"))) == (before, totals)
        await saved.close()
        with pytest.raises(LedgerUnusable, match="there already"):
            salvage(path, into)

    async def test_a_ledger_of_the_first_version_is_saved_whole(self, tmp_path: Path) -> None:
        path, into = tmp_path / "ledger.db", tmp_path / "saved.db"
        first_version(path)
        assert salvage(path, into) == FIRST_COUNTS
        assert await rows(into) == FIRST_ROWS
        assert check(into) == []

    async def test_an_attempt_whose_ending_is_lost_keeps_its_cost(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger.db"
        await filled(path, 2)
        with closing(connect(path)) as connection:
            connection.execute("DELETE FROM endings")
        ledger = await open_sqlite(path, node="a")
        ended = [entry.outcome for entry in await everything(ledger)]
        assert [(one.state, one.cost_nano) for one in ended if one] == [("unknown", 700)] * 2
        before = await ledger.totals(Query(), ())
        assert await ledger.roll_up(NOON + 2 * DAY) == 2
        assert await ledger.totals(Query(), ()) == before
        assert [(total.attempts, total.cost_nano) for total in before] == [(2, 1405)]
        await ledger.close()

    async def test_a_log_damaged_in_its_middle_is_not_taken_for_a_torn_tail(self, tmp_path: Path) -> None:
        path = await copy_with_log(tmp_path, 20)
        log = Path(f"{path}-wal")
        damaged = bytearray(log.read_bytes())
        damaged[len(damaged) // 2] ^= 0xFF
        log.write_bytes(damaged)
        with pytest.raises(LedgerUnusable, match="write-ahead log is damaged"):
            await open_sqlite(path, node="a")


class TestPower:
    """LED-03: a copy of the files is what is there when the power goes. The log is cut at any byte behind the last
    sync, or holds anything there."""

    @pytest.fixture(scope="class")
    @classmethod
    def states(cls, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[bytes, bytes, int]]:
        """The file, its log, and how many attempts were acknowledged then."""
        return asyncio.run(commits(tmp_path_factory.mktemp("power")))

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(data=st.data())
    def test_every_acknowledged_row_is_there(
        self, states: list[tuple[bytes, bytes, int]], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        number = data.draw(st.integers(0, len(states) - 2))
        (main, log, acknowledged), (_, later, most) = states[number], states[number + 1]
        tail = bytearray(later[len(log) : data.draw(st.integers(len(log), len(later)))])
        if tail and data.draw(st.booleans()):
            place = data.draw(st.integers(0, len(tail) - 1))
            tail[place] ^= 0xFF
        path = tmp_path_factory.mktemp("state") / "ledger.db"
        path.write_bytes(main)
        Path(f"{path}-wal").write_bytes(log + tail)

        async def found() -> list[str]:
            ledger = await open_sqlite(path, node="a")
            try:
                return [entry.intent.attempt for entry in await everything(ledger)]
            finally:
                await ledger.close()

        attempts = asyncio.run(found())
        assert attempts[:acknowledged] == [str(number) for number in range(acknowledged)]
        assert acknowledged <= len(attempts) <= most
        assert check(path) == []
        shutil.rmtree(path.parent)


async def commits(folder: Path) -> list[tuple[bytes, bytes, int]]:
    ledger = await open_sqlite(folder / "ledger.db", node="a")
    states = []
    for number in range(25):
        await ledger.intend(intent(str(number), NOON + number))
        states.append(((folder / "ledger.db").read_bytes(), (folder / "ledger.db-wal").read_bytes(), number + 1))
    await ledger.close()
    assert all(next_[1].startswith(log) for (_, log, _), next_ in pairwise(states))
    return states


async def copy_with_log(folder: Path, count: int) -> Path:
    """As it lies there while the gateway runs."""
    ledger = await open_sqlite(folder / "ledger.db", node="a")
    for number in range(count):
        await ledger.intend(intent(str(number)))
    path = folder / "copy.db"
    shutil.copy(folder / "ledger.db", path)
    shutil.copy(folder / "ledger.db-wal", f"{path}-wal")
    await ledger.close()
    return path


def damage(path: Path, table: str) -> None:
    """Overwrites a leaf page in the middle of a table."""
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    pages = path.read_bytes()
    page = pages[(root - 1) * PAGE : root * PAGE]
    assert page[0] == 5, "an interior page of a table"
    cell = int.from_bytes(page[12 + int.from_bytes(page[3:5], "big") // 2 * 2 :][:2], "big")
    leaf = int.from_bytes(page[cell : cell + 4], "big")
    rubbish = random.Random(1).randbytes(PAGE)
    path.write_bytes(pages[: (leaf - 1) * PAGE] + rubbish + pages[leaf * PAGE :])


FIRST_ROWS = [
    Entry(
        intent("1"),
        outcome("1", 5, served="gpt-x", tier="flex", rates='{"input":1}', flags=("estimated",), verdicts="pii=clean"),
        7,
    ),
    Entry(intent("2", caller="bob"), outcome("2", None, state="failed", rates="", status=502)),
    Entry(intent("3"), None),
]
FIRST_COUNTS = {
    "origins": 2, "rates": 2, "intents": 3, "outcomes": 2, "corrections": 1, "rollups": 0, "idempotency": 0, "things": 0,
}  # fmt: skip


def first_version(path: Path) -> None:
    """A ledger as the first version wrote it, with the rows above."""
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        migrate(connection, MIGRATIONS[:1])
        for number, entry in enumerate(FIRST_ROWS, 1):
            began, ended = entry.intent, entry.outcome
            connection.execute(
                "INSERT OR IGNORE INTO origins (caller, team, labels, endpoint, model, provider, target, policy, node) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                origin_of(began.origin),
            )
            connection.execute(
                "INSERT INTO intents SELECT ?, ?, ?, ?, ?, id, ?, ? FROM origins WHERE caller = ?",
                (number, began.attempt, began.call, 1, began.at, began.reserved_nano, began.reserved_tokens,
                 began.origin.caller),
            )  # fmt: skip
            if ended:
                connection.execute("INSERT OR IGNORE INTO rates (text) VALUES (?)", (ended.rates,))
                connection.execute(
                    f"INSERT INTO outcomes SELECT ?, ?, ?, ?, {', '.join('?' * len(BUCKETS))}, ?, ?, id, ?, ?, ?, ? "
                    "FROM rates WHERE text = ?",
                    (number, ended.at, ended.state, ended.cost_nano, *ended.usage.counts(), ended.served, ended.tier,
                     ",".join(ended.flags), ended.status, ended.duration_s, ended.verdicts, ended.rates),
                )  # fmt: skip
        connection.execute("INSERT INTO corrections VALUES (1, 1, ?, 7, 'because')", (NOON,))


class TestAddresses:
    async def test_an_address_names_a_ledger(self, tmp_path: Path) -> None:
        for url, name in (
            ("", "ledger.db"),
            ("sqlite:other.db", "other.db"),
            (f"sqlite:{tmp_path / 'abs.db'}", "abs.db"),
        ):
            ledger = await open_ledger(url, tmp_path, node="a", sync="normal")
            assert isinstance(ledger, SqliteLedger) and (tmp_path / name).exists()
            await ledger.close()

    @pytest.mark.parametrize("url, sync", [("mysql://host/db", "full"), ("", "off")])
    async def test_what_is_not_known_is_refused(self, tmp_path: Path, url: str, sync: str) -> None:
        with pytest.raises(LedgerUnusable):
            await open_ledger(url, tmp_path, node="a", sync=sync)

    async def test_there_must_be_something_to_read(self, tmp_path: Path) -> None:
        with pytest.raises(LedgerUnusable, match="no ledger at"):
            await open_ledger("", tmp_path, node="a", sync="full", read_only=True)
        assert not (tmp_path / "ledger.db").exists()

    async def test_the_file_is_its_owner_s_alone(self, tmp_path: Path) -> None:
        ledger = await open_ledger("", tmp_path, node="a", sync="full")
        await spend(ledger, "1")
        assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}
        await ledger.close()
