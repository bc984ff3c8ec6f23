"""Budgets, limits, prices and accounting in policy files: what is accepted, and how wrong ones are told."""

import hashlib
from pathlib import Path

import pytest

from gateway.core.accounts import Balance
from gateway.core.model import Caller, Names
from gateway.policy.compile import Accounting, output_cap
from gateway.policy.explain import explain
from gateway.policy.limits import limits_for, warned
from gateway.policy.load import PolicyErrors, load, read_source
from gateway.policy.schema import json_schema

DIGEST = hashlib.sha256(b"real-canary").hexdigest()
HEAD = f"""\
providers: {{demo: {{shape: demo}}}}
models: {{demo: {{targets: [{{provider: demo}}]}}, "gpt-*": {{targets: [{{provider: demo}}], max_output_tokens: 4096}}}}
callers: {{app: {{key_sha256: ["{DIGEST}"], team: research, models: ["*"], labels: {{env: prod}}}}}}
"""
APP = Caller("app", "research", Names.of(["*"]), Names.of(["*"]), {"env": "prod"})
ISSUER = """\
issuers:
  corp: {issuer: "https://idp.example", audience: a, discover: true, rights: [{when: {}, models: ["*"], labels: {tier: gold}}]}
"""


def loaded(text: str, head: str = HEAD):
    return load((("p.yaml", (head + text).encode()),), Path("policies"), {})


def problems(text: str, head: str = HEAD) -> list[str]:
    with pytest.raises(PolicyErrors) as error:
        loaded(text, head)
    return [line.split("p.yaml:", 1)[1] for line in str(error.value).splitlines()]


def test_a_budget_holds_for_what_it_matches():
    policy = loaded("""\
budgets:
  research-month:
    match: {team: research, label.env: prod}
    each: [caller]
    usd: 250.00
    window: month
    warn_at: [95, 50, 80]
""")
    (limit,) = limits_for(policy, APP, "demo")
    assert (limit.unit, limit.amount, limit.window, limit.hard) == ("usd", 250 * 10**9, "month", True)
    assert limit.warn_at == (50, 80, 95)
    assert limit.scope == (("caller", "app"), ("label.env", "prod"), ("team", "research"))


def test_a_rate_limit_is_up_to_three_limits():
    row = "requests_per_minute: 600, tokens_per_minute: 200000, concurrency: 50, mode: soft"
    found = limits_for(loaded(f"rate_limits: {{per-caller: {{each: [caller], {row}}}}}\n"), APP, "demo")
    assert [(limit.unit, limit.amount, limit.window, limit.hard) for limit in found] == [
        ("requests", 600, "minute", False),
        ("tokens", 200_000, "minute", False),
        ("calls", 50, "now", False),
    ]
    assert len({limit.counter for limit in found}) == 3


def test_a_soft_limit_always_warns_when_it_is_used_up():
    (limit,) = limits_for(loaded("budgets: {b: {usd: 1, window: day, mode: soft, warn_at: [50]}}\n"), APP, "demo")
    assert limit.warn_at == (50, 100)
    assert warned(limit, Balance("k", limit.amount, limit.amount, 0)) == 100


@pytest.mark.parametrize(
    ("written", "nano"),
    [("250.00", 250 * 10**9), ('"0.1"', 10**8), ("0", 0), ("0.000000001", 1), ("1.0e-7", 100), ("3", 3 * 10**9)],
)
def test_dollars_are_exact_as_number_and_as_text(written, nano):
    """BUD-17"""
    assert limits_for(loaded(f"budgets: {{b: {{usd: {written}, window: total}}}}\n"), APP, "demo")[0].amount == nano


@pytest.mark.parametrize(
    "written",
    [
        "-1",
        "true",
        ".nan",
        ".inf",
        "ten",
        '""',
        "1e999999",
        '"1_000"',
        "0.0000000001",
        '"1.0000000000000000000000000000001"',
        "[1]",
        "null",
        "9999999999",
    ],
)
def test_what_is_no_amount_is_told_as_such(written):
    assert problems(f"budgets:\n  b: {{usd: {written}, window: day}}\n") == [
        "5: budgets.b.usd: must be dollars such as 12.50, from 0, with at most nine decimals"
    ]


