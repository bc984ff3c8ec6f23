"""The files of the SQLite ledger: opening, locking, checking, and saving what can be read of a damaged one.

`ledger.db`, `ledger.db-wal` (rows not yet in the former), `ledger.db-shm`, and `ledger.db.lock`.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Literal

from gateway.core.ports import LedgerUnusable
from gateway.ledgers.sqlite_schema import MIGRATIONS, checked_version, migrate

BUSY_S = 5.0
_PAUSE_S = 0.01
_WAL_HEADER, _FRAME_HEADER = 32, 24
_TABLES = (
    "origins", "rates", "endings", "intents", "extensions", "outcomes", "corrections", "rollups", "idempotency",
    "things",
)  # fmt: skip
"""Of all versions, in the order in which they can be filled."""


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """For one thread at a time. Statements begin their transactions themselves."""
    address = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
    return sqlite3.connect(address, uri=True, isolation_level=None, timeout=BUSY_S, check_same_thread=False)


def lock_file(path: Path) -> int:
    """A descriptor that holds the ledger for this process, until it is closed or the process ends."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise LedgerUnusable(
            f"the ledger {path} is in use by another gateway: stop that one, or give this one a folder of its own"
        ) from None
    return descriptor


def open_writer(
    path: Path, sync: Literal["full", "normal"], *, alone: bool, version: int = len(MIGRATIONS)
) -> sqlite3.Connection:
    """Checked and of that version of the schema. `alone`: no other process has it open, so its files can be looked
    at."""
    if not path.exists():
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def prepare(connection: sqlite3.Connection) -> None:
        _to_wal(connection)
        connection.execute(f"PRAGMA synchronous = {sync}")
        if alone:
            _check_opened(connection, path, sync)
        migrate(connection, MIGRATIONS[:version])

    return _prepared(path, prepare, read_only=False)


def _to_wal(connection: sqlite3.Connection) -> None:
    """The lock that a new file is changed under is one that SQLite does not wait for: processes may begin at once."""
    until = monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > until:
                raise
            sleep(_PAUSE_S)
        else:
            return


def open_reader(path: Path, oldest: int = len(MIGRATIONS)) -> sqlite3.Connection:
    """`oldest`: the version of the schema that the reader must find at least."""

    def prepare(connection: sqlite3.Connection) -> None:
        version = checked_version(connection)
        if version == 0:
            raise LedgerUnusable(f"there is no ledger at {path}: the file is empty")
        if version < oldest:
            raise LedgerUnusable(
                f"the ledger {path} has schema version {version}, written by an older gateway: start the gateway on it "
                "once, which brings it up to date"
            )

    if not path.exists():
        raise LedgerUnusable(f"there is no ledger at {path}")
    return _prepared(path, prepare, read_only=True)


def _prepared(path: Path, prepare: Callable[[sqlite3.Connection], None], *, read_only: bool) -> sqlite3.Connection:
    connection = connect(path, read_only=read_only)
    try:
        connection.execute("PRAGMA temp_store = MEMORY")
        prepare(connection)
    except BaseException as failure:
        connection.close()
        if isinstance(failure, sqlite3.DatabaseError):
            raise damaged(path, failure) from failure
        raise
    return connection


def damaged(path: Path, failure: object) -> LedgerUnusable:
    what = " ".join(str(failure).split())
    return LedgerUnusable(
        f"the ledger {path} cannot be read ({what}): look with `gateway ledger check {path}`, then restore a backup "
        f"or save what can be read with `gateway ledger rebuild {path}`"
    )


def check(path: Path) -> list[str]:
    """What is wrong with the file; empty when it is sound. Reads all of it."""
    try:
        connection = open_reader(path, oldest=1)
        try:
            found = [str(line) for (line,) in connection.execute("PRAGMA integrity_check(20)") if line != "ok"]
            strays = "SELECT COUNT(*) FROM outcomes WHERE id NOT IN (SELECT id FROM intents)"
            (count,) = connection.execute(strays).fetchone()
        finally:
            connection.close()
    except sqlite3.DatabaseError as failure:
        return [str(failure)]
    return found + ([f"{count} outcomes without an intent"] if count else [])


def salvage(path: Path, into: Path) -> dict[str, int]:
    """Copies the rows that can be read into a new ledger; how many, by table. What lies in damaged pages is lost."""
    if into.exists():
        raise LedgerUnusable(f"{into} is there already: name a new file")
    source = connect(path, read_only=True)
    target = open_writer(into, "full", alone=True, version=_version_of(source))
    try:
        copied = {table: _copy(source, target, table) for table in _TABLES if _has(target, table)}
        migrate(target)
    finally:
        source.close()
        target.close()
    return copied


def _version_of(source: sqlite3.Connection) -> int:
    """Where it cannot be read, the file is taken for one of this program."""
    try:
        return checked_version(source) or len(MIGRATIONS)
    except sqlite3.DatabaseError:
        return len(MIGRATIONS)


def _has(connection: sqlite3.Connection, table: str) -> bool:
    return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone())


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> int:
    """By row id, and on beyond what cannot be read, in steps that grow until something can: slowly, for what is stepped
    over is lost."""
    columns = [row[1] for row in target.execute(f"PRAGMA table_info({table})")]
    key = "origin" if table == "rollups" else "rowid"
    order = "origin, day" if table == "rollups" else "rowid"
    statement = f"SELECT {key}, {', '.join(columns)} FROM {table} NOT INDEXED WHERE {key} > ? ORDER BY {order}"  # noqa: S608
    insert = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608
    place, step, copied = -1, 1, 0
    target.execute("BEGIN")
    while place < 2**62:
        try:
            for row in source.execute(statement, (place,)):
                copied += target.execute(insert, row[1:]).rowcount
                place, step = row[0], 1
            break
        except sqlite3.DatabaseError:
            place, step = place + step, step + step // 8 + 1
    target.execute("COMMIT")
    return copied


def _check_opened(connection: sqlite3.Connection, path: Path, sync: str) -> None:
    """A tail that a crash left unfinished is dropped, which loses nothing that was acknowledged. With a sync at every
    commit no second commit can follow a frame that was not written: if one does, the log is damaged in its middle."""
    (_, kept, _) = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if sync == "full" and _commits_behind(Path(f"{path}-wal"), kept) > 1:
        raise damaged(path, "its write-ahead log is damaged")
    (line,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if line != "ok":
        raise damaged(path, line)


def _commits_behind(wal: Path, kept: int) -> int:
    """Frames of the log that end a transaction and that SQLite did not take. A frame has the salts of its log."""
    try:
        with wal.open("rb") as file:
            header = file.read(_WAL_HEADER)
            page = int.from_bytes(header[8:12], "big")
            file.seek(_WAL_HEADER + max(0, kept) * (page + _FRAME_HEADER))
            count = 0
            while len(frame := file.read(page + _FRAME_HEADER)) == page + _FRAME_HEADER:
                count += frame[8:16] == header[16:24] and frame[4:8] != bytes(4)
            return count
    except FileNotFoundError:
        return 0
