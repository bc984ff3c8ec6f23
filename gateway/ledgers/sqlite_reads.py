"""What is read from the SQLite ledger. Each function gets a connection inside a read transaction: one snapshot."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import orjson

from gateway.core.accounts import Ask, Entry, Intent, Origin, Outcome, Query, Seed, Total
from gateway.core.usage import BUCKETS, Usage
from gateway.ledgers.rows import DAY_S, DIMENSIONS, Totals, checked
from gateway.ledgers.sqlite_schema import ENDING, ESTIMATED, HELD, NOT_SEEN, SUMS, USAGE

PAGE = 1000
_NEVER_AT = 1e15
_ENDED = ", ".join(f"COALESCE(e.{name}, {lost!r})" for name, lost in zip(ENDING, NOT_SEEN, strict=True))
_ENTRY = f"""
SELECT i.id, i.attempt, i.call, i.number, i.at, g.node, g.caller, g.team, g.labels, g.endpoint, g.model, g.provider,
  g.target, g.policy, i.reserved_nano, i.reserved_tokens,
  o.at, o.cost_nano, {USAGE}, o.duration_s, {_ENDED},
  (SELECT COALESCE(SUM(delta_nano), 0) FROM corrections WHERE intent = i.id),
  (SELECT COALESCE(SUM(nano), 0) FROM extensions WHERE intent = i.id),
  (SELECT COALESCE(SUM(tokens), 0) FROM extensions WHERE intent = i.id)
FROM intents i CROSS JOIN origins g ON g.id = i.origin LEFT JOIN outcomes o ON o.id = i.id
  LEFT JOIN endings e ON e.id = o.ending
"""  # noqa: S608 - our names
_SPENT = """
SELECT COALESCE(SUM(nano), 0) FROM (
  SELECT SUM(o.cost_nano) AS nano FROM intents i CROSS JOIN outcomes o ON o.id = i.id WHERE {attempts}
  UNION ALL
  SELECT SUM(c.delta_nano) FROM corrections c CROSS JOIN intents i ON i.id = c.intent WHERE {attempts}
  UNION ALL
  SELECT SUM(cost_nano) FROM rollups WHERE {days})
"""
_OPEN = f"SELECT i.attempt, {HELD} FROM running CROSS JOIN intents i ON i.id = running.id WHERE {{attempts}}"  # noqa: S608
_TOTALS = f"""
SELECT {", ".join(f"g.{name}" for name in DIMENSIONS)}, g.labels, s.* FROM (
  SELECT s.origin, s.day, s.attempts, s.cost_nano, {", ".join(f"s.{bucket}" for bucket in BUCKETS)}, s.unpriced,
    s.attempts * {ESTIMATED}, s.attempts * COALESCE(e.state = 'unknown', 0),
    s.attempts * COALESCE(e.state = 'failed', 0)
  FROM (
    SELECT i.origin, CAST(i.at / {DAY_S} AS INTEGER) AS day, o.ending, COUNT(*) AS attempts,
      COALESCE(SUM(o.cost_nano), 0) AS cost_nano,
      {", ".join(f"COALESCE(SUM(o.{bucket}), 0) AS {bucket}" for bucket in BUCKETS)},
      SUM(o.id IS NOT NULL AND o.cost_nano IS NULL) AS unpriced
    FROM intents i LEFT JOIN outcomes o ON o.id = i.id WHERE {{attempts}} GROUP BY 1, 2, 3) s
  LEFT JOIN endings e ON e.id = s.ending
  UNION ALL
  SELECT i.origin, CAST(i.at / {DAY_S} AS INTEGER), 0, c.delta_nano, {", ".join("0" * (len(BUCKETS) + 4))}
  FROM corrections c CROSS JOIN intents i ON i.id = c.intent WHERE {{attempts}}
  UNION ALL
  SELECT origin, day, {SUMS} FROM rollups WHERE {{days}}) s
