"""Calls that have ended are told together, and none too late."""

from __future__ import annotations

import asyncio

from gateway.core.model import Record
from gateway.sinks.gather import LONGEST_S, MOST, Gather

BUSY = ("this call", "another one")


class Told:
    """Implements BatchSink; fails at the calls of these names, and at every batch where "flush" is one."""

    def __init__(self, order: list[str], name: str, failing: frozenset[str] = frozenset()) -> None:
        self._order = order
        self._name = name
        self._failing = failing

    def record(self, record: Record) -> None:
        if record.call_id in self._failing:
            raise ValueError("canary words of a prompt")
        self._order.append(f"{self._name} {record.call_id}")

    def flush(self) -> None:
        self._order.append(f"{self._name}.")
        if "flush" in self._failing:
            raise OSError("canary name of a file")


class Log:
    def __init__(self) -> None:
        self.bugs: list[dict[str, object]] = []

    def error(self, event: str, **facts: object) -> None:
        self.bugs.append({"event": event, **facts})


def gather(*sinks: Told, running: tuple[str, ...] = BUSY, log: Log | None = None) -> Gather:
    return Gather(sinks, running, log or Log())  # type: ignore[arg-type]


def record(name: object) -> Record:
    return Record(str(name), 0.0, 0.0)


async def test_calls_are_told_together_sink_by_sink() -> None:
    order: list[str] = []
    gathered = gather(Told(order, "a"), Told(order, "b"))
    for name in range(MOST - 1):
        gathered.record(record(name))
    assert order == []
    gathered.record(record("last"))
    names = [*range(MOST - 1), "last"]
    assert order == [*(f"a {name}" for name in names), "a.", *(f"b {name}" for name in names), "b."]


async def test_a_call_is_told_at_once_where_no_other_runs_and_those_that_waited_with_it() -> None:
    order: list[str] = []
    running = [*BUSY]
    gathered = Gather((Told(order, "a"),), running, Log())  # type: ignore[arg-type]
    gathered.record(record(1))
    assert order == []
    running.pop()
    gathered.record(record(2))
    assert order == ["a 1", "a 2", "a."]


async def test_no_call_waits_long_for_others() -> None:
    order: list[str] = []
    gathered = gather(Told(order, "a"))
    for name in (1, 2):  # once more after the first time
        gathered.record(record(name))
        async with asyncio.timeout(LONGEST_S + 5):
            while len(order) < 2 * name:
                await asyncio.sleep(LONGEST_S / 10)
    assert order == ["a 1", "a.", "a 2", "a."]


async def test_what_is_not_told_yet_is_told_when_it_is_asked_for_and_once() -> None:
    order: list[str] = []
    gathered = gather(Told(order, "a"))
    gathered.record(record(1))
    gathered.flush()
    gathered.flush()
    assert order == ["a 1", "a."]


async def test_a_sink_that_fails_at_a_call_takes_no_other_call_and_no_other_sink_with_it() -> None:
    order: list[str] = []
    log = Log()
    gathered = gather(Told(order, "a", frozenset({"1"})), Told(order, "b"), log=log)
    for name in (1, 2):
        gathered.record(record(name))
    gathered.flush()
    assert order == ["a 2", "a.", "b 1", "b 2", "b."]
    (bug,) = log.bugs
    assert (bug["event"], bug["call"], bug["error"]) == ("bug", "1", "ValueError")
    assert "canary" not in repr(bug)


async def test_a_sink_that_fails_at_a_batch_takes_no_other_sink_with_it() -> None:
    order: list[str] = []
    log = Log()
    gathered = gather(Told(order, "a", frozenset({"flush"})), Told(order, "b"), log=log)
    gathered.record(record(1))
    gathered.flush()
    assert order == ["a 1", "a.", "b 1", "b."]
    (bug,) = log.bugs
    assert (bug["event"], bug["sink"], bug["error"]) == ("bug", "Told", "OSError")
    assert "canary" not in repr(bug)
