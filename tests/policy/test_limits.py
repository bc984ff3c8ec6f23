"""Which limits hold for which call, and what they count by."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.accounts import Balance, Limit
from gateway.core.model import Caller, Names
from gateway.core.windows import bound
from gateway.policy.compile import Limits, ModelTable, PolicySet
from gateway.policy.limits import MAX_KEPT, LimitRule, LimitTable, Measure, limits_for, rules_for, warned

USD = (Measure("usd", 10, "day"),)
RATES = (Measure("requests", 600, "minute"), Measure("calls", 5, "now"))
NOON = 1_790_000_000.0


def caller(name="app", team="research", **labels: str) -> Caller:
    return Caller(name, team, Names.of(["*"]), Names.of(["*"]), labels)


def rule(name="row", measures=USD, each=(), hard=True, warn_at=(), **match: str) -> LimitRule:
    wanted = {key.replace("label_", "label."): value for key, value in match.items()}
    return LimitRule(name, measures, wanted, tuple(each), hard, tuple(warn_at))


def policy(budgets=(), rate_limits=()) -> PolicySet:
    return PolicySet(
        version="v",
        providers={},
        models=ModelTable({}),
        keys={},
        issuers=(),
        passthrough=(),
        limits=Limits(1, 1, "pass", 0),
        left_out=(),
        budgets=tuple(budgets),
        rate_limits=tuple(rate_limits),
    )


def limits(row: LimitRule, who: Caller, model="m") -> tuple[Limit, ...]:
    return limits_for(policy([row]), who, model)


@pytest.mark.parametrize(
    ("match", "holds"),
    [
        ({}, True),
        ({"team": "research"}, True),
        ({"team": "Research"}, False),
        ({"team": "res*"}, True),
        ({"team": "*", "caller": "app"}, True),
        ({"team": "research", "caller": "other"}, False),
        ({"model": "gpt-*"}, True),
        ({"model": "gpt"}, False),
        ({"label_env": "prod"}, True),
        ({"label_env": "test"}, False),
        ({"label_region": "eu"}, False),
        ({"label_region": "*"}, True),
    ],
)
def test_a_row_holds_for_the_calls_whose_values_all_match(match, holds):
    assert bool(limits(rule(**match), caller(env="prod"), "gpt-5")) is holds


def test_without_rows_nothing_is_counted():
    assert limits_for(policy(), caller(), "m") == ()


def test_a_row_without_each_is_one_counter_for_all():
    one, other = limits(rule(), caller("a")), limits(rule(), caller("b"))
    assert one == other
    assert one[0].scope == ()


def test_each_gives_every_value_its_own_counter_and_its_own_part_of_the_ledger():
    one, other = limits(rule(each=["caller"]), caller("a"))[0], limits(rule(each=["caller"]), caller("b"))[0]
    assert one.counter != other.counter
    assert (one.scope, other.scope) == ((("caller", "a"),), (("caller", "b"),))


def test_an_unknown_caller_is_bounded_from_its_first_call_on():
    """BUD-03: nobody has to be set up, the counter follows from the row and the value."""
    found = limits(rule(each=["caller"]), caller("nobody-knows-me"))
    assert [limit.amount for limit in found] == [10]


def test_a_label_that_a_call_does_not_have_counts_under_the_empty_name():
    assert limits(rule(each=["label.env"]), caller())[0].scope == (("label.env", ""),)


def test_what_a_call_sends_never_decides_whom_it_counts_for():
    """BUD-12: caller, team and labels are those of the key; only the model is the call's own, and it is the one served."""
    found = limits(rule(each=["caller", "team", "label.env", "model"]), caller("a", "t", env="prod"), "m")
    assert dict(found[0].scope) == {"caller": "a", "team": "t", "label.env": "prod", "model": "m"}


def test_patterns_narrow_the_part_of_the_ledger_and_exact_names_are_its_scope():
    found = limits(rule(team="res*", label_env="prod", model="gpt-*", each=["team"]), caller(env="prod"), "gpt-5")[0]
    assert found.scope == (("label.env", "prod"), ("team", "research"))
    assert found.patterns == (("model", "gpt-*"),)


def test_rate_limits_come_first_and_then_budgets_the_narrowest_first():
    """BUD-13: all of them are asked at once, and a refusal names the first without room."""
    rows = policy(
        budgets=[
            rule("all"),
            rule("team", team="research"),
            rule("own", team="research", each=["caller"]),
            rule("own-hour", (Measure("usd", 1, "hour"),), team="research", each=["caller"]),
        ],
        rate_limits=[rule("many", RATES), rule("few", RATES, caller="app")],
    )
    found = [(limit.name, limit.unit) for limit in limits_for(rows, caller(), "m")]
    assert found == [
        ("few", "requests"),
        ("few", "calls"),
        ("many", "requests"),
        ("many", "calls"),
        ("own-hour", "usd"),
        ("own", "usd"),
        ("team", "usd"),
        ("all", "usd"),
    ]


