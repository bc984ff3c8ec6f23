"""Intents and outcomes into their tables, many with one statement: the thread that writes gives the interpreter lock
away and wins it back once a statement, and beside a busy event loop that is what costs time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain

from gateway.core.accounts import Intent, Origin, Outcome
from gateway.core.usage import BUCKETS
from gateway.ledgers.rows import ORIGIN, origin_of, outcome_row
from gateway.ledgers.sqlite_schema import USAGE

MOST_ROWS = 48
"""A statement is compiled for each number of rows up to this, and kept."""
_INTENT_COLUMNS = 7
_OUTCOME_COLUMNS = 11 + len(BUCKETS)
_KEPT_IDS = 20_000

_Statement = Callable[[int], str]


class Shared:
    """The ids of what many rows share. Holds the latest; a transaction that is rolled back takes its ids with it."""

    def __init__(self, connection: sqlite3.Connection, table: str, columns: Sequence[str]) -> None:
        places = ", ".join("?" * len(columns))
        self._connection = connection
        self._insert = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 - our names
        self._find = f"SELECT id FROM {table} WHERE ({', '.join(columns)}) = ({places})"  # noqa: S608
        self._ids: dict[tuple[str, ...], int] = {}

    def id_of(self, values: tuple[str, ...]) -> int:
        found = self._ids.get(values)
        if found is None:
            self._connection.execute(self._insert, values)
            (found,) = self._connection.execute(self._find, values).fetchone()
            if len(self._ids) >= _KEPT_IDS:
                self._ids.clear()
            self._ids[values] = found
        return found

    def forget(self) -> None:
        self._ids.clear()


class SqliteTable:
    """Inserts inside the writer's transaction. What is there already, and outcomes of no intent, are passed over."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._origins = Shared(connection, "origins", ORIGIN)
        self._rates = Shared(connection, "rates", ("text",))

    def insert(self, intents: list[Intent], outcomes: list[Outcome]) -> None:
        rates = self._rates.id_of

        def origin(of: Origin) -> int:
            return self._origins.id_of(origin_of(of))

        rows: list[tuple[object, ...]] = [
            (row.attempt, row.call, row.number, row.at, origin(row.origin), row.reserved_nano, row.reserved_tokens)
            for row in intents
        ]
        self._execute(_intents_statement, rows)
        self._execute(_outcomes_statement, [outcome_row(row, rates((row.rates,))) for row in outcomes])

    def rolled_back(self) -> None:
        self._origins.forget()
        self._rates.forget()

    def _execute(self, statement: _Statement, rows: list[tuple[object, ...]]) -> None:
        for begin in range(0, len(rows), MOST_ROWS):
            some = rows[begin : begin + MOST_ROWS]
            self._connection.execute(statement(len(some)), tuple(chain.from_iterable(some)))


@cache
def _intents_statement(count: int) -> str:
    columns = "attempt, call, number, at, origin, reserved_nano, reserved_tokens"
    return f"INSERT OR IGNORE INTO intents ({columns}) VALUES {_places(_INTENT_COLUMNS, count)}"  # noqa: S608


@cache
def _outcomes_statement(count: int) -> str:
    values = ", ".join(f"v.column{number}" for number in range(1, _OUTCOME_COLUMNS))
    return (
        f"INSERT OR IGNORE INTO outcomes (id, at, state, cost_nano, {USAGE}, "  # noqa: S608 - our names
        f"served, tier, rates, flags, status, duration_s, verdicts) SELECT i.id, {values} "
        f"FROM (VALUES {_places(_OUTCOME_COLUMNS, count)}) v "
        f"CROSS JOIN intents i ON i.attempt = v.column{_OUTCOME_COLUMNS}"
    )


def _places(columns: int, rows: int) -> str:
    return ", ".join([f"({', '.join('?' * columns)})"] * rows)
