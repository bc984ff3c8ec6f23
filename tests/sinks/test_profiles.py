"""What each back end reads of our spans, and that it counts a call once."""

from __future__ import annotations

import json

import pytest

from gateway.core.trace import CLIENT, TraceSpan
from gateway.core.usage import Usage
from gateway.sinks.profiles import PROFILES, bucket_costs
from gateway.sinks.spans import spans_of
from tests.sinks.backends import VIEWS, langfuse, totals
from tests.sinks.calls import (
    CALLER,
    CALLS,
    PARTS,
    PARTS_NANO,
    PROVIDERS,
    attempt,
    call,
    joined,
    linked,
    plain,
    retried,
    stream,
)

ALL = frozenset(PROFILES)
USD = pytest.approx(PARTS_NANO / 10**9)
OWN_PROFILE = {
    "langfuse": frozenset({"langfuse"}),
    "phoenix": frozenset({"openinference"}),
    "mlflow": frozenset({"mlflow"}),
}


def spans(record, profiles=ALL):
    return spans_of(record, profiles=profiles, thin=False, providers=PROVIDERS)


def caller_span(**attributes):
    """What a caller's own instrumentation says of the same call."""
    told = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "fast"} | attributes
    return TraceSpan("chat fast", CLIENT, CALLER.trace_id, CALLER.span_id, 0, 0, 1, told)


INSTRUMENTED = {
    "openinference.span.kind": "LLM",
    "gen_ai.usage.input_tokens": PARTS.input_tokens,
    "gen_ai.usage.output_tokens": PARTS.output_tokens,
    "llm.token_count.prompt": PARTS.input_tokens,
    "llm.token_count.completion": PARTS.output_tokens,
}


@pytest.mark.parametrize("profiles", ["own", "all"])
@pytest.mark.parametrize("name", VIEWS)
def test_a_back_end_gets_model_tokens_cost_session_and_user(name, profiles):
    record = stream()
    seen = VIEWS[name](spans(record, ALL if profiles == "all" else OWN_PROFILE.get(name, frozenset()))[-1])
    assert seen.is_call
    assert (seen.input_tokens, seen.output_tokens) == (PARTS.input_tokens, PARTS.output_tokens)
    assert seen.model == ("gpt-real" if name in {"signoz", "openlit"} else "gpt-real-2026")
    if name not in {"phoenix", "signoz"}:
        assert seen.usd == USD
    if name not in {"signoz", "openlit"}:
        assert (seen.session, seen.user) == ("s-1", "u-1")


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("case", CALLS)
def test_a_trace_adds_up_to_what_was_settled(case, name):
    record = CALLS[case]()
    told = [] if record.trace.plain or record.endpoint == "passthrough" else record.attempts
    _, tokens, usd = totals(VIEWS[name], spans(record), record.trace.trace_id)
    assert tokens == sum(one.usage.total_tokens for one in told)
    if name not in {"phoenix", "signoz"}:
        assert usd == pytest.approx(sum(one.cost_nano or 0 for one in told) / 10**9)


@pytest.mark.parametrize("name", VIEWS)
def test_an_attempt_that_failed_is_a_call_without_tokens(name):
    record = retried()
    assert totals(VIEWS[name], spans(record), record.trace.trace_id)[:2] == (2, 150)


@pytest.mark.parametrize("name", VIEWS)
def test_a_caller_that_tells_of_its_calls_itself_is_counted_once_where_we_are_plain(name):
    seen = totals(VIEWS[name], [caller_span(**INSTRUMENTED), *spans(plain())], CALLER.trace_id)
    assert seen[:2] == (1, PARTS.total_tokens)


@pytest.mark.parametrize("name", VIEWS)
def test_a_caller_that_tells_of_its_calls_itself_is_counted_once_a_trace_where_we_link(name):
    record = linked()
    both = [caller_span(**INSTRUMENTED), *spans(record)]
    assert totals(VIEWS[name], both, CALLER.trace_id)[:2] == (1, PARTS.total_tokens)
    assert totals(VIEWS[name], both, record.trace.trace_id)[:2] == (1, PARTS.total_tokens)


@pytest.mark.parametrize("name", VIEWS)
def test_to_join_counts_once_with_a_caller_that_only_passes_its_trace_on(name):
    root = TraceSpan("GET /page", CLIENT, CALLER.trace_id, CALLER.span_id, 0, 0, 1, {"http.route": "/page"})
    assert totals(VIEWS[name], [root, *spans(joined())], CALLER.trace_id)[:2] == (1, PARTS.total_tokens)


@pytest.mark.parametrize("name", sorted(VIEWS.keys() - {"mlflow"}))  # which adds no call inside a call: tests/backends
def test_to_join_a_caller_that_tells_itself_counts_twice_which_is_what_the_other_modes_are_for(name):
    both = [caller_span(**INSTRUMENTED), *spans(joined())]
    assert totals(VIEWS[name], both, CALLER.trace_id)[:2] == (2, 2 * PARTS.total_tokens)