def test_the_same_call_gets_the_very_same_limits_without_any_work():
    rows = policy([rule(each=["caller"])])
    assert limits_for(rows, caller(env="a"), "m") is limits_for(rows, caller(env="a"), "m")


def test_callers_of_one_name_with_other_labels_or_teams_do_not_share_what_was_kept():
    rows = policy([rule(each=["label.env"]), rule("team", team="research")])
    assert limits_for(rows, caller(env="a"), "m") != limits_for(rows, caller(env="b"), "m")
    assert len(limits_for(rows, caller(team="other"), "m")) == 1


def test_what_is_kept_is_bounded():
    table = LimitTable(budgets=[rule(each=["model"])])
    for number in range(MAX_KEPT + 10):
        table.limits(caller(), f"model-{number}")
    assert table._kept.cache_info().currsize == MAX_KEPT


def test_a_changed_amount_keeps_the_counter_and_holds_for_the_next_call():
    """BUD-11"""
    row = rule(each=["caller"], warn_at=[50])
    raised = replace(row, measures=(Measure("usd", 99, "day"),), hard=False, warn_at=(80,))
    (before,), (after,) = limits(row, caller()), limits(raised, caller())
    assert bound(before, 1, NOON).key == bound(after, 1, NOON).key
    assert (before.amount, after.amount) == (10, 99)


@pytest.mark.parametrize(
    "changed",
    [
        rule("other", each=["caller"], team="research"),
        rule("row", each=["caller"]),
        rule("row", each=["caller"], team="res*"),
        rule("row", each=["model"], team="research"),
        rule("row", (Measure("usd", 10, "month"),), ["caller"], team="research"),
        rule("row", (Measure("usd", 10, "total"),), ["caller"], team="research"),
    ],
    ids=["name", "match", "pattern", "each", "window", "no end"],
)
def test_a_row_that_counts_something_else_has_another_counter(changed):
    """BUD-11: it is seeded from the ledger, instead of going on from what it did not count."""
    row = rule(each=["caller"], team="research")
    (before,), (after,) = limits(row, caller()), limits(changed, caller())
    assert bound(before, 1, NOON).key != bound(after, 1, NOON).key


values = st.text(max_size=6) | st.text(alphabet='a|/:=@%*"~. \ud800é', max_size=6)
names = st.text(min_size=1, max_size=4) | st.text(alphabet="a/=:@%*", min_size=1, max_size=4)
rows = st.builds(
    lambda name, each, label, unit: LimitRule(name, (Measure(unit, 1, "total"),), {}, (*each, *label)),
    names,
    st.sets(st.sampled_from(["caller", "team", "model"])).map(sorted),
    st.lists(names.map("label.{}".format), max_size=1),
    st.sampled_from(["usd", "requests"]),
)
calls = st.tuples(names, names, st.dictionaries(names, values, max_size=2), values)


@given(rows, calls, rows, calls)
def test_two_counters_are_one_only_when_row_unit_and_values_are_the_same(one_row, one, other_row, other):
    """A caller named "a|b" or "a/team=b" is nobody else's."""
    (first,) = limits(one_row, caller(one[0], one[1], **one[2]), one[3])
    (second,) = limits(other_row, caller(other[0], other[1], **other[2]), other[3])
    same = (first.name, first.unit, first.scope) == (second.name, second.unit, second.scope)
    assert (first.counter == second.counter) is same
    assert first.counter.isascii()
    assert first.counter.isprintable()
    assert not {"@", " ", "{"} & set(first.counter)


def test_a_value_is_not_a_pattern():
    one = limits(rule(team="a*"), caller(team="a*"))[0]
    other = limits(rule(each=["team"]), caller(team="a*"))[0]
    assert one.counter != other.counter
    assert (one.scope, one.patterns) == ((), (("team", "a*"),))
    assert (other.scope, other.patterns) == ((("team", "a*"),), ())


def test_where_nobody_is_known_the_rows_that_may_hold_are_shown():
    rows = policy([rule("team", team="x"), rule("model", model="gpt-*"), rule("all")])
    assert [row.name for row in rules_for(rows, None, "m")] == ["team", "all"]
    assert [row.name for row in rules_for(rows, caller(), "gpt-5")] == ["model", "all"]


def balance(amount: int, spent: int, reserved: int) -> Balance:
    return Balance("key", amount, spent, reserved)


def test_thresholds_are_passed_by_what_is_spent_and_not_by_worst_cases():
    limit = Limit("row", "c", "usd", 1000, "day", warn_at=(50, 80, 95))
    assert warned(limit, balance(1000, 499, 501)) is None
    assert warned(limit, balance(1000, 500, 0)) == 50
    assert warned(limit, balance(1000, 960, 0)) == 95


def test_running_calls_pass_thresholds_of_concurrency():
    limit = Limit("row", "c", "calls", 10, "now", warn_at=(80,))
    assert warned(limit, balance(10, 0, 8)) == 80
    assert warned(limit, balance(10, 0, 7)) is None
