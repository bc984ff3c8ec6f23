"""Reports of the ledger: what is asked for, in words of the command line and of URLs, and the rows that answer it.

A row is a flat mapping of column -> value, ready for JSON; `cells` makes a line of a CSV file of it that no spreadsheet
takes for a formula.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.core.accounts import Ask, Balance, Entry, Intent, Origin, Query, Total
from gateway.core.money import dollars
from gateway.core.usage import BUCKETS, Usage

Row = dict[str, object]
Pairs = Sequence[tuple[str, str]]

SELECTORS = ("caller", "team", "model", "provider")
DIMENSIONS = (*SELECTORS, "day", "month")
LABEL = "label."

UNPRICED = "unpriced: the price is not known, so their cost is missing from the sum (policy: prices)"
ESTIMATED = "estimated: the provider reported no usage, tokens were counted by the gateway"
UNKNOWN = "unknown: their end was not seen, they are charged what was reserved for them"

_STEPS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}
_AGO = re.compile(r"([1-9][0-9]{0,4})([hdw])")
_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the wide forms are folded by some programs


@dataclass(frozen=True, slots=True)
class Asked:
    """A report: grouped by these dimensions, over these attempts."""

    by: tuple[str, ...]
    query: Query


def asked(pairs: Pairs, now: float) -> Asked:
    """`by`, `since`, `until` and dimensions with their value, in any order. Without `since`: this month, in UTC.
    ValueError with the fix."""
    given: dict[str, str] = {}
    for name, value in pairs:
        if name in given:
            raise ValueError(f"{name}: given twice")
        given[name] = value
    by = dimensions(given.pop("by", "caller"))
    since = moment(given.pop("since"), now) if "since" in given else month_start(now)
    until = moment(given.pop("until"), now) if "until" in given else None
    if until is not None and until <= since:
        raise ValueError("until: the end is not after the beginning")
    for name in given:
        if name not in SELECTORS and not _is_label(name):
            raise ValueError(f"{name}: expected by, since, until, {', '.join(SELECTORS)} or label.NAME")
    return Asked(by, Query(since, until, tuple(given.items())))


def dimensions(text: str) -> tuple[str, ...]:
    """ "team,day" -> ("team", "day")."""
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in DIMENSIONS and not _is_label(name):
            raise ValueError(f"by: {name!r} is none of {', '.join(DIMENSIONS)}, label.NAME")
    if len(set(names)) < len(names):
        raise ValueError("by: a dimension is named twice")
    return names


def moment(text: str, now: float) -> float:
    """A date, a month, a time (UTC unless it says otherwise) or how long ago: 2026-11-01, 2026-11, 2026-11-01T08:00,
    36h, 7d, 2w. -> wall time."""
    if ago := _AGO.fullmatch(text):
        return max(0.0, now - int(ago[1]) * _STEPS[ago[2]])
    try:
        at = datetime.fromisoformat(f"{text}-01" if _MONTH.fullmatch(text) else text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r}: expected a time such as 2026-11-01, 2026-11, 2026-11-01T08:00, 36h, 7d") from None


def month_start(at: float) -> float:
    """When the month of the wall time `at` began, in UTC."""
    return datetime.fromtimestamp(at, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


def iso(at: float | None) -> str | None:
    """Wall time as ISO 8601 in UTC, to the millisecond where it has such."""
    if at is None:
        return None
    when = datetime.fromtimestamp(round(at, 3), UTC)
    return when.isoformat(timespec="milliseconds" if when.microsecond else "seconds")[: -len("+00:00")] + "Z"


def total_row(by: Sequence[str], total: Total) -> Row:
    return {
        **dict(zip(by, total.group, strict=True)),
        "attempts": total.attempts,
        **_usage(total.usage),
        **_money("cost", total.cost_nano),
        "unpriced": total.unpriced,
        "estimated": total.estimated,
        "unknown": total.unknown,
        "failed": total.failed,
    }


def sum_of(totals: Iterable[Total]) -> Total:
    """The line below the lines. Its group is empty."""
    lines = list(totals)
    usage = Usage(*(sum(counts) for counts in zip(*(line.usage.counts() for line in lines), strict=True)))
    names = ("attempts", "cost_nano", "unpriced", "estimated", "unknown", "failed")
    return Total((), usage=usage, **{name: sum(getattr(line, name) for line in lines) for name in names})


def remarks(total: Total) -> list[str]:
    """What a reader has to know about the sums, in one line each; nothing when all is plain."""
    counts = (total.unpriced, UNPRICED), (total.estimated, ESTIMATED), (total.unknown, UNKNOWN)
    return [f"{count} {text}" for count, text in counts if count]


def cost_of(entry: Entry) -> int | None:
    """Nano-dollars with corrections, which may stand in for a price that is not known."""
    if entry.outcome is None or (entry.outcome.cost_nano is None and not entry.corrected_nano):
        return None
    return (entry.outcome.cost_nano or 0) + entry.corrected_nano


def report(wanted: Asked, totals: Sequence[Total]) -> Row:
    """The whole answer as one document."""
    return {
        "since": iso(wanted.query.since_at),
        "until": iso(wanted.query.until_at),
        "where": dict(wanted.query.where),
        "by": list(wanted.by),
        "rows": [total_row(wanted.by, total) for total in totals],
        "total": total_row((), sum_of(totals)),
    }


def entry_row(entry: Entry) -> Row:
    """One attempt. The cost holds its corrections; None: the price is not known, or the attempt still runs."""
    intent, outcome = entry.intent, entry.outcome
    return {
        "attempt": intent.attempt,
        "call": intent.call,
        "number": intent.number,
        "at": iso(intent.at),
        "caller": intent.origin.caller,
        "team": intent.origin.team,
        "labels": dict(intent.origin.labels),
        "endpoint": intent.origin.endpoint,
        "model": intent.origin.model,
        "provider": intent.origin.provider,
        "target": intent.origin.target,
        "served": outcome.served if outcome else "",
        "tier": outcome.tier if outcome else "",
        "state": outcome.state if outcome else "open",
        "status": outcome.status if outcome else None,
        "ended_at": iso(outcome.at) if outcome else None,
        "duration_s": outcome.duration_s if outcome else None,
        **_usage(outcome.usage if outcome else Usage()),
        **_money("cost", cost_of(entry)),
        "corrected_nano": entry.corrected_nano,
        "reserved_nano": intent.reserved_nano + entry.extended_nano,
        "flags": list(outcome.flags) if outcome else [],
        "verdicts": outcome.verdicts if outcome else "",
        "policy": intent.origin.policy,
        "node": intent.origin.node,
    }


def total_columns(by: Sequence[str]) -> tuple[str, ...]:
    return (*by, *total_row((), sum_of(())))


def balance_row(ask: Ask, balance: Balance, at: float) -> Row:
    """One counter of a limit. Amounts of money end in `_nano`; `resets_at` None: it has no reset."""
    limit, suffix = ask.limit, "_nano" if ask.limit.unit == "usd" else ""
    end = ask.window_end_at
    if end is None and balance.resets_s is not None:
        end = at + balance.resets_s
    return {
        "name": limit.name,
        "counter": balance.key,
        "scope": dict(limit.scope),
        "unit": limit.unit,
        "window": limit.window,
        "mode": "hard" if limit.hard else "soft",
        f"amount{suffix}": balance.amount,
        f"spent{suffix}": balance.spent,
        f"reserved{suffix}": balance.reserved,
        f"remaining{suffix}": balance.remaining,
        "resets_at": iso(end),
    }


def cells(row: Mapping[str, object]) -> list[str]:
    return [_cell(value) for value in row.values()]


def _cell(value: object) -> str:
    if isinstance(value, str):
        return plain(value)
    if value is None:
        return ""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, sort_keys=True) if value else ""
    return " ".join(value) if isinstance(value, list) else str(value)


def plain(text: str) -> str:
    """What a spreadsheet would take for a formula begins with an apostrophe, which makes it text. Numbers stay."""
    bare = text.lstrip()
    if not (bare.startswith(_FORMULA) or text.startswith(("\t", "\r", "\n"))) or _NUMBER.fullmatch(text):
        return text
    return f"'{text}"


def _is_label(name: str) -> bool:
    return name.startswith(LABEL) and len(name) > len(LABEL)


def _usage(usage: Usage) -> Row:
    """The totals, and the disjoint buckets that they are made of."""
    buckets = dict(zip(BUCKETS, usage.counts(), strict=True))
    return {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens, **buckets}


def _money(name: str, nano: int | None) -> Row:
    return {f"{name}_nano": nano, f"{name}_usd": None if nano is None else dollars(nano)}


ENTRY_COLUMNS = tuple(entry_row(Entry(Intent("", "", 1, 0.0, Origin("", "", {}, "", "", "", "", "", ""), 0, 0), None)))
