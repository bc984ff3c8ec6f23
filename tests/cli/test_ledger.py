"""The accounting commands on a real ledger, as a gateway writes it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest

from gateway.__main__ import main
from gateway.core.accounts import Entry
from gateway.core.usage import Usage
from gateway.ledgers.table import open_ledger
from tests.cli.fakes import entry


async def written(folder: Path, *rows: Entry) -> None:
    ledger = await open_ledger("", folder, node="node-1", sync="normal")
    for row in rows:
        await ledger.intend(row.intent)
        if row.outcome is not None:
            await ledger.conclude(row.outcome)
    await ledger.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path))
    return tmp_path


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out.splitlines()


def test_usage_is_read_while_a_gateway_holds_the_ledger(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def beside_a_gateway() -> int:
        ledger = await open_ledger("", folder, node="node-1", sync="normal")
        row = entry(cost=1_500, usage=Usage(10, cached_input=4, output=5), labels={"env": "=prod"})
        await ledger.intend(row.intent)
        await ledger.conclude(row.outcome)
        try:
            return await asyncio.to_thread(
                main, ["usage", "--json", "--since", "2026-11-01", "--by", "caller,label.env"]
            )
        finally:
            await ledger.close()

    assert asyncio.run(beside_a_gateway()) == 0
    [document] = map(json.loads, lines(capsys))
    [row] = document["rows"]
    assert (row["caller"], row["label.env"], row["input_tokens"], row["cost_nano"]) == ("app", "=prod", 14, 1_500)


def test_a_correction_is_seen_in_the_sums_and_in_the_explanation(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """LED-08"""
    asyncio.run(written(folder, entry(cost=1_500)))
    assert main(["usage", "correct", "req_1.1", "--usd", "-0.0000005", "--reason", "credit"]) == 0
    assert main(["usage", "--since", "2026-11-01"]) == 0
    assert main(["usage", "explain", "req_1"]) == 0
    told = lines(capsys)
    assert told[0] == "req_1.1: corrected by -0.0000005 USD"
    assert "corrected   -0.0000005 USD" in told
    assert "cost        0.000001 USD" in told


def test_a_ledger_that_is_not_there_is_told_and_not_made(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (
        ["usage"],
        ["usage", "explain", "x"],
        ["usage", "correct", "x.1", "--usd", "1", "--reason", "x"],
        ["ledger", "check"],
    ):
        assert main(command) == 2
        assert capsys.readouterr().err == f"there is no ledger at {folder}/ledger.db\n"
    assert list(folder.iterdir()) == []


def test_a_sound_ledger_passes_the_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(written(folder, entry()))
    assert main(["ledger", "check"]) == 0
    assert main(["ledger", "check", str(folder / "ledger.db")]) == 0
    assert lines(capsys) == [f"{folder}/ledger.db: sound"] * 2


def test_a_damaged_ledger_is_told_and_what_can_be_read_is_saved(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """LED-06"""
    asyncio.run(written(folder, *(entry(f"req_{number:04}.1") for number in range(500))))
    file = folder / "ledger.db"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    data = bytearray(file.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = bytes(4096)
    file.write_bytes(data)
    assert main(["ledger", "check", str(file)]) == 1
    assert f"gateway ledger rebuild {file}" in "".join(capsys.readouterr())
    assert main(["ledger", "rebuild", str(file)]) == 0
    assert capsys.readouterr().out.startswith(f"{folder}/ledger.rebuilt.db: ")
    assert bytes(data) == file.read_bytes()
    assert main(["ledger", "check", str(folder / "ledger.rebuilt.db")]) == 0
    assert main(["ledger", "rebuild", str(file)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_ledger_elsewhere_has_tools_of_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GATEWAY_LEDGER", "postgresql://127.0.0.1:1/gateway")
    assert main(["ledger", "check"]) == 2
    assert "PostgreSQL" in capsys.readouterr().err
    assert main(["ledger", "rebuild", str(folder / "none.db")]) == 2