def test_all_problems_are_told_at_once_with_line_and_fix():
    """OPS-09"""
    found = problems("""\
budgets:
  a: {usd: 1, window: week}
  b: {usd: 1, window: day, match: {caler: app}}
  c: {usd: 1, window: day, each: [labels.env]}
  d: {usd: 1, window: day, warn: [1]}
  e: {usd: 1, window: day, warn_at: [101], mode: warn}
  f: {usd: 1, window: day, match: {team: reserch}}
  g: {usd: 1, window: day, match: {label.env: prd}, each: [caller, caller]}
  h: {usd: 1, window: day, each: [label.evn]}
  i: {usd: 1, window: day, match: {model: gtp-5}}
rate_limits:
  a: {each: [caller]}
  b: {requests_per_minute: 0}
prices:
  a: {model: demo}
  b: {model: demo, provider: dmo, input: 1}
  c: {model: "x*", input: 1, above: [{tokens: 5}, {tokens: 5, output: 1}]}
  d: {model: "x*", input: 1}
  e: {input: 1}
accounting: {unpriced: flat, drain_s: 0, local_share: 2}
""")
    assert found == [
        "5: budgets.a.window: must be 'hour', 'day', 'month' or 'total'",
        '6: budgets.b.match.caler: calls are not told apart by "caler"; did you mean "caller"?',
        '7: budgets.c.each[0]: calls are not told apart by "labels.env"; there are caller, team, model and label.NAME',
        '8: budgets.d.warn: there is no such key; did you mean "warn_at"?',
        "9: budgets.e.mode: must be 'hard' or 'soft'",
        "9: budgets.e.warn_at[0]: must be less than or equal to 100",
        '10: budgets.f.match.team: there is no team "reserch"; did you mean "research"?',
        '11: budgets.g.each[1]: "caller" stands twice',
        '11: budgets.g.match.label.env: there is no label.env "prd"; did you mean "prod"?',
        '12: budgets.h.each[0]: no caller has this label; did you mean "label.env"?',
        '13: budgets.i.match.model: there is no model "gtp-5"; did you mean "gpt-*"?',
        "15: rate_limits.a: needs one of requests_per_minute, tokens_per_minute and concurrency",
        "16: rate_limits.b.requests_per_minute: must be greater than or equal to 1",
        "18: prices.a: needs a rate such as input or output, or per_request, or fees; 0 is free",
        '19: prices.b.provider: there is no provider "dmo"; did you mean "demo"?',
        "20: prices.c.above[0]: needs a rate such as input or output",
        "20: prices.c.above[1].tokens: another tier begins at the same count",
        '21: prices.d: "c" is the price of the same provider, model and service_tier',
        "22: prices.e.model: is missing",
        "23: accounting.drain_s: must be greater than 0",
        "23: accounting.local_share: must be less than or equal to 1",
        "23: accounting.unpriced: flat needs flat_usd, the charge of such a call",
    ]


def test_limits_for_somebody_the_policy_does_not_know_are_taken_where_tokens_name_callers():
    text = "budgets: {b: {usd: 1, window: day, match: {caller: jane, team: any, label.tier: gold}}}\n"
    assert loaded(ISSUER + text).budgets[0].match["caller"] == "jane"
    assert problems(ISSUER + text.replace("gold", "silver")) == [
        '6: budgets.b.match.label.tier: there is no label.tier "silver"'
    ]


def test_a_policy_without_callers_takes_any_name():
    head = "\n".join(HEAD.splitlines()[:2]) + "\n"
    assert loaded("budgets: {b: {usd: 1, window: day, match: {team: later}, each: [label.env]}}\n", head).budgets


