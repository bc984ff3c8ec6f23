"""What the provider answers. The size of an answer follows from the request alone; its fate (an error, a cut, no usage,
slowness) from the request and how often it was seen. What it costs is this file's own arithmetic."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from typing import Any

# Nano-dollars a token; the policy of the run says the same in dollars a million.
INPUT_NANO, CACHED_NANO, OUTPUT_NANO = 150, 75, 600
FRAMES = 12
_TAG = re.compile(r"\[([^\]]+)\]")


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares of calls, from 0 to 1; what is left is answered well."""

    error: float = 0.05
    cut: float = 0.05
    silent: float = 0.05
    slow: float = 0.10


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets. `pace_s` is the time between two frames, or before the only one."""

    tag: str
    cap: int
    fate: str
    input: int
    cached: int
    output: int
    pace_s: float

    @property
    def cost_nano(self) -> int:
        fresh = self.input - self.cached
        return fresh * INPUT_NANO + self.cached * CACHED_NANO + self.output * OUTPUT_NANO

    @property
    def usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.input,
            "completion_tokens": self.output,
            "total_tokens": self.input + self.output,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }


def answer_to(asked: dict[str, Any], turn: int, rates: Rates) -> Answer:
    """`turn`: how often this request was seen before."""
    content = str(asked["messages"][-1]["content"])
    match = _TAG.search(content)
    tag = match[1] if match else ""
    size = hashlib.sha256(tag.encode()).digest()
    luck = hashlib.sha256(f"{tag} {turn}".encode()).digest()
    cap = int(asked.get("max_completion_tokens") or asked.get("max_tokens") or 0)
    tokens = 1 + size[0] % len(content.split())  # a word is one token or more
    fate = _fate(int.from_bytes(luck[:4]) / 2**32, rates)
    pace = 0.002 + luck[4] / 255 * (0.06 if fate == "slow" else 0.008)
    return Answer(tag, cap, fate, tokens, size[1] % (tokens + 1), 1 + size[2] % max(1, cap), pace)


def _fate(share: float, rates: Rates) -> str:
    for fate, rate in asdict(rates).items():
        if share < rate:
            return fate
        share -= rate
    return "whole"
