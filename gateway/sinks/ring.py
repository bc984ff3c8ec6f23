"""The calls that ended last, in memory: tracing that is useful before there is any back end. What was said in them is
kept within a bound of its own.

Of more calls than anybody could look at, an ordinary one is kept now and then. What is kept is memory that the
processor has long forgotten when it is used again: to keep each of 2,000 calls a second made all a twentieth dearer.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import islice
from math import inf

from gateway.core.model import Record

MAX_CONTENT = 8 << 20  # characters

EVERY_S = 0.005  # an ordinary call, on average and after a ring full of them
_TRACE_ID = 32  # hexadecimal digits


class Ring:
    """Holds `size` calls; the next one that is kept takes the place of the oldest. Calls may share a trace."""

    def __init__(self, size: int = 256, max_content: int = MAX_CONTENT) -> None:
        self._size = size
        self._calls: OrderedDict[str, Record] = OrderedDict()
        self._told: deque[Record] = deque()  # those whose content is kept
        self._room = max_content
        self._due = -inf  # as the generic cell rate algorithm counts: when the next one would be due at an even pace

    def put(self, record: Record) -> None:
        """A settled call, which has its id for itself."""
        if not (_is_remarkable(record) or self._is_due(record.started + record.duration_s)):
            return
        self._calls[record.call_id] = record
        if len(self._calls) > self._size:
            self._calls.popitem(last=False)
        if record.content is not None:
            self._told.append(record)
            self._room -= record.content.size
            self._forget()

    def _is_due(self, ended: float) -> bool:
        if self._due > ended:
            return False
        self._due = max(self._due, ended - self._size * EVERY_S) + EVERY_S
        return True

    def _forget(self) -> None:
        """The oldest contents, and those of calls that are not held any more."""
        while self._told and (self._room < 0 or self._told[0].call_id not in self._calls):
            oldest = self._told.popleft()
            if oldest.content is not None:
                self._room += oldest.content.size
                oldest.content = None

    def last(self, count: int) -> list[Record]:
        """The last `count` calls, the oldest first."""
        return list(islice(reversed(self._calls.values()), count))[::-1]

    def find(self, name: str) -> list[Record]:
        """By the id of a call, or of a trace in hexadecimal: then all its calls, the oldest first."""
        if name in self._calls:
            return [self._calls[name]]
        number = _number(name)
        return [record for record in self._calls.values() if record.trace and number == record.trace.trace_id]


def _is_remarkable(record: Record) -> bool:
    return record.outcome != "ok" or bool(record.verdicts) or record.content is not None


def _number(name: str) -> int:
    """0, which is no trace, where it is no trace id."""
    try:
        return int(name, 16) if len(name) == _TRACE_ID else 0
    except ValueError:
        return 0
