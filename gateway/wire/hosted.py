"""Tools that a provider runs itself and charges by use: which of them a request offers, and how often they were used.

Models may use one several times before they answer. What a search finds is input on top, and counted as such; here is
what a provider charges for the use. Servers tell it in three ways: in the usage (Anthropic, OpenRouter, Perplexity),
beside it (OpenAI: `tool_usage`), or not at all, so that the items of the answer are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from gateway.core.usage import TOOLS, Uses

_ITEMS: Final = {f"{tool}_call": tool for tool in TOOLS}
_MOST: Final = 1 << 16
"""No answer has more uses: a larger count is none."""


def offered(document: Mapping[str, Any]) -> tuple[str, ...]:
    """In the order of `TOOLS`. Names carry versions: web_search_preview_2025_03_11 is a web_search."""
    tools = document.get("tools")
    kinds = [tool.get("type") for tool in tools if type(tool) is dict] if type(tools) is list else []
    named = {kind for kind in kinds if type(kind) is str and kind != "function"}
    if may_search(document):
        named.add("web_search")
    if not named:
        return ()
    return tuple([tool for tool in TOOLS if any(kind.startswith(tool) for kind in named)])


def may_search(document: Mapping[str, Any]) -> bool:
    """Whether a chat asks for a search. It is charged one, and its usage does not tell."""
    return document.get("web_search_options") is not None


def used(usage: Mapping[str, Any]) -> Uses:
    """As a usage object tells it."""
    tools = usage.get("server_tool_use")
    return _searches(tools.get("web_search_requests") if type(tools) is dict else usage.get("num_search_queries"))


def used_in(response: Mapping[str, Any]) -> Uses:
    """Of a whole response: what it says was billed, else its items."""
    output = response.get("output")
    uses = dict(count(uses_of(output))) if type(output) is list else {}
    billed: Any = response.get("tool_usage")
    for name in ("web_search", "num_requests"):
        billed = billed.get(name) if type(billed) is dict else None
    uses |= _searches(billed)
    return tuple(sorted(uses.items()))


def uses_of(items: Iterable[Any]) -> set[tuple[str, str]]:
    """(tool, what makes the use one) of output items. Of a web search only the action `search` is charged, opening a
    page is not; a code interpreter is charged by its container, however often it runs there."""
    found = set()
    for item in items:
        kind = item.get("type") if type(item) is dict else None
        tool = _ITEMS.get(kind) if type(kind) is str else None
        if tool is None:
            continue
        action = item.get("action")
        if tool == "web_search" and type(action) is dict and action.get("type") not in (None, "search"):
            continue
        found.add((tool, str(item.get("container_id" if tool == "code_interpreter" else "id"))))
    return found


def count(uses: set[tuple[str, str]]) -> Uses:
    return tuple(sorted(Counter(tool for tool, _ in uses).items()))


def _searches(told: Any) -> Uses:
    return (("web_search", told),) if type(told) is int and 0 < told <= _MOST else ()
