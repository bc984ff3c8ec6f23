"""A ledger in memory, for what reads ledgers, and attempts to put into it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from gateway.core.accounts import Ask, Entry, Intent, Origin, Outcome, Query, Seed, Total
from gateway.core.usage import Usage

NOON = datetime(2026, 11, 5, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0
USED = Usage(10, output=5)


def entry(
    attempt: str = "req_1.1",
    *,
    at: float = NOON,
    cost: int | None = 1_000,
    usage: Usage = USED,
    **changes: object,
) -> Entry:
    """`changes` go to the intent, its origin or to the outcome, whichever has such a field; outcome=None: it runs."""
    call, _, number = attempt.rpartition(".")
    origin = Origin("app", "team-a", {"env": "prod"}, "chat", "fast", "openai", "gpt-5-mini", "v1", "node-1")
    origin = replace(origin, **{name: value for name, value in changes.items() if name in Origin.__slots__})
    intent = Intent(attempt, call, int(number), at, origin, reserved_nano=5_000, reserved_tokens=100)
    outcome = Outcome(attempt, at + 1, "settled", cost, usage, served="gpt-5-mini-2025", status=200, duration_s=1.0)
    mine = {name: value for name, value in changes.items() if name in Intent.__slots__}
    rest = {name: value for name, value in changes.items() if name in Outcome.__slots__ and name not in mine}
    running = "outcome" in changes
    return Entry(
        replace(intent, **mine), None if running else replace(outcome, **rest), changes.get("corrected_nano", 0)
    )


class FakeLedger:
    """Implements what of `core.ports.Ledger` reads, and `correct`."""

    def __init__(self, *entries: Entry) -> None:
        self.rows = {row.intent.attempt: row for row in sorted(entries, key=lambda row: row.intent.at)}
        self.corrections: list[tuple[str, int, str]] = []
        self.closed = 0

    async def entry(self, attempt: str) -> Entry | None:
        return self.rows.get(attempt)

    async def entries(self, query: Query) -> AsyncIterator[Entry]:
        for row in self._meant(query):
            yield row

    async def totals(self, query: Query, by: Sequence[str]) -> list[Total]:
        groups: dict[tuple[str, ...], list[Entry]] = {}
        for row in self._meant(query):
            groups.setdefault(tuple(_value(row, name) for name in by), []).append(row)
        return [_total(group, rows) for group, rows in sorted(groups.items())]

    async def seed(self, ask: Ask) -> Seed:
        rows = self._meant(Query(ask.window_start_at, ask.window_end_at, ask.limit.scope))
        spent = sum((row.outcome.cost_nano or 0) + row.corrected_nano for row in rows if row.outcome)
        return Seed(spent, {row.intent.attempt: row.intent.reserved_nano for row in rows if row.outcome is None})

    async def correct(self, attempt: str, delta_nano: int, reason: str, at: float) -> None:
        row = self.rows[attempt]
        self.rows[attempt] = replace(row, corrected_nano=row.corrected_nano + delta_nano)
        self.corrections.append((attempt, delta_nano, reason))

    async def close(self) -> None:
        self.closed += 1

    def _meant(self, query: Query) -> list[Entry]:
        until = query.until_at if query.until_at is not None else float("inf")
        return [
            row
            for row in self.rows.values()
            if query.since_at <= row.intent.at < until
            and all(_value(row, name) == value for name, value in query.where)
        ]


def _value(row: Entry, name: str) -> str:
    if name.startswith("label."):
        return row.intent.origin.labels.get(name.removeprefix("label."), "")
    if name in {"day", "month"}:
        return datetime.fromtimestamp(row.intent.at, UTC).strftime("%Y-%m-%d" if name == "day" else "%Y-%m")
    return str(getattr(row.intent.origin, name))


def _total(group: tuple[str, ...], rows: list[Entry]) -> Total:
    ended = [row.outcome for row in rows if row.outcome]
    usage = Usage(*map(sum, zip(*(outcome.usage.counts() for outcome in ended), strict=True)))
    return Total(
        group,
        len(rows),
        sum(outcome.cost_nano or 0 for outcome in ended) + sum(row.corrected_nano for row in rows),
        usage,
        unpriced=sum(outcome.cost_nano is None for outcome in ended),
        estimated=sum("estimated" in outcome.flags for outcome in ended),
        unknown=sum(outcome.state == "unknown" for outcome in ended),
        failed=sum(outcome.state == "failed" for outcome in ended),
    )
