"""Usage exports of providers, as files: what their lines say, whatever shape they have.

    sums       OpenAI's organization/usage/* and organization/costs, as JSON pages or as the dashboard's CSV:
               counts or an amount in [start_time, end_time), of a model where they are grouped by it
    requests   one line a request with an id, as CSV, JSON list or JSON lines

JSON objects inside of lines are flattened: {"amount": {"value": 1}} -> amount_value, {"usage": {"prompt_tokens": 1}}
-> usage_prompt_tokens.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import orjson

from gateway.core.money import NANO

_DAY_S = 86_400.0
_NAMES = {
    "id": ("client_request_id", "x_client_request_id", "attempt", "request_id", "id"),
    "model": ("model", "snapshot_id"),
    "requests": ("num_model_requests", "n_requests"),
    "input": ("input_tokens", "prompt_tokens", "usage_input_tokens", "usage_prompt_tokens", "n_context_tokens_total"),
    "output": (
        "output_tokens", "completion_tokens", "usage_output_tokens", "usage_completion_tokens",
        "n_generated_tokens_total",
    ),
    "cached": (
        "input_cached_tokens", "cached_tokens", "usage_prompt_tokens_details_cached_tokens",
        "usage_input_tokens_details_cached_tokens",
    ),
    "cost": ("cost_usd", "amount_value", "cost", "amount"),
    "start": ("start_time", "start_time_iso", "timestamp", "created_at", "at", "date"),
    "end": ("end_time", "end_time_iso"),
}  # fmt: skip


class ExportError(Exception):
    """The file cannot be read as an export; the message names the line."""


@dataclass(frozen=True, slots=True)
class Line:
    """None: the line does not say. `cost` is in nano-dollars, as exact as it was given. A line with an `id` is one
    request; others are sums over [start_at, end_at), `model` "" over all models. `cached` is part of `input`."""

    id: str
    model: str
    start_at: float | None
    end_at: float | None
    requests: int | None
    input: int | None
    cached: int | None
    output: int | None
    cost: Decimal | None


def read_export(file: Path) -> list[Line]:
    """Lines of empty buckets are left out. ExportError."""
    try:
        data = file.read_bytes().removeprefix(b"\xef\xbb\xbf")
        rows = list(_objects(data) if data.lstrip()[:1] in {b"{", b"["} else _table(data.decode()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ExportError(getattr(error, "strerror", None) or "this is neither JSON nor CSV in UTF-8") from None
    lines = [line for place, row in rows if (line := _line(place, row)) is not None]
    if len({bool(line.id) for line in lines}) > 1:
        raise ExportError("some lines have the id of a request and some have none")
    return lines


def _table(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    table = csv.DictReader(text.splitlines())
    for row in table:
        if None in row or None in row.values():
            raise ExportError(f"line {table.line_num} does not have as many cells as the head")
        yield f"line {table.line_num}", {name.strip().lower().replace("-", "_"): row[name].strip() for name in row}


def _objects(data: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        yield from _flattened("entry", orjson.loads(data))
        return
    except orjson.JSONDecodeError:
        pass  # then it is a document a line
    for number, line in enumerate(data.splitlines(), 1):
        if line.strip():
            try:
                document = orjson.loads(line)
            except orjson.JSONDecodeError:
                raise ExportError(f"line {number} is not valid JSON") from None
            yield from _flattened(f"line {number}", document)


def _flattened(place: str, document: Any, outer: Mapping[str, Any] | None = None) -> Iterator[tuple[str, Any]]:
    """Pages hold buckets in `data`, buckets hold `results` (`result`, in an older edition) that share their times."""
    if isinstance(document, list):
        for number, item in enumerate(document, 1):
            yield from _flattened(f"{place} {number}", item, outer)
    elif not isinstance(document, dict):
        raise ExportError(f"{place} is not a JSON object")
    elif isinstance(inner := document.get("data", document.get("results", document.get("result"))), list):
        times = {name: value for name, value in document.items() if name in {"start_time", "end_time"}}
        yield from _flattened(place, inner, times)
    else:
        yield place, {**(outer or {}), **dict(_flat("", document))}


def _flat(prefix: str, document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        path = f"{prefix}{name}".lower().replace("-", "_")
        if isinstance(value, dict):
            yield from _flat(f"{path}_", value)
        else:
            yield path, value


def _line(place: str, row: Mapping[str, Any]) -> Line | None:
    found = {what: next((row[name] for name in names if row.get(name) not in {None, ""}), None)
             for what, names in _NAMES.items()}  # fmt: skip
    try:
        counts = {what: _count(found[what]) for what in ("requests", "input", "cached", "output")}
        cost = _amount(found["cost"])
        start, end = _time(found["start"]), _time(found["end"])
    except ValueError as error:
        raise ExportError(f"{place}: {error}") from None
    if cost is None and all(count is None for count in counts.values()):
        if found["id"] is None and start is None:
            raise ExportError(f"{place}: no column with a count of tokens or a cost is known")
        return None
    if (currency := row.get("amount_currency") or row.get("currency")) and str(currency).lower() != "usd":
        raise ExportError(f"{place}: the amount is in {currency!r}, expected usd")
    if found["id"] is None and start is None:
        raise ExportError(f"{place}: neither the id of a request nor a start_time")
    if found["id"] is None and start is not None:
        end = end if end is not None else start + _DAY_S
    return Line(str(found["id"] or ""), str(found["model"] or ""), start, end, cost=cost, **counts)


def _count(value: object) -> int | None:
    """Exports write counts as 3, "3" and 3.0."""
    if value is None:
        return None
    number = _number(value)
    if number != number.to_integral_value() or number < 0:
        raise ValueError(f"{value!r} is not a count")
    return int(number)


def _amount(value: object) -> Decimal | None:
    return None if value is None else _number(value) * NANO


def _number(value: object) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a number") from None
    if isinstance(value, bool) or not number.is_finite():
        raise ValueError(f"{value!r} is not a number")
    return number


def _time(value: object) -> float | None:
    """Seconds since the epoch, or ISO 8601 in UTC unless it says otherwise."""
    if value is None:
        return None
    try:
        return float(str(value))
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(str(value))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"{value!r} is not a time") from None
