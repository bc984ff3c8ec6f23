"""What every ledger does. A test module inherits `LedgerContract` and gives it a database:

- fixture `opened`: `await opened(node) -> Ledger`, as often as wanted on one empty database; closes them afterwards;
- `lapse(node)`: from now on that process has not said for a while that it lives;
- `sql(statement)`: runs it as whoever gets at the database past the gateway, and raises what the database raises.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from gateway.core.accounts import Ask, Entry, Intent, Limit, Origin, Outcome, Query, Seed, Total, Window
from gateway.core.ports import Ledger
from gateway.core.usage import Usage
from gateway.core.windows import bound

Opened = Callable[[str], Awaitable[Ledger]]

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC).timestamp()
HOUR, DAY = 3600.0, 86400.0
WINDOWS: tuple[Window, ...] = ("day", "month", "total")


def intent(attempt: str, at: float = NOON, **changes: object) -> Intent:
    """`changes` go to the intent or to its origin, whichever has such a field."""
    origin = Origin(
        caller="ann", team="research", labels={"env": "prod"}, endpoint="chat", model="gpt", provider="openai",
        target="gpt-2026", policy="v1", node="a",
    )  # fmt: skip
    mine = {name: value for name, value in changes.items() if name in Intent.__slots__}
    origin = replace(origin, **{name: value for name, value in changes.items() if name not in mine})  # type: ignore[arg-type]
    row = Intent(attempt, f"call-{attempt}", 1, at, origin, reserved_nano=1000, reserved_tokens=50)
    return replace(row, **mine)  # type: ignore[arg-type]


def outcome(attempt: str, cost: int | None = 700, at: float = NOON + 1, **changes: object) -> Outcome:
    row = Outcome(attempt=attempt, at=at, state="settled", cost_nano=cost, usage=Usage(input=10, output=20), status=200)
    return replace(row, **changes)  # type: ignore[arg-type]


def ask(window: Window = "month", at: float = NOON, unit: str = "usd", **scope: str) -> Ask:
    """`scope` by dimension; label_env stands for label.env."""
    pairs = tuple((name.replace("label_", "label."), value) for name, value in scope.items())
    return bound(Limit("budget", "budget", unit, 10**9, window, scope=pairs), 100, at)  # type: ignore[arg-type]


async def write(ledger: Ledger, *entries: Entry) -> None:
    await asyncio.gather(*(ledger.intend(entry.intent) for entry in entries))
    await asyncio.gather(*(ledger.conclude(entry.outcome) for entry in entries if entry.outcome))


async def spend(ledger: Ledger, attempt: str, cost: int | None = 700, at: float = NOON, **changes: object) -> None:
    await write(ledger, Entry(intent(attempt, at, **changes), outcome(attempt, cost, at + 1)))


async def everything(ledger: Ledger, query: Query | None = None) -> list[Entry]:
    return [entry async for entry in ledger.entries(query or Query())]


class LedgerContract:
    async def lapse(self, node: str) -> None:
        raise NotImplementedError

    async def sql(self, statement: str) -> None:
        raise NotImplementedError

    @pytest.fixture
    async def ledger(self, opened: Opened) -> Ledger:
        return await opened("a")


class Rows(LedgerContract):
    """Intents and outcomes: written once, read as they were."""

    async def test_an_attempt_comes_back_as_it_was_written(self, ledger: Ledger) -> None:
        began = intent("1", labels={"b": 'quo"te', "a": "ü"}, number=3, at=NOON + 0.25)
        ended = Outcome(
            attempt="1", at=NOON + 2.5, state="failed", cost_nano=2**61, usage=Usage(1, 2, 3, 4, 5, 6, 7, 8, 9),
            served="gpt-x", tier="priority", rates='{"input":1}', flags=("estimated", "partial"), status=502,
            duration_s=1.5, verdicts="pii=clean",
        )  # fmt: skip
        await write(ledger, Entry(began, ended))
        assert await ledger.entry("1") == Entry(began, ended)
        assert await everything(ledger) == [Entry(began, ended)]

    async def test_rows_wait_until_they_are_durable(self, ledger: Ledger) -> None:
        rows = [ledger.intend(intent("1")), ledger.intend(intent("2"))]
        assert ledger.waiting == 2
        await asyncio.gather(*rows)
        assert (ledger.waiting, ledger.up) == (0, True)

    async def test_an_attempt_runs_until_it_is_concluded(self, ledger: Ledger) -> None:
        await ledger.intend(intent("1"))
        assert await ledger.entry("1") == Entry(intent("1"), None)
        assert await ledger.entry("2") is None

    async def test_an_unknown_price_is_not_zero(self, ledger: Ledger) -> None:
        await spend(ledger, "1", None)
        entry = await ledger.entry("1")
        assert entry and entry.outcome and entry.outcome.cost_nano is None

    async def test_the_first_outcome_holds(self, ledger: Ledger) -> None:
        await spend(ledger, "1", 5)
        await ledger.conclude(outcome("1", 6))
        await asyncio.gather(ledger.intend(intent("2")), *(ledger.conclude(outcome("2", cost)) for cost in (7, 8, 9)))
        assert [entry.outcome.cost_nano for entry in await everything(ledger) if entry.outcome] == [5, 7]

    async def test_an_intent_that_is_repeated_changes_nothing(self, ledger: Ledger) -> None:
        await spend(ledger, "1")
        await ledger.intend(intent("1", reserved_nano=5))
        assert await everything(ledger) == [Entry(intent("1"), outcome("1"))]

    async def test_an_outcome_without_an_intent_is_dropped(self, ledger: Ledger) -> None:
        await ledger.conclude(outcome("1"))
        assert await ledger.entry("1") is None
        await ledger.intend(intent("1"))
        assert await ledger.entry("1") == Entry(intent("1"), None)

    async def test_a_caller_that_goes_away_does_not_hold_up_the_others(self, ledger: Ledger) -> None:
        futures = [ledger.intend(intent(str(number))) for number in range(20)]
        for future in futures[::2]:
            future.cancel()
        await asyncio.gather(*futures[1::2])
        assert len(await everything(ledger)) == 20

    async def test_two_processes_write_one_outcome(self, opened: Opened) -> None:
        one, other = await opened("a"), await opened("b")
        await asyncio.gather(*(one.intend(intent(str(number))) for number in range(30)))
        await asyncio.gather(
            *(ledger.conclude(outcome(str(n), cost)) for n in range(30) for cost, ledger in ((1, one), (2, other)))
        )
        costs = [entry.outcome.cost_nano for entry in await everything(one) if entry.outcome]
        assert len(costs) == 30 and set(costs) <= {1, 2}
        assert (await other.totals(Query(), ()))[0].cost_nano == sum(cost or 0 for cost in costs)

    async def test_what_was_written_is_there_after_opening_again(self, opened: Opened) -> None:
        ledger = await opened("a")
        ledger.intend(intent("1"))
        ledger.conclude(outcome("1"))
        await ledger.close()
        assert await (await opened("b")).entry("1") == Entry(intent("1"), outcome("1"))

    async def test_entries_come_oldest_first_and_all(self, ledger: Ledger) -> None:
        order = list(range(2500))
        random.Random(7).shuffle(order)
        await write(ledger, *(Entry(intent(str(n), NOON + n // 3), outcome(str(n)) if n % 2 else None) for n in order))
        found = await everything(ledger)
        assert len({entry.intent.attempt for entry in found}) == len(found) == 2500
        assert all(one.intent.at <= next_.intent.at for one, next_ in pairwise(found))
        assert all((entry.outcome is not None) == (int(entry.intent.attempt) % 2 == 1) for entry in found)

    async def test_entries_are_those_of_the_query(self, ledger: Ledger) -> None:
        await spend(ledger, "1", at=NOON)
        await spend(ledger, "2", at=NOON + 1, caller="bob", labels={"env": "test", 'o"dd': "x"})
        await spend(ledger, "3", at=NOON + 2, team="sales", model="claude", provider="anthropic", labels={})

        async def found(query: Query) -> str:
            return "".join([entry.intent.attempt for entry in await everything(ledger, query)])

        assert await found(Query(since_at=NOON + 1)) == "23"
        assert await found(Query(until_at=NOON + 1)) == "1"
        assert await found(Query(where=(("caller", "ann"),))) == "13"
        assert await found(Query(where=(("caller", "ann"), ("team", "research")))) == "1"
        assert await found(Query(where=(("model", "claude"),))) == "3"
        assert await found(Query(where=(("provider", "anthropic"), ("endpoint", "chat")))) == "3"
        assert await found(Query(where=(("label.env", "test"),))) == "2"
        assert await found(Query(where=(('label.o"dd', "x"),))) == "2"
        assert await found(Query(where=(("label.env", ""),))) == "3"
        with pytest.raises(ValueError, match="secret"):
            await found(Query(where=(("secret", ""),)))

    @pytest.mark.parametrize(
        "table, column",
        [
            ("intents", "reserved_nano"),
            ("extensions", "nano"),
            ("outcomes", "cost_nano"),
            ("corrections", "delta_nano"),
        ],
    )
    async def test_a_row_cannot_be_changed_or_removed(self, ledger: Ledger, table: str, column: str) -> None:
        """LED-08"""
        await ledger.intend(intent("1"))
        await ledger.extend("1", 500, 25, NOON)
        await ledger.conclude(outcome("1"))
        await ledger.correct("1", 5, "because", NOON)
        before = await everything(ledger)
        for statement in (f"UPDATE {table} SET {column} = 1", f"DELETE FROM {table}"):
            with pytest.raises(Exception, match="append-only"):
                await self.sql(statement)
        assert await everything(ledger) == before


class Extensions(LedgerContract):
    """What a running attempt reserves further is held as durably as what it began with."""

    async def test_an_open_attempt_holds_all_its_extensions_until_it_ends(self, opened: Opened) -> None:
        one, other = await opened("a"), await opened("b")
        await asyncio.gather(one.intend(intent("1")), one.intend(intent("2")))
        await one.extend("1", 500, 25, NOON + 1)
        await one.extend("1", 1500, 75, NOON + 2)
        assert await other.entry("1") == Entry(intent("1"), None, extended_nano=2000, extended_tokens=100)
        assert dict((await other.seed(ask())).open) == {"1": 3000, "2": 1000}
        await one.conclude(outcome("1", 700))
        ended = Entry(intent("1"), outcome("1", 700), extended_nano=2000, extended_tokens=100)
        assert await everything(other) == [ended, Entry(intent("2"), None)]
        assert await other.seed(ask()) == Seed(700, {"2": 1000})
        assert [total.cost_nano for total in await other.totals(Query(), ())] == [700]

    async def test_what_dead_processes_left_open_costs_its_extensions_too(self, opened: Opened) -> None:
        one, dead = await opened("a"), await opened("b")
        await asyncio.gather(*(dead.intend(intent(attempt, node="b")) for attempt in "123"))
        await dead.extend("1", 500, 25, NOON + 1)
        await dead.extend("2", 600, 25, NOON + 1)
        await self.lapse("b")
        assert await one.close_orphan("1", NOON + 2) == 1500
        assert await one.recover(NOON + 2) == 2
        assert {entry.intent.attempt: entry.outcome and entry.outcome.cost_nano for entry in await everything(one)} == {
            "1": 1500, "2": 1600, "3": 1000,
        }  # fmt: skip

    async def test_what_does_not_run_is_not_extended(self, ledger: Ledger) -> None:
        await spend(ledger, "1")
        await asyncio.gather(*(ledger.extend(attempt, 500, 25, NOON + 2) for attempt in ("1", "never")))
        assert await everything(ledger) == [Entry(intent("1"), outcome("1"))]
        await ledger.intend(intent("never"))
        assert await ledger.entry("never") == Entry(intent("never"), None)

    async def test_a_roll_up_takes_the_extensions_along(self, ledger: Ledger) -> None:
        for _ in range(2):  # a second attempt, which may lie where the first one lay
            await ledger.intend(intent("1", NOON - DAY))
            assert await ledger.entry("1") == Entry(intent("1", NOON - DAY), None)
            await ledger.extend("1", 500, 25, NOON - DAY)
            await ledger.conclude(outcome("1", 3))
            assert await ledger.roll_up(NOON) == 1
        assert [(total.attempts, total.cost_nano) for total in await ledger.totals(Query(), ())] == [(2, 6)]


class Recovery(LedgerContract):
    """What a process left open when it died."""

    async def test_an_orphan_costs_what_was_reserved(self, ledger: Ledger) -> None:
        await ledger.intend(intent("1", reserved_nano=321, node="gone"))
        assert await ledger.close_orphan("1", NOON + 60) == 321
        assert await ledger.close_orphan("1", NOON + 90) == 321
        await ledger.conclude(outcome("1", 5))
        entry = await ledger.entry("1")
        assert entry and entry.outcome
        assert (entry.outcome.state, entry.outcome.cost_nano, entry.outcome.at) == ("unknown", 321, NOON + 60)

    async def test_what_was_concluded_is_no_orphan(self, ledger: Ledger) -> None:
        await spend(ledger, "1", 5)
        await spend(ledger, "2", None)
        assert [await ledger.close_orphan(attempt, NOON) for attempt in "123"] == [5, 0, 0]
        assert await ledger.entry("3") is None

    async def test_what_a_process_that_lives_has_open_is_no_orphan(self, opened: Opened) -> None:
        """BUD-10: it may be cut off from the store, and it still comes to its own end."""
        one, other = await opened("a"), await opened("b")
        await asyncio.gather(*(other.intend(intent(attempt, node="b")) for attempt in "123"), one.intend(intent("own")))
        assert [await one.close_orphan(attempt, NOON + 60) for attempt in ("1", "2", "3", "own")] == [None] * 4
        await asyncio.gather(other.conclude(outcome("1", 5)), other.conclude(outcome("2", None)))
        assert [await one.close_orphan(attempt, NOON + 60) for attempt in "123"] == [5, 0, None]
        assert await one.entry("3") == Entry(intent("3", node="b"), None)
        await self.lapse("b")
        assert await one.close_orphan("3", NOON + 90) == 1000

    async def test_recovery_concludes_what_dead_processes_left_open(self, opened: Opened) -> None:
        """LED-02"""
        one, other = await opened("a"), await opened("b")
        await asyncio.gather(one.beat(NOON), other.beat(NOON))
        await write(other, Entry(intent("1", node="b"), None), Entry(intent("2", node="b"), outcome("2")))
        await one.intend(intent("3", node="a"))
        assert await one.recover(NOON + 1) == 0
        await self.lapse("b")
        assert await one.recover(NOON + 2) == 1
        assert await one.recover(NOON + 3) == 0
        states = {entry.intent.attempt: entry.outcome and entry.outcome.state for entry in await everything(one)}
        assert states == {"1": "unknown", "2": "settled", "3": None}
        assert (await one.seed(ask())).spent == 1000 + 700

    async def test_a_process_that_lives_again_is_not_dead(self, opened: Opened) -> None:
        one, other = await opened("a"), await opened("b")
        await other.intend(intent("1", node="b"))
        await self.lapse("b")
        await other.beat(NOON)
        assert await one.recover(NOON) == 0

    async def test_two_that_recover_at_once_conclude_once(self, opened: Opened) -> None:
        one, other, dead = await opened("a"), await opened("b"), await opened("c")
        await asyncio.gather(*(dead.intend(intent(str(number), node="c")) for number in range(40)))
        await self.lapse("c")
        assert sum(await asyncio.gather(one.recover(NOON), other.recover(NOON))) == 40
        assert [entry.outcome.state for entry in await everything(one) if entry.outcome] == ["unknown"] * 40

    async def test_a_key_claimed_by_a_dead_process_repeats_nothing_that_was_sent(self, opened: Opened) -> None:
        """LED-07, after a crash: charged once at most"""
        one, dead = await opened("a"), await opened("b")
        await dead.claim("sent", "body", "call-1", NOON)
        await dead.claim("not sent", "body", "call-2", NOON)
        await dead.intend(intent("1", NOON + 1, node="b"))
        await self.lapse("b")
        await one.recover(NOON + 2)
        claims = [await one.claim(key, "body", "call-3", NOON + 3) for key in ("sent", "not sent")]
        assert [(claim.state, claim.reply) for claim in claims] == [("done", b""), ("new", b"")]


class Sums(LedgerContract):
    """Seeds of counters, totals of reports, corrections and roll-ups."""

    async def test_a_counter_begins_with_what_is_spent_and_what_is_open(self, ledger: Ledger) -> None:
        assert await ledger.seed(ask()) == Seed(0, {})
        await spend(ledger, "1", 5)
        await spend(ledger, "2", None)
        await write(ledger, Entry(intent("3", reserved_nano=33), None), Entry(intent("4", reserved_nano=0), None))
        seed = await ledger.seed(ask())
        assert (seed.spent, dict(seed.open)) == (5, {"3": 33, "4": 0})

    @pytest.mark.parametrize("window, spent", [("hour", 1), ("day", 11), ("month", 111), ("total", 1111)])
    async def test_an_attempt_counts_in_the_window_in_which_it_began(
        self, ledger: Ledger, window: Window, spent: int
    ) -> None:
        for attempt, (cost, ago) in enumerate([(1, 0), (10, HOUR), (100, DAY), (1000, 31 * DAY)]):
            await write(ledger, Entry(intent(f"{attempt}", NOON - ago), outcome(f"{attempt}", cost, NOON + 99 * DAY)))
            await ledger.intend(intent(f"open {attempt}", NOON - ago))
        seed = await ledger.seed(ask(window))
        assert (seed.spent, len(seed.open)) == (spent, len(str(spent)))

    async def test_a_window_ends_where_the_next_begins(self, ledger: Ledger) -> None:
        midnight = NOON + 12 * HOUR
        await spend(ledger, "1", 1, at=midnight - 0.5)
        await spend(ledger, "2", 2, at=midnight)
        assert [(await ledger.seed(ask("day", at))).spent for at in (NOON, midnight)] == [1, 2]

    async def test_a_counter_is_of_its_scope(self, ledger: Ledger) -> None:
        await spend(ledger, "1", 1)
        await spend(ledger, "2", 2, caller="bob", labels={"env": "test"})
        await spend(ledger, "3", 4, team="sales", model="claude", provider="anthropic", labels={})
        await ledger.intend(intent("4", team="sales"))

        async def spent(**scope: str) -> tuple[int, int]:
            seed = await ledger.seed(ask(**scope))  # type: ignore[arg-type]
            return seed.spent, len(seed.open)

        assert await spent() == (7, 1)
        assert await spent(caller="ann") == (5, 1)
        assert await spent(caller="ann", team="research") == (1, 0)
        assert await spent(team="sales") == (4, 1)
        assert await spent(model="claude") == (4, 0)
        assert await spent(provider="openai") == (3, 1)
        assert await spent(label_env="prod") == (1, 1)
        assert await spent(label_env="", team="sales") == (4, 0)
        assert await spent(caller="nobody") == (0, 0)

    async def test_only_money_is_seeded(self, ledger: Ledger) -> None:
        await spend(ledger, "1")
        assert await ledger.seed(ask("day", unit="tokens")) == Seed(0, {})

    async def test_a_correction_counts_where_its_attempt_does(self, ledger: Ledger) -> None:
        await spend(ledger, "1", 100)
        await ledger.correct("1", -30, "the provider's bill", NOON + 40 * DAY)
        await ledger.correct("1", 5, "again", NOON + 41 * DAY)
        assert (await ledger.seed(ask("hour"))).spent == 75
        assert (await ledger.totals(Query(), ()))[0].cost_nano == 75
        assert await ledger.entry("1") == Entry(intent("1"), outcome("1", 100), -25)
        assert await everything(ledger) == [Entry(intent("1"), outcome("1", 100), -25)]

    async def test_what_is_not_there_cannot_be_corrected(self, ledger: Ledger) -> None:
        with pytest.raises(KeyError):
            await ledger.correct("1", 5, "because", NOON)

    async def test_totals_count_what_a_report_tells(self, ledger: Ledger) -> None:
        await write(
            ledger,
            Entry(intent("1"), outcome("1", 5, usage=Usage(1, 2, 3, 4, 5, 6, 7, 8, 9))),
            Entry(intent("2"), outcome("2", None, flags=("unpriced", "estimated"), usage=Usage(input=10))),
            Entry(intent("3"), outcome("3", 6, state="unknown", usage=Usage())),
            Entry(intent("4"), outcome("4", 0, state="failed", usage=Usage())),
            Entry(intent("5"), outcome("5", 0, state="voided", usage=Usage())),
            Entry(intent("6"), None),
        )
        (total,) = await ledger.totals(Query(), ())
        assert (total.group, total.attempts, total.cost_nano) == ((), 6, 11)
        assert total.usage == Usage(11, 2, 3, 4, 5, 6, 7, 8, 9)
        assert (total.unpriced, total.estimated, total.unknown, total.failed) == (1, 1, 1, 1)

    async def test_totals_are_grouped_by_every_dimension(self, ledger: Ledger) -> None:
        await spend(ledger, "1", 1)
        await spend(
            ledger,
            "2",
            2,
            caller="bob",
            team="sales",
            model="claude",
            provider="anthropic",
            labels={},
            endpoint="embeddings",
        )
        await spend(ledger, "4", 4, at=NOON + DAY)
        await spend(ledger, "8", 8, at=NOON + 31 * DAY, labels={"env": "test"})

        async def costs(*by: str) -> dict[tuple[str, ...], int]:
            totals = await ledger.totals(Query(), by)
            assert [total.group for total in totals] == sorted(total.group for total in totals)
            return {total.group: total.cost_nano for total in totals}

        assert await costs() == {(): 15}
        assert await costs("caller") == {("ann",): 13, ("bob",): 2}
        assert await costs("team") == {("research",): 13, ("sales",): 2}
        assert await costs("model") == {("gpt",): 13, ("claude",): 2}
        assert await costs("provider") == {("openai",): 13, ("anthropic",): 2}
        assert await costs("endpoint") == {("chat",): 13, ("embeddings",): 2}
        assert await costs("label.env") == {("",): 2, ("prod",): 5, ("test",): 8}
        assert await costs("day") == {("2026-03-10",): 3, ("2026-03-11",): 4, ("2026-04-10",): 8}
        assert await costs("month") == {("2026-03",): 7, ("2026-04",): 8}
        assert await costs("month", "caller") == {("2026-03", "ann"): 5, ("2026-03", "bob"): 2, ("2026-04", "ann"): 8}
        with pytest.raises(ValueError, match="secret"):
            await costs("secret")

    async def test_nothing_has_no_totals(self, ledger: Ledger) -> None:
        assert await ledger.totals(Query(), ()) == []

    async def test_a_roll_up_keeps_whole_days_and_what_runs(self, ledger: Ledger) -> None:
        """LED-08: the only rows that may go are those whose sums stay"""
        await spend(ledger, "old", 1, at=NOON - 2 * DAY)
        await ledger.intend(intent("open", NOON - 2 * DAY))
        await spend(ledger, "of that day", 2, at=NOON - HOUR)
        assert await ledger.roll_up(NOON) == 1
        assert [entry.intent.attempt for entry in await everything(ledger)] == ["open", "of that day"]
        assert await ledger.close_orphan("old", NOON) == 0
        assert [(total.attempts, total.cost_nano) for total in await ledger.totals(Query(), ())] == [(3, 3)]
        seed = await ledger.seed(ask())
        assert (seed.spent, set(seed.open)) == (3, {"open"})

    async def test_what_ends_late_is_rolled_up_later(self, ledger: Ledger) -> None:
        await write(ledger, Entry(intent("1", NOON - DAY), None), Entry(intent("2", NOON - DAY), outcome("2", 1)))
        assert await ledger.roll_up(NOON) == 1
        await ledger.conclude(outcome("1", 2))
        assert [await ledger.roll_up(NOON), await ledger.roll_up(NOON)] == [1, 0]
        assert [(total.attempts, total.cost_nano) for total in await ledger.totals(Query(), ("day",))] == [(2, 3)]

    @pytest.mark.parametrize("seed", range(4))
    async def test_sums_equal_those_of_the_rows_before_and_after_a_roll_up(self, ledger: Ledger, seed: int) -> None:
        rows = random_rows(random.Random(seed), 120)
        await write(ledger, *rows)
        corrections = {entry.intent.attempt: 7 for entry in rows[::5]}
        await asyncio.gather(*(ledger.correct(attempt, delta, "r", NOON) for attempt, delta in corrections.items()))
        rows = [replace(entry, corrected_nano=corrections.get(entry.intent.attempt, 0)) for entry in rows]
        for _ in range(2):
            for by in ((), ("caller",), ("team", "label.env"), ("day", "model"), ("month", "provider", "endpoint")):
                for query in (
                    Query(),
                    Query(NOON - 60 * HOUR),
                    Query(NOON - 60 * HOUR, NOON + 60 * HOUR, (("caller", "c1"),)),
                    Query(where=(("label.env", ""),)),
                ):
                    assert sums(await ledger.totals(query, by)) == model_totals(rows, query, by)
            for window in WINDOWS:
                asked = ask(window, caller="c0", label_env="prod")
                assert await ledger.seed(asked) == model_seed(rows, asked)
            assert await ledger.roll_up(NOON + DAY) >= 0


class Keys(LedgerContract):
    """Idempotency keys, and whose stored objects are. The engine makes keys of other callers differ."""

    async def test_a_key_is_taken_once(self, ledger: Ledger) -> None:
        """LED-07"""
        assert (await ledger.claim("k", "body", "c1", NOON)).state == "new"
        assert (await ledger.claim("k", "body", "c2", NOON + 1)).state == "running"
        assert (await ledger.claim("k", "other", "c2", NOON + 1)).state == "different"
        assert (await ledger.claim("of another caller", "other", "c3", NOON + 1)).state == "new"
        await ledger.keep("k", b"sealed\x00")
        claim = await ledger.claim("k", "body", "c4", NOON + 2)
        assert (claim.state, claim.reply) == ("done", b"sealed\x00")
        assert (await ledger.claim("k", "other", "c5", NOON + 2)).state == "different"

    async def test_one_of_many_at_the_same_time_goes_on(self, opened: Opened) -> None:
        """LED-07"""
        ledgers = [await opened("a"), await opened("b")]
        claims = await asyncio.gather(*(ledgers[n % 2].claim("k", "body", f"c{n}", NOON) for n in range(20)))
        assert sorted(claim.state for claim in claims) == ["new"] + ["running"] * 19

    async def test_a_key_is_free_after_a_day(self, ledger: Ledger) -> None:
        await ledger.claim("k", "body", "c1", NOON)
        await ledger.keep("k", b"sealed")
        assert (await ledger.claim("k", "other", "c2", NOON + DAY - 1)).state == "different"
        assert (await ledger.claim("k", "other", "c2", NOON + DAY)).state == "new"
        assert (await ledger.claim("k", "other", "c3", NOON + DAY + 1)).state == "running"

    async def test_a_key_without_a_reply_to_repeat_is_free(self, ledger: Ledger) -> None:
        await ledger.claim("k", "body", "c1", NOON)
        await ledger.keep("k", None)
        assert (await ledger.claim("k", "other", "c2", NOON)).state == "new"

    async def test_a_reply_that_was_not_kept_is_done_all_the_same(self, ledger: Ledger) -> None:
        await ledger.claim("k", "body", "c1", NOON)
        await ledger.keep("k", b"")
        claim = await ledger.claim("k", "body", "c2", NOON)
        assert (claim.state, claim.reply) == ("done", b"")

    async def test_a_stored_object_has_its_first_owner(self, ledger: Ledger) -> None:
        """AUTH-15"""
        assert await ledger.owners(["resp_1"]) == {}
        await ledger.own(["resp_1"], "research", "ann", "openai", NOON)
        await ledger.own(["resp_1"], "sales", "eve", "openai", NOON)
        assert await ledger.owners(["resp_1"]) == {"resp_1": ("research", "ann", "openai")}

    async def test_owners_are_kept_as_long_as_the_rows(self, ledger: Ledger) -> None:
        await ledger.own(["old"], "research", "ann", "openai", NOON - 2 * DAY)
        await ledger.own(["new"], "research", "ann", "openai", NOON)
        await ledger.roll_up(NOON)
        assert (await ledger.owners(["old", "new"])).keys() == {"new"}

    async def test_stored_objects_made_together_are_owned_together_but_for_those_of_others(
        self, ledger: Ledger
    ) -> None:
        """AUTH-15"""
        await ledger.own(["msg_2"], "sales", "eve", "azure", NOON)
        await ledger.own(["resp_1", "msg_2", "msg_1", "resp_1"], "research", "ann", "openai", NOON)
        ann, eve = ("research", "ann", "openai"), ("sales", "eve", "azure")
        things = ["msg_1", "msg_2", "msg_3", "resp_1"]
        assert await ledger.owners(things) == {"msg_1": ann, "msg_2": eve, "resp_1": ann}
        await ledger.own([], "research", "ann", "openai", NOON)
        assert await ledger.owners([]) == {}

    async def test_owners_of_many_stored_objects_written_at_once_by_two_are_one_for_each(self, ledger: Ledger) -> None:
        things = [f"msg_{number}" for number in range(3000)]
        await asyncio.gather(
            ledger.own(things, "research", "ann", "openai", NOON),
            ledger.own(things[::-1], "sales", "eve", "openai", NOON),
        )
        found = await ledger.owners(things)
        assert len(found) == 3000
        assert len({team for team, _, _ in found.values()}) == 1


class WholeContract(Rows, Extensions, Recovery, Sums, Keys):
    """All of it."""


Sum = dict[tuple[str, ...], tuple[int, ...]]


def sums(totals: list[Total]) -> Sum:
    return {
        t.group: (t.attempts, t.cost_nano, t.usage.total_tokens, t.unpriced, t.estimated, t.unknown, t.failed)
        for t in totals
    }


def random_rows(rand: random.Random, count: int) -> list[Entry]:
    rows = []
    for number in range(count):
        began = intent(
            str(number), NOON + rand.randrange(-100, 100) * HOUR, caller=rand.choice(["c0", "c1"]), team=rand.choice("tu"),
            model=rand.choice("mn"), provider=rand.choice("pq"), endpoint=rand.choice(["chat", "embeddings"]),
            labels=rand.choice([{}, {"env": "prod"}, {"env": "test", "x": "1"}]), reserved_nano=rand.randrange(1000),
        )  # fmt: skip
        ended = outcome(
            str(number), rand.choice([None, 0, 3, 10**12]), state=rand.choice(["settled", "voided", "failed", "unknown"]),
            usage=Usage(input=rand.randrange(9), output=rand.randrange(9)), flags=rand.choice([(), ("estimated",), ("partial", "estimated")]),
        )  # fmt: skip
        rows.append(Entry(began, ended if rand.random() < 0.8 else None))
    return rows


def dimension(row: Intent, name: str) -> str:
    if name in {"day", "month"}:
        return datetime.fromtimestamp(row.at, UTC).strftime("%Y-%m-%d" if name == "day" else "%Y-%m")
    return row.origin.labels.get(name[6:], "") if name.startswith("label.") else str(getattr(row.origin, name))


def counted(rows: list[Entry], since: float, until: float | None, where: tuple[tuple[str, str], ...]) -> list[Entry]:
    """Whole days: a roll-up counts when its day begins in the range, and the ranges here begin and end with a day."""
    return [
        row for row in rows
        if since <= row.intent.at < (until or float("inf")) and all(dimension(row.intent, name) == value for name, value in where)
    ]  # fmt: skip


def model_totals(rows: list[Entry], query: Query, by: tuple[str, ...]) -> Sum:
    found: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * 7)
    for row in counted(rows, query.since_at, query.until_at, query.where):
        end = row.outcome
        line = [1, row.corrected_nano, 0, 0, 0, 0, 0]
        if end:
            line = [
                1, (end.cost_nano or 0) + row.corrected_nano, end.usage.total_tokens, end.cost_nano is None,
                "estimated" in end.flags, end.state == "unknown", end.state == "failed",
            ]  # fmt: skip
        group = tuple(dimension(row.intent, name) for name in by)
        found[group] = [one + more for one, more in zip(found[group], line, strict=True)]
    return {group: tuple(line) for group, line in found.items()}


def model_seed(rows: list[Entry], asked: Ask) -> Seed:
    mine = counted(rows, asked.window_start_at, asked.window_end_at, asked.limit.scope)
    return Seed(
        sum((row.outcome.cost_nano or 0 if row.outcome else 0) + row.corrected_nano for row in mine),
        {row.intent.attempt: row.intent.reserved_nano for row in mine if not row.outcome},
    )
