"""Rows and values: what ledgers share that know SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import orjson

from gateway.core.accounts import Origin, Total
from gateway.core.usage import BUCKETS, Usage

ORIGIN = ("caller", "team", "labels", "endpoint", "model", "provider", "target", "policy", "node")
"""The columns of an `Origin`."""

DIMENSIONS = ("caller", "team", "model", "provider", "endpoint")
DAY_S = 86400
_EPOCH = datetime.fromtimestamp(0, UTC)


def labels_text(labels: Mapping[str, str]) -> str:
    """Canonical JSON: equal labels are equal text."""
    return orjson.dumps(dict(labels), option=orjson.OPT_SORT_KEYS).decode() if labels else "{}"


def origin_of(origin: Origin) -> tuple[str, ...]:
    """In the order of `ORIGIN`."""
    return (
        origin.caller, origin.team, labels_text(origin.labels), origin.endpoint, origin.model, origin.provider,
        origin.target, origin.policy, origin.node,
    )  # fmt: skip


def checked(dimension: str, known: Sequence[str] = DIMENSIONS) -> str:
    if dimension not in known and not dimension.startswith("label."):
        raise ValueError(f"{dimension!r} is no dimension: {', '.join(known)}, label.NAME")
    return dimension


def rolled_before(at: float) -> float:
    """The begin of the day (UTC) of `at`: roll-ups are of whole days."""
    return at // DAY_S * DAY_S


class Totals:
    """Adds sums up by dimensions; as many of them are held as there are groups."""

    def __init__(self, by: Sequence[str]) -> None:
        self._by = [checked(name, (*DIMENSIONS, "day", "month")) for name in by]
        self._found: dict[tuple[str, ...], list[int]] = {}

    def add(self, origin: Mapping[str, str], day: int, sums: Sequence[int]) -> None:
        """`origin` by the names of DIMENSIONS and `labels` (JSON). `day` since 1970. `sums`: attempts, cost_nano,
        the usage, unpriced, estimated, unknown, failed."""
        group = tuple(_value(name, origin, day) for name in self._by)
        held = self._found.get(group)
        self._found[group] = list(sums) if held is None else [one + more for one, more in zip(held, sums, strict=True)]

    def lines(self) -> list[Total]:
        count = len(BUCKETS)
        return [
            Total(group, sums[0], sums[1], Usage(*sums[2 : 2 + count]), *sums[2 + count :])
            for group, sums in sorted(self._found.items())
        ]


def _value(name: str, origin: Mapping[str, str], day: int) -> str:
    if name == "day":
        return f"{_EPOCH + timedelta(days=day):%Y-%m-%d}"
    if name == "month":
        return f"{_EPOCH + timedelta(days=day):%Y-%m}"
    if name.startswith("label."):
        return str(orjson.loads(origin["labels"]).get(name.removeprefix("label."), ""))
    return origin[name]
