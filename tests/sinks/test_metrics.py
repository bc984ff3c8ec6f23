"""Counters and histograms."""

from gateway.core.model import Record
from gateway.core.usage import Reported
from gateway.sinks.metrics import MAX_SERIES, Metrics, merged


def settled(**facts):
    record = Record(
        call_id="req_1", started_at=0.0, started=0.0, endpoint="chat", provider="p", status=200, outcome="ok"
    )
    for name, value in facts.items():
        setattr(record, name, value)
    return record


def test_a_settled_call_is_counted_with_its_duration_and_tokens():
    metrics = Metrics()
    metrics.record(settled(duration_s=0.2, reported=Reported(3, 4, 7), phase_s={"admit": 0.001}))
    text = metrics.render()
    assert 'gateway_calls_total{endpoint="chat",provider="p",status="200",outcome="ok"} 1' in text
    assert 'gateway_call_duration_seconds_bucket{endpoint="chat",provider="p",le="0.25"} 1' in text
    assert 'gateway_call_duration_seconds_bucket{endpoint="chat",provider="p",le="0.1"} 0' in text
    assert 'gateway_tokens_total{provider="p",kind="output"} 4' in text


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
