"""What a model costs, and the arithmetic: usage x rates -> nano-dollars. Exact integers, rounded up once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.usage import Usage


@dataclass(frozen=True, slots=True)
class Tier:
    """The rates of a whole request whose input has more than `above` tokens (`inclusive`: at least)."""

    above: int
    per_million: Mapping[str, int]
    inclusive: bool = False


@dataclass(frozen=True, slots=True)
class Rates:
    """Nano-dollars a million tokens by bucket. A bucket that is missing has no known price; 0 is free.

    `source` names the catalogue and its version, or "policy"; `provider` and `model` are the row's names there.
    `tiers`: ascending. `per_request` in nano-dollars. `context_window`: the largest input, None where it is not known.
    """

    source: str
    provider: str
    model: str
    per_million: Mapping[str, int]
    tiers: tuple[Tier, ...] = ()
    per_request: int = 0
    context_window: int | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """`nano` None: a bucket that was used has no price. `flags`: what was taken from a neighbour's rate."""

    nano: int | None
    flags: tuple[str, ...] = ()


def cost(rates: Rates, usage: Usage) -> Cost:
    raise NotImplementedError


def worst_case(rates: Rates, input_tokens: int, output_tokens: int) -> int | None:
    """The most that a request of at most so many tokens can cost, whatever bucket each is counted in; None: unknown."""
    raise NotImplementedError
