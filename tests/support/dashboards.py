"""Writes deploy/observability/grafana/*.json: `python -m tests.support.dashboards`. A test compares, and checks every
query against the metrics that there are. Queries name families by their name in Prometheus."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.sinks.families import Histogram
from gateway.sinks.metrics import Metrics

FOLDER = Path(__file__).parents[2] / "deploy" / "observability" / "grafana"
SOURCE = {"type": "prometheus", "uid": "${source}"}
FAMILIES = {family.name: family for family in Metrics().families()}
HERE = 'job=~"$job", instance=~"$instance"'
FAILED = 'status=~"5.."'
COLUMNS, WIDTH, HEIGHT = 2, 12, 8


@dataclass(frozen=True)
class Panel:
    """`unit` as Grafana names it. `queries`: the legend and the expression of each line."""

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    help: str = ""


def _grouped(labels: str) -> str:
    return f" by ({labels})" if labels else ""


def rate(metric: str, by: str = "", only: str = "") -> str:
    where = f"{HERE}, {only}" if only else HERE
    return f"sum{_grouped(by)} (rate({metric}{{{where}}}[$__rate_interval]))"


def now(metric: str, by: str = "") -> str:
    return f"sum{_grouped(by)} ({metric}{{{HERE}}})"


def grown(metric: str, by: str = "") -> str:
    return f"sum{_grouped(by)} (increase({metric}{{{HERE}}}[$__range]))"


def quantile(share: float, metric: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {rate(metric + '_bucket', labels)})"


def spread(metric: str) -> Sequence[tuple[str, str]]:
    """Of a histogram, over everything."""
    assert isinstance(FAMILIES[metric], Histogram), metric
    return [(f"p{share * 100:.0f}", quantile(share, metric)) for share in (0.5, 0.95, 0.99)]


def legend(*labels: str) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in labels)


TRAFFIC = (
    Panel("Calls", "reqps", [(legend("endpoint", "outcome"), rate("gateway_calls_total", "endpoint, outcome"))]),
    Panel("Refusals", "reqps", [(legend("code"), rate("gateway_refusals_total", "code"))]),
    Panel(
        "Share of calls answered with 5xx",
        "percentunit",
        [("5xx", f"{rate('gateway_calls_total', only=FAILED)} / {rate('gateway_calls_total')}")],
    ),
    Panel(
        "Attempts by end", "reqps", [(legend("provider", "state"), rate("gateway_attempts_total", "provider, state"))]
    ),
    Panel("Call duration", "s", spread("gateway_call_duration_seconds")),
    Panel("Until the first byte", "s", spread("gateway_first_byte_seconds")),
    Panel("Overhead", "s", spread("gateway_overhead_seconds"), "Time not spent waiting for the provider."),
    Panel("Time by phase, p95", "s", [(legend("phase"), quantile(0.95, "gateway_phase_seconds", "phase"))]),
    Panel(
        "Operations, p95 by model",
        "s",
        [
            (
                legend("gen_ai_provider_name", "gen_ai_request_model"),
                quantile(
                    0.95, "gen_ai_client_inference_duration_seconds", "gen_ai_provider_name, gen_ai_request_model"
                ),
            )
        ],
    ),
    Panel(
        "Failed operations",
        "ops",
        [
            (
                legend("gen_ai_provider_name", "error_type"),
                rate(
                    "gen_ai_client_inference_duration_seconds_count",
                    "gen_ai_provider_name, error_type",
                    'error_type!=""',
                ),
            )
        ],
    ),
    Panel("Time to the first token of streams", "s", spread("gen_ai_server_time_to_first_token_seconds")),
    Panel("Time per output token of streams", "s", spread("gen_ai_server_time_per_output_token_seconds")),
    Panel("Open", "short", [("calls", now("gateway_open_calls")), ("connections", now("gateway_connections"))]),
    Panel("Event loop delay", "s", spread("gateway_loop_delay_seconds")),
    Panel(
        "Span export",
        "short",
        [
            ("waiting", now("gateway_export_waiting")),
            ("taken a second", rate("gateway_export_spans_total")),
            ("dropped a second: {{reason}}", rate("gateway_export_dropped_spans_total", "reason")),
        ],
    ),
    Panel("Policy in force", "short", [(legend("version"), now("gateway_policy_info", "version"))]),
)

COST = (
    Panel(
        "Dollars an hour", "currencyUSD", [(legend("provider"), rate("gateway_cost_usd_total", "provider") + " * 3600")]
    ),
    Panel("Dollars in this range", "currencyUSD", [(legend("provider"), grown("gateway_cost_usd_total", "provider"))]),
    Panel(
        "Tokens by bucket",
        "short",
        [(legend("bucket"), rate("gateway_tokens_total", "bucket"))],
        "Disjoint, estimates included; a second.",
    ),
    Panel(
        "Usage that is not as it should be",
        "ops",
        [(legend("provider", "flag"), rate("gateway_usage_flags_total", "provider, flag"))],
    ),
    Panel(
        "Input tokens by model",
        "short",
        [
            (
                legend("gen_ai_request_model", "gen_ai_token_modality"),
                rate("gen_ai_client_inference_usage_input_tokens_total", "gen_ai_request_model, gen_ai_token_modality"),
            )
        ],
        "As reported by providers; a second.",
    ),
    Panel(
        "Output tokens by model",
        "short",
        [
            (
                legend("gen_ai_request_model"),
                rate("gen_ai_client_inference_usage_output_tokens_total", "gen_ai_request_model"),
            ),
            ("of these reasoning", rate("gen_ai_client_inference_usage_reasoning_output_tokens_total")),
        ],
    ),
    Panel(
        "Share of the input read from the provider's cache",
        "percentunit",
        [
            (
                "cached",
                f"{rate('gen_ai_client_inference_usage_cache_read_input_tokens_total')}"
                f" / {rate('gen_ai_client_inference_usage_input_tokens_total')}",
            )
        ],
    ),
    Panel("Input of an operation", "short", spread("gen_ai_client_inference_operation_input_tokens")),
    Panel("Output of an operation", "short", spread("gen_ai_client_inference_operation_output_tokens")),
)

GUARDS = (
    Panel(
        "Verdicts",
        "ops",
        [(legend("guard", "direction", "verdict"), rate("gateway_guard_verdicts_total", "guard, direction, verdict"))],
    ),
    Panel(
        "Blocked and masked",
        "ops",
        [
            (
                legend("guard", "verdict", "mode"),
                rate("gateway_guard_verdicts_total", "guard, verdict, mode", 'verdict=~"block|mask"'),
            )
        ],
    ),
    Panel("Not run", "ops", [(legend("guard"), rate("gateway_guard_verdicts_total", "guard", 'verdict="not_run"'))]),
    Panel("Findings by kind", "ops", [(legend("guard", "kind"), rate("gateway_guard_findings_total", "guard, kind"))]),
    Panel(
        "Time of a guard, p95",
        "s",
        [(legend("guard", "direction"), quantile(0.95, "gateway_guard_seconds", "guard, direction"))],
    ),
    Panel("Time of all guards", "s", spread("gateway_guard_seconds")),
)

BUDGETS = (
    Panel(
        "Calls above a threshold",
        "reqps",
        [(legend("limit", "percent"), rate("gateway_limit_warnings_total", "limit, percent"))],
    ),
    Panel(
        "Refused by budgets and limits",
        "reqps",
        [
            (
                legend("code"),
                rate(
                    "gateway_refusals_total",
                    "code",
                    'code=~"budget_exceeded|budget_reserved|unpriced_model|rate_limit_exceeded|concurrency_limit_exceeded"',
                ),
            )
        ],
    ),
    Panel(
        "Not countable",
        "reqps",
        [(legend("code"), rate("gateway_refusals_total", "code", 'code=~"limits_unavailable|ledger_unavailable"'))],
    ),
    Panel(
        "Reservations", "short", [("held", now("gateway_leases")), ("to give back", now("gateway_settlements_waiting"))]
    ),
    Panel("Rows not durable yet", "short", [("rows", now("gateway_ledger_waiting"))]),
    Panel(
        "Reachable",
        "bool_yes_no",
        [("ledger", f"min(gateway_ledger_up{{{HERE}}})"), ("store", f"min(gateway_store_up{{{HERE}}})")],
    ),
)

BOARDS = {
    "traffic": ("LLM gateway: traffic and latency", TRAFFIC),
    "cost": ("LLM gateway: cost and tokens", COST),
    "guards": ("LLM gateway: guards", GUARDS),
    "budgets": ("LLM gateway: budgets", BUDGETS),
}


def pages() -> Iterator[tuple[Path, str]]:
    """File -> what is in it."""
    for name, (title, panels) in BOARDS.items():
        yield FOLDER / f"{name}.json", json.dumps(_board(name, title, panels), indent=1) + "\n"


def _board(name: str, title: str, panels: Sequence[Panel]) -> dict[str, Any]:
    return {
        "uid": f"llm-gateway-{name}",
        "title": title,
        "tags": ["llm-gateway"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_source(), _variable("job"), _variable("instance")]},
        "panels": [_panel(index, panel) for index, panel in enumerate(panels)],
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(label: str) -> dict[str, Any]:
    return {
        "name": label,
        "type": "query",
        "datasource": SOURCE,
        "query": f"label_values(gateway_open_calls, {label})",
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(index: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(index, COLUMNS)
    return {
        "id": index + 1,
        "title": panel.title,
        "description": panel.help,
        "type": "timeseries",
        "datasource": SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": expression, "legendFormat": text}
            for place, (text, expression) in enumerate(panel.queries)
        ],
    }


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file, text in pages():
        file.write_text(text)
