"""Which calls leave spans."""

from __future__ import annotations

import pytest

from gateway.core.rules import Verdict
from gateway.core.trace import Trace
from gateway.sinks.sampling import Keep, Sampler
from tests.sinks.calls import CALLS, attempt, call

NOTHING = Keep(errors=False, blocked=False, masked=False)
LOW, HIGH = 0x5 << 56, (0x5 << 56) | (2**56 - 1)  # traces whose randomness is the least and the most


def traced(trace_id=LOW, sampled=None, **facts):
    return call(attempt(), trace=Trace(trace_id, 1, sampled=sampled), **facts)


@pytest.mark.parametrize(("ratio", "low", "high"), [(0, "", ""), (0.5, "", "ratio"), (1, "ratio", "ratio")])
def test_a_ratio_keeps_its_share_of_trace_ids(ratio, low, high):
    sampler = Sampler(ratio, NOTHING)
    assert (sampler.decide(traced(LOW)), sampler.decide(traced(HIGH))) == (low, high)


def test_the_randomness_is_the_low_56_bits_of_the_trace_id():
    sampler = Sampler(0.25, NOTHING)
    assert sampler.decide(traced((0xFF << 120) | (3 << 54))) == "ratio"
    assert sampler.decide(traced((0xFF << 120) | (3 << 54) - 1)) == ""


def test_what_a_ratio_keeps_every_higher_ratio_keeps_too():
    ids = [number * 0x9E3779B97F4A7C15 % 2**56 for number in range(1, 200)]
    kept = [{one for one in ids if Sampler(ratio, NOTHING).decide(traced(one))} for ratio in (0.1, 0.3, 0.7)]
    assert kept[0] < kept[1] < kept[2]
    assert 40 < len(kept[1]) < 80


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bug", "error"),
        ("unreachable", "error"),
        ("cut", "error"),
        ("blocked", "blocked"),
        ("masked", "masked"),
        ("chat", ""),
        ("rate limited", ""),
        ("over budget", ""),
        ("left", ""),
    ],
)
def test_what_a_rule_names_is_kept_whatever_the_ratio(name, reason):
    assert Sampler(0, Keep(masked=True)).decide(CALLS[name]()) == reason
    assert Sampler(0, NOTHING).decide(CALLS[name]()) == ""


def test_a_guard_that_only_watches_neither_blocks_nor_masks():
    watched = [Verdict("pii", "input", enforced=False, outcome="block", looked=True)]
    assert Sampler(0, Keep(masked=True)).decide(traced(verdicts=watched)) == ""


def test_slow_and_dear_calls_and_chosen_callers_are_kept():
    assert Sampler(0, Keep(slower_than_s=0.4)).decide(traced()) == "slow"
    assert Sampler(0, Keep(slower_than_s=0.5)).decide(traced()) == ""
    assert Sampler(0, Keep(dearer_than_nano=599_999)).decide(traced()) == "dear"
    assert Sampler(0, Keep(dearer_than_nano=600_000)).decide(traced()) == ""
    assert Sampler(0, Keep(callers=frozenset({"app"}))).decide(traced()) == "caller"


def test_a_trusted_callers_decision_holds_against_the_ratio():
    assert Sampler(0, NOTHING).decide(traced(sampled=True)) == "parent"
    assert Sampler(1, NOTHING).decide(traced(sampled=False)) == ""


def test_a_rule_that_keeps_wins_over_a_callers_decision():
    assert Sampler(0, Keep()).decide(traced(sampled=False, status=500)) == "error"


def test_a_call_without_a_trace_leaves_none():
    assert Sampler(1, Keep()).decide(call(trace=None, status=500)) == ""


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan")])
def test_a_ratio_is_from_0_to_1(ratio):
    with pytest.raises(ValueError, match="from 0 to 1"):
        Sampler(ratio, NOTHING)
