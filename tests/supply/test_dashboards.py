"""deploy/observability: what dashboards and alerts ask for is there. No Prometheus, Grafana or collector is needed."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
import yaml

from gateway.core.errors import CODES
from gateway.core.rules import GRAVITY
from gateway.sinks.families import Histogram
from gateway.sinks.metrics import Metrics
from tests.supply.requirements import ROOT
from tests.support import promql
from tests.support.dashboards import BOARDS, FOLDER, pages

OBSERVABILITY = ROOT / "deploy" / "observability"
COLLECTOR = yaml.safe_load((OBSERVABILITY / "collector.yaml").read_text())
RULES = [
    rule for group in yaml.safe_load((OBSERVABILITY / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]


def samples() -> dict[str, frozenset[str]]:
    """Every name that a scrape can hold, with its labels."""
    known = {}
    for family in Metrics().families():
        labels = frozenset(family.labels)
        if isinstance(family, Histogram):
            known |= {
                f"{family.name}_bucket": labels | {"le"},
                f"{family.name}_sum": labels,
                f"{family.name}_count": labels,
            }
        else:
            known[family.name] = labels
    return known


KNOWN = samples()
PANELS = [
    pytest.param(query, id=f"{name}: {panel.title}")
    for name, (_, panels) in BOARDS.items()
    for panel in panels
    for query in panel.queries
]


@pytest.mark.parametrize(("file", "text"), [pytest.param(*page, id=page[0].name) for page in pages()])
def test_the_dashboards_are_what_the_code_makes(file, text):
    assert file.read_text() == text, "run: python -m tests.support.dashboards"


def test_there_is_no_other_dashboard():
    assert {file.name for file in FOLDER.iterdir()} == {f"{name}.json" for name in BOARDS}


@pytest.mark.parametrize("query", PANELS)
def test_every_panel_asks_for_metrics_and_labels_that_exist(query):
    legend, expression = query
    assert promql.problems(expression, KNOWN) == []
    grouped = promql.read(expression).grouped
    assert set(re.findall(r"{{(\w+)}}", legend)) <= set(grouped), "a legend shows what the query groups by"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_asks_for_metrics_and_labels_that_exist(rule):
    assert promql.problems(rule["expr"], KNOWN) == []
    grouped = promql.read(rule["expr"]).grouped
    shown = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    assert shown <= set(grouped) | promql.TARGET_LABELS
    assert set(rule["annotations"]) == {"summary", "action"}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}


@pytest.mark.parametrize(("label", "values"), [("code", set(CODES)), ("verdict", set(GRAVITY))])
def test_values_that_queries_name_exist(label, values):
    expressions = [rule["expr"] for rule in RULES] + [query[1] for param in PANELS for query in param.values]
    named = {
        value
        for expression in expressions
        for text in re.findall(rf'\b{label}=~?"([^"]*)"', expression)
        for value in text.split("|")
    }
    assert named
    assert named <= values


def test_what_an_operator_must_hear_of_has_an_alert():
    asked = {metric for rule in RULES for metric, _ in promql.read(rule["expr"]).selectors}
    assert asked >= {
        "gateway_calls_total",
        "gateway_limit_warnings_total",
        "gateway_refusals_total",
        "gateway_guard_verdicts_total",
        "gateway_overhead_seconds_bucket",
        "gateway_export_dropped_spans_total",
        "gateway_ledger_up",
        "gateway_store_up",
        "gateway_loop_delay_seconds_bucket",
    }
    assert max(Counter(rule["alert"] for rule in RULES).values()) == 1


def test_every_family_of_the_gateway_is_on_a_dashboard():
    asked = {metric for param in PANELS for query in param.values for metric, _ in promql.read(query[1]).selectors}
    own = {family.name for family in Metrics().families() if family.name.startswith("gateway_")}
    shown = {name for name in own if name in asked or f"{name}_bucket" in asked}
    assert own - shown == {"gateway_policy_reloads_total"}  # it has an alert


def test_panels_have_their_own_place_and_variables_name_what_exists():
    for file, text in pages():
        board = json.loads(text)
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
        assert len(set(places)) == len(places), file
        for variable in board["templating"]["list"][1:]:
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]).groups()
            assert metric in KNOWN
            assert label in promql.TARGET_LABELS


def test_the_collectors_pipelines_are_made_of_parts_that_are_there():
    for pipeline in COLLECTOR["service"]["pipelines"].values():
        for part in ("receivers", "processors", "exporters"):
            assert set(pipeline[part]) <= set(COLLECTOR[part])
        assert pipeline["processors"][0] == "memory_limiter"


def test_no_file_holds_a_secret_or_listens_beyond_loopback():
    endpoints = [COLLECTOR["receivers"]["otlp"]["protocols"]["http"], COLLECTOR["exporters"]["prometheus"]]
    assert all(part["endpoint"].startswith("127.0.0.1:") for part in endpoints)
    prometheus = yaml.safe_load((OBSERVABILITY / "prometheus.yaml").read_text())
    assert prometheus["rule_files"] == ["alerts.yaml"]
    assert set(prometheus["scrape_configs"][0]["authorization"]) == {"credentials_file"}


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("gateway_call_total", "no metric gateway_call_total"),
        ("gateway_call_duration_seconds", "no metric gateway_call_duration_seconds"),
        ('gateway_calls_total{model="x"}', "gateway_calls_total has no label model"),
        ("sum by (caller) (gateway_calls_total)", "gateway_calls_total has no label caller"),
        ("sum by (endpoint) (rate(gateway_calls_total[5m])", "( is not closed"),
        ("sum(rate(gateway_calls_total[5m])))", ") closes nothing"),
        ("rates(gateway_calls_total[5m])", "no metric rates"),
        ("rate / gateway_calls_total", "rate has nothing to work on"),
        ("gateway_calls_total{status}", "a matcher is a label, a sign and a quoted value"),
        ("gateway_calls_total{status='5'}", "unreadable at: '5'}"),
        ("sum by endpoint (gateway_calls_total)", "labels are listed in parentheses"),
        ("1 > 0", "asks for no metric"),
    ],
)
def test_a_query_that_asks_for_what_is_not_there_is_found(expression, problem):
    assert promql.problems(expression, KNOWN) == [problem]
