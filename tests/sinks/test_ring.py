"""The last calls: found by call and by trace, and never more of them than there is room for."""

from __future__ import annotations

import pytest

from gateway.core.model import Content, Record
from gateway.core.trace import Trace
from gateway.sinks.ring import Ring


def call(number: int, trace_id: int) -> Record:
    return Record(call_id=f"req_{number}", started_at=0.0, started=0.0, trace=Trace(trace_id, number))


def ids(found: list[Record]) -> list[str]:
    return [record.call_id for record in found]


def filled(*calls: Record, size: int = 256) -> Ring:
    ring = Ring(size)
    for record in calls:
        ring.put(record)
    return ring


def test_the_last_calls_come_in_their_order() -> None:
    ring = filled(*(call(number, number) for number in range(1, 6)))
    assert ids(ring.last(3)) == ["req_3", "req_4", "req_5"]
    assert len(ring.last(99)) == 5
    assert ring.last(0) == []


def test_a_call_is_found_by_its_id_and_by_its_trace() -> None:
    ring = filled(call(1, 0xABC))
    assert ids(ring.find("req_1")) == ids(ring.find(f"{0xABC:032x}")) == ["req_1"]


def test_calls_of_one_trace_are_found_together() -> None:
    ring = filled(call(1, 7), call(2, 8), call(3, 7))
    assert ids(ring.find(f"{7:032x}")) == ["req_1", "req_3"]
    assert ids(ring.find("req_3")) == ["req_3"]


@pytest.mark.parametrize("name", ["", "req_9", "7", f"{0:032x}", f"{9:032x}", "g" * 32, "é" * 32])
def test_what_is_not_there_is_not_found(name: str) -> None:
    assert filled(call(1, 7)).find(name) == []


def test_the_oldest_makes_room() -> None:
    ring = filled(*(call(number, 7) for number in range(1, 5)), size=2)
    assert ids(ring.last(9)) == ids(ring.find(f"{7:032x}")) == ["req_3", "req_4"]
    assert ring.find("req_1") == []


def ended(number: int, at: float, outcome: str = "ok") -> Record:
    return Record(call_id=f"req_{number}", started_at=0.0, started=at, outcome=outcome)


def test_of_more_calls_than_anybody_looks_at_some_are_kept_and_all_that_are_remarkable() -> None:
    a_second = [ended(number, number / 2000, "failed" if number == 1801 else "ok") for number in range(2000)]
    ring = filled(*a_second, size=50)
    kept = [int(name.removeprefix("req_")) for name in ids(ring.last(99))]
    assert 1400 <= min(kept) <= 1600  # 200 a second: the last quarter of a second
    assert 1801 in kept


def test_a_burst_is_kept_whole_and_calls_at_an_ordinary_pace_are() -> None:
    assert ids(filled(*(ended(number, 1.0) for number in range(50)), size=50).last(99)) == [
        f"req_{n}" for n in range(50)
    ]
    assert len(filled(*(ended(number, number / 150) for number in range(400)), size=400).last(400)) == 400


def told(number: int, size: int) -> Record:
    record = call(number, number)
    record.content = Content(input="x" * size)
    return record


def test_of_what_was_said_only_the_last_is_kept_within_its_bound() -> None:
    calls = [told(number, 40) for number in range(1, 5)]
    ring = Ring(max_content=100)
    for record in calls:
        ring.put(record)
    assert [record.content is not None for record in calls] == [False, False, True, True]
    assert len(ring.last(9)) == 4


def test_what_was_said_in_calls_that_are_gone_takes_no_room() -> None:
    ring = Ring(size=2, max_content=100)
    for number in range(1, 9):
        ring.put(told(number, 40))
    assert [record.content is not None for record in ring.last(9)] == [True, True]