def test_what_is_wrong_elsewhere_is_not_told_twice():
    """A team of a caller whose row is wrong may exist."""
    text = "budgets: {b: {usd: 1, window: day, match: {team: ops}}}\n"
    assert len(problems(text, HEAD.replace("team: research", "tem: ops"))) == 2


def test_without_the_section_the_careful_choices_hold():
    policy = loaded("")
    assert policy.accounting == Accounting()
    assert (policy.budgets, policy.rate_limits, policy.prices) == ((), (), ())
    assert (policy.accounting.unpriced, policy.accounting.max_output_tokens) == ("refuse", 16_384)
    assert policy.accounting.when_store_is_down == "refuse"


def test_the_defaults_of_the_format_are_those_of_the_compiled_policy():
    assert loaded("accounting: {}\n").accounting == Accounting()


def test_accounting_is_read_as_it_is_written():
    """BUD-04"""
    text = (
        "accounting: {unpriced: flat, flat_usd: 0.01, disconnect: drain, drain_s: 2, exhausted: cut, local_share: 1}\n"
    )
    found = loaded(text).accounting
    assert (found.unpriced, found.flat_nano, found.disconnect, found.drain_s) == ("flat", 10**7, "drain", 2)
    assert (found.exhausted, found.local_share) == ("cut", 1)
    assert problems("accounting: {flat_usd: 1}\n") == ["4: accounting.flat_usd: is used with unpriced: flat only"]


def test_accounting_stands_in_one_file():
    files = ((name, (HEAD * (name == "a.yaml") + "accounting: {}\n").encode()) for name in ("a.yaml", "b.yaml"))
    with pytest.raises(PolicyErrors, match=r"b\.yaml:1: accounting is already defined in policies/a\.yaml:4"):
        load(tuple(files), Path("policies"), {})


def test_prices_are_nano_dollars_a_million_tokens():
    (row,) = loaded("""\
prices:
  long: {provider: demo, model: "demo*", input: 0.15, cached_input: 0.075, output: 0, per_request: 0.001,
         service_tier: Flex, context_window: 400000, fees: {web_search: 0.01, code_interpreter: 0},
         above: [{tokens: 400000, input: 3}, {tokens: 200000, input: 2}]}
""").prices
    assert row.per_million == {"input": 150_000_000, "cached_input": 75_000_000, "output": 0}
    assert (row.provider, row.model, row.tier, row.per_request) == ("demo", "demo*", "flex", 10**6)
    assert [(tier.above, dict(tier.per_million)) for tier in row.tiers] == [
        (200_000, {"input": 2 * 10**9}),
        (400_000, {"input": 3 * 10**9}),
    ]
    assert row.context_window == 400_000
    assert row.rates.fees == {"web_search": 10**7, "code_interpreter": 0}


def test_fees_alone_leave_the_price_of_tokens_as_it_is():
    containers, whole = loaded("""\
prices:
  containers: {provider: demo, model: "*", fees: {code_interpreter: 0.03}}
  whole: {provider: demo, model: "*", input: 1}
""").prices
    assert (containers.only_fees, containers.rates.fees) == (True, {"code_interpreter": 3 * 10**7})
    assert not whole.only_fees
    with pytest.raises(PolicyErrors, match="has fees only, so above and context_window do nothing"):
        loaded("prices: {a: {model: m, fees: {web_search: 1}, context_window: 5}}\n")


def test_a_fee_of_no_known_tool_is_refused_with_those_that_are():
    with pytest.raises(PolicyErrors, match="web_search"):
        loaded("prices: {a: {model: m, input: 1, fees: {web_serch: 1}}}\n")


def test_a_model_has_a_ceiling_by_the_rule_that_decides_for_it():
    """BUD-05"""
    policy = loaded("")
    assert (output_cap(policy, "gpt-5"), output_cap(policy, "demo"), output_cap(policy, "none")) == (4096, None, None)


