"""Jobs on the SQLite ledger that conclude, correct and sum up rows. Each runs inside the writer's transaction, and
raises what is its caller's fault before it writes anything."""

from __future__ import annotations

import sqlite3
import time

from gateway.core.usage import BUCKETS
from gateway.ledgers.rows import DAY_S
from gateway.ledgers.sqlite_insert import Shared
from gateway.ledgers.sqlite_schema import ENDING, ESTIMATED, HELD, NOT_SEEN, SUMS, USAGE

DEAD_S = 30.0
CLAIM_S = 86400.0
SLICE = 5000
"""Attempts summed up in one transaction: other rows need not wait long."""

_UNKNOWN = f"""
INSERT OR IGNORE INTO outcomes (id, at, ending, cost_nano, {USAGE}, duration_s)
SELECT i.id, :at, :ending, {HELD}, {", ".join("0" * len(BUCKETS))}, 0.0
FROM running CROSS JOIN intents i ON i.id = running.id CROSS JOIN origins g ON g.id = i.origin WHERE
"""  # noqa: S608 - our names
_ALIVE = "EXISTS (SELECT 1 FROM nodes n WHERE n.node = {node} AND n.beat_at BETWEEN :now - :dead AND :now)"
_DEAD = f"CASE g.node WHEN :node THEN i.id <= :born ELSE NOT {_ALIVE.format(node='g.node')} END"
"""Whether the process of an intent is. What its name left open before this one began belongs to one that died."""
_ROLL_UP = f"""
INSERT INTO rollups (origin, day, {SUMS})
SELECT i.origin, CAST(i.at / {DAY_S} AS INTEGER) AS day, COUNT(*),
  COALESCE(SUM(o.cost_nano), 0) + COALESCE(SUM((SELECT SUM(delta_nano) FROM corrections WHERE intent = i.id)), 0),
  {", ".join(f"SUM(o.{bucket})" for bucket in BUCKETS)}, SUM(o.cost_nano IS NULL),
  SUM({ESTIMATED}), COALESCE(SUM(e.state = 'unknown'), 0), COALESCE(SUM(e.state = 'failed'), 0)
FROM rolling CROSS JOIN intents i ON i.id = rolling.id CROSS JOIN outcomes o ON o.id = i.id
  LEFT JOIN endings e ON e.id = o.ending WHERE TRUE GROUP BY 1, 2
ON CONFLICT DO UPDATE SET {", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS.split(", "))}
"""  # noqa: S608 - our names


def beat(connection: sqlite3.Connection, node: str) -> None:
    """By the machine's monotonic clock, which all its processes share: a step of the wall clock kills nobody."""
    connection.execute("INSERT OR REPLACE INTO nodes VALUES (?, ?)", (node, time.monotonic()))


def last_intent(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT COALESCE(MAX(id), 0) FROM intents").fetchone()[0])


def extend(connection: sqlite3.Connection, attempt: str, nano: int, tokens: int, at: float) -> None:
    running = "SELECT i.id, ?, ?, ? FROM intents i CROSS JOIN running ON running.id = i.id WHERE i.attempt = ?"
    connection.execute(f"INSERT INTO extensions (intent, at, nano, tokens) {running}", (at, nano, tokens, attempt))


def close_orphan(connection: sqlite3.Connection, node: str, born: int, attempt: str, at: float) -> int | None:
    """`born`: the last row when this process began."""
    values = _now(node, born, at) | {"attempt": attempt, "ending": _not_seen(connection)}
    connection.execute(f"{_UNKNOWN} i.attempt = :attempt AND {_DEAD}", values)
    found = "SELECT o.id IS NULL, o.cost_nano FROM intents i LEFT JOIN outcomes o ON o.id = i.id WHERE i.attempt = ?"
    lives, cost = connection.execute(found, (attempt,)).fetchone() or (False, 0)
    return None if lives else cost or 0


def recover(connection: sqlite3.Connection, node: str, born: int, at: float) -> int:
    values = _now(node, born, at)
    _end_claims(connection, values)
    done = connection.execute(f"{_UNKNOWN} {_DEAD}", values | {"ending": _not_seen(connection)}).rowcount
    connection.execute("DELETE FROM nodes WHERE beat_at NOT BETWEEN :now - :dead AND :now", values)
    return done


def _end_claims(connection: sqlite3.Connection, values: dict[str, object]) -> None:
    """A key that a dead process took repeats nothing if anything was sent for it, and is free if nothing was."""
    connection.execute("DELETE FROM idempotency WHERE at <= :at - :kept", values | {"kept": CLAIM_S})
    orphan = f"reply IS NULL AND node <> :node AND NOT {_ALIVE.format(node='idempotency.node')}"
    sent = "EXISTS (SELECT 1 FROM intents i WHERE i.at >= idempotency.at - 60 AND i.call = idempotency.call)"
    connection.execute(f"UPDATE idempotency SET reply = x'' WHERE {orphan} AND {sent}", values)  # noqa: S608
    connection.execute(f"DELETE FROM idempotency WHERE {orphan}", values)  # noqa: S608


def correct(connection: sqlite3.Connection, attempt: str, delta_nano: int, reason: str, at: float) -> None:
    row = connection.execute("SELECT id FROM intents WHERE attempt = ?", (attempt,)).fetchone()
    if row is None:
        raise KeyError(attempt)
    values = (row[0], at, delta_nano, reason)
    connection.execute("INSERT INTO corrections (intent, at, delta_nano, reason) VALUES (?, ?, ?, ?)", values)


def roll_up(connection: sqlite3.Connection, before_at: float) -> int:
    """The oldest `SLICE` of the attempts that began before, which is the begin of a day; how many there were."""
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS rolling (id INTEGER PRIMARY KEY)")
    connection.execute("DELETE FROM rolling")
    oldest = "SELECT i.id FROM intents i CROSS JOIN outcomes o ON o.id = i.id WHERE i.at < ? ORDER BY i.at LIMIT ?"
    count = connection.execute(f"INSERT INTO rolling {oldest}", (before_at, SLICE)).rowcount
    if count:
        connection.execute(_ROLL_UP)
        connection.execute("INSERT INTO meta VALUES ('rolling_up', 1)")
        connection.execute("DELETE FROM corrections WHERE intent IN (SELECT id FROM rolling)")
        connection.execute("DELETE FROM extensions WHERE intent IN (SELECT id FROM rolling)")
        connection.execute("DELETE FROM outcomes WHERE id IN (SELECT id FROM rolling)")
        connection.execute("DELETE FROM intents WHERE id IN (SELECT id FROM rolling)")
        connection.execute("DELETE FROM meta WHERE key = 'rolling_up'")
    connection.execute("DELETE FROM things WHERE at < ?", (before_at,))
    return count


def _now(node: str, born: int, at: float) -> dict[str, object]:
    """What `_DEAD` asks for, and the wall time."""
    return {"node": node, "born": born, "at": at, "now": time.monotonic(), "dead": DEAD_S}


def _not_seen(connection: sqlite3.Connection) -> int:
    return Shared(connection, "endings", ENDING)[NOT_SEEN]
