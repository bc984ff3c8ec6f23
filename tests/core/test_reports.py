from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.accounts import Ask, Balance, Limit, Query, Total
from gateway.core.reports import (
    ENTRY_COLUMNS,
    asked,
    balance_row,
    cells,
    cost_of,
    entry_row,
    iso,
    moment,
    plain,
    remarks,
    report,
    sum_of,
    total_columns,
    total_row,
)
from gateway.core.usage import Usage
from tests.cli.fakes import NOON, entry

NOW = NOON
MONTH = datetime(2026, 11, 1, tzinfo=UTC).timestamp()


def total(*group: str, cost: int = 1, **counts: int) -> Total:
    given = {"attempts": 1, "unpriced": 0, "estimated": 0, "unknown": 0, "failed": 0, **counts}
    return Total(group, cost_nano=cost, usage=Usage(3, 2, output=1), **given)


def test_without_words_it_is_this_month_by_caller() -> None:
    assert asked([], NOW).by == ("caller",)
    assert asked([], NOW).query == Query(MONTH, None, ())


def test_dimensions_with_a_value_select() -> None:
    wanted = asked([("by", "team, label.env"), ("caller", "app"), ("label.env", "prod")], NOW)
    assert wanted.by == ("team", "label.env")
    assert wanted.query.where == (("caller", "app"), ("label.env", "prod"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-01", MONTH),
        ("2026-11", MONTH),
        ("2026-11-01T08:00", MONTH + 8 * 3600),
        ("2026-11-01T08:00:00+02:00", MONTH + 6 * 3600),
        ("2026-11-01T08:00:00Z", MONTH + 8 * 3600),
        ("36h", NOW - 36 * 3600),
        ("7d", NOW - 7 * 86_400),
        ("2w", NOW - 14 * 86_400),
        ("99999d", 0.0),
    ],
)
def test_a_time_is_a_date_or_how_long_ago(text: str, expected: float) -> None:
    assert moment(text, NOW) == expected


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([("since", "yesterday")], "yesterday"),
        ([("since", "-7d")], "-7d"),
        ([("since", "2026-13")], "2026-13"),
        ([("since", "2026-11-02"), ("until", "2026-11-02")], "until"),
        ([("by", "endpoit")], "endpoit"),
        ([("by", "caller,caller")], "twice"),
        ([("by", "")], "by"),
        ([("by", "label.")], "label."),
        ([("colour", "red")], "colour"),
        ([("caller", "a"), ("caller", "b")], "caller: given twice"),
    ],
)
def test_what_is_not_understood_is_told(pairs: list[tuple[str, str]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        asked(pairs, NOW)


def test_the_last_line_is_the_sum_of_the_lines() -> None:
    lines = [total("a", cost=3, failed=1), total("b", cost=4, unpriced=2)]
    assert sum_of(lines) == Total((), 2, 7, Usage(6, 4, output=2), 2, 0, 0, 1)
    assert sum_of([]) == Total((), 0, 0, Usage(), 0, 0, 0, 0)


def test_remarks_are_made_only_where_something_is_not_plain() -> None:
    assert remarks(total()) == []
    made = remarks(total(unpriced=2, unknown=1))
    assert [remark.split(":")[0] for remark in made] == ["2 unpriced", "1 unknown"]


def test_a_report_shows_money_exactly() -> None:
    document = report(asked([("since", "2026-11-01")], NOW), [total("app", cost=1_234_500_001)])
    assert document["since"] == "2026-11-01T00:00:00Z"
    assert document["rows"][0]["cost_usd"] == "1.234500001"
    assert document["total"]["cost_nano"] == 1_234_500_001
    assert json.loads(json.dumps(document)) == document


def test_a_row_has_the_totals_and_their_disjoint_buckets() -> None:
    row = total_row(("caller",), total("app"))
    assert (row["caller"], row["input_tokens"], row["input"], row["cached_input"], row["output"]) == ("app", 5, 3, 2, 1)
    assert tuple(row) == total_columns(("caller",))


def test_a_running_attempt_has_no_cost_yet() -> None:
    row = entry_row(entry(outcome=None))
    assert (row["state"], row["cost_nano"], row["reserved_nano"]) == ("open", None, 5_000)
    assert tuple(row) == ENTRY_COLUMNS


def test_a_correction_is_part_of_the_cost_and_may_stand_in_for_a_missing_price() -> None:
    assert cost_of(entry(cost=1_000, corrected_nano=-400)) == 600
    assert cost_of(entry(cost=None)) is None
    assert cost_of(entry(cost=None, corrected_nano=250)) == 250


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "\t=", "＝", "－"])
def test_no_cell_is_a_formula(start: str) -> None:
    """LED-10"""
    assert plain(f"{start}cmd|'/c calc'!A1").startswith("'")


@pytest.mark.parametrize("text", ["-0.012", "-5", "12.5", "plain", "a=b", ""])
def test_numbers_and_plain_words_stay_as_they_are(text: str) -> None:
    assert plain(text) == text


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1))
def test_cells_survive_csv_and_none_begins_a_formula(texts: list[str]) -> None:
    """LED-10"""
    made = cells(dict(enumerate(texts)))
    out = io.StringIO(newline="")
    csv.writer(out).writerow(made)
    assert next(csv.reader(io.StringIO(out.getvalue(), newline=""))) == made
    for text, cell in zip(texts, made, strict=True):
        assert cell in {text, f"'{text}"}
        bare = cell.lstrip()
        assert not bare.startswith(("=", "+", "@")) and not (bare.startswith("-") and not bare[1:2].isdigit())


def test_labels_and_flags_are_one_cell_each() -> None:
    row = entry_row(entry(flags=("estimated", "partial"), labels={"b": "=1", "a": "x"}))
    made = dict(zip(row, cells(row), strict=True))
    assert made["flags"] == "estimated partial"
    assert json.loads(made["labels"]) == {"a": "x", "b": "=1"}


def test_a_counter_tells_when_it_resets() -> None:
    limit = Limit("research", "usd/research", "usd", 100, "day", scope=(("team", "r"),))
    row = balance_row(Ask(limit, "usd/research@2026-11-05", 0, 0.0, NOON), Balance("k", 100, 30, 20), NOW)
    assert (row["amount_nano"], row["spent_nano"], row["reserved_nano"], row["remaining_nano"]) == (100, 30, 20, 50)
    assert (row["resets_at"], row["mode"]) == ("2026-11-05T12:00:00Z", "hard")


def test_a_bucket_resets_when_it_is_full() -> None:
    limit = Limit("rate", "tokens/rate", "tokens", 100, "minute", hard=False)
    row = balance_row(Ask(limit, "tokens/rate", 0), Balance("k", 100, 30, 0, resets_s=1.5), NOW)
    assert (row["amount"], row["resets_at"], row["mode"]) == (100, "2026-11-05T12:00:01.500Z", "soft")


def test_times_are_shown_in_utc() -> None:
    assert iso(None) is None
    assert iso(0.0) == "1970-01-01T00:00:00Z"
    assert iso(NOON + 0.25) == "2026-11-05T12:00:00.250Z"