def test_providers_and_passthrough_rows_say_how_they_are_charged():
    more = ", catalogue: azure, output_cap_field: max_tokens"
    path = "passthrough: {f: {path: /v1/f, methods: [GET], provider: demo, charge_usd: 0.05},\n"
    path += "  g: {path: /v1/g, methods: [GET], provider: demo}, h: {path: /v1/h, methods: [GET], provider: demo, charge_usd: 0}}\n"
    policy = loaded(path, HEAD.replace("shape: demo", "shape: demo" + more))
    assert [row.charge_nano for row in policy.passthrough] == [5 * 10**7, None, 0]
    assert (policy.providers["demo"].catalogue, policy.providers["demo"].output_cap_field) == ("azure", "max_tokens")
    assert (loaded("").providers["demo"].catalogue, loaded("").providers["demo"].output_cap_field) == (
        "",
        "max_completion_tokens",
    )


def test_editors_know_dollars_as_numbers_and_as_text():
    usd = json_schema()["$defs"]["BudgetRow"]["properties"]["usd"]["anyOf"]
    assert [kind["type"] for kind in usd] == ["number", "string"]


def test_explain_shows_what_holds_for_a_call_and_at_which_price():
    text = """\
budgets:
  month: {match: {team: research}, each: [caller], usd: 250, window: month, warn_at: [50]}
  other: {match: {caller: app, model: "gpt-*"}, usd: 1, window: day}
rate_limits: {rates: {concurrency: 5, mode: soft}}
prices: {demo: {provider: demo, model: demo, input: 0.15, output: 0.6, per_request: 0.01, fees: {web_search: 0.02}}}
"""
    policy = loaded(text)
    shown = explain(policy, "app", "demo")
    assert "limit      rates: 5 calls at the same time: only warned of, warns at 100 %" in shown
    assert (
        "budget     month: 250 dollars a month for each caller, where team is research: refused beyond, warns at 50 %"
        in shown
    )
    assert "other" not in shown
    assert "output     16384 tokens where a call names no limit" in shown
    assert (
        "price      demo as demo: input 0.15, output 0.6 dollars a million tokens, 0.01 a request, web_search 0.02 a use "
        "(policy)" in shown
    )
    shown = explain(policy, "app", "gpt-nobody")
    assert "other: 1 dollars a day, where caller is app, model is gpt-*" in shown
    assert "output     up to 4096 tokens" in shown
    assert "not known: refused with 402 unpriced_model where a hard budget holds" in shown


@pytest.mark.parametrize(
    ("accounting", "told"),
    [
        ("{unpriced: flat, flat_usd: 0.02}", "not known: 0.02 dollars a request"),
        ("{unpriced: allow}", "not known: calls pass, and are counted without a price"),
    ],
)
def test_explain_says_what_a_call_without_a_price_comes_to(accounting, told):
    shown = explain(loaded(f"accounting: {accounting}\n"), "app", "demo")
    assert told in shown
    assert "limits     none" in shown


def test_explain_leaves_open_what_the_claims_of_a_token_decide():
    shown = explain(loaded(ISSUER + "budgets: {b: {usd: 1, window: total, match: {team: any}}}\n"), "corp", "demo")
    assert "these may hold; the claims of a token decide" in shown
    assert "b: 1 dollars in total, where team is any" in shown


def test_the_starter_policy_counts_every_caller_and_knows_the_price_of_the_demo_model():
    root = Path(__file__).parents[2] / "policies"
    policy = load(read_source(root), root, {})
    found = limits_for(policy, APP, "demo")
    assert [(limit.name, limit.hard) for limit in found] == [("daily", True), ("daily-goal", False)]
    assert all(limit.scope == (("caller", "app"),) for limit in found)
    demo, *_ = policy.prices
    assert demo.matches("demo", "demo", "standard")


def test_a_provider_that_the_price_catalogue_does_not_have_is_told_with_a_suggestion():
    head = HEAD.replace("{shape: demo}", "{shape: demo, catalogue: openia}")
    assert problems("", head) == [
        '1: providers.demo.catalogue: the price catalogue has no provider "openia"; did you mean "openai"?'
    ]
