from __future__ import annotations

import pytest

from gateway.core.errors import Refusal
from gateway.core.model import Call, Target
from gateway.engine.bind import bind
from gateway.engine.runtime import Runtime
from gateway.policy.compile import Passthrough, TargetRule
from tests.engine.fakes import call_for, runtime_for

RULES = {
    "exact": (TargetRule("a", None),),
    "alias": (TargetRule("b", "real-name"), TargetRule("a", None)),
    "gpt-*": (TargetRule("a", None),),
    "gpt-4*": (TargetRule("c", None),),
    "hidden": (TargetRule("d", None),),
}


def refusal_of(call: Call, runtime: Runtime) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        bind(call, runtime)
    return refusal.value


@pytest.mark.parametrize(
    ("model", "targets"),
    [
        ("exact", (Target("a", "exact"),)),
        ("alias", (Target("b", "real-name"), Target("a", "alias"))),
        ("gpt-3.5", (Target("a", "gpt-3.5"),)),
        ("gpt-4o", (Target("c", "gpt-4o"),)),
    ],
)
def test_a_model_leads_to_its_targets_in_order(model: str, targets: tuple[Target, ...]) -> None:
    plan = bind(call_for(model=model), runtime_for(RULES))
    assert (plan.policy_version, plan.targets) == ("v-1", targets)


@pytest.mark.parametrize("model", ["GPT-4o", " gpt-4o", "exact ", "hidden", "no-such-model", "gpt", "[exact]"])
def test_a_model_beyond_the_callers_list_is_refused_the_same_whether_it_exists(model: str) -> None:
    refusal = refusal_of(call_for(models=("exact", "gpt-4*"), model=model), runtime_for(RULES))
    assert (refusal.status, refusal.code, refusal.param) == (403, "model_not_allowed", "model")
    assert model not in refusal.message


def test_an_allowed_model_that_no_rule_knows_is_not_found() -> None:
    refusal = refusal_of(call_for(model="no-such-model"), runtime_for(RULES))
    assert (refusal.status, refusal.code, refusal.param) == (404, "model_not_found", "model")


@pytest.mark.parametrize("endpoint", ["chat", "completions", "responses", "embeddings", "moderations"])
def test_a_call_without_a_model_is_refused(endpoint: str) -> None:
    refusal = refusal_of(call_for(endpoint), runtime_for(RULES))
    assert (refusal.status, refusal.code, refusal.param) == (400, "missing_field", "model")


def test_a_caller_without_models_may_use_none() -> None:
    assert refusal_of(call_for(models=(), model="exact"), runtime_for(RULES)).code == "model_not_allowed"


def test_the_list_of_models_needs_no_target() -> None:
    assert bind(call_for("models", models=()), runtime_for(RULES)).targets == ()


def test_a_listed_path_leads_to_its_provider() -> None:
    files = (Passthrough("/v1/files", frozenset({"GET"}), "a"), Passthrough("/v1/files/*", frozenset({"GET"}), "b"))
    runtime = runtime_for({}, passthrough=files)
    assert bind(call_for("passthrough", path="/v1/files?limit=1"), runtime).targets == (Target("a", ""),)
    assert bind(call_for("passthrough", path="/v1/files/f-1", model="m"), runtime).targets == (Target("b", "m"),)


def test_a_path_that_is_not_listed_is_unknown() -> None:
    files = (Passthrough("/v1/files/*", frozenset({"GET"}), "b"),)
    for path in ("/v1/files", "/v1/files/", "/v1/filesystem", "/v1/other"):
        assert refusal_of(call_for("passthrough", path=path), runtime_for({}, passthrough=files)).code == "unknown_path"


def test_a_stored_object_is_looked_for_once_at_each_provider_that_the_caller_can_reach() -> None:
    call = call_for("responses.object", models=("exact", "alias", "gpt-4*"), path="/v1/responses/resp_1")
    assert [target.provider for target in bind(call, runtime_for(RULES)).targets] == ["a", "b", "c"]


def test_a_stored_object_is_not_looked_for_beyond_the_callers_models() -> None:
    call = call_for("responses.object", models=("hidden",), path="/v1/responses/resp_1")
    assert [target.provider for target in bind(call, runtime_for(RULES)).targets] == ["d"]


def test_a_model_that_a_pattern_serves_reaches_its_provider_for_stored_objects_too() -> None:
    """What the caller could create it can fetch: its list names gpt-4o, the rule is gpt-4*."""
    runtime = runtime_for(RULES)
    create = call_for("responses", models=("gpt-4o",), path="/v1/responses", model="gpt-4o")
    fetch = call_for("responses.object", models=("gpt-4o",), path="/v1/responses/resp_1", method="GET")
    assert bind(create, runtime).targets[0].provider in {target.provider for target in bind(fetch, runtime).targets}


def test_a_caller_that_can_reach_no_provider_is_refused() -> None:
    call = call_for("responses.object", models=("no-such-model",), path="/v1/responses/resp_1")
    refusal = refusal_of(call, runtime_for(RULES))
    assert (refusal.status, refusal.code) == (403, "model_not_allowed")
