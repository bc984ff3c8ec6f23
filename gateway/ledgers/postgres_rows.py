"""Values of the ledger <-> columns of PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

import asyncpg
import orjson

from gateway.core.accounts import Entry, Intent, Origin, Outcome
from gateway.core.usage import BUCKETS, Usage

Row = tuple[object, ...]
"""In the order of the table's columns."""

Value = TypeVar("Value", Intent, Origin, Outcome)

NOT_STORABLE = (asyncpg.DataError, orjson.JSONEncodeError)

_MAX = 2**63 - 1
_INTENT_COLUMNS = len(fields(Intent)) - 1 + len(fields(Origin))
_SUMS = 3


def row_of_intent(row: Intent) -> Row:
    origin = row.origin
    labels = orjson.dumps(origin.labels).decode()
    return (
        row.attempt, row.call, row.number, row.at, origin.node, origin.caller, origin.team, labels, origin.endpoint,
        origin.model, origin.provider, origin.target, origin.policy, row.reserved_nano, row.reserved_tokens,
    )  # fmt: skip


def row_of_outcome(row: Outcome) -> Row:
    return (
        row.attempt, row.at, row.state, row.cost_nano, *row.usage.counts(), row.served, row.tier, row.rates,
        ",".join(row.flags), row.status, row.duration_s, row.verdicts,
    )  # fmt: skip


def storable(row: Value) -> Value:
    """The row without what PostgreSQL has no room for: NUL and halves of surrogate pairs in texts, numbers beyond its
    own. One such row must not keep the others out."""
    return replace(row, **{entry.name: _storable(getattr(row, entry.name)) for entry in fields(row)})


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    if isinstance(value, int):
        return min(value, _MAX)
    if isinstance(value, Origin):
        return storable(value)
    if isinstance(value, Usage):
        return Usage(*map(_storable, value.counts()))
    if isinstance(value, dict):
        return {_storable(name): _storable(text) for name, text in value.items()}
    return value


def entry_of(row: Any) -> Entry:
    """Of the columns of an intent, those of an outcome (all null while it runs), what was corrected, and the money and
    tokens that it was extended by; in the tables' order."""
    (
        attempt, call, number, at, node, caller, team, labels, endpoint, model, provider, target, policy, nano, tokens
    ) = row[:_INTENT_COLUMNS]  # fmt: skip
    origin = Origin(caller, team, orjson.loads(labels), endpoint, model, provider, target, policy, node)
    intent = Intent(attempt, call, number, at, origin, nano, tokens)
    ended, sums = row[_INTENT_COLUMNS:-_SUMS], row[-_SUMS:]
    return Entry(intent, None if ended[0] is None else _outcome(ended), *sums)


def _outcome(row: Sequence[Any]) -> Outcome:
    attempt, at, state, cost, *counts = row[: 4 + len(BUCKETS)]
    served, tier, rates, flags, *rest = row[4 + len(BUCKETS) :]
    return Outcome(
        attempt, at, state, cost, Usage(*counts), served, tier, rates, tuple(flags.split(",")) if flags else (), *rest
    )
