"""The tables of the SQLite ledger, and how an older file becomes a newer one.

An intent's row id is also that of its outcome: one terminal row by construction. What many rows share (who asked for
what where; how it ended) is kept once, in `origins` and `endings`: rows stay small, and sums are made by number.
`running` holds the intents without an outcome, so that nobody looks for them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from gateway.core.ports import LedgerUnusable
from gateway.core.usage import BUCKETS

USAGE = ", ".join(BUCKETS)
ENDING = ("state", "served", "tier", "rates", "flags", "status", "verdicts")
"""The columns of `endings`."""
NOT_SEEN = ("unknown", "", "", "", "", 0, "")
"""The ending of an attempt whose end was not seen."""
ESTIMATED = "COALESCE(instr(',' || e.flags || ',', ',estimated,') > 0, 0)"
"""Whether an ending `e` is one whose usage is an estimate."""
HELD = "i.reserved_nano + (SELECT COALESCE(SUM(nano), 0) FROM extensions WHERE intent = i.id)"
"""What an intent `i` has reserved, in nano-dollars."""
SUMS = f"attempts, cost_nano, {USAGE}, unpriced, estimated, unknown, failed"

_KEPT = """
CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table}
BEGIN SELECT RAISE(ABORT, '{table} is append-only: correct it by a further row'); END;
CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} WHEN NOT EXISTS (SELECT 1 FROM meta WHERE key = 'rolling_up')
BEGIN SELECT RAISE(ABORT, '{table} is append-only: correct it by a further row'); END;
"""

# INSERT OR REPLACE would remove a row without asking the triggers above, so a row that is there is never inserted.
_ONCE = """
CREATE TRIGGER {table}_once BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id)
BEGIN SELECT RAISE(IGNORE); END;
"""
_FIRST = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE origins (
  id INTEGER PRIMARY KEY, caller TEXT NOT NULL, team TEXT NOT NULL, labels TEXT NOT NULL, endpoint TEXT NOT NULL,
  model TEXT NOT NULL, provider TEXT NOT NULL, target TEXT NOT NULL, policy TEXT NOT NULL, node TEXT NOT NULL,
  UNIQUE (caller, team, labels, endpoint, model, provider, target, policy, node));
CREATE TABLE rates (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE intents (
  id INTEGER PRIMARY KEY, attempt TEXT NOT NULL UNIQUE, call TEXT NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL,
  origin INTEGER NOT NULL, reserved_nano INTEGER NOT NULL, reserved_tokens INTEGER NOT NULL);
CREATE INDEX intents_at ON intents (at);
CREATE INDEX intents_origin_at ON intents (origin, at);
CREATE TABLE outcomes (
  id INTEGER PRIMARY KEY, at REAL NOT NULL, state TEXT NOT NULL, cost_nano INTEGER,
  {", ".join(f"{bucket} INTEGER NOT NULL" for bucket in BUCKETS)},
  served TEXT NOT NULL, tier TEXT NOT NULL, rates INTEGER NOT NULL, flags TEXT NOT NULL, status INTEGER NOT NULL,
  duration_s REAL NOT NULL, verdicts TEXT NOT NULL);
CREATE TABLE running (id INTEGER PRIMARY KEY);
CREATE TABLE corrections (
  id INTEGER PRIMARY KEY, intent INTEGER NOT NULL, at REAL NOT NULL, delta_nano INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE INDEX corrections_intent ON corrections (intent);
CREATE TABLE rollups (
  origin INTEGER NOT NULL, day INTEGER NOT NULL,
  {", ".join(f"{name} INTEGER NOT NULL" for name in SUMS.split(", "))},
  PRIMARY KEY (origin, day)) WITHOUT ROWID;
CREATE TABLE idempotency (
  key TEXT PRIMARY KEY, body TEXT NOT NULL, call TEXT NOT NULL, node TEXT NOT NULL, at REAL NOT NULL, reply BLOB);
CREATE INDEX idempotency_at ON idempotency (at);
CREATE TABLE things (
  thing TEXT PRIMARY KEY, team TEXT NOT NULL, caller TEXT NOT NULL, provider TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE nodes (node TEXT PRIMARY KEY, beat_at REAL NOT NULL) WITHOUT ROWID;
CREATE TRIGGER intents_once BEFORE INSERT ON intents
WHEN EXISTS (SELECT 1 FROM intents WHERE attempt = NEW.attempt) OR EXISTS (SELECT 1 FROM intents WHERE id = NEW.id)
BEGIN SELECT RAISE(IGNORE); END;
CREATE TRIGGER outcomes_once BEFORE INSERT ON outcomes WHEN EXISTS (SELECT 1 FROM outcomes WHERE id = NEW.id)
BEGIN SELECT RAISE(IGNORE); END;
CREATE TRIGGER intents_run AFTER INSERT ON intents BEGIN INSERT INTO running VALUES (NEW.id); END;
CREATE TRIGGER outcomes_end AFTER INSERT ON outcomes BEGIN DELETE FROM running WHERE id = NEW.id; END;
{"".join(_KEPT.format(table=table) for table in ("intents", "outcomes", "corrections"))}
"""  # noqa: S608 - our names

