"""Counters and histograms."""

import pytest

from gateway.core.model import Attempt, Record
from gateway.core.usage import Usage
from gateway.sinks.families import MAX_SERIES, Histogram
from gateway.sinks.genai_metrics import Names
from gateway.sinks.metrics import Metrics, merged


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


def test_a_call_like_one_before_is_counted_with_it():
    metrics = Metrics()
    for duration_s, status in ((0.2, 200), (0.3, 200), (0.5, 404)):
        metrics.record(settled(duration_s=duration_s, upstream_s=0.1, status=status))
    text = metrics.render()
    assert 'gateway_calls_total{endpoint="chat",provider="p",status="200",outcome="ok"} 2' in text
    assert 'gateway_calls_total{endpoint="chat",provider="p",status="404",outcome="ok"} 1' in text
    assert 'gateway_call_duration_seconds_sum{endpoint="chat",provider="p"} 1\n' in text
    assert 'gateway_overhead_seconds_count{endpoint="chat",provider="p"} 3' in text


def test_calls_are_counted_once_however_often_they_are_looked_at():
    metrics = Metrics()
    told = settled(duration_s=0.2, phase_s={"admit": 0.001}, attempts=[attempt(sent=True, cost_nano=7)])
    metrics.record(told)
    text = metrics.render()
    assert (metrics.render(), merged([metrics.snapshot()]).render()) == (text, text)
    metrics.record(told)
    assert merged([metrics.snapshot()]).render() == metrics.render() != text


def test_the_own_time_of_a_call_is_never_below_nothing():
    metrics = Metrics()
    metrics.record(settled(duration_s=0.2, upstream_s=0.3))
    assert 'gateway_overhead_seconds_sum{endpoint="chat",provider="p"} 0\n' in metrics.render()


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.0011, 0.1, 300.0, 301.0])
def test_however_a_sample_is_given_it_falls_into_the_same_bucket(seconds):
    one, all_ = (Histogram("h", "", ("phase",)) for _ in range(2))
    for _ in range(2):
        one.observe(("admit",), seconds)
    all_.observe_all(("admit",), (seconds, seconds))
    assert one.values == all_.values


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
        metrics.duration.observe_all((f"endpoint-{number}", "p"), (1.0, 2.0))
    for family in (metrics.refusals, metrics.phases, metrics.duration):
        assert len(family.values) == MAX_SERIES


def test_label_values_are_escaped():
    metrics = Metrics()
    metrics.refusals.add(('a"b\\c\nd',))
    assert 'code="a\\"b\\\\c\\nd"' in metrics.render()


def test_a_state_is_as_bad_as_that_of_the_worst_process_and_amounts_add_up():
    one, two = Metrics(), Metrics()
    for metrics, up, waiting in ((one, 1.0, 3), (two, 0.0, 4)):
        metrics.ledger_up.set((), up)
        metrics.export_waiting.set((), waiting)
        metrics.adopt("v7", Names(str))
    text = merged([one.snapshot(), two.snapshot(), Metrics().snapshot()]).render()
    assert "gateway_ledger_up 0\n" in text
    assert "gateway_export_waiting 7\n" in text
    assert 'gateway_policy_info{version="v7"} 1\n' in text


def test_what_is_counted_elsewhere_is_set():
    metrics = Metrics()
    for total in (2.0, 5.0):
        metrics.export_drops.set(("queue_full",), total)
    assert 'gateway_export_dropped_spans_total{reason="queue_full"} 5\n' in metrics.render()


def test_families_with_samples_become_series_of_opentelemetry():
    metrics = Metrics()
    metrics.record(settled(duration_s=0.2))
    metrics.open_calls.set((), 3)
    series = {one.name: one for one in metrics.series()}
    assert "gateway.first_byte" not in series
    calls, duration, running = series["gateway.calls"], series["gateway.call.duration"], series["gateway.open_calls"]
    assert (calls.kind, calls.points[0][1], calls.points[0][0]["outcome"]) == ("counter", 1, "ok")
    assert (running.kind, running.points) == ("gauge", [({}, 3)])
    counts, total, count = duration.points[0][1]
    assert (duration.unit, total, count, len(counts)) == ("s", 0.2, 1, len(duration.bounds) + 1)
    assert duration.bounds[counts.index(1)] == 0.25


def test_names_of_families_are_told_apart():
    names = [family.name for family in Metrics().families()]
    assert len(set(names)) == len(names)
