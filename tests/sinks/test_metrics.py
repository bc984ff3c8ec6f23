"""Counters and histograms."""

from gateway.core.model import Attempt, Record
from gateway.core.usage import Usage
from gateway.sinks.metrics import MAX_SERIES, Metrics, merged


def settled(**facts):
    record = Record(
        call_id="req_1", started_at=0.0, started=0.0, endpoint="chat", provider="p", status=200, outcome="ok"
    )
    for name, value in facts.items():
        setattr(record, name, value)
    return record


def attempt(**facts):
    return Attempt("req_1.1", 1, "p", "m", started_at=0.0, started=0.0, **facts)


def test_a_settled_call_is_counted_with_its_duration():
    metrics = Metrics()
    metrics.record(settled(duration_s=0.2, phase_s={"admit": 0.001}))
    text = metrics.render()
    assert 'gateway_calls_total{endpoint="chat",provider="p",status="200",outcome="ok"} 1' in text
    assert 'gateway_call_duration_seconds_bucket{endpoint="chat",provider="p",le="0.25"} 1' in text
    assert 'gateway_call_duration_seconds_bucket{endpoint="chat",provider="p",le="0.1"} 0' in text


def test_every_attempt_is_counted_with_its_tokens_by_bucket_and_what_it_cost():
    metrics = Metrics()
    first = attempt(state="failed")
    second = attempt(state="settled", usage=Usage(input=3, output=4, reasoning=5), cost_nano=1_500_000_000)
    metrics.record(settled(attempts=[first, second]))
    text = metrics.render()
    assert 'gateway_attempts_total{provider="p",state="failed"} 1' in text
    assert 'gateway_attempts_total{provider="p",state="settled"} 1' in text
    assert 'gateway_tokens_total{provider="p",bucket="input"} 3' in text
    assert 'gateway_tokens_total{provider="p",bucket="reasoning"} 5' in text
    assert 'gateway_cost_usd_total{provider="p"} 1.5' in text
    assert 'bucket="audio_input"' not in text


def test_what_has_no_known_price_adds_no_dollars_and_is_counted_as_such():
    metrics = Metrics()
    metrics.record(settled(attempts=[attempt(state="settled", cost_nano=None, flags=("estimated", "unpriced"))]))
    text = metrics.render()
    assert "gateway_cost_usd_total{" not in text
    assert 'gateway_usage_flags_total{provider="p",flag="unpriced"} 1' in text
    assert 'gateway_usage_flags_total{provider="p",flag="estimated"} 1' in text


def test_a_call_above_a_threshold_of_a_limit_is_counted_by_limit_and_threshold():
    metrics = Metrics()
    metrics.record(settled(warnings=(("monthly", 80),)))
    assert 'gateway_limit_warnings_total{limit="monthly",percent="80"} 1' in metrics.render()


def test_snapshots_of_workers_add_up():
    one, two = Metrics(), Metrics()
    one.record(settled(duration_s=0.2))
    two.record(settled(duration_s=0.3))
    text = merged([one.snapshot(), two.snapshot()]).render()
    assert 'outcome="ok"} 2' in text
    assert 'gateway_call_duration_seconds_count{endpoint="chat",provider="p"} 2' in text
    assert 'gateway_call_duration_seconds_sum{endpoint="chat",provider="p"} 0.5' in text


def test_series_are_bounded_whatever_is_counted():
    """LOG-06"""
    metrics = Metrics()
    for number in range(MAX_SERIES + 100):
        metrics.refusals.add((f"code-{number}",))
        metrics.phases.observe((f"phase-{number}",), 1.0)
    assert len(metrics.refusals.values) == MAX_SERIES
    assert len(metrics.phases.values) == MAX_SERIES


def test_label_values_are_escaped():
    metrics = Metrics()
    metrics.refusals.add(('a"b\\c\nd',))
    assert 'code="a\\"b\\\\c\\nd"' in metrics.render()
