"""The attributes of one attempt."""

from __future__ import annotations

import pytest

from gateway.core.rates import Rates
from gateway.core.usage import Reported, Usage
from gateway.sinks.genai import inference_attributes, operation_of, plain_attributes
from gateway.sinks.provider_facts import ProviderFacts
from tests.sinks.calls import CALLS, RATES, attempt, call, unanswered

FACTS = ProviderFacts("groq", "api.groq.com", 443)


def told(one, **facts):
    record = call(one, **facts)
    return inference_attributes(record, one, FACTS, operation_of(record))


@pytest.mark.parametrize(
    ("base_url", "name"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://res.openai.azure.com/openai/v1", "azure.ai.openai"),
        ("https://res.services.ai.azure.com/models", "azure.ai.inference"),
        ("https://api.anthropic.com/v1", "anthropic"),
        ("https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1", "aws.bedrock"),
        ("https://europe-west4-aiplatform.googleapis.com/v1", "gcp.vertex_ai"),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "gcp.gemini"),
        ("https://api.cohere.ai/compatibility/v1", "cohere"),
        ("https://api.deepseek.com", "deepseek"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://us-south.ml.cloud.ibm.com", "ibm.watsonx.ai"),
        ("https://api.mistral.ai/v1", "mistral_ai"),
        ("https://api.moonshot.cn/v1", "moonshot_ai"),
        ("https://api.perplexity.ai", "perplexity"),
        ("https://api.x.ai/v1", "x_ai"),
        ("https://api.openai.com.evil.example/v1", "openai"),
        ("http://vllm.internal:8000/v1", "openai"),
        ("", "openai"),
    ],
)
def test_a_provider_is_named_by_its_host_else_by_the_flavour_of_its_api(base_url, name):
    assert ProviderFacts.of(base_url).name == name


def test_a_providers_address_has_a_port_and_no_secret_of_its_url():
    assert ProviderFacts.of("https://user:key@h.example/v1") == ProviderFacts("openai", "h.example", 443)
    assert ProviderFacts.of("http://h.example/v1").server_port == 80
    assert ProviderFacts.of("http://h.example:8000/v1").server_port == 8000
    assert ProviderFacts.of("") == ProviderFacts("openai", "", 0)


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("chat", "chat"),
        ("responses", "chat"),
        ("completions", "text_completion"),
        ("embeddings", "embeddings"),
        ("fetch", "fetch_response"),
        ("fetch items", ""),
        ("delete", ""),
        ("cancel", ""),
        ("moderations", ""),
        ("passthrough", ""),
    ],
)
def test_what_the_conventions_do_not_know_is_no_operation(name, operation):
    assert operation_of(CALLS[name]()) == operation


def test_totals_include_their_parts():
    usage = Usage(input=50, cached_input=20, cache_write=10, output=30, reasoning=15)
    found = told(attempt(usage=usage))
    assert {
        name: value for name, value in found.items() if name.startswith("gen_ai.usage.") and "cost" not in name
    } == {
        "gen_ai.usage.input_tokens": 80,
        "gen_ai.usage.output_tokens": 45,
        "gen_ai.usage.cache_read.input_tokens": 20,
        "gen_ai.usage.cache_write.input_tokens": 10,
        "gen_ai.usage.cache_creation.input_tokens": 10,
        "gen_ai.usage.reasoning.output_tokens": 15,
    }


def test_a_failure_is_named_by_its_kind_else_by_its_status():
    assert told(unanswered(status=429))["error.type"] == "429"
    assert told(unanswered(status=429, error="rate_limit_exceeded"))["error.type"] == "rate_limit_exceeded"
    assert told(unanswered(status=0, failed=True), error="upstream_timeout")["error.type"] == "upstream_timeout"
    assert told(attempt(complete=False), outcome="client_closed")["error.type"] == "cancelled"
    assert told(attempt(complete=False))["error.type"] == "_OTHER"
    assert "error.type" not in told(attempt())


def test_a_choice_that_was_cut_has_error_for_a_finish_reason():
    one = attempt(complete=False, finish_reasons=("stop",))
    assert told(one, document={"n": 3})["gen_ai.response.finish_reasons"] == ("stop", "error", "error")
    assert told(attempt(complete=False, finish_reasons=()))["gen_ai.response.finish_reasons"] == ("error",)
    assert "gen_ai.response.finish_reasons" not in told(unanswered(status=500))


@pytest.mark.parametrize(
    ("facts", "cost"),
    [
        ({}, {"usd_nano": 600_000, "status": "final", "source": "catalogue"}),
        ({"flags": ("estimated", "partial")}, {"usd_nano": 600_000, "status": "estimated", "source": "catalogue"}),
        ({"rates": Rates("policy", "p", "m", {})}, {"usd_nano": 600_000, "status": "final", "source": "override"}),
        ({"rates": None}, {"usd_nano": 600_000, "status": "final", "source": "override"}),
        ({"cost_nano": 0, "rates": RATES}, {"usd_nano": 0, "status": "final", "source": "catalogue"}),
        ({"cost_nano": None, "rates": None}, {"status": "unknown"}),
        ({"state": "failed", "cost_nano": 0, "rates": None}, {}),
    ],
)
def test_the_cost_says_how_it_is_known(facts, cost):
    found = told(attempt(**facts))
    assert {
        name.removeprefix("gw.cost."): value for name, value in found.items() if name.startswith("gw.cost.")
    } == cost
    assert ("gen_ai.usage.cost" in found) == ("usd_nano" in cost)


@pytest.mark.parametrize(
    ("flags", "source"), [((), "provider"), (("partial",), "partial"), (("partial", "estimated"), "estimated")]
)
def test_usage_says_who_counted(flags, source):
    assert told(attempt(flags=flags))["gw.usage.source"] == source


def test_the_tier_that_served_and_the_price_list_are_told():
    found = told(attempt(reported=Reported(service_tier="flex")))
    assert found["openai.response.service_tier"] == found["gw.price.tier"] == "flex"
    assert found["gw.price.catalogue_version"] == "genai-prices 0.1"


def test_what_a_provider_says_is_made_harmless():
    """HTTP-15, LOG-03"""
    odd = attempt(
        response_id="\x1b[2J" * 200,
        finish_reasons=("\ud800",),
        reported=Reported(model="m\r\nx", service_tier="\x00"),
        error="\u2028",
    )
    for value in told(odd).values():
        for text in value if isinstance(value, list | tuple) else [value]:
            assert type(text) is not str or (text.isprintable() and len(text) <= 256)


def test_a_plain_request_has_nothing_that_a_back_end_counts():
    one = attempt()
    found = plain_attributes(call(one), one, FACTS)
    own = {name for name in found if name.startswith("gw.")}
    assert found.keys() - own == {"http.request.method", "server.address", "server.port", "http.response.status_code"}
