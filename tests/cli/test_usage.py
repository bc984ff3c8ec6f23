from __future__ import annotations

import csv
import io
import json
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.cli.usage import write_rows
from gateway.core.accounts import Entry, Query
from gateway.core.rates import Rates, cost
from gateway.core.reports import Asked
from gateway.core.usage import Usage
from gateway.prices.stored import rates_json
from tests.cli.conftest import Run
from tests.cli.fakes import DAY, NOON, FakeLedger, entry


@pytest.fixture
def ledger() -> FakeLedger:
    return FakeLedger(
        entry("req_1.1", cost=1_500_000_000, usage=Usage(100, cached_input=20, output=30)),
        entry("req_2.1", caller="batch", cost=None, flags=("unpriced",)),
        entry("req_3.1", caller="batch", team="team-b", state="failed", cost=0, usage=Usage(), labels={"env": "test"}),
        entry("req_4.1", at=NOON - 40 * DAY, cost=9_000_000_000),
    )


def test_the_table_has_a_line_for_each_caller_and_a_total(run: Run, ledger: FakeLedger) -> None:
    result = run(ledger, "usage")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "2026-11-01T00:00:00Z to now"
    assert [line.split() for line in lines[2:] if not line.startswith("-")][:4] == [
        ["caller", "attempts", "input_tokens", "output_tokens", "cost_usd", "failed", "unpriced"],
        ["app", "1", "120", "30", "1.5", "0", "0"],
        ["batch", "2", "10", "5", "0", "1", "1"],
        ["total", "3", "130", "35", "1.5", "1", "1"],
    ]
    assert ledger.closed == 1


def test_numbers_end_at_the_same_place(run: Run, ledger: FakeLedger) -> None:
    lines = run(ledger, "usage").stdout.splitlines()[2:7]
    assert len({len(line) for line in lines}) == 1


def test_what_is_not_known_is_explained_once_and_only_when_it_occurs(run: Run, ledger: FakeLedger) -> None:
    result = run(ledger, "usage")
    assert [line.split(":")[0] for line in result.stdout.splitlines()[8:]] == ["1 unpriced"]
    plain = run(ledger, "usage", "--caller", "app")
    assert "unpriced" not in plain.stdout


def test_nothing_used_is_a_table_without_lines(run: Run) -> None:
    result = run(FakeLedger(), "usage")
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1].split() == ["total", "0", "0", "0", "0"]


def test_the_time_and_the_values_select(run: Run, ledger: FakeLedger) -> None:
    result = run(ledger, "usage", "--json", "--since", "60d", "--until", "2026-11", "--by", "day,label.env")
    document = json.loads(result.stdout)
    assert [(row["day"], row["label.env"], row["cost_usd"]) for row in document["rows"]] == [
        ("2026-09-26", "prod", "9")
    ]
    result = run(ledger, "usage", "--json", "--team", "team-b", "--label", "env=test")
    assert json.loads(result.stdout)["total"]["attempts"] == 1


def test_names_cannot_steer_the_terminal(run: Run) -> None:
    result = run(FakeLedger(entry(model="\x1b]0;x\x07fast\n")), "usage", "--by", "model")
    assert "\x1b" not in result.stdout
    assert "\\x1b]0;x\\x07fast\\n" in result.stdout


def test_csv_has_a_head_and_no_formula(run: Run) -> None:
    """LED-10"""
    ledger = FakeLedger(entry(caller='=HYPERLINK("x")'), entry("req_2.1", caller="a\rb", corrected_nano=-2_000))
    rows = list(csv.DictReader(io.StringIO(run(ledger, "usage", "--csv").stdout, newline="")))
    assert [row["caller"] for row in rows] == ['\'=HYPERLINK("x")', "a\rb"]
    assert [row["cost_usd"] for row in rows] == ["0.000001", "-0.000001"]


def test_without_rows_the_csv_still_has_its_head(run: Run) -> None:
    assert run(FakeLedger(), "usage", "--csv").stdout.startswith("caller,attempts,input_tokens,")
    assert run(FakeLedger(), "usage", "--rows").stdout.startswith("attempt,call,number,at,")


def test_every_attempt_is_a_row(run: Run, ledger: FakeLedger) -> None:
    rows = list(csv.DictReader(io.StringIO(run(ledger, "usage", "--rows", "--caller", "batch").stdout, newline="")))
    assert [(row["attempt"], row["state"], row["cost_nano"], row["flags"]) for row in rows] == [
        ("req_2.1", "settled", "", "unpriced"),
        ("req_3.1", "failed", "0", ""),
    ]
    lines = run(ledger, "usage", "--rows", "--json").stdout.splitlines()
    assert [json.loads(line)["attempt"] for line in lines] == ["req_1.1", "req_2.1", "req_3.1"]


