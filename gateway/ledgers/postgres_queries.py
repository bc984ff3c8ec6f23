"""Queries over attempts, built from dimensions. Names come from a fixed list; every value is a parameter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from gateway.core.accounts import Ask, Query, Total
from gateway.core.usage import BUCKETS, Usage

Statement = tuple[str, list[object]]

_DIMENSIONS = ("caller", "team", "model", "provider", "endpoint")
_FORMATS = {"day": "YYYY-MM-DD", "month": "YYYY-MM"}
_COUNTS = ("attempts", "cost_nano", *BUCKETS, "unpriced", "estimated", "unknown", "failed")
_SUMS = ", ".join(f"coalesce(sum({name}), 0)::bigint AS {name}" for name in _COUNTS)
_ADDED = ", ".join(f"{name} = rollups.{name} + excluded.{name}" for name in _COUNTS)
_LINE = "caller, team, labels, endpoint, model, provider"
_FOREVER = float("inf")

# ruff: noqa: S608 - what is put together are the names above

_ENTRIES = """
SELECT i.*, o.*, coalesce(
    (SELECT sum(delta_nano) FROM gateway.corrections c WHERE c.attempt = i.attempt), 0)::bigint, x.*
FROM gateway.intents i LEFT JOIN gateway.outcomes o ON o.attempt = i.attempt CROSS JOIN LATERAL (
    SELECT coalesce(sum(nano), 0)::bigint, coalesce(sum(tokens), 0)::bigint
    FROM gateway.extensions WHERE attempt = i.attempt) x
"""
ENTRY = _ENTRIES + "WHERE i.attempt = $1"

SUM_UP = f"""
INSERT INTO gateway.rollups (day, {_LINE}, {", ".join(_COUNTS)})
SELECT floor(at / 86400) * 86400 AS day, {_LINE}, {_SUMS}
FROM gateway.lines WHERE attempt = ANY ($1) GROUP BY day, {_LINE}
ON CONFLICT (day, caller, team, md5(labels::text), endpoint, model, provider) DO UPDATE SET {_ADDED}
"""


def page(query: Query, after: tuple[float, str], limit: int) -> Statement:
    """The attempts that follow the one begun at `after`, oldest first."""
    values: list[object] = [*after, _end(query.until_at), limit]
    return (
        f"{_ENTRIES} WHERE (i.at, i.attempt) > ($1, $2) AND i.at < $3 {_where(query.where, values)} "
        "ORDER BY i.at, i.attempt LIMIT $4"
    ), values


def seed(ask: Ask) -> Statement:
    """-> spent, and the ids and reservations of what is open."""
    values: list[object] = [ask.window_start_at, _end(ask.window_end_at)]
    return (
        "SELECT coalesce(sum(cost_nano), 0)::bigint AS spent, array_agg(attempt) FILTER (WHERE open) AS attempts, "
        "array_agg(reserved_nano) FILTER (WHERE open) AS reserved "
        f"FROM gateway.lines WHERE at >= $1 AND at < $2 {_where(ask.limit.scope, values)}"
        f"{_like(ask.limit.patterns, values)}"
    ), values


def totals(query: Query, by: Sequence[str]) -> Statement:
    """-> the groups as an array of texts, and the sums."""
    values: list[object] = [query.since_at, _end(query.until_at)]
    groups = ", ".join(_dimension(name, values) for name in by)
    return (
        f"SELECT ARRAY[{groups}]::text[] AS groups, {_SUMS} "
        f"FROM gateway.lines WHERE at >= $1 AND at < $2 {_where(query.where, values)} GROUP BY 1"
    ), values


def total_of(row: Any) -> Total:
    group, attempts, cost, *rest = row
    usage, flags = rest[: len(BUCKETS)], rest[len(BUCKETS) :]
    return Total(tuple(group), attempts, cost, Usage(*usage), *flags)


def _where(pairs: Sequence[tuple[str, str]], values: list[object]) -> str:
    conditions = ""
    for name, value in pairs:
        dimension = _dimension(name, values)
        values.append(value)
        conditions += f" AND {dimension} = ${len(values)}"
    return conditions


def _like(pairs: Sequence[tuple[str, str]], values: list[object]) -> str:
    """Patterns, in which only * is special."""
    conditions = ""
    for name, pattern in pairs:
        dimension = _dimension(name, values)
        values.append(re.sub(r"[\\%_]", r"\\\g<0>", pattern).replace("*", "%"))
        conditions += f" AND {dimension} LIKE ${len(values)}"
    return conditions


def _dimension(name: str, values: list[object]) -> str:
    """An expression for it; a label's name is a parameter. A label that is missing is ""."""
    if name in _DIMENSIONS:
        return name
    if name in _FORMATS:
        return f"to_char(to_timestamp(at) AT TIME ZONE 'UTC', '{_FORMATS[name]}')"
    if not name.startswith("label."):
        raise ValueError(f"{name} is no dimension: {', '.join(_DIMENSIONS)}, day, month or label.NAME")
    values.append(name.removeprefix("label."))
    return f"coalesce(labels ->> ${len(values)}::text, '')"


def _end(until_at: float | None) -> float:
    return _FOREVER if until_at is None else until_at
