"""How a cost came about, line by line, for `gateway usage explain`."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from gateway.core.rates import MILLION, NEIGHBOURS, Rates
from gateway.core.usage import BUCKETS, Usage, Uses


@dataclass(frozen=True, slots=True)
class Line:
    """One bucket that was used. `at` is the bucket whose rate was taken: its own, or a neighbour's. `per_million` is
    that rate in nano-dollars, None: it has none; `nano` is exact, so that the lines' sum, rounded up, is the cost.
    The fee of a request is the line of the bucket "request", without a rate; those of tools are lines too, with how
    often one was used for `tokens`."""

    bucket: str
    tokens: int
    at: str
    per_million: int | None
    nano: Decimal | None


def explain(rates: Rates, usage: Usage, uses: Uses = ()) -> list[Line]:
    """The lines of `core.rates.cost`, in the order of `BUCKETS`."""
    per_million = rates.at(usage.input_tokens)
    lines = []
    for bucket, tokens in zip(BUCKETS, usage.counts(), strict=True):
        if tokens:
            at = bucket if bucket in per_million else NEIGHBOURS.get(bucket, bucket)
            rate = per_million.get(at)
            lines.append(Line(bucket, tokens, at, rate, None if rate is None else Decimal(tokens * rate) / MILLION))
    if rates.per_request:
        lines.append(Line("request", 1, "request", None, Decimal(rates.per_request)))
    for tool, times in uses:
        fee = rates.fees.get(tool)
        lines.append(Line(tool, times, tool, None, None if fee is None else Decimal(fee * times)))
    return lines
