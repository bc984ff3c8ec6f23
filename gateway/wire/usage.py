"""The usage object of an answer, whoever sends it -> `Reported`: totals that include their parts.

OpenAI's own counts are so. Servers that imitate it differ: some count what was cached beside the input (as Anthropic
does), some the reasoning beside the output (xAI, Gemini). Their `total_tokens` tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.core.usage import Reported
from gateway.wire import hosted

# Members of the usage object, and of the objects below it. Servers that tell one number under two names mean one.
_TOTALS: Final = {
    "prompt_tokens": "input_tokens",
    "input_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "output_tokens": "output_tokens",
    "total_tokens": "total_tokens",
    "cached_tokens": "cached_tokens",
    "prompt_cache_hit_tokens": "cached_tokens",  # DeepSeek
    "cache_read_input_tokens": "cached_tokens",  # Anthropic
    "cache_creation_input_tokens": "cache_write_tokens",
    "reasoning_tokens": "reasoning_tokens",
}
_INPUT_PARTS: Final = {
    "cached_tokens": "cached_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "cache_creation_tokens": "cache_write_tokens",
    "audio_tokens": "audio_input_tokens",
    "image_tokens": "image_input_tokens",
}
_OUTPUT_PARTS: Final = {
    "reasoning_tokens": "reasoning_tokens",
    "audio_tokens": "audio_output_tokens",
    "image_tokens": "image_output_tokens",
}
_DETAILS: Final = {
    **dict.fromkeys(("prompt_tokens_details", "input_tokens_details", "input_token_details"), _INPUT_PARTS),
    **dict.fromkeys(("completion_tokens_details", "output_tokens_details", "output_token_details"), _OUTPUT_PARTS),
}
_TOOLS: Final = frozenset({"server_tool_use", "num_search_queries"})
_APART: Final = frozenset({"cache_read_input_tokens", "cache_creation_input_tokens"})

# Names of the ordinary tier, and of none: before the answer is ready nobody knows which serves it.
_STANDARD: Final = frozenset({"auto", "default", "standard", "on_demand"})


def usage_of(document: Any) -> Reported:
    """Of a whole answer, or of a stream's event that has the members of one."""
    reported = Reported()
    if type(document) is not dict:
        return reported
    usage = document.get("usage")
    tier = document.get("service_tier")
    if type(usage) is dict:
        _read(reported, usage, _TOTALS)
        if not _APART.isdisjoint(usage):
            _include_cache(reported, native="prompt_tokens" not in usage)
        _fit_total(reported)
        if not _TOOLS.isdisjoint(usage):
            reported.uses = hosted.used(usage)
        tier = tier or usage.get("service_tier")
    else:
        reported.odd = usage is not None
    reported.model = _name(document.get("model"))
    if tier is not None:
        reported.service_tier = _tier(tier)
    return reported


def _read(reported: Reported, holder: Mapping[str, Any], names: Mapping[str, str]) -> None:
    for name, value in holder.items():
        field = names.get(name)
        if field is not None:
            if type(value) is int and value >= 0:
                known = getattr(reported, field)
                if known is None or value > known:
                    setattr(reported, field, value)
            elif value is not None:
                reported.odd = True
        elif names is _TOTALS and name in _DETAILS and type(value) is dict:
            _read(reported, value, _DETAILS[name])


def _include_cache(reported: Reported, *, native: bool) -> None:
    """Adds what was cached to an input that was counted without it. Where no total tells, Anthropic's own names
    (`native`) mean that it was, and so does a cache that is larger than the input."""
    if reported.input_tokens is None:
        return
    cache = (reported.cached_tokens or 0) + (reported.cache_write_tokens or 0)
    plain = reported.input_tokens + (reported.output_tokens or 0)
    apart = native if reported.total_tokens is None else reported.total_tokens >= plain + cache
    if apart or cache > reported.input_tokens:
        reported.input_tokens += cache


def _fit_total(reported: Reported) -> None:
    """A total tells the one count that is missing, and what was counted beside the output: reasoning."""
    asked, said, total = reported.input_tokens, reported.output_tokens, reported.total_tokens
    if total is None:
        return
    if asked is None and said is not None:
        reported.input_tokens = max(0, total - said)
    elif asked is not None and (said is None or total > asked + said):
        reported.output_tokens = max(0, total - asked)


def _tier(value: Any) -> str:
    name = _name(value)
    return "" if name in _STANDARD else name


def _name(value: Any) -> str:
    return value if type(value) is str and len(value) <= 256 else ""
