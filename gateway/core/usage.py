"""Token counts: as a provider reports them, and as they are paid for.

A provider reports totals that include parts of themselves (`cached` is inside `input`), over several events of a
stream. What is paid for are buckets that share no token: `Usage`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter

INPUT_BUCKETS = ("input", "cached_input", "cache_write", "audio_input", "image_input")
OUTPUT_BUCKETS = ("output", "reasoning", "audio_output", "image_output")
BUCKETS = INPUT_BUCKETS + OUTPUT_BUCKETS
TOOLS = ("web_search", "x_search", "file_search", "code_interpreter", "image_generation")
"""What providers run themselves and charge by use, beside the tokens."""
Uses = tuple[tuple[str, int], ...]
"""How often each of `TOOLS` was used."""
LONGEST_OUTPUT = 1 << 24
"""Tokens that no answer has, all its choices together: more is no count, where nothing better is known."""


@dataclass(slots=True)
class Reported:
    """What a provider said. Counts are totals and parts of them, None where it said nothing. `model` and
    `service_tier` are those that served, which need not be those that were asked for. `odd`: something stood in place
    of a count that is none."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_input_tokens: int | None = None
    image_input_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_output_tokens: int | None = None
    image_output_tokens: int | None = None
    model: str = ""
    service_tier: str = ""
    odd: bool = False
    uses: Uses = ()

    def merge(self, later: Reported) -> None:
        """What a later event of the same stream says. The larger count holds: running counts grow, and one that is
        told twice is one. The model, the tier and the uses of tools are those told last."""
        for name in COUNTS:
            count = getattr(later, name)
            if count is not None:
                setattr(self, name, max(count, getattr(self, name) or 0))
        self.model = later.model or self.model
        self.service_tier = later.service_tier or self.service_tier
        self.odd = self.odd or later.odd
        self.uses = later.uses or self.uses


_NOTHING_REPORTED = Reported()


def nothing_reported() -> Reported:
    """The one that all calls share until their providers say something: it is never changed."""
    return _NOTHING_REPORTED


COUNTS = tuple(entry.name for entry in fields(Reported) if entry.name.endswith("_tokens"))


@dataclass(slots=True, unsafe_hash=True)  # not frozen: see core/accounts.py
class Usage:
    """Disjoint, non-negative token counts, named as in `BUCKETS`. Their sum is what the provider counted."""

    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    audio_input: int = 0
    image_input: int = 0
    output: int = 0
    reasoning: int = 0
    audio_output: int = 0
    image_output: int = 0

    @property
    def input_tokens(self) -> int:
        return self.input + self.cached_input + self.cache_write + self.audio_input + self.image_input

    @property
    def output_tokens(self) -> int:
        return self.output + self.reasoning + self.audio_output + self.image_output

    @property
    def total_tokens(self) -> int:
        return sum(_counts(self))

    def counts(self) -> tuple[int, ...]:
        """In the order of `BUCKETS`."""
        return _counts(self)


_counts = attrgetter(*BUCKETS)
_parts = attrgetter(
    "cached_tokens",
    "cache_write_tokens",
    "audio_input_tokens",
    "image_input_tokens",
    "reasoning_tokens",
    "audio_output_tokens",
    "image_output_tokens",
)


def disjoint(reported: Reported, input_bound: int, output_bound: int | None) -> tuple[Usage, tuple[str, ...]]:
    """Buckets without common tokens, and flags. What was not reported counts 0: estimates are put in before.

    The bounds are the most tokens that there can be; what exceeds them is cut ("clamped"). Parts that exceed their
    total are cut to it ("inconsistent"), the dearest of them last. A token that is both cached and of a modality is
    counted once, as cached; how many these are is not told, so they are taken to be as few as can be.
    """
    asked, said, total = reported.input_tokens or 0, reported.output_tokens or 0, reported.total_tokens
    if output_bound is None:
        output_bound = LONGEST_OUTPUT
    total_in, total_out = asked, said
    flags: tuple[str, ...] = ()
    if asked > input_bound or said > output_bound:
        total_in, total_out = min(asked, input_bound), min(said, output_bound)
        flags = ("clamped",)
    has_parts = any(_parts(reported))
    exceeds = (total is not None and total < asked + said) or (has_parts and _parts_exceed(reported, asked, said))
    if exceeds or reported.odd:
        flags = ("inconsistent", *flags)
    if not has_parts:  # the common case
        return Usage(input=total_in, output=total_out), flags
    write, cached, audio_in, image_in, plain_in = _shares(
        total_in,
        reported.cache_write_tokens,
        reported.cached_tokens,
        reported.audio_input_tokens,
        reported.image_input_tokens,
    )
    audio_out, image_out, reasoning, plain_out = _shares(
        total_out, reported.audio_output_tokens, reported.image_output_tokens, reported.reasoning_tokens
    )
    usage = Usage(plain_in, cached, write, audio_in, image_in, plain_out, reasoning, audio_out, image_out)
    return usage, flags


def _shares(total: int, *parts: int | None) -> list[int]:
    """Each part as far as the total reaches, and then what is left of it."""
    shares = []
    for part in parts:
        shares.append(min(part or 0, total))
        total -= shares[-1]
    return [*shares, total]


def _parts_exceed(reported: Reported, asked: int, said: int) -> bool:
    """Cached tokens may be of a modality too, so that only each of the two sums is within the input."""
    return (
        (reported.cached_tokens or 0) + (reported.cache_write_tokens or 0) > asked
        or (reported.audio_input_tokens or 0) + (reported.image_input_tokens or 0) > asked
        or (reported.reasoning_tokens or 0) + (reported.audio_output_tokens or 0) + (reported.image_output_tokens or 0)
        > said
    )
