"""What a model costs, and the arithmetic: usage x rates -> nano-dollars. Exact integers, rounded up once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.core.usage import BUCKETS, INPUT_BUCKETS, OUTPUT_BUCKETS, Usage, Uses

MILLION = 10**6
MODALITIES = frozenset({"audio_input", "image_input", "audio_output", "image_output"})

# Only where the neighbour's rate cannot be too low. Cache writes, audio and images cost more than their neighbours with
# some providers, so that without a rate of their own they are unknown.
NEIGHBOURS = {"cached_input": "input", "reasoning": "output"}
FLAGS = {"cached_input": "cached-at-input", "reasoning": "reasoning-at-output"}


@dataclass(frozen=True, slots=True)
class Tier:
    """The rates of a whole request whose input (of every bucket) has more than `above` tokens (`inclusive`: at least).
    They are complete: nothing is inherited."""

    above: int
    per_million: Mapping[str, int]
    inclusive: bool = False

    def applies(self, input_tokens: int) -> bool:
        return input_tokens > self.above or (self.inclusive and input_tokens == self.above)


@dataclass(frozen=True, slots=True)
class Rates:
    """Nano-dollars a million tokens by bucket. A bucket that is missing has no known price; 0 is free.

    `source` names the catalogue and its version, or "policy"; `provider` and `model` are the row's names there.
    `tiers`: ascending. `per_request` in nano-dollars, and so are `fees`: of one use of each of `core.usage.TOOLS`.
    `context_window`: the largest input, None where it is not known.
    `flags` go to every cost made from these rates.
    """

    source: str
    provider: str
    model: str
    per_million: Mapping[str, int] = field(hash=False)
    tiers: tuple[Tier, ...] = field(default=(), hash=False)
    per_request: int = 0
    context_window: int | None = None
    flags: tuple[str, ...] = ()
    fees: Mapping[str, int] = field(default_factory=dict, hash=False)
    dearest: tuple[int | None, int | None] = field(init=False, repr=False, compare=False)
    """The highest rates of input and of output, whatever the modality."""

    def __post_init__(self) -> None:
        found = (_dearest(self.per_million, buckets, 1, None) for buckets in (INPUT_BUCKETS, OUTPUT_BUCKETS))
        object.__setattr__(self, "dearest", tuple(found))

    def at(self, input_tokens: int) -> Mapping[str, int]:
        """The rates of a request with so much input."""
        for tier in reversed(self.tiers):
            if tier.applies(input_tokens):
                return tier.per_million
        return self.per_million


@dataclass(slots=True, unsafe_hash=True)  # not frozen: see core/accounts.py
class Cost:
    """`nano` None: a bucket that was used has no price. `flags`: what was taken from a neighbour's rate."""

    nano: int | None
    flags: tuple[str, ...] = ()


def cost(rates: Rates, usage: Usage, uses: Uses = ()) -> Cost:
    """A use of a tool that has no fee costs nothing: some providers tell uses that the price of a request covers."""
    per_million = rates.at(usage.input_tokens) if rates.tiers else rates.per_million
    total, flags = 0, rates.flags
    for bucket in BUCKETS:
        tokens = getattr(usage, bucket)
        if not tokens:
            continue
        rate = per_million.get(bucket)
        if rate is None:
            rate = per_million.get(NEIGHBOURS.get(bucket, ""))
            if rate is None:
                return Cost(None, flags)
            flags = (*flags, FLAGS[bucket])
        total += tokens * rate
    fees = sum([rates.fees.get(tool, 0) * times for tool, times in uses]) if uses else 0
    return Cost(rounded_up(total) + rates.per_request + fees, flags)


def rounded_up(millionths: int) -> int:
    """Millionths of a nano-dollar (tokens x rate a million) -> nano-dollars."""
    return -(-millionths // MILLION)


def worst_case(
    rates: Rates, input_tokens: int, output_tokens: int, modalities: frozenset[str] | None = None
) -> int | None:
    """The most that a request of at most so many tokens can cost, whatever bucket each is counted in; None: unknown.

    `modalities`: the audio and image buckets that this request can use, each of which then needs a price. None: that is
    not known; those that have a price are counted in.
    """
    if modalities is None and not rates.tiers:
        taken, given = rates.dearest
        if (taken is None and input_tokens) or (given is None and output_tokens):
            return None
        return rounded_up((taken or 0) * input_tokens + (given or 0) * output_tokens) + rates.per_request
    reachable = [rates.per_million, *(tier.per_million for tier in rates.tiers if tier.applies(input_tokens))]
    most = 0
    for per_million in reachable:
        taken = _dearest(per_million, INPUT_BUCKETS, input_tokens, modalities)
        given = _dearest(per_million, OUTPUT_BUCKETS, output_tokens, modalities)
        if taken is None or given is None:
            return None
        most = max(most, taken * input_tokens + given * output_tokens)
    return rounded_up(most) + rates.per_request


def _dearest(
    per_million: Mapping[str, int], buckets: Sequence[str], tokens: int, modalities: frozenset[str] | None
) -> int | None:
    """The highest rate of a direction; `buckets` begins with its plain text. 0 when there are no tokens."""
    if not tokens:
        return 0
    usable = [bucket for bucket in buckets if modalities is None or bucket not in MODALITIES or bucket in modalities]
    needed = (buckets[0], *(modalities or frozenset()).intersection(buckets))
    if any(bucket not in per_million for bucket in needed):
        return None
    return max(per_million[bucket] for bucket in usable if bucket in per_million)
