"""Against a second catalogue and its calculator (`make_golden.py` asked it): equal, or different for a reason that
`golden/differences.json` lists and docs/prices.md explains."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.core.model import Provider
from gateway.core.money import NANO
from gateway.core.rates import Cost, Rates, cost
from gateway.core.usage import Usage
from gateway.prices.catalogue import Catalogue

GOLDEN = Path(__file__).parent / "golden"
DOCS = Path(__file__).parents[2] / "docs" / "prices.md"
AT = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
LONG = 200_000

Figures = dict[str, tuple[Cost, int]]  # usage's name -> ours, theirs in nano-dollars


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    told: dict[str, Any] = json.loads((GOLDEN / "litellm.json").read_text())
    return told


@pytest.fixture(scope="module")
def explained() -> dict[str, str]:
    """Case -> the reason why it differs."""
    reasons: dict[str, list[str]] = json.loads((GOLDEN / "differences.json").read_text())
    return {case: reason for reason, cases in reasons.items() for case in cases}


@pytest.fixture(scope="module")
def compared(golden: dict[str, Any]) -> dict[str, tuple[Rates | None, Figures]]:
    """Every case, with our rates and those figures that differ by more than the rounding."""
    catalogue = Catalogue()
    found: dict[str, tuple[Rates | None, Figures]] = {}
    for case, dollars in golden["costs"].items():
        provider, _, rest = case.partition("/")
        model, _, tier = rest.rpartition("/")
        rates = catalogue.rates(Provider(provider, "openai", catalogue=provider), model, tier, AT)
        figures = (
            {}
            if rates is None
            else {
                name: (cost(rates, Usage(**golden["usages"][name])), round(usd * NANO)) for name, usd in dollars.items()
            }
        )
        found[case] = (
            rates,
            {
                name: (ours, theirs)
                for name, (ours, theirs) in figures.items()
                if ours.nano is None or abs(ours.nano - theirs) > 1
            },
        )
    return found


def test_every_difference_is_explained_and_every_explanation_is_of_a_difference(
    compared: dict[str, tuple[Rates | None, Figures]], explained: dict[str, str]
) -> None:
    assert {case for case, (rates, figures) in compared.items() if rates is None or figures} == set(explained)


def test_most_figures_are_equal(golden: dict[str, Any], compared: dict[str, tuple[Rates | None, Figures]]) -> None:
    known = [case for case, (rates, _) in compared.items() if rates is not None]
    equal = sum(len(golden["costs"][case]) - len(compared[case][1]) for case in known)
    different = sum(len(compared[case][1]) for case in known)
    assert equal > 1800
    assert different < 160


def test_the_reason_fits_each_difference(
    golden: dict[str, Any], compared: dict[str, tuple[Rates | None, Figures]], explained: dict[str, str]
) -> None:
    for case, reason in explained.items():
        rates, figures = compared[case]
        if rates is None:
            assert reason == "unknown"
            continue
        for name, (ours, theirs) in figures.items():
            usage = Usage(**golden["usages"][name])
            assert ours.nano is not None, case
            if reason == "no cached rate":
                assert "cached-at-input" in ours.flags
                assert ours.nano > theirs
            elif reason == "reasoning added":
                again = cost(rates, Usage(reasoning=usage.reasoning)).nano
                assert again is not None
                assert abs(theirs - ours.nano - again) <= 1
            elif reason == "long context":
                assert usage.input_tokens > LONG
            else:
                assert reason == "other rates"


def test_the_documentation_lists_the_reasons(explained: dict[str, str]) -> None:
    told = DOCS.read_text()
    for reason, cases in Counter(explained.values()).items():
        assert f"| {reason} | {cases} |" in told
