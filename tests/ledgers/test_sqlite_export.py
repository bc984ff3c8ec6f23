"""Any number of rows is read in bounded memory."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from gateway.core.accounts import Query
from gateway.ledgers.rows import origin_of
from gateway.ledgers.sqlite import open_sqlite
from gateway.ledgers.sqlite_files import connect
from gateway.ledgers.sqlite_insert import SqliteTable
from tests.ledgers.contract import NOON, intent, outcome

ROWS = 100_000


def fill(path: Path, count: int) -> None:
    with closing(connect(path)) as connection:
        connection.execute("BEGIN")
        table = SqliteTable(connection)
        for start in range(0, count, 1000):
            numbers = range(start, min(start + 1000, count))
            table.insert(
                [intent(f"{n:08}", NOON + n, caller=f"caller {n % 20}") for n in numbers],
                [outcome(f"{n:08}", n, rates='{"input":1}') for n in numbers],
            )
        connection.execute("COMMIT")


async def test_an_export_needs_no_more_memory_for_more_rows(tmp_path: Path) -> None:
    """LED-10"""
    ledger = await open_sqlite(tmp_path / "ledger.db", node="a")
    fill(tmp_path / "ledger.db", ROWS)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmRSS")
    count, last = 0, ""
    async for entry in ledger.entries(Query()):
        count += 1
        assert entry.intent.attempt > last
        last = entry.intent.attempt
    totals = await ledger.totals(Query(), ("caller",))
    assert count == ROWS
    assert sum(total.cost_nano for total in totals) == ROWS * (ROWS - 1) // 2 and len(totals) == 20
    assert memory("VmHWM") - before < 32 * 2**10, "all of them at once take 150 MiB"
    await ledger.close()


def memory(name: str) -> int:
    """Of this process, KiB. tracemalloc would count the same and take ten times as long."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0])


def test_equal_labels_make_one_origin() -> None:
    one, other = intent("1", labels={"a": "1", "b": "ü"}), intent("2", labels={"b": "ü", "a": "1"})
    assert origin_of(one.origin) == origin_of(other.origin) != origin_of(intent("3", labels={}).origin)