CROSS JOIN origins g ON g.id = s.origin
"""  # noqa: S608 - our names


class _Part:
    """The SQL of a range of time and of values of dimensions, and its parameters by name."""

    def __init__(self, since_at: float, until_at: float | None, where: Sequence[tuple[str, str]]) -> None:
        self.values: dict[str, object] = {"since": since_at, "until": _NEVER_AT if until_at is None else until_at}
        terms = [self._term(f"v{number}", name, value) for number, (name, value) in enumerate(where)]
        self.origins = " AND ".join(terms)
        mine = f" AND origin IN (SELECT id FROM origins g WHERE {self.origins})" if terms else ""  # noqa: S608
        self.attempts = f"i.at >= :since AND i.at < :until{mine}"
        self.days = f"day * {DAY_S} >= :since AND day * {DAY_S} < :until{mine}"

    def _term(self, place: str, dimension: str, value: str) -> str:
        self.values[place] = value
        if not checked(dimension).startswith("label."):
            return f"g.{dimension} = :{place}"
        self.values[f"{place}_name"] = dimension.removeprefix("label.")
        label = f"(SELECT value FROM json_each(g.labels) WHERE key = :{place}_name)"  # noqa: S608
        return f"COALESCE({label}, '') = :{place}"

    def of(self, statement: str) -> str:
        return statement.format(attempts=self.attempts, days=self.days)


def seed(connection: sqlite3.Connection, ask: Ask) -> Seed:
    part = _Part(ask.window_start_at, ask.window_end_at, ask.limit.scope)
    (spent,) = connection.execute(part.of(_SPENT), part.values).fetchone()
    return Seed(spent, dict(connection.execute(part.of(_OPEN), part.values)))


def totals(connection: sqlite3.Connection, query: Query, by: Sequence[str]) -> list[Total]:
    part = _Part(query.since_at, query.until_at, query.where)
    found = Totals(by)
    names = (*DIMENSIONS, "labels")
    for row in connection.execute(part.of(_TOTALS), part.values):
        found.add(dict(zip(names, row, strict=False)), row[len(names) + 1], row[len(names) + 2 :])
    return found.lines()


def entry(connection: sqlite3.Connection, attempt: str) -> Entry | None:
    row = connection.execute(f"{_ENTRY} WHERE i.attempt = ?", (attempt,)).fetchone()
    return _entry(row) if row else None


def page(
    connection: sqlite3.Connection, query: Query, after: tuple[float, int]
) -> tuple[list[Entry], tuple[float, int]]:
    """The entries behind the place `after`, which is (at, row id), and the place of the last one."""
    part = _Part(query.since_at, query.until_at, query.where)
    values = part.values | {"at": after[0], "id": after[1], "page": PAGE}
    where = f"(i.at, i.id) > (:at, :id) AND i.at < :until{f' AND {part.origins}' if part.origins else ''}"
    rows = connection.execute(f"{_ENTRY} WHERE {where} ORDER BY i.at, i.id LIMIT :page", values).fetchall()
    return [_entry(row) for row in rows], (rows[-1][4], rows[-1][0]) if rows else after


def _entry(row: tuple[object, ...]) -> Entry:
    (_, attempt, call, number, at, node, caller, team, labels, endpoint, model, provider, target, policy, nano, tokens,
     *end, corrected, extended_nano, extended_tokens) = row  # fmt: skip
    origin = Origin(caller, team, orjson.loads(labels), endpoint, model, provider, target, policy, node)  # type: ignore[arg-type]
    intent = Intent(attempt, call, number, at, origin, nano, tokens)  # type: ignore[arg-type]
    outcome = None if end[0] is None else _outcome(attempt, end)
    return Entry(intent, outcome, corrected, extended_nano, extended_tokens)  # type: ignore[arg-type]


def _outcome(attempt: object, row: list[object]) -> Outcome:
    at, cost_nano, *counts, duration_s, state, served, tier, rates, flags, status, verdicts = row
    return Outcome(
        attempt, at, state, cost_nano, Usage(*counts), served, tier, rates,  # type: ignore[arg-type]
        tuple(flags.split(",")) if flags else (), status, duration_s, verdicts,  # type: ignore[arg-type, attr-defined]
    )  # fmt: skip
