"""A breaker leaves a failing service alone and finds out, with one trial at a time, when it is well again."""

from __future__ import annotations

import pytest

from gateway.core.breaker import Breaker


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        raise AssertionError("durations do not come from the wall clock")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def broken(clock: FakeClock) -> Breaker:
    breaker = Breaker(3, 10, clock)
    for _ in range(3):
        assert breaker.admit()
        breaker.fail()
    return breaker


def test_it_admits_everyone_until_failures_in_a_row_reach_the_limit(clock: FakeClock) -> None:
    breaker = Breaker(3, 10, clock)
    for _ in range(2):
        assert breaker.admit()
        breaker.fail()
    assert breaker.admit()
    breaker.succeed()
    for _ in range(2):
        assert breaker.admit()
        breaker.fail()
    assert breaker.admit()
    assert not breaker.open


def test_it_admits_nobody_while_the_pause_lasts(clock: FakeClock) -> None:
    breaker = broken(clock)
    clock.now += 9.9
    assert breaker.open
    assert not breaker.admit()


def test_after_the_pause_it_admits_one_trial_at_a_time(clock: FakeClock) -> None:
    breaker = broken(clock)
    clock.now += 10
    assert [breaker.admit() for _ in range(3)] == [True, False, False]


def test_a_trial_that_succeeds_closes_it_and_the_count_begins_anew(clock: FakeClock) -> None:
    breaker = broken(clock)
    clock.now += 10
    assert breaker.admit()
    breaker.succeed()
    assert not breaker.open
    breaker.fail()
    assert breaker.admit()


def test_a_trial_that_fails_starts_the_pause_anew(clock: FakeClock) -> None:
    breaker = broken(clock)
    clock.now += 10
    assert breaker.admit()
    breaker.fail()
    clock.now += 9.9
    assert not breaker.admit()
    clock.now += 0.1
    assert breaker.admit()


def test_a_trial_that_was_cut_off_decides_nothing_and_lets_the_next_one_try(clock: FakeClock) -> None:
    breaker = broken(clock)
    clock.now += 10
    assert breaker.admit()
    breaker.release()
    assert breaker.open
    assert breaker.admit()


def test_a_trial_of_which_nothing_is_heard_has_another_one_behind_it_after_the_pause(clock: FakeClock) -> None:
    breaker = broken(clock)
    clock.now += 10
    assert breaker.admit()
    clock.now += 9.9
    assert not breaker.admit()
    clock.now += 0.1
    assert breaker.admit()


def test_a_call_from_before_that_is_cut_off_does_not_shorten_the_pause(clock: FakeClock) -> None:
    breaker = broken(clock)
    breaker.release()
    assert not breaker.admit()


def test_each_change_is_told_once(clock: FakeClock) -> None:
    told: list[bool] = []
    breaker = Breaker(2, 10, clock, told.append)
    for _ in range(4):
        breaker.fail()
    assert told == [True]
    clock.now += 10
    assert breaker.admit()
    breaker.succeed()
    breaker.succeed()
    assert told == [True, False]
