"""The three-way check: what the provider, the ledger and the callers saw must be one story. Pure.

Every rule is a function History -> Difference...; an empty answer of `check` is the proof.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from chaos.history import Budget, Fault, History, Row, Seen, Served

SLACK_S = 1.0
"""How long after an answer's end its row may still be on its way: a kill in that time may leave `unknown`."""

_KEY_S = 86400.0 - SLACK_S
"""How long a key is kept; it is taken a little before its attempt begins."""
_CHARGED = frozenset({"settled", "unknown"})


@dataclass(frozen=True, slots=True)
class Difference:
    rule: str
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject}: {self.text}"


Differences = Iterator[Difference]


class Index:
    """A history, and what is looked up in it. A request of a caller is known by its tag on all sides."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.rows = {row.attempt: row for row in history.rows}
        self.served = {served.attempt: served for served in history.served}
        self.by_tag: dict[str, list[Row]] = defaultdict(list)
        for served in history.served:
            if served.attempt in self.rows:
                self.by_tag[served.tag].append(self.rows[served.attempt])
        self.seen: dict[str, list[Seen]] = defaultdict(list)
        for seen in history.seen:
            self.seen[seen.tag].append(seen)

    def pairs(self) -> Iterator[tuple[Served, Row]]:
        for served in self.history.served:
            if served.attempt in self.rows:
                yield served, self.rows[served.attempt]

    def killed(self, row: Row) -> Fault | None:
        """The kill while which this attempt can have been open."""
        served = self.served.get(row.attempt)
        ends = [] if served is None else [seen.until for seen in self.seen.get(served.tag, ())]
        if served is not None:
            ends.append(served.until or float("inf"))
        last = max(ends, default=float("inf")) + SLACK_S
        kills = (fault for fault in self.history.faults if fault.kills)
        return next((kill for kill in kills if row.at <= kill.until and last >= kill.at), None)


def every_call_has_one_row(index: Index) -> Differences:
    for served in index.history.served:
        if not served.attempt:
            yield Difference("unaccounted", served.tag, "was sent without an attempt id")
        elif served.attempt not in index.rows:
            yield Difference("unaccounted", served.attempt, "the provider was called and the ledger has no row")
    for row in index.rows.values():
        if not row.state and row.at < index.history.closed_before:
            yield Difference("open", row.attempt, "has no terminal row")


def every_row_has_a_call(index: Index) -> Differences:
    """But for a partial one: its caller left while it was being sent, and then nobody can know what came of it."""
    for row in index.rows.values():
        called = row.attempt in index.served
        if row.state == "settled" and not called and "partial" not in row.flags:
            yield Difference("phantom", row.attempt, "is settled and the provider was never called")
        if row.state == "voided" and called:
            yield Difference("voided", row.attempt, "is voided and the provider was called")
        if row.state == "unknown" and index.killed(row) is None:
            yield Difference("unknown", row.attempt, "is unknown and was not open at a kill")


def ids_are_unique(index: Index) -> Differences:
    for side, ids in (
        ("ledger", [row.attempt for row in index.history.rows]),
        ("provider", [served.attempt for served in index.history.served]),
    ):
        for attempt, count in Counter(ids).items():
            if count > 1:
                yield Difference("duplicate", attempt, f"{count} times at the {side}")


def costs_are_right(index: Index) -> Differences:
    for row in index.rows.values():
        if row.state in {"voided", "failed"} and row.cost_nano:
            yield Difference("cost", row.attempt, f"is {row.state} and costs {row.cost_nano}")
        if row.state == "unknown" and row.cost_nano != row.reserved_nano:
            yield Difference("cost", row.attempt, f"is unknown: {row.cost_nano} and not {row.reserved_nano}")
        if row.cost_nano > row.reserved_nano:
            yield Difference("overrun", row.attempt, f"costs {row.cost_nano} and had {row.reserved_nano} reserved")
    for served, row in index.pairs():
        yield from _settled_cost(served, row)


def _settled_cost(served: Served, row: Row) -> Differences:
    if not served.cap:
        yield Difference("uncapped", row.attempt, "was sent without an output limit")
    if served.status >= 500:
        if row.state == "settled" and "partial" not in row.flags:
            yield Difference("cost", row.attempt, "is settled and the provider failed")
        return
    if row.state == "failed" and served.finished:
        yield Difference("unpaid", row.attempt, "is failed and the provider answered")
    if row.state != "settled":
        return
    if served.finished and served.reported and "partial" not in row.flags and row.cost_nano != served.cost_nano:
        yield Difference("cost", row.attempt, f"costs {row.cost_nano} and not {served.cost_nano}")
    if not row.cost_nano:
        yield Difference("cost", row.attempt, "is settled and costs nothing")
    if not served.reported and not {"estimated", "partial"} & set(row.flags):
        yield Difference("estimate", row.attempt, "has no reported usage and no flag that says so")


def counters_are_the_rows(index: Index) -> Differences:
    for budget in index.history.budgets:
        counter = index.history.counters.get(budget.name)
        if counter is None:
            yield Difference("counter", budget.name, "is not known to the gateway")
            continue
        spent = _spent(budget, index.rows.values())[counter.window]
        if counter.spent_nano != spent:
            yield Difference("counter", budget.name, f"says {counter.spent_nano} and the rows {spent}")
        if counter.reserved_nano:
            yield Difference("leak", budget.name, f"{counter.reserved_nano} stay reserved")
        if counter.amount_nano != budget.amount_nano:
            yield Difference("counter", budget.name, f"is of {counter.amount_nano} and not {budget.amount_nano}")


def budgets_hold(index: Index) -> Differences:
    """Every output was capped, so the allowed overshoot is 0; what is open counts with its reservation."""
    for budget in index.history.budgets:
        for window, spent in _spent(budget, map(_with_held, index.rows.values())).items():
            if spent > budget.amount_nano:
                yield Difference("overshoot", f"{budget.name} {window}".strip(), f"{spent} of {budget.amount_nano}")


def _spent(budget: Budget, rows: Iterable[Row]) -> Counter[str]:
    """By window."""
    spent: Counter[str] = Counter()
    for row in rows:
        if budget.covers(row):
            spent[budget.window_of(row)] += row.cost_nano
    return spent


def _with_held(row: Row) -> Row:
    return row if row.state else replace(row, cost_nano=row.reserved_nano)


def callers_are_in_the_ledger(index: Index) -> Differences:
    for tag, seen in index.seen.items():
        rows = index.by_tag[tag]
        whole = next((one for one in seen if one.complete), None)
        if whole is not None and not any(row.state == "settled" or _excused(index, row) for row in rows):
            yield Difference("unpaid", tag, f"has its whole answer and {[row.state for row in rows]}")
        yield from (
            Difference("foreign", row.attempt, f"is of {row.caller} and was asked by {seen[0].caller}")
            for row in rows
            if row.caller != seen[0].caller
        )
        costs = {row.cost_nano for row in rows}
        for one in seen:
            if one.complete and one.cost_nano not in {None, *costs} and not any(_excused(index, row) for row in rows):
                yield Difference("header", tag, f"says {one.cost_nano} and the rows {sorted(costs)}")


def _excused(index: Index, row: Row) -> bool:
    """Its end is not there because of a kill, or not yet."""
    if not row.state:
        return row.at >= index.history.closed_before
    return row.state == "unknown" and index.killed(row) is not None


def a_key_is_charged_once(index: Index) -> Differences:
    """In a day of the gateway's clock."""
    for tag, seen in index.seen.items():
        if seen[0].key:
            whole = sorted(row.shown_at for row in index.by_tag[tag] if _whole(index.served[row.attempt], row))
            if any(second - first < _KEY_S for first, second in pairwise(whole)):
                yield Difference("twice", tag, f"one key, {len(whole)} whole answers paid")


def _whole(served: Served, row: Row) -> bool:
    return row.state == "settled" and served.finished and "partial" not in row.flags


RULES: tuple[Callable[[Index], Differences], ...] = (
    every_call_has_one_row,
    every_row_has_a_call,
    ids_are_unique,
    costs_are_right,
    counters_are_the_rows,
    budgets_hold,
    callers_are_in_the_ledger,
    a_key_is_charged_once,
)


def check(history: History) -> list[Difference]:
    index = Index(history)
    return [difference for rule in RULES for difference in rule(index)]


def overshoot_nano(history: History) -> int:
    """The most that any budget is above its amount in any window."""
    over = [spent - budget.amount_nano for budget in history.budgets for spent in _spent(budget, history.rows).values()]
    return max(0, *over) if over else 0


def unknown_share(history: History) -> float:
    charged = [row.state for row in history.rows if row.state in _CHARGED]
    return charged.count("unknown") / len(charged) if charged else 0.0
