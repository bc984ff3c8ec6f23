"""Token counts: as a provider reports them, and as they are paid for.

A provider reports totals that include parts of themselves (`cached` is inside `input`), over several events of a
stream. What is paid for are buckets that share no token: `Usage`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

INPUT_BUCKETS = ("input", "cached_input", "cache_write", "audio_input", "image_input")
OUTPUT_BUCKETS = ("output", "reasoning", "audio_output", "image_output")
BUCKETS = INPUT_BUCKETS + OUTPUT_BUCKETS


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


@dataclass(frozen=True, slots=True)
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
        return self.input_tokens + self.output_tokens

    def counts(self) -> tuple[int, ...]:
        """In the order of `BUCKETS`."""
        return tuple(getattr(self, entry.name) for entry in fields(self))