class Endless(FakeLedger):
    """Any number of attempts, made as they are read."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    async def entries(self, query: Query) -> AsyncIterator[Entry]:
        one = entry()
        for number in range(self._number):
            yield replace(one, intent=replace(one.intent, attempt=f"req_{number}.1"))


class Counting(io.StringIO):
    lines = 0

    def write(self, text: str) -> int:
        self.lines += text.count("\n")
        return len(text)


@pytest.mark.parametrize("form", ["csv", "json"])
async def test_memory_does_not_grow_with_the_rows(form: str) -> None:
    """LED-10"""
    wanted = Asked(("caller",), Query())
    await write_rows(Endless(2_000), wanted, form, Counting())
    tracemalloc.start()
    out = Counting()
    await write_rows(Endless(5_000), wanted, form, out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert out.lines == 5_000 + (form == "csv")
    assert peak < 200_000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--by", "colour"], "colour"),
        (["--since", "soon"], "soon"),
        (["--label", "env"], "NAME=VALUE"),
        (["--since", "2026-11-03", "--until", "2026-11-01"], "until"),
    ],
)
def test_a_wrong_word_is_one_clear_line(run: Run, arguments: list[str], said: str) -> None:
    result = run(FakeLedger(), "usage", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


RATES = Rates("genai-prices 0.2.3", "openai", "gpt-5-mini", {"input": 250_000_000, "output": 2_000_000_000})
USED = Usage(1_000, cached_input=7, output=200)


def explained(run: Run, *rows: Entry, name: str = "req_1") -> str:
    result = run(FakeLedger(*rows), "usage", "explain", name)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_a_cost_is_explained_with_its_rates_and_its_arithmetic(run: Run) -> None:
    """LED-13: with the rates of then, whatever prices are now."""
    nano = cost(RATES, USED).nano
    assert nano is not None
    text = explained(run, entry(cost=nano, usage=USED, rates=rates_json(RATES, "flex"), flags=("cached-at-input",)))
    assert "genai-prices 0.2.3: openai gpt-5-mini, tier flex" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["input", "1000", "0.25", "0.00025"] in lines
    assert ["cached_input", "(at", "input)", "7", "0.25", "0.00000175"] in lines
    assert ["output", "200", "2", "0.0004"] in lines
    assert ["exact", "sum", "0.00065175"] in lines
    assert ["cost", "0.00065175", "USD"] in lines
    assert "note        cached-at-input: cached input has no rate of its own" in text


def test_every_attempt_of_a_call_is_explained(run: Run) -> None:
    text = explained(run, entry("req_1.1", state="failed", cost=0, usage=Usage()), entry("req_1.2"), entry("req_10.1"))
    assert text.count("attempt  ") == 2
    assert "failed: the provider gave no answer" in text
    assert explained(run, entry("req_1.1"), entry("req_1.2"), name="req_1.2").count("attempt  ") == 1


def test_an_open_attempt_an_unknown_price_and_a_correction_are_told(run: Run) -> None:
    assert "open: it runs" in explained(run, entry(outcome=None))
    assert "cost        not known" in explained(run, entry(cost=None, flags=("unpriced",)))
    text = explained(run, entry(cost=1_000, corrected_nano=-400))
    assert "corrected   -0.0000004 USD\ncost        0.0000006 USD" in text


def test_rates_of_another_version_are_no_crash(run: Run) -> None:
    assert "cannot be read" in explained(run, entry(rates='{"later": true}'))


def test_an_id_that_nobody_knows_is_told(run: Run) -> None:
    result = run(FakeLedger(), "usage", "explain", "req_9")
    assert (result.returncode, result.stdout) == (1, "")
    assert "req_9" in result.stderr


@pytest.mark.parametrize(("usd", "nano"), [("-0.012", -12_000_000), ("3", 3_000_000_000)])
def test_a_correction_is_a_further_row(run: Run, usd: str, nano: int) -> None:
    """LED-08"""
    ledger = FakeLedger(entry())
    result = run(ledger, "usage", "correct", "req_1.1", "--usd", usd, "--reason", "provider's credit")
    assert (result.returncode, result.stdout) == (0, f"req_1.1: corrected by {usd} USD\n")
    assert ledger.corrections == [("req_1.1", nano, "provider's credit")]


@pytest.mark.parametrize(
    ("name", "usd", "code"), [("req_9.1", "1", 1), ("req_1.1", "much", 2), ("req_1.1", "0", 2), ("req_1.1", "--1", 2)]
)
def test_a_wrong_correction_writes_nothing(run: Run, name: str, usd: str, code: int) -> None:
    ledger = FakeLedger(entry())
    result = run(ledger, "usage", "correct", name, f"--usd={usd}", "--reason", "x")
    assert (result.returncode, result.stdout) == (code, "")
    assert ledger.corrections == []
