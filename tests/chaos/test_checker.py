"""The checker finds every fault that is planted, and none in a sound history. LED-01, LED-07, BUD-02, BUD-10."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.checker import check, overshoot_nano, unknown_share
from chaos.history import Budget, Counter, Fault, History, Row, Seen, Served

BUDGETS = (
    Budget("team", "team", "red", 5_000),
    Budget("each:ann", "caller", "ann", 5_000),
    Budget("hourly", "caller", "ann", 5_000, "hour"),
)
KILL = Fault("kill", at=50.0, until=52.0, kills=True)


def served(number, **changes):
    at = 10.0 * number
    made = Served(f"a{number}", f"t{number}", at + 0.1, 200, 100, 500, reported=True, until=at + 1, finished=True)
    return replace(made, **changes)


def row(number, **changes):
    made = Row(f"a{number}", "ann", "red", 10.0 * number, 900, "settled", 500)
    return replace(made, **changes)


def seen(number, **changes):
    at = 10.0 * number
    return replace(Seen(f"t{number}", "ann", "", at, at + 1, 200, complete=True), **changes)


def counter_of(budget, rows):
    window = "1970-01-01T00" if budget.window == "hour" else ""
    spent = sum(row.cost_nano for row in rows if budget.covers(row) and budget.window_of(row) == window)
    return Counter(budget.amount_nano, spent, 0, window)


def history(*calls, **changes):
    """From (served, row, seen); None where a side saw nothing. The counters are the sums of the rows."""
    rows = [row for _, row, _ in calls if row is not None]
    made = History(
        served=[served for served, _, _ in calls if served is not None],
        rows=rows,
        seen=[seen for _, _, seen in calls if seen is not None],
        faults=[KILL],
        budgets=BUDGETS,
        counters={budget.name: counter_of(budget, rows) for budget in BUDGETS},
    )
    return replace(made, **changes)


SOUND = {
    "answered": (served(1), row(1), seen(1)),
    "with the cost in a header": (served(1), row(1), seen(1, cost_nano=500)),
    "the provider failed": (
        served(1, status=500, cost_nano=0, reported=False),
        row(1, state="failed", cost_nano=0),
        seen(1, status=500, complete=False),
    ),
    "nothing was sent": (None, row(1, state="voided", cost_nano=0), seen(1, status=502, complete=False)),
    "no usage was reported": (served(1, reported=False), row(1, cost_nano=480, flags=("estimated",)), seen(1)),
    "the provider broke off": (
        served(1, finished=False),
        row(1, cost_nano=300, flags=("estimated", "partial")),
        seen(1, complete=False),
    ),
    "its caller left": (served(1), row(1, cost_nano=300, flags=("partial",)), seen(1, complete=False, left=True)),
    "its caller left before the provider had it": (
        None,
        row(1, cost_nano=300, flags=("partial", "estimated")),
        seen(1, status=0, complete=False, left=True),
    ),
    "its caller left before the provider failed": (
        served(1, status=500, cost_nano=0, reported=False),
        row(1, cost_nano=300, flags=("partial", "estimated")),
        seen(1, status=0, complete=False, left=True),
    ),
    "killed before it was sent": (None, row(5, state="unknown", cost_nano=900), seen(5, status=0, complete=False)),
    "killed in the middle": (
        served(5, until=None, finished=False),
        row(5, state="unknown", cost_nano=900),
        seen(5, status=0, complete=False),
    ),
    "killed when its answer was out": (
        served(5, at=49.0, until=49.5),
        row(5, at=48.9, state="unknown", cost_nano=900),
        seen(5, at=48.8, until=49.6),
    ),
    "refused": (None, None, seen(1, status=402, code="budget_exceeded", complete=False)),
}


@pytest.mark.parametrize("calls", SOUND.values(), ids=SOUND)
def test_a_sound_history_has_no_difference(calls):
    assert check(history(calls)) == []


@given(st.lists(st.sampled_from(["answered", "refused", "nothing was sent", "its caller left"]), max_size=8))
def test_a_sound_history_of_several_calls_has_no_difference(kinds):
    def numbered(one, number):
        if isinstance(one, Served | Row):
            one = replace(one, attempt=f"a{number}")
        return one if one is None or isinstance(one, Row) else replace(one, tag=f"t{number}")

    calls = [tuple(numbered(one, number) for one in SOUND[kind]) for number, kind in enumerate(kinds)]
    assert check(history(*calls)) == []


PLANTED = {
    "a call without a row": ((served(1), None, None), {"unaccounted"}),
    "a call without an id": ((served(1, attempt=""), None, None), {"unaccounted"}),
    "a row that stays open": ((served(1), row(1, state="", cost_nano=0), None), {"open"}),
    "a whole answer whose row stays open": ((served(1), row(1, state="", cost_nano=0), seen(1)), {"open", "unpaid"}),
    "a settled row without a call": ((None, row(1), None), {"phantom"}),
    "a voided row of a call": ((served(1), row(1, state="voided", cost_nano=0), None), {"voided"}),
    "unknown long before the kill": ((served(1), row(1, state="unknown", cost_nano=900), None), {"unknown"}),
    "unknown and begun after the kill": (
        (None, row(9, state="unknown", cost_nano=900), None),
        {"unknown"},
    ),
    "unknown that costs less than was reserved": (
        (None, row(5, state="unknown", cost_nano=899), None),
        {"cost"},
    ),
    "a voided row that costs": ((None, row(1, state="voided", cost_nano=1), None), {"cost"}),
    "a failed row that costs": (
        (served(1, status=500, reported=False), row(1, state="failed", cost_nano=1), None),
        {"cost"},
    ),
    "a failed call that is paid": ((served(1, status=500, reported=False), row(1), None), {"cost"}),
    "a failed row of an answer": ((served(1), row(1, state="failed", cost_nano=0), None), {"unpaid"}),
    "a nano too much": ((served(1), row(1, cost_nano=501), None), {"cost"}),
    "a nano too little": ((served(1), row(1, cost_nano=499), None), {"cost"}),
    "an estimate though usage was reported": ((served(1), row(1, cost_nano=480, flags=("estimated",)), None), {"cost"}),
    "an estimate without a flag": ((served(1, reported=False), row(1), None), {"estimate"}),
    "missing usage that costs nothing": (
        (served(1, reported=False), row(1, cost_nano=0, flags=("estimated",)), None),
        {"cost"},
    ),
    "more than was reserved": ((served(1, cost_nano=901), row(1, cost_nano=901), None), {"overrun"}),
    "no output limit": ((served(1, cap=0), row(1), None), {"uncapped"}),
    "a row of another caller": ((served(1), row(1, caller="bob"), seen(1)), {"foreign"}),
    "a whole answer without a row": ((None, None, seen(1)), {"unpaid"}),
    "a wrong cost in the header": ((served(1), row(1), seen(1, cost_nano=499)), {"header"}),
}


@pytest.mark.parametrize(("calls", "rules"), PLANTED.values(), ids=PLANTED)
def test_each_planted_fault_is_found_under_its_rule(calls, rules):
    assert {one.rule for one in check(history(calls))} == rules


@pytest.mark.parametrize("number", range(4))
def test_a_fault_is_found_among_sound_calls(number):
    calls = [SOUND["answered"], *((served(n), row(n), seen(n)) for n in range(2, 5))]
    calls[number] = (calls[number][0], None, calls[number][2])
    assert {one.rule for one in check(history(*calls))} == {"unaccounted", "unpaid"}


def test_an_attempt_that_is_there_twice_is_found_on_both_sides():
    sound = (served(1), row(1), seen(1))
    twice = history(sound, (None, row(1), None), (served(1), None, None), counters=history(sound).counters)
    assert {(one.rule, one.text) for one in check(twice)} == {
        ("duplicate", "2 times at the ledger"),
        ("duplicate", "2 times at the provider"),
    }


@pytest.mark.parametrize(
    ("counter", "rule"),
    [
        (Counter(5_000, 499, 0), "counter"),
        (Counter(5_000, 501, 0), "counter"),
        (Counter(4_999, 500, 0), "counter"),
        (Counter(5_000, 500, 1), "leak"),
        (None, "counter"),
    ],
)
def test_a_counter_that_is_not_the_sum_of_its_rows_is_found(counter, rule):
    sound = history(SOUND["answered"])
    counters = {**sound.counters, "team": counter}
    counters = {name: one for name, one in counters.items() if one is not None}
    assert [(one.rule, one.subject) for one in check(replace(sound, counters=counters))] == [(rule, "team")]


def test_a_counter_holds_the_rows_of_its_window_by_the_gateways_clock():
    """Which may have stepped, over the end of a window and back"""
    calls = [(served(n), row(n, shown_at=shown_at), seen(n)) for n, shown_at in ((1, 3599.0), (2, 3600.0), (3, 0.0))]
    for window, spent in (("1970-01-01T00", 1_000), ("1970-01-01T01", 500), ("1970-01-01T02", 0)):
        sound = history(*calls)
        counters = {**sound.counters, "hourly": Counter(5_000, spent, 0, window)}
        assert check(replace(sound, counters=counters)) == []
        counters = {**sound.counters, "hourly": Counter(5_000, spent + 1, 0, window)}
        assert [one.subject for one in check(replace(sound, counters=counters))] == ["hourly"]


def test_every_window_of_a_budget_has_its_amount():
    hourly = {"budgets": (Budget("hourly", "caller", "ann", 1_000, "hour"),)}
    hourly["counters"] = {"hourly": Counter(1_000, 1_000, 0, "1970-01-01T00")}
    calls = [(served(n), row(n, shown_at=3600.0 * (n % 2)), seen(n)) for n in range(1, 5)]
    assert check(history(*calls, **hourly)) == []
    over = history(*calls, (served(5), row(5, shown_at=3600.0), seen(5)), **hourly)
    assert [(one.rule, one.subject) for one in check(over)] == [("overshoot", "hourly 1970-01-01T01")]
    assert overshoot_nano(over) == 500


def test_spend_above_a_budget_is_found_and_open_attempts_count():
    calls = [(served(n), row(n), seen(n)) for n in range(10, 20)]
    assert check(history(*calls)) == []
    assert overshoot_nano(history(*calls)) == 0
    over = history(*calls, (served(20, cost_nano=1), row(20, cost_nano=1), seen(20)))
    assert {one.rule for one in check(over)} == {"overshoot"}
    assert overshoot_nano(over) == 1
    running = history(*calls, (served(20), row(20, state="", cost_nano=0), None), closed_before=200.0)
    assert {one.rule for one in check(running)} == {"overshoot"}


def test_what_began_after_the_checkpoint_may_be_open():
    begun = (served(6), row(6, state="", cost_nano=0), seen(6))
    assert check(history(begun, closed_before=60.0)) == []
    assert {one.rule for one in check(history(begun, closed_before=60.1))} == {"open", "unpaid"}


def test_one_key_is_charged_once():
    """LED-07."""
    first, again = served(1), served(1, attempt="b1")
    paid, other = row(1), row(1, attempt="b1")
    asked = seen(1, key="k")
    assert {one.rule for one in check(history((first, paid, asked), (again, other, asked)))} == {"twice"}
    partial = replace(other, flags=("partial",))
    assert check(history((first, paid, asked), (again, partial, asked))) == []
    replayed = history((first, paid, asked), (None, None, asked))
    assert check(replayed) == []
    next_day = replace(other, shown_at=paid.shown_at + 86400)
    later = history((first, paid, asked), (again, next_day, asked), counters=history((first, paid, asked)).counters)
    assert "twice" not in {one.rule for one in check(later)}


def test_the_unknown_share_is_of_what_is_charged():
    calls = [SOUND["answered"], SOUND["killed before it was sent"], SOUND["nothing was sent"]]
    assert unknown_share(history(*calls)) == 0.5
    assert unknown_share(History()) == 0.0
    assert overshoot_nano(History()) == 0
