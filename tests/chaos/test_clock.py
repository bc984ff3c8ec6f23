"""The clock of the gateway's processes in a run of chaos steps when it is told to, and is undone for the check."""

import os
import subprocess
import sys
import time

from chaos.clock import SteppedClock, offsets


def shown(clock):
    """(wall, monotonic) as another process has them, by way of the product's clock."""
    ask = "from gateway.core.clock import SystemClock as clock; print(clock.wall(), clock.monotonic())"
    environ = {**os.environ, **clock.environ}
    said = subprocess.run([sys.executable, "-c", ask], env=environ, check=True, capture_output=True, text=True).stdout
    return tuple(map(float, said.split()))


def test_another_process_has_the_stepped_time_and_its_durations_are_right(tmp_path):
    clock = SteppedClock(tmp_path / "clock")
    for offset in (0.0, 3600.0, -3600.0):
        clock.step(offset)
        before, begun = time.time(), time.monotonic()
        wall, monotonic = shown(clock)
        assert before <= wall - offset <= time.time()
        assert begun <= monotonic <= time.monotonic()
        assert clock.right(wall) == wall - offset


def test_what_it_showed_before_a_step_is_put_right_by_what_was_wrong_then(tmp_path):
    clock = SteppedClock(tmp_path / "clock")
    began = time.time()
    for offset in offsets(began):
        at = time.time()
        clock.step(offset)
        assert abs(clock.right(at + offset + 0.001) - at) < 0.1
    assert clock.right(began - 1.0) == began - 1.0


def test_the_last_second_of_a_day_and_of_a_month_are_among_the_steps():
    now = 1_772_366_400.0  # the first of March 2026, noon UTC
    ends = {time.strftime("%d %H:%M:%S", time.gmtime(now + offset)) for offset in offsets(now)}
    assert ends == {"01 12:00:00", "01 13:00:00", "01 11:00:00", "01 23:59:58", "31 23:59:58"}
