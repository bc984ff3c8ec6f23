"""Intents and outcomes into their tables, many with one statement: the thread that writes gives the interpreter lock
away and wins it back once a statement, and beside a busy event loop that is what costs time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import cache

from gateway.core.accounts import Intent, Origin, Outcome
from gateway.core.usage import BUCKETS
from gateway.ledgers.rows import ORIGIN, origin_of
from gateway.ledgers.sqlite_schema import ENDING, USAGE

MOST_ROWS = 48
"""A statement is compiled for each number of rows up to this, and kept."""
_INTENT_COLUMNS = 7
_OUTCOME_COLUMNS = 5 + len(BUCKETS)
_KEPT_IDS = 20_000

_Statement = Callable[[int], str]


class Shared(dict[tuple[str | int, ...], int]):
    """The ids of what many rows share, by its values: what is not held is looked up in its table, or put there."""

    def __init__(self, connection: sqlite3.Connection, table: str, columns: Sequence[str]) -> None:
        super().__init__()
        places = ", ".join("?" * len(columns))
        self._connection = connection
        self._insert = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 - our names
        self._find = f"SELECT id FROM {table} WHERE ({', '.join(columns)}) = ({places})"  # noqa: S608

    def __missing__(self, values: tuple[str | int, ...]) -> int:
        self._connection.execute(self._insert, values)
        (found,) = self._connection.execute(self._find, values).fetchone()
        if len(self) >= _KEPT_IDS:
            self.clear()
        self[values] = found
        return int(found)


class SqliteTable:
    """Inserts inside the writer's transaction. What is there already, and outcomes of no intent, are passed over."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._origins = Shared(connection, "origins", ORIGIN)
        self._endings = Shared(connection, "endings", ENDING)
        self._seen: dict[int, tuple[Origin, int]] = {}

    def insert(self, intents: list[Intent], outcomes: list[Outcome]) -> None:
        seen, endings = self._seen, self._endings
        values: list[object] = []
        for began in intents:
            _, origin = seen.get(id(began.origin)) or self._see(began.origin)
            values += (
                began.attempt, began.call, began.number, began.at, origin, began.reserved_nano, began.reserved_tokens
            )  # fmt: skip
        self._execute(_intents_statement, _INTENT_COLUMNS, values)
        values = []
        for ended in outcomes:
            how = (
                ended.state, ended.served, ended.tier, ended.rates, ",".join(ended.flags), ended.status, ended.verdicts
            )  # fmt: skip
            values += (ended.at, endings[how], ended.cost_nano, *ended.usage.counts(), ended.duration_s, ended.attempt)
        self._execute(_outcomes_statement, _OUTCOME_COLUMNS, values)

    def rolled_back(self) -> None:
        """A transaction takes with it the ids that were made in it."""
        for ids in (self._origins, self._endings, self._seen):
            ids.clear()

    def _see(self, origin: Origin) -> tuple[Origin, int]:
        """The calls of one plan share the very object, which is found faster than its values. It is held with its id,
        or another could come to lie in its place."""
        if len(self._seen) >= _KEPT_IDS:
            self._seen.clear()
        held = self._seen[id(origin)] = (origin, self._origins[origin_of(origin)])
        return held

    def _execute(self, statement: _Statement, columns: int, values: list[object]) -> None:
        """`values` of the rows one behind the other."""
        most = MOST_ROWS * columns
        for begin in range(0, len(values), most):
            some = values[begin : begin + most]
            self._connection.execute(statement(len(some) // columns), some)


@cache
def _intents_statement(count: int) -> str:
    columns = "attempt, call, number, at, origin, reserved_nano, reserved_tokens"
    return f"INSERT OR IGNORE INTO intents ({columns}) VALUES {_places(_INTENT_COLUMNS, count)}"  # noqa: S608


@cache
def _outcomes_statement(count: int) -> str:
    values = ", ".join(f"v.column{number}" for number in range(1, _OUTCOME_COLUMNS))
    return (
        f"INSERT OR IGNORE INTO outcomes (id, at, ending, cost_nano, {USAGE}, duration_s) "  # noqa: S608 - our names
        f"SELECT i.id, {values} "
        f"FROM (VALUES {_places(_OUTCOME_COLUMNS, count)}) v "
        f"CROSS JOIN intents i ON i.attempt = v.column{_OUTCOME_COLUMNS}"
    )


def _places(columns: int, rows: int) -> str:
    return ", ".join([f"({', '.join('?' * columns)})"] * rows)
