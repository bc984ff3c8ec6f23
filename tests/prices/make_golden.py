"""Makes tests/prices/golden/litellm.json: what LiteLLM's calculator says of many models and usages. Figures only.

Run by hand, with a Python that is not the project's (`--no-deps`: LiteLLM pins a certifi that the index may not have):

    python -m venv /tmp/golden && /tmp/golden/bin/pip install --no-deps litellm
    /tmp/golden/bin/pip install httpx h2 openai python-dotenv tiktoken tokenizers click jinja2 aiohttp pydantic-settings \
        jsonschema fastuuid importlib-metadata packaging pyyaml certifi
    LITELLM_LOCAL_MODEL_COST_MAP=True /tmp/golden/bin/python tests/prices/make_golden.py

{"package", "usages": {name: {count: tokens}}, "costs": {"provider/model/tier": {usage's name: dollars}}}: `provider` is
the id in genai-prices, the counts are named as in `core.usage.Usage`.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import litellm  # type: ignore[import-not-found]

USAGES: dict[str, dict[str, int]] = {
    "plain": {"input": 1000, "output": 500},
    "cached": {"input": 2000, "cached_input": 8000, "output": 1000},
    "reasoning": {"input": 2000, "output": 500, "reasoning": 2500},
    "written": {"input": 1500, "cached_input": 500, "cache_write": 3000, "output": 100},
    "at 200k": {"input": 200_000, "output": 10},
    "over 200k": {"input": 120_000, "cached_input": 80_001, "output": 2000},
    "at 272k": {"input": 272_000, "output": 10},
    "over 272k": {"input": 200_000, "cached_input": 72_001, "output": 2000},
}
CACHE_WRITERS = {"anthropic"}
PROVIDERS = {  # LiteLLM's name -> the id in genai-prices
    "openai": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
    "mistral": "mistral",
    "xai": "x-ai",
    "deepseek": "deepseek",
    "groq": "groq",
}
TIERS = {"openai": ("standard", "flex", "priority")}


def main() -> None:
    costs: dict[str, dict[str, float]] = {}
    for name, row in sorted(litellm.model_cost.items()):
        provider = row.get("litellm_provider")
        if (
            provider not in PROVIDERS
            or row.get("mode") not in {"chat", "responses", "embedding"}
            or name.startswith("ft:")
        ):
            continue
        model = name.removeprefix(f"{provider}/")
        for tier in TIERS.get(provider, ("standard",)):
            if tier == "standard" or f"input_cost_per_token_{tier}" in row:
                costs[f"{PROVIDERS[provider]}/{model}/{tier}"] = costs_of(name, provider, tier, row)
    lines = ",\n".join(f"{json.dumps(case)}:{json.dumps(told)}" for case, told in sorted(costs.items()))
    head = json.dumps({"package": f"litellm {version('litellm')}", "usages": USAGES})
    place = Path(__file__).parent / "golden" / "litellm.json"
    place.write_text(f'{head[:-1]},"costs":{{\n{lines}\n}}}}\n')


def costs_of(name: str, provider: str, tier: str, row: dict[str, object]) -> dict[str, float]:
    costs = {}
    for usage, counts in USAGES.items():
        if ("cache_write" in counts) > (provider in CACHE_WRITERS) or ("output" in counts) > (
            row["mode"] != "embedding"
        ):
            continue
        taken, given = litellm.cost_per_token(
            model=name,
            custom_llm_provider=provider,
            usage_object=litellm_usage(counts),
            service_tier=None if tier == "standard" else tier,
        )
        costs[usage] = float(f"{taken + given:.12g}")
    return costs


def litellm_usage(counts: dict[str, int]) -> litellm.Usage:
    cached, written = counts.get("cached_input", 0), counts.get("cache_write", 0)
    return litellm.Usage(
        prompt_tokens=counts["input"] + cached + written,
        completion_tokens=counts["output"] + counts.get("reasoning", 0),
        prompt_tokens_details={"cached_tokens": cached} if cached else None,
        reasoning_tokens=counts.get("reasoning"),
        **({"cache_creation_input_tokens": written, "cache_read_input_tokens": cached} if written else {}),
    )


if __name__ == "__main__":
    main()
