"""Acceptance rows BUD-08 and BUD-09: what providers report becomes buckets that share no token."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import BUCKETS, COUNTS, LONGEST_OUTPUT, Reported, Usage, disjoint

WIDE = 10**18
counts = st.none() | st.integers(0, 2000)
reports = st.builds(Reported, *[counts for _ in COUNTS])


def test_parts_are_taken_out_of_their_totals() -> None:
    reported = Reported(100, 50, 150, 30, 10, 5, 6, 20, 7, 8)
    usage, flags = disjoint(reported, WIDE, WIDE)
    assert usage == Usage(49, 30, 10, 5, 6, 15, 20, 7, 8)
    assert (usage.input_tokens, usage.output_tokens, flags) == (100, 50, ())


def test_the_parts_fill_their_total_exactly() -> None:
    assert disjoint(Reported(10, 5, 15, cached_tokens=10, reasoning_tokens=5), WIDE, WIDE) == (
        Usage(cached_input=10, reasoning=5),
        (),
    )


def test_an_explicit_zero_is_a_count() -> None:
    """BUD-09"""
    assert disjoint(Reported(0, 0, 0), WIDE, WIDE) == (Usage(), ())


def test_nothing_reported_is_nothing_counted() -> None:
    assert disjoint(Reported(), WIDE, WIDE) == (Usage(), ())


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        (Reported(10, 5, cached_tokens=11), Usage(cached_input=10, output=5)),
        (Reported(10, 5, cached_tokens=8, cache_write_tokens=8), Usage(cache_write=8, cached_input=2, output=5)),
        (Reported(10, 5, audio_input_tokens=8, image_input_tokens=8), Usage(audio_input=8, image_input=2, output=5)),
        (Reported(10, 5, reasoning_tokens=6), Usage(input=10, reasoning=5)),
        (Reported(10, 5, reasoning_tokens=4, audio_output_tokens=4), Usage(input=10, reasoning=1, audio_output=4)),
        (Reported(10, 5, 14), Usage(input=10, output=5)),
        (Reported(10, 5, 15, odd=True), Usage(input=10, output=5)),
    ],
)
def test_what_contradicts_itself_is_cut_and_flagged(reported: Reported, usage: Usage) -> None:
    """BUD-09: the dearer part is kept."""
    assert disjoint(reported, WIDE, WIDE) == (usage, ("inconsistent",))


def test_a_cached_token_of_a_modality_is_discounted_once() -> None:
    """accounting.md B5 7: 900 cached and 800 of an image in 1000, so that at least 700 are both."""
    usage, flags = disjoint(Reported(1000, 0, 1000, cached_tokens=900, image_input_tokens=800), WIDE, WIDE)
    assert usage == Usage(cached_input=900, image_input=100)
    assert flags == ()


@pytest.mark.parametrize("absurd", [10**15, 2**63, 10**30])
def test_more_than_there_can_be_is_cut_and_flagged(absurd: int) -> None:
    """BUD-09"""
    assert disjoint(Reported(absurd, 5), 1000, 100) == (Usage(input=1000, output=5), ("clamped",))
    assert disjoint(Reported(5, absurd), 1000, 100) == (Usage(input=5, output=100), ("clamped",))
    assert disjoint(Reported(5, absurd), 1000, None)[0].output == LONGEST_OUTPUT


def test_a_bound_cuts_the_parts_too() -> None:
    usage, flags = disjoint(Reported(10**9, 5, cached_tokens=10**8), 1000, 100)
    assert (usage.cached_input, usage.input_tokens, flags) == (1000, 1000, ("clamped",))


@given(reports, st.integers(0, 3000), st.none() | st.integers(0, 3000))
def test_buckets_are_never_negative_and_their_sum_is_the_total(
    reported: Reported, input_bound: int, output_bound: int | None
) -> None:
    usage, flags = disjoint(reported, input_bound, output_bound)
    asked, said = reported.input_tokens or 0, reported.output_tokens or 0
    assert min(usage.counts()) >= 0
    assert usage.input_tokens == min(asked, input_bound)
    assert usage.output_tokens == min(said, LONGEST_OUTPUT if output_bound is None else output_bound)
    assert ("clamped" in flags) == ((usage.input_tokens, usage.output_tokens) != (asked, said))


@given(reports, st.sampled_from(["input_tokens", "output_tokens"]), st.integers(0, 500))
def test_a_larger_total_makes_no_bucket_smaller(reported: Reported, name: str, more: int) -> None:
    larger = replace(reported, **{name: (getattr(reported, name) or 0) + more})
    before, after = disjoint(reported, WIDE, None)[0], disjoint(larger, WIDE, None)[0]
    assert all(getattr(after, bucket) >= getattr(before, bucket) for bucket in BUCKETS)


@given(reports, st.sampled_from([name for name in COUNTS if name not in {"input_tokens", "output_tokens"}]), counts)
def test_a_part_does_not_change_the_total(reported: Reported, name: str, count: int | None) -> None:
    other = replace(reported, **{name: count})
    assert disjoint(other, WIDE, None)[0].total_tokens == disjoint(reported, WIDE, None)[0].total_tokens


@given(st.lists(reports, min_size=1, max_size=5))
def test_merged_events_have_the_largest_of_each_count(events: list[Reported]) -> None:
    merged = Reported()
    for event in events:
        merged.merge(event)
    for name in COUNTS:
        told = [count for event in events if (count := getattr(event, name)) is not None]
        assert getattr(merged, name) == max(told, default=None)


def test_merging_twice_counts_once() -> None:
    """BUD-09: two usage events."""
    merged = Reported()
    for _ in range(2):
        merged.merge(Reported(10, 5, 15, model="gpt-4o-2024-08-06", service_tier="flex"))
    assert merged == Reported(10, 5, 15, model="gpt-4o-2024-08-06", service_tier="flex")


def test_an_event_without_model_keeps_the_one_named_before() -> None:
    merged = Reported(model="a", service_tier="flex", odd=True)
    merged.merge(Reported(1))
    assert merged == Reported(1, model="a", service_tier="flex", odd=True)
    merged.merge(Reported(model="b", service_tier="priority"))
    assert (merged.model, merged.service_tier) == ("b", "priority")
