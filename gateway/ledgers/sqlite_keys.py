"""Jobs on the SQLite ledger: idempotency keys, and whose stored objects are."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from gateway.core.accounts import Claim
from gateway.ledgers.sqlite_upkeep import CLAIM_S


def claim(connection: sqlite3.Connection, node: str, key: str, body: str, call: str, at: float) -> Claim:
    """`reply` is NULL while the call runs."""
    row = connection.execute("SELECT body, reply, at FROM idempotency WHERE key = ?", (key,)).fetchone()
    if row is None or row[2] <= at - CLAIM_S:
        values = (key, body, call, node, at)
        connection.execute("INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?, ?, NULL)", values)
        return Claim("new")
    if row[0] != body:
        return Claim("different")
    return Claim("running") if row[1] is None else Claim("done", row[1])


def keep(connection: sqlite3.Connection, key: str, reply: bytes | None) -> None:
    if reply is None:
        connection.execute("DELETE FROM idempotency WHERE key = ?", (key,))
    else:
        connection.execute("UPDATE idempotency SET reply = ? WHERE key = ?", (reply, key))


def own(
    connection: sqlite3.Connection, things: Sequence[str], team: str, caller: str, provider: str, at: float
) -> None:
    """The first one holds."""
    rows = [(thing, team, caller, provider, at) for thing in things]
    connection.executemany("INSERT OR IGNORE INTO things VALUES (?, ?, ?, ?, ?)", rows)


def owners(connection: sqlite3.Connection, things: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    found = {}
    for thing in things:
        row = connection.execute("SELECT team, caller, provider FROM things WHERE thing = ?", (thing,)).fetchone()
        if row:
            found[thing] = (row[0], row[1], row[2])
    return found
