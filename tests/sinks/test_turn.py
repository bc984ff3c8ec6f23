"""Calls that end in one turn of the event loop."""

from __future__ import annotations

import asyncio

from gateway.core.model import Record
from gateway.sinks.turn import Turn


class Told:
    """Implements Sink; fails at the calls of these names."""

    def __init__(self, order: list[str], name: str, failing: frozenset[str] = frozenset()) -> None:
        self._order = order
        self._name = name
        self._failing = failing

    def record(self, record: Record) -> None:
        if record.call_id in self._failing:
            raise ValueError("canary words of a prompt")
        self._order.append(f"{self._name} {record.call_id}")


class Log:
    def __init__(self) -> None:
        self.bugs: list[dict[str, object]] = []

    def error(self, event: str, **facts: object) -> None:
        self.bugs.append({"event": event, **facts})


def record(name: str) -> Record:
    return Record(name, 0.0, 0.0)


async def test_calls_of_a_turn_are_told_together_sink_by_sink() -> None:
    order: list[str] = []
    turn = Turn((Told(order, "a"), Told(order, "b")), Log())  # type: ignore[arg-type]
    turn.record(record("1"))
    turn.record(record("2"))
    assert order == []
    await asyncio.sleep(0)
    assert order == ["a 1", "a 2", "b 1", "b 2"]
    turn.record(record("3"))
    await asyncio.sleep(0)
    assert order[4:] == ["a 3", "b 3"]


async def test_what_is_not_told_yet_is_told_at_the_stop_and_once() -> None:
    order: list[str] = []
    turn = Turn((Told(order, "a"),), Log())  # type: ignore[arg-type]
    turn.record(record("1"))
    turn.flush()
    await asyncio.sleep(0)
    assert order == ["a 1"]


async def test_a_sink_that_fails_at_a_call_takes_no_other_call_and_no_other_sink_with_it() -> None:
    order: list[str] = []
    log = Log()
    turn = Turn((Told(order, "a", frozenset({"1"})), Told(order, "b")), log)  # type: ignore[arg-type]
    for name in ("1", "2"):
        turn.record(record(name))
    turn.flush()
    assert order == ["a 2", "b 1", "b 2"]
    (bug,) = log.bugs
    assert (bug["event"], bug["call"], bug["error"]) == ("bug", "1", "ValueError")
    assert "canary" not in repr(bug)
