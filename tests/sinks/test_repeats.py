"""Repeated lines of the log: few are written, all are counted."""

from __future__ import annotations

import asyncio
import io
import threading

import orjson
import pytest

from gateway.core.model import Record
from gateway.sinks.log import CallLog, Lines, make_log
from gateway.sinks.repeats import FEW, Repeats
from tests.support.patience import patience


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Log:
    """A log whose time is set by hand."""

    def __init__(self, repeats: Repeats | None = None, level: str = "debug") -> None:
        self.clock = Clock()
        self.repeats = repeats or Repeats(clock=self.clock)
        self._out = io.BytesIO()
        self.log = make_log("json", level, lines=Lines(self._out), repeats=self.repeats)

    @property
    def lines(self) -> list[dict[str, object]]:
        return [orjson.loads(line) for line in self._out.getvalue().splitlines()]

    @property
    def stood_for(self) -> int:
        """How many lines were asked for, by what was written."""
        return sum(1 + int(str(line.get("repeated", 0))) for line in self.lines)


def test_a_storm_is_a_few_lines_and_one_that_counts_the_others() -> None:
    """LOG-04: a hundred thousand equal troubles in ten seconds."""
    said = Log()
    for _ in range(100_000):
        said.log.error("bug", call="req_1", error="KeyError", at="x.py:1")
        said.clock.now += 0.0001
    said.repeats.close()
    assert len(said.lines) <= 11 * (FEW + 1)
    assert said.stood_for == 100_000


def test_the_last_one_is_told_with_how_many_others_were_left_out() -> None:
    said = Log()
    for number in range(20):
        said.log.warning("export_failing", signal="traces", number=number)
    assert [line["number"] for line in said.lines] == list(range(FEW))
    said.repeats.close()
    last = said.lines[-1]
    assert (last["event"], last["level"], last["number"], last["repeated"]) == ("export_failing", "warning", 19, 14)


def test_one_too_many_is_only_late() -> None:
    said = Log()
    for _ in range(FEW + 1):
        said.log.error("store_down")
    said.repeats.close()
    assert len(said.lines) == FEW + 1
    assert "repeated" not in said.lines[-1]


def test_kinds_differ_by_event_error_and_place_and_not_by_the_call() -> None:
    said = Log()
    kinds = [("bug", "KeyError", "a.py:1"), ("bug", "KeyError", "a.py:2"), ("bug", "OSError", "a.py:1"), ("other", "KeyError", "a.py:1")]  # fmt: skip
    for call in range(50):
        for event, error, at in kinds:
            said.log.error(event, error=error, at=at, call=call)
    said.repeats.close()
    assert len(said.lines) == len(kinds) * (FEW + 1)
    assert said.stood_for == 50 * len(kinds)


def test_once_the_window_is_over_the_next_line_of_any_kind_tells_the_rest_before_itself() -> None:
    said = Log()
    for _ in range(FEW + 3):
        said.log.error("store_down")
    said.clock.now += 1.0
    said.log.info("store_up")
    assert [line["event"] for line in said.lines[FEW:]] == ["store_down", "store_up"]
    assert said.lines[FEW]["repeated"] == 2


async def test_a_window_that_ends_without_another_line_is_told_by_the_loop() -> None:
    repeats = Repeats(window_s=0.01)
    told: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    for _ in range(FEW + 3):
        repeats.hold("kind", told.set_result)
    async with patience():
        assert await told == 2


async def test_the_timer_of_a_window_does_not_end_the_next_one() -> None:
    repeats = Repeats(window_s=0.02)
    loop = asyncio.get_running_loop()
    told: asyncio.Future[float] = loop.create_future()
    for _ in range(FEW + 1):
        repeats.hold("first", lambda _: None)
    first_ends = loop.create_future()
    loop.call_later(0.01, first_ends.set_result, None)
    await first_ends
    repeats.close()
    begun = loop.time()
    for _ in range(FEW + 1):
        repeats.hold("second", lambda _: told.set_result(loop.time()))
    async with patience():
        assert await told - begun > 0.015


def test_what_other_threads_log_is_counted_too() -> None:
    said = Log()

    def storm() -> None:
        for _ in range(1000):
            said.log.error("bug", error="OSError")

    threads = [threading.Thread(target=storm) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said.repeats.close()
    assert len(said.lines) == FEW + 1
    assert said.stood_for == 4000


@pytest.mark.parametrize("format_", ["json", "console"])
def test_no_line_of_a_call_is_left_out(format_: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, write_through=True)
    calls = CallLog(make_log(format_, "info", stream, repeats=Repeats()))
    for number in range(100):
        calls.record(Record(call_id=f"req_{number}", started_at=0.0, started=0.0))
    calls.flush()
    assert len(raw.getvalue().splitlines()) == 100


def test_a_line_below_the_level_is_not_counted() -> None:
    said = Log(level="error")
    for _ in range(100):
        said.log.warning("library")
    said.repeats.close()
    assert said.lines == []


def test_bound_facts_stay_on_a_line_that_was_held_back() -> None:
    said = Log()
    log = said.log.bind(worker=7)
    for _ in range(FEW + 2):
        log.error("store_down")
    said.repeats.close()
    assert {line["worker"] for line in said.lines} == {7}
