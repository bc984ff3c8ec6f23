"""Metric families: the samples by label set, their lines in Prometheus' text format (version 0.0.4), their OTLP points.

Names and attributes are OpenTelemetry's. Prometheus' follow from them: a dot becomes an underscore, the unit `s` the
suffix `_seconds`, a counter ends in `_total`; a unit in braces is a note and adds nothing (OpenTelemetry, "Prometheus
and OpenMetrics Compatibility").
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Literal, TypeVar

from gateway.sinks.otlp_encode import Series

Labels = tuple[str, ...]
Kind = Literal["counter", "gauge", "histogram"]
Value = TypeVar("Value", float, list[float])
MAX_SERIES = 5_000
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


@dataclass(slots=True)
class Family(Generic[Value]):
    """`values` is the snapshot, by the values of `attributes`. `name` and `labels` are the names for Prometheus. A new
    label set beyond `MAX_SERIES` is not kept. An attribute whose value is "" is not there."""

    kind: ClassVar[Kind]
    metric: str
    help: str
    attributes: Labels = ()
    unit: str = ""
    values: dict[Labels, Value] = field(default_factory=dict)
    name: str = field(init=False)
    labels: Labels = field(init=False)

    def __post_init__(self) -> None:
        suffix = ("_seconds" if self.unit == "s" else "") + ("_total" if self.kind == "counter" else "")
        self.name = self.metric.replace(".", "_") + suffix
        self.labels = tuple(attribute.replace(".", "_") for attribute in self.attributes)

    def _attributes(self, labels: Labels) -> dict[str, str]:
        return {name: value for name, value in zip(self.attributes, labels, strict=True) if value}


@dataclass(slots=True)
class Counter(Family[float]):
    """A sum per label set."""

    kind: ClassVar[Kind] = "counter"

    def add(self, labels: Labels, amount: float = 1.0) -> None:
        try:
            self.values[labels] += amount
        except KeyError:
            if len(self.values) < MAX_SERIES:
                self.values[labels] = amount

    def set(self, labels: Labels, value: float) -> None:
        """For what is counted elsewhere."""
        self.values[labels] = value

    def lines(self) -> Iterable[str]:
        for labels, value in sorted(self.values.items()):
            yield f"{self.name}{_label_text(self.labels, labels)} {_number(value)}"

    def merge(self, values: Mapping[Labels, float]) -> None:
        for labels, value in values.items():
            self.values[labels] = self.values.get(labels, 0.0) + value

    def series(self) -> Series:
        points = [(self._attributes(labels), value) for labels, value in self.values.items()]
        return Series(self.metric, self.unit, self.help, self.kind, (), points)


@dataclass(slots=True)
class Gauge(Counter):
    """What is so now. `combine` makes one value of those of several processes."""

    kind: ClassVar[Kind] = "gauge"
    combine: Callable[[float, float], float] = operator.add

    def merge(self, values: Mapping[Labels, float]) -> None:
        for labels, value in values.items():
            self.values[labels] = self.combine(self.values[labels], value) if labels in self.values else value


@dataclass(slots=True)
class Histogram(Family[list[float]]):
    """Per label set: one count a bucket, then the overflow, the sum at the end. A bucket holds what is at most its
    bound; `bounds` ascend."""

    kind: ClassVar[Kind] = "histogram"
    unit: str = "s"
    bounds: tuple[float, ...] = SECONDS

    def observe(self, labels: Labels, value: float) -> None:
        self.observe_all(labels, (value,))

    def observe_all(self, labels: Labels, values: Sequence[float]) -> None:
        """Samples of one label set, at least one."""
        bounds, row = self.bounds, self.values.get(labels) or self._added(labels)
        for value in values:
            row[bisect_left(bounds, value)] += 1
        row[-1] += sum(values)

    def add_row(self, labels: Labels, row: Sequence[float]) -> None:
        """Samples that were counted elsewhere, by the same bounds."""
        mine = self.values.get(labels) or self._added(labels)
        mine[:] = map(operator.add, mine, row)

    def _added(self, labels: Labels) -> list[float]:
        """Beyond `MAX_SERIES` a row that nobody reads."""
        row = [0.0] * (len(self.bounds) + 2)
        if len(self.values) < MAX_SERIES:
            self.values[labels] = row
        return row

    def lines(self) -> Iterable[str]:
        for labels, row in sorted(self.values.items()):
            total = 0.0
            for bound, count in zip((*self.bounds, float("inf")), row[:-1], strict=True):
                total += count
                bucket = _label_text((*self.labels, "le"), (*labels, _bound(bound)))
                yield f"{self.name}_bucket{bucket} {_number(total)}"
            text = _label_text(self.labels, labels)
            yield f"{self.name}_sum{text} {_number(row[-1])}"
            yield f"{self.name}_count{text} {_number(total)}"

    def merge(self, values: Mapping[Labels, list[float]]) -> None:
        for labels, row in values.items():
            mine = self.values.setdefault(labels, [0.0] * len(row))
            mine[:] = [a + b for a, b in zip(mine, row, strict=True)]

    def series(self) -> Series:
        points = [(self._attributes(labels), _distribution(row)) for labels, row in self.values.items()]
        return Series(self.metric, self.unit, self.help, self.kind, self.bounds, points)


def _distribution(row: list[float]) -> tuple[list[int], float, int]:
    """Counts by bucket, the sum of the values, how many they are."""
    counts = [int(count) for count in row[:-1]]
    return counts, row[-1], sum(counts)


def _label_text(names: Labels, values: Labels) -> str:
    if not names:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _bound(value: float) -> str:
    return "+Inf" if value == float("inf") else _number(value)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
