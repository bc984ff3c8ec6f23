"""What spans tell of a provider, found once from its row of the policy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

# Hosts whose provider has a name in the conventions.
_HOSTS: Final = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"api\.openai\.com|.+\.api\.openai\.com", "openai"),
        (r".+\.openai\.azure\.com", "azure.ai.openai"),
        (r".+\.(services|inference|models)\.ai\.azure\.com", "azure.ai.inference"),
        (r"api\.anthropic\.com", "anthropic"),
        (r"bedrock[a-z-]*\..+\.(amazonaws\.com|api\.aws)", "aws.bedrock"),
        (r"(.+-)?aiplatform\.googleapis\.com", "gcp.vertex_ai"),
        (r"generativelanguage\.googleapis\.com", "gcp.gemini"),
        (r"api\.cohere\.(com|ai)", "cohere"),
        (r"api\.deepseek\.com", "deepseek"),
        (r"api\.groq\.com", "groq"),
        (r".+\.ml\.cloud\.ibm\.com", "ibm.watsonx.ai"),
        (r"api\.mistral\.ai", "mistral_ai"),
        (r"api\.moonshot\.(ai|cn)", "moonshot_ai"),
        (r"api\.perplexity\.ai", "perplexity"),
        (r"api\.x\.ai", "x_ai"),
    )
)


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    """What spans tell of a provider. `name` is `gen_ai.provider.name`: whose flavour of the API it is to the best of
    our knowledge, so "openai" for every compatible server. `server_address` "": there is no network."""

    name: str = "openai"
    server_address: str = ""
    server_port: int = 0

    @classmethod
    def of(cls, base_url: str) -> ProviderFacts:
        url = urlsplit(base_url)
        host = url.hostname or ""
        name = next((name for pattern, name in _HOSTS if pattern.fullmatch(host)), "openai")
        return cls(name, host, (url.port or (443 if url.scheme == "https" else 80)) if host else 0)
