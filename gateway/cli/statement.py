"""One attempt in words: who asked, what came of it, and how its cost was made. For `gateway usage explain`."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from gateway.cli.table import shown, table
from gateway.core.accounts import Entry, Intent, Outcome
from gateway.core.money import dollars
from gateway.core.reports import cost_of, iso
from gateway.prices.explain import Line, explain
from gateway.prices.stored import rates_from

STATES = {
    "settled": "the provider answered",
    "voided": "nothing was sent, it costs nothing",
    "failed": "the provider gave no answer that costs anything",
    "unknown": "its end was not seen, it costs what was reserved",
}
FLAGS = {
    "estimated": "the provider reported no usage; the gateway counted",
    "partial": "the answer did not arrive to its end",
    "clamped": "a reported count was impossible and was cut to what is possible",
    "inconsistent": "the reported counts contradict each other",
    "unpriced": "no price is known for what was used",
    "unpriced-tool": "a tool of the provider was used, and no fee is known for it",
    "flat": "charged the policy's flat amount, for no price is known",
    "overrun": "it cost more than was reserved",
    "cached-at-input": "cached input has no rate of its own; the rate of input was taken",
    "reasoning-at-output": "reasoning has no rate of its own; the rate of output was taken",
}


def told(entry: Entry) -> str:
    return "\n".join(_lines(entry))


def _lines(entry: Entry) -> Iterator[str]:
    yield from _asked(entry.intent)
    if entry.extended_tokens:
        yield f"extended    {dollars(entry.extended_nano)} USD, {entry.extended_tokens} tokens, for the answer grew"
    if entry.outcome is None:
        yield "state       open: it runs, or its end was not seen yet"
        return
    yield from _ended(entry.outcome)
    yield from _arithmetic(entry.outcome)
    if entry.corrected_nano:
        yield f"corrected   {dollars(entry.corrected_nano)} USD"
    cost = cost_of(entry)
    yield f"cost        {'not known' if cost is None else f'{dollars(cost)} USD'}"


def _asked(intent: Intent) -> Iterator[str]:
    labels = "".join(f", {name}={value}" for name, value in sorted(intent.origin.labels.items()))
    yield f"attempt     {shown(intent.attempt)} (number {intent.number} of call {shown(intent.call)})"
    yield f"begun       {iso(intent.at)}, policy {intent.origin.policy}, node {shown(intent.origin.node)}"
    yield shown(f"caller      {intent.origin.caller}, team {intent.origin.team}{labels}")
    yield shown(f"asked       {intent.origin.model or 'no model'} ({intent.origin.endpoint})")
    yield shown(f"sent to     {intent.origin.provider} as {intent.origin.target}")
    yield f"reserved    {dollars(intent.reserved_nano)} USD, {intent.reserved_tokens} tokens"


def _ended(outcome: Outcome) -> Iterator[str]:
    yield f"state       {outcome.state}: {STATES[outcome.state]}"
    yield f"ended       {iso(outcome.at)}, status {outcome.status or 'none'}, after {outcome.duration_s:.3f} s"
    if outcome.served:
        yield shown(f"served by   {outcome.served}{f', tier {outcome.tier}' if outcome.tier else ''}")
    for flag in outcome.flags:
        yield shown(f"note        {flag}: {FLAGS.get(flag, 'see the documentation')}")
    if outcome.verdicts:
        yield shown(f"guards      {outcome.verdicts}")


def _arithmetic(outcome: Outcome) -> Iterator[str]:
    if not outcome.rates:
        yield f"tokens      {outcome.usage.input_tokens} in, {outcome.usage.output_tokens} out; no rates were used"
        return
    try:
        rates, tier, uses = rates_from(outcome.rates)
    except (ValueError, KeyError):
        yield "rates       cannot be read: another version of the gateway wrote them"
        return
    yield shown(f"rates       {rates.source}: {rates.provider} {rates.model}{f', tier {tier}' if tier else ''}")
    yield ""
    yield _table(explain(rates, outcome.usage, uses))
    yield ""


def _table(lines: list[Line]) -> str:
    rows = [
        (
            line.bucket if line.at == line.bucket else f"{line.bucket} (at {line.at})",
            str(line.tokens),
            "" if line.per_million is None else dollars(line.per_million),
            "not known" if line.nano is None else _usd(line.nano),
        )
        for line in lines
    ]
    total = sum((line.nano for line in lines if line.nano is not None), Decimal(0))
    foot = ("exact sum", "", "", _usd(total))
    return table(("bucket", "count", "USD a million", "USD"), rows, frozenset({1, 2, 3}), foot)


def _usd(nano: Decimal) -> str:
    """Exact; parts of a nano-dollar show here, the cost is rounded up to whole ones."""
    text = f"{nano / 10**9:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