def test_langfuse_would_count_parts_twice_without_its_profile():
    """Why the profile exists: the conventions' own names for cache writes and audio are buckets of their own to it."""
    seen = langfuse(spans(stream(), frozenset())[-1])
    assert seen.tokens > PARTS.total_tokens


def test_a_plain_trace_has_its_numbers_in_our_own_namespace():
    found = spans(plain())[-1].attributes
    assert (found["gw.usage.input_tokens"], found["gw.usage.output_tokens"]) == (100, 50)
    assert found["gw.cost.usd_nano"] == PARTS_NANO


def test_buckets_of_langfuse_share_no_token_and_their_dollars_add_up():
    found = spans(stream())[-1].attributes
    usage = json.loads(found["langfuse.observation.usage_details"])
    assert usage == {
        "input": 50,
        "input_cached_tokens": 20,
        "input_cache_creation": 10,
        "input_audio_tokens": 20,
        "output": 30,
        "output_reasoning_tokens": 15,
        "output_audio_tokens": 5,
    }
    costs = json.loads(found["langfuse.observation.cost_details"])
    assert costs.pop("total") == USD
    assert costs.keys() == usage.keys()
    assert sum(costs.values()) == USD


def test_the_first_chunk_has_its_wall_time():
    assert spans(stream())[-1].attributes["langfuse.observation.completion_start_time"] == (
        "2023-11-14T22:13:20.110000+00:00"
    )


def test_costs_of_input_and_output_add_up():
    found = spans(stream())[-1].attributes
    assert (found["llm.cost.prompt"], found["llm.cost.completion"]) == (0.00027, 0.00044)
    assert json.loads(found["mlflow.llm.cost"]) == {
        "total_cost": 0.00071,
        "input_cost": 0.00027,
        "output_cost": 0.00044,
    }


def test_a_flat_charge_has_a_total_and_no_parts():
    found = spans(call(attempt(cost_nano=7_000, rates=None, flags=("flat",))))[-1].attributes
    assert json.loads(found["mlflow.llm.cost"]) == {"total_cost": 0.000007}
    assert json.loads(found["langfuse.observation.cost_details"]) == {"total": 0.000007}
    assert "llm.cost.prompt" not in found


def test_an_unknown_price_is_no_cost_of_0():
    found = spans(call(attempt(cost_nano=None, rates=None, flags=("unpriced",))))[-1].attributes
    assert not [name for name in found if "cost" in name and name != "gw.cost.status"]
    assert found["gw.cost.status"] == "unknown"


@pytest.mark.parametrize(
    ("profile", "asked", "answered"),
    [
        ("openinference", "input.value", "output.value"),
        ("langfuse", "langfuse.trace.input", "langfuse.trace.output"),
        ("mlflow", "mlflow.spanInputs", "mlflow.spanOutputs"),
    ],
)
def test_the_first_span_says_what_was_said_as_lists_of_traces_show_it(profile, asked, answered):
    record = CALLS["captured"]()
    told = spans(record, frozenset({profile}))[0].attributes
    assert (told[asked], told[answered]) == (record.content.asked, record.content.answered)
    for silent in (CALLS["chat"](), CALLS["captured plainly"]()):
        assert not {asked, answered} & spans(silent, frozenset({profile}))[0].attributes.keys()
    assert asked not in spans(record, ALL - {profile})[0].attributes


def test_steps_and_calls_are_of_a_kind_that_openinference_knows():
    kinds = [span.attributes.get("openinference.span.kind") for span in spans(CALLS["chat"]())]
    assert kinds[0] == "CHAIN"
    assert None not in kinds


def test_reasoning_costs_what_output_costs_where_it_has_no_rate():
    assert bucket_costs(attempt(usage=Usage(output=1, reasoning=2))) == {"output": 8 * 10**9, "reasoning": 16 * 10**9}


@pytest.mark.parametrize("profiles", [ALL, frozenset()], ids=["all", "none"])
def test_a_session_is_no_longer_than_mlflow_takes_which_drops_the_whole_batch_else(profiles):
    record = call(attempt(), document={"metadata": {"session_id": "s" * 300}})
    named = [
        span.attributes[name]
        for span in spans(record, profiles)
        for name in ("session.id", "gen_ai.conversation.id")
        if name in span.attributes
    ]
    assert set(named) == {"s" * 250}


def test_embeddings_have_a_total_that_mlflow_can_add_up_which_it_does_not_make_of_one_side():
    found = spans(CALLS["embeddings"](), OWN_PROFILE["mlflow"])[-1].attributes
    assert json.loads(found["mlflow.chat.tokenUsage"]) == {"input_tokens": 9, "output_tokens": 0, "total_tokens": 9}


def test_embeddings_are_no_language_model_to_openinference():
    found = spans(CALLS["embeddings"]())[-1].attributes
    assert found["openinference.span.kind"] == "EMBEDDING"
    assert found["embedding.model_name"] == "gpt-real-2026"
