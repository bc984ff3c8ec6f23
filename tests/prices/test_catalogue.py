"""Which price a call has: the operator's rows, the bundled catalogue, or none."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.model import Provider
from gateway.core.rates import Tier
from gateway.prices.catalogue import Catalogue
from gateway.prices.rows import PriceRow

DOLLAR = 10**9
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
OPENAI = Provider("main", "openai", "https://api.openai.com/v1")
LOCAL = Provider("local", "openai", "http://127.0.0.1:8000/v1")


@pytest.fixture(scope="module")
def bundled() -> Catalogue:
    return Catalogue()


def priced(catalogue: Catalogue, model: str, provider: Provider = LOCAL, tier: str = "") -> int | None:
    rates = catalogue.rates(provider, model, tier, NOW)
    return None if rates is None else rates.per_million["input"]


def row(model: str, nano: int, provider: str = "", tier: str = "") -> PriceRow:
    return PriceRow(provider, model, {"input": nano}, tier=tier)


def test_a_provider_is_found_by_its_base_url_or_its_catalogue_id_and_never_by_the_models_name(
    bundled: Catalogue,
) -> None:
    assert priced(bundled, "gpt-4o", OPENAI) == 2.5 * DOLLAR
    assert (
        priced(bundled, "gpt-4o", Provider("mine", "openai", "http://127.0.0.1:1/v1", catalogue="openai"))
        == 2.5 * DOLLAR
    )
    assert priced(bundled, "gpt-4o", LOCAL) is None
    assert priced(bundled, "gpt-4o", Provider("mine", "openai", OPENAI.base_url, catalogue="no-such")) is None


def test_an_unknown_model_has_no_rates(bundled: Catalogue) -> None:
    """BUD-04"""
    assert bundled.rates(OPENAI, "no-such-model", "", NOW) is None
    assert bundled.rates(OPENAI, "gpt-4o" + "x" * 300, "", NOW) is None
    assert bundled.rates(OPENAI, "whisper-1", "", NOW) is None  # by the hour, which usage does not tell


@pytest.mark.parametrize(
    ("base_url", "model", "row"),
    [
        (OPENAI.base_url, "openai/gpt-4o", "gpt-4o"),  # a double prefix
        (OPENAI.base_url, "gpt-4o-2024-08-06", "gpt-4o"),  # a dated version
        (OPENAI.base_url, "GPT-4o", "gpt-4o"),
        ("https://openrouter.ai/api/v1", "openai/gpt-4o", "openai/gpt-4o"),  # a name that has the prefix
        ("https://openrouter.ai/api/v1", "openrouter/openai/gpt-4o", "openai/gpt-4o"),
        ("https://mine.openai.azure.com/openai/v1", "gpt-4o", "gpt-4o"),  # another provider's model
    ],
)
def test_names_lead_to_their_row(bundled: Catalogue, base_url: str, model: str, row: str) -> None:
    rates = bundled.rates(Provider("main", "openai", base_url), model, "", NOW)
    assert rates is not None
    assert rates.model == row


def test_the_tier_that_served_sets_the_price(bundled: Catalogue) -> None:
    standard, flex, priority = (priced(bundled, "o3", OPENAI, tier) for tier in ("default", "flex", "priority"))
    assert standard == priced(bundled, "o3", OPENAI, "") == 2 * DOLLAR
    assert flex is not None
    assert priority is not None
    assert flex < standard < priority


def test_a_tier_without_a_price_is_unknown_unless_it_is_a_cheaper_one(bundled: Catalogue) -> None:
    assert priced(bundled, "gpt-4-turbo", OPENAI, "priority") is None
    assert priced(bundled, "gpt-4-turbo", OPENAI, "anything") is None
    flex = bundled.rates(OPENAI, "gpt-4-turbo", "flex", NOW)
    assert flex is not None
    assert flex.flags == ("tier-at-standard",)
    assert flex.per_million["input"] == priced(bundled, "gpt-4-turbo", OPENAI)


def test_a_tier_of_another_providers_model_is_not_that_of_this_one(bundled: Catalogue) -> None:
    azure = Provider("a", "openai", "https://mine.openai.azure.com/openai/v1")
    assert priced(bundled, "gpt-5", azure) == priced(bundled, "gpt-5", OPENAI)
    assert priced(bundled, "gpt-5", azure, "flex") == priced(bundled, "gpt-5", OPENAI)
    assert priced(bundled, "gpt-5", azure, "priority") is None


def test_prices_follow_the_date_and_the_time_of_day(bundled: Catalogue) -> None:
    deepseek = Provider("d", "openai", "https://api.deepseek.com/v1")

    def at(*moment: int, model: str = "deepseek-v4-pro") -> int:
        rates = bundled.rates(deepseek, model, "", datetime(*moment, tzinfo=UTC).timestamp())  # type: ignore[arg-type, misc]
        assert rates is not None
        return rates.per_million["input"]

    assert at(2026, 8, 16, 23, 59, 59) < at(2026, 8, 17, 0, 0, 0)
    assert at(2026, 9, 1, 0, 59, 59) * 2 == at(2026, 9, 1, 1, 0, 0) == at(2026, 9, 1, 3, 59, 59)
    assert at(2026, 9, 1, 4, 0, 0) == at(2026, 9, 1, 0, 59, 59)
    assert at(2026, 9, 1, 0, 29, 59, model="deepseek-chat") < at(2026, 9, 1, 0, 30, 0, model="deepseek-chat")


def test_rows_of_fees_alone_add_to_whatever_price_holds() -> None:
    """The closer row has the last word on a tool."""
    rows = [
        PriceRow("", "*", {}, fees={"code_interpreter": 30, "web_search": 7}, only_fees=True),
        PriceRow("", "gpt-4o", {}, fees={"code_interpreter": 50}, only_fees=True),
        PriceRow("local", "own", {"input": 1}, fees={"x_search": 3}),
    ]
    catalogue = Catalogue(rows)

    def fees(provider: Provider, model: str) -> dict[str, int] | None:
        rates = catalogue.rates(provider, model, "", NOW)
        return None if rates is None else dict(rates.fees)

    assert priced(catalogue, "gpt-4o", OPENAI) == 2.5 * DOLLAR
    assert fees(OPENAI, "gpt-4o") == {"web_search": 7, "file_search": 2_500_000, "code_interpreter": 50}
    assert fees(LOCAL, "own") == {"x_search": 3, "web_search": 7, "code_interpreter": 30}
    assert fees(LOCAL, "unknown") is None
    assert catalogue.version != Catalogue(rows[1:]).version


def test_a_context_tier_counts_from_where_the_provider_says(bundled: Catalogue) -> None:
    xai = bundled.rates(Provider("x", "openai", "https://api.x.ai/v1"), "grok-4.3", "", NOW)
    assert xai is not None
    assert xai.at(199_999)["input"] * 2 == xai.at(200_000)["input"]  # at least
    claude = bundled.rates(Provider("a", "openai", "https://api.anthropic.com/v1"), "claude-sonnet-4-5", "", NOW)
    assert claude is not None
    assert claude.at(200_000)["input"] * 2 == claude.at(200_001)["input"]  # more than


def test_what_was_found_is_kept(bundled: Catalogue) -> None:
    assert bundled.rates(OPENAI, "gpt-4o", "", NOW) is bundled.rates(OPENAI, "gpt-4o", "", NOW + 1)


def test_the_operators_rows_stand_above_the_catalogue() -> None:
    catalogue = Catalogue([row("gpt-4o", 1), row("mine-*", 0)])
    assert priced(catalogue, "gpt-4o", OPENAI) == 1
    assert priced(catalogue, "openai/gpt-4o", OPENAI) == 1
    assert priced(catalogue, "mine-7b") == 0
    assert priced(catalogue, "gpt-4o-mini", OPENAI) == 0.15 * DOLLAR


@pytest.mark.parametrize("turned", [1, -1])
def test_the_most_particular_row_is_taken_whatever_the_order(turned: int) -> None:
    rows = [
        row("*", 1),
        row("*", 2, provider="local"),
        row("gpt-*", 3),
        row("gpt-4*", 4),
        row("gpt-4*", 5, provider="local"),
        row("gpt-4o", 6),
        row("gpt-4o", 7, provider="local"),
        row("gpt-4o", 8, provider="local", tier="flex"),
        row("o3", 9, tier="flex"),
        row("o3", 10, provider="local"),
    ]
    catalogue = Catalogue(rows[::turned])
    other = Provider("other", "openai")
    assert priced(catalogue, "llama", other) == 1
    assert priced(catalogue, "llama") == 2
    assert priced(catalogue, "gpt-5") == 3
    assert priced(catalogue, "gpt-4x", other) == 4
    assert priced(catalogue, "gpt-4x") == 5
    assert priced(catalogue, "gpt-4o", other, "flex") == 6
    assert priced(catalogue, "gpt-4o", tier="priority") == 7
    assert priced(catalogue, "gpt-4o", tier="flex") == 8
    assert priced(catalogue, "o3", other, tier="flex") == 9
    assert priced(catalogue, "o3", tier="flex") == 10


def test_a_pattern_knows_only_the_star() -> None:
    catalogue = Catalogue([row("a[b]?*", 1)])
    assert priced(catalogue, "A[b]?c") == 1
    assert priced(catalogue, "abxc") is None


def test_a_rows_tier_says_only_what_differs_below_it() -> None:
    tiers = (Tier(100, {"input": 4}), Tier(200, {"output": 9}))
    rates = PriceRow("", "m", {"input": 2, "output": 3}, tiers).rates
    assert rates.at(100) == {"input": 2, "output": 3}
    assert rates.at(101) == {"input": 4, "output": 3}
    assert rates.at(201) == {"input": 4, "output": 9}
    assert rates.source == "policy"


def test_the_version_names_the_package_and_changes_with_the_rows() -> None:
    plain, one, other = Catalogue().version, Catalogue([row("m", 1)]).version, Catalogue([row("m", 2)]).version
    assert plain.startswith("genai-prices ")
    assert one.startswith(f"{plain} + ")
    assert len({plain, one, other, Catalogue([row("m", 1, tier="flex")]).version}) == 4
    assert Catalogue([row("m", 1)]).version == one


@given(st.text(max_size=300), st.text(max_size=40), st.floats(0, 4e9))
def test_no_name_tier_or_time_breaks_it(model: str, tier: str, at: float) -> None:
    catalogue = Catalogue([row("gpt-*", 1)])
    for provider in (OPENAI, LOCAL, Provider("aws", "openai", catalogue="aws")):
        catalogue.rates(provider, model, tier, at)


def test_nothing_is_asked_of_the_network() -> None:
    """In a process of its own, where the first socket or look-up of a name ends it."""
    program = """
import sys
def refuse(event, _):
    if event.startswith(("socket.", "urllib.", "http.")) and event != "socket.__new__":
        raise SystemExit(f"the network: {event}")
sys.addaudithook(refuse)
from gateway.core.model import Provider
from gateway.prices.catalogue import Catalogue
openai = Provider("main", "openai", "https://api.openai.com/v1")
assert Catalogue().rates(openai, "gpt-4o", "", 1.7e9)
assert not Catalogue().rates(openai, "no-such-model", "", 1.7e9)
import threading
assert threading.active_count() == 1, "something refreshes in the background"
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
