"""The ledger beside a provider's export: every difference, by request or by sum."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from gateway.cli.exports import Line
from gateway.core.accounts import Entry, Query
from gateway.core.money import NANO
from gateway.core.ports import Ledger
from gateway.core.reports import cost_of, iso

Figures = tuple[Decimal | None, ...]
"""In the order of `WHAT`, costs in nano-dollars. None: it is not said, and in the ledger that no price is known."""

Bucket = tuple[float, float, str]  # its beginning, its end, the model that served or "" for all

WHAT = ("requests", "input tokens", "cached input tokens", "output tokens", "cost USD")
_COST = len(WHAT) - 1
_NOTHING: Figures = (Decimal(0),) * len(WHAT)
_BILLED = frozenset({"settled", "unknown"})
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Difference:
    """`here` is the ledger, `there` the export; "" where one of them has no such line."""

    where: str
    what: str
    here: str = ""
    there: str = ""


@dataclass(frozen=True, slots=True)
class Compared:
    number: int
    differences: list[Difference]


async def by_request(ledger: Ledger, lines: Sequence[Line], query: Query, tolerance: Decimal) -> Compared:
    """Every line has its attempt, and every attempt that is charged has its line."""
    there: dict[str, Line] = {}
    twice = [
        Difference(line.id, "twice in the export") for line in lines if there.setdefault(line.id, line) is not line
    ]
    number, found = len(there), list(twice)
    async for name, entry, line in _paired(ledger, there, query):
        number += line is None
        found += _request(name, entry, line, tolerance)
    return Compared(number, found)


async def _paired(
    ledger: Ledger, there: dict[str, Line], query: Query
) -> AsyncIterator[tuple[str, Entry | None, Line | None]]:
    async for entry in ledger.entries(query):
        line = there.pop(entry.intent.attempt, None)
        if line is not None or _is_billed(entry):
            yield entry.intent.attempt, entry, line
    for name, line in there.items():  # begun outside of the time, or never
        yield name, await ledger.entry(name), line


def _request(name: str, entry: Entry | None, line: Line | None, tolerance: Decimal) -> Iterator[Difference]:
    if line is None:
        assert entry is not None
        yield Difference(name, "missing in the export", here=_told(_of_entry(entry)))
    elif entry is None:
        yield Difference(name, "missing in the ledger", there=_told(_of_line(line)))
    elif entry.outcome is None:
        yield Difference(name, "still open in the ledger", there=_told(_of_line(line)))
    else:
        yield from _unequal(name, _of_entry(entry), _of_line(line), tolerance)


async def by_sum(ledger: Ledger, lines: Sequence[Line], query: Query, tolerance: Decimal) -> Compared:
    """By the times of the export, and by model where it is grouped so."""
    here: dict[Bucket, Figures] = {}
    there: dict[Bucket, Figures] = {}
    for line in lines:
        assert line.start_at is not None and line.end_at is not None
        _add(there, (line.start_at, line.end_at, line.model), _of_line(line))
    times = _Times((start, end) for start, end, _ in there)
    by_model = any(line.model for line in lines)
    async for entry in ledger.entries(query):
        if _is_billed(entry):
            model = _served(entry) if by_model else ""
            _add(here, (*times.around(entry.intent.at), model), _of_entry(entry))
    buckets = sorted({*here, *there})
    found = [one for at in buckets for one in _sums(at, here.get(at), there.get(at), tolerance)]
    return Compared(len(buckets), found)


class _Times:
    """The intervals of an export. What lies in none of them is counted by its day."""

    def __init__(self, intervals: Iterable[tuple[float, float]]) -> None:
        self._intervals = sorted(set(intervals))

    def around(self, at: float) -> tuple[float, float]:
        index = bisect_right(self._intervals, (at, float("inf"))) - 1
        if index >= 0 and at < self._intervals[index][1]:
            return self._intervals[index]
        day = at // _DAY_S * _DAY_S
        return day, day + _DAY_S


def _sums(bucket: Bucket, here: Figures | None, there: Figures | None, tolerance: Decimal) -> Iterator[Difference]:
    start, end, model = bucket
    where = f"{iso(start)} to {iso(end)}{f' {model}' if model else ''}"
    if there is None:
        yield Difference(where, "missing in the export", here=_told(here or _NOTHING))
    elif here is None and any(there):
        yield Difference(where, "missing in the ledger", there=_told(there))
    else:
        yield from _unequal(where, here or _NOTHING, there, tolerance)


def _unequal(where: str, here: Figures, there: Figures, tolerance: Decimal) -> Iterator[Difference]:
    for at, (own, other) in enumerate(zip(here, there, strict=True)):
        if other is None:
            continue
        if own is None:
            yield Difference(where, WHAT[at], "not known", _figure(at, other))
            continue
        # The gateway rounds the cost of each request up to a whole nano-dollar.
        rounding = (here[0] or 0) if at == _COST else 0
        if abs(own - other) > max(abs(own), abs(other)) * tolerance + rounding:
            yield Difference(where, WHAT[at], _figure(at, own), _figure(at, other))


def _of_line(line: Line) -> Figures:
    counts = line.requests, line.input, line.cached, line.output
    return (*(None if count is None else Decimal(count) for count in counts), line.cost)


def _of_entry(entry: Entry) -> Figures:
    assert entry.outcome is not None
    usage, cost = entry.outcome.usage, cost_of(entry)
    counts = map(Decimal, (1, usage.input_tokens, usage.cached_input, usage.output_tokens))
    return (*counts, None if cost is None else Decimal(cost))


def _is_billed(entry: Entry) -> bool:
    """Attempts without an answer are free, and providers do not list them. Those that run are not over."""
    return entry.outcome is not None and entry.outcome.state in _BILLED


def _served(entry: Entry) -> str:
    return (entry.outcome.served if entry.outcome else "") or entry.intent.origin.target


def _add(sums: dict[Bucket, Figures], bucket: Bucket, figures: Figures) -> None:
    pairs = zip(sums.get(bucket, _NOTHING), figures, strict=True)
    sums[bucket] = tuple(None if one is None or two is None else one + two for one, two in pairs)


def _told(figures: Figures) -> str:
    """The figure that a person looks for first."""
    if (cost := figures[_COST]) is not None:
        return f"{_figure(_COST, cost)} USD"
    return f"{sum(count or 0 for count in (figures[1], figures[3]))} tokens"


def _figure(at: int, value: Decimal) -> str:
    text = f"{value / NANO if at == _COST else value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