# What many outcomes share becomes a row of `endings`. That an outcome was not due is seen after the fact as well, and a
# trigger less means that SQLite works out all columns of a row once less; a roll-back, other than an abort, needs no
# journal of the statement. A row that leaves its id to SQLite has -1 there before it is inserted.
_SECOND = f"""
DROP TRIGGER intents_once;
CREATE TRIGGER intents_once BEFORE INSERT ON intents
WHEN EXISTS (SELECT 1 FROM intents WHERE attempt = NEW.attempt)
  OR (NEW.id <> -1 AND EXISTS (SELECT 1 FROM intents WHERE id = NEW.id))
BEGIN SELECT RAISE(IGNORE); END;
CREATE TABLE endings (
  id INTEGER PRIMARY KEY, state TEXT NOT NULL, served TEXT NOT NULL, tier TEXT NOT NULL, rates TEXT NOT NULL,
  flags TEXT NOT NULL, status INTEGER NOT NULL, verdicts TEXT NOT NULL,
  UNIQUE ({", ".join(ENDING)}));
INSERT INTO endings ({", ".join(ENDING)})
SELECT DISTINCT o.state, o.served, o.tier, COALESCE(r.text, ''), o.flags, o.status, o.verdicts
FROM outcomes o LEFT JOIN rates r ON r.id = o.rates;
CREATE TABLE ended (
  id INTEGER PRIMARY KEY, at REAL NOT NULL, ending INTEGER NOT NULL, cost_nano INTEGER,
  {", ".join(f"{bucket} INTEGER NOT NULL" for bucket in BUCKETS)}, duration_s REAL NOT NULL);
INSERT INTO ended (id, at, ending, cost_nano, {USAGE}, duration_s)
SELECT o.id, o.at, e.id, o.cost_nano, {", ".join(f"o.{bucket}" for bucket in BUCKETS)}, o.duration_s
FROM outcomes o LEFT JOIN rates r ON r.id = o.rates CROSS JOIN endings e ON
  ({", ".join(f"e.{name}" for name in ENDING)}) =
  (o.state, o.served, o.tier, COALESCE(r.text, ''), o.flags, o.status, o.verdicts)
ORDER BY o.id;
DROP TABLE outcomes;
DROP TABLE rates;
ALTER TABLE ended RENAME TO outcomes;
CREATE TRIGGER outcomes_end AFTER INSERT ON outcomes
BEGIN
  SELECT RAISE(ROLLBACK, 'outcomes is append-only: correct it by a further row')
  WHERE NOT EXISTS (SELECT 1 FROM running WHERE id = NEW.id) AND EXISTS (SELECT 1 FROM intents WHERE id = NEW.id);
  DELETE FROM running WHERE id = NEW.id;
END;
CREATE TABLE extensions (
  id INTEGER PRIMARY KEY, intent INTEGER NOT NULL, at REAL NOT NULL, nano INTEGER NOT NULL, tokens INTEGER NOT NULL);
CREATE INDEX extensions_intent ON extensions (intent);
{"".join(_KEPT.format(table=table) for table in ("outcomes", "extensions"))}
{"".join(_ONCE.format(table=table) for table in ("corrections", "extensions"))}
"""  # noqa: S608 - our names

MIGRATIONS: tuple[str, ...] = (_FIRST, _SECOND)
"""Each brings the schema to the next version; the first makes version 1. What was released is never edited."""


def migrate(connection: sqlite3.Connection, migrations: Sequence[str] = MIGRATIONS) -> None:
    """To the newest version, in one transaction. Several processes may do so at once."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = checked_version(connection, len(migrations))
        for script in migrations[version:]:
            for statement in _statements(script):
                connection.execute(statement)
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('version', ?)", (len(migrations),))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def checked_version(connection: sqlite3.Connection, newest: int = len(MIGRATIONS)) -> int:
    """0: an empty file. LedgerUnusable for one that this program would misread."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return 0
    if "meta" not in tables:
        raise LedgerUnusable("this SQLite file is not a ledger: name another file for it")
    version = int(connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()[0])
    if version > newest:
        raise LedgerUnusable(
            f"the ledger has schema version {version}, written by a newer gateway; this one knows up to {newest}: "
            "run the newer version, or restore the backup from before the upgrade"
        )
    return version


def _statements(script: str) -> list[str]:
    """executescript would commit first."""
    found, statement = [], ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            found.append(statement)
            statement = ""
    return found
