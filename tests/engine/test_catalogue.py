from __future__ import annotations

import json

import pytest

from gateway.core.errors import Refusal
from gateway.engine.catalogue import catalogue
from gateway.policy.compile import TargetRule
from tests.engine.fakes import LOADED_AT, call_for, runtime_for

RUNTIME = runtime_for(
    {
        "zeta": (TargetRule("a", None),),
        "alias": (TargetRule("b", "real-name"), TargetRule("a", None)),
        "org/name": (TargetRule("a", None),),
        "größe": (TargetRule("a", None),),
        "gpt-*": (TargetRule("c", None),),
    }
)


def listed(path: str, *models: str) -> dict[str, object]:
    return json.loads(catalogue(call_for("models", models=models, method="GET", path=path), RUNTIME))


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models?limit=1"])
def test_the_exact_names_are_listed_sorted(path: str) -> None:
    answer = listed(path, "*")
    assert answer["object"] == "list"
    assert [entry["id"] for entry in answer["data"]] == ["alias", "größe", "org/name", "zeta"]


def test_only_what_the_caller_may_use_is_listed() -> None:
    assert [entry["id"] for entry in listed("/v1/models", "alias", "org/*")["data"]] == ["alias", "org/name"]
    assert listed("/v1/models") == {"object": "list", "data": []}


def test_an_entry_has_openais_shape_and_names_no_upstream_model() -> None:
    entry = {"id": "alias", "object": "model", "created": int(LOADED_AT), "owned_by": "b"}
    assert listed("/v1/models/alias", "*") == entry
    assert entry in listed("/v1/models", "*")["data"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/models/zeta?x=1", "zeta"),
        ("/v1/models/org/name", "org/name"),
        ("/v1/models/org%2Fname", "org/name"),
        ("/v1/models/gr%C3%B6%C3%9Fe", "größe"),
        ("/v1/models/gpt-4o", "gpt-4o"),
    ],
)
def test_one_model_is_found_by_its_name(path: str, name: str) -> None:
    assert listed(path, "*")["id"] == name


@pytest.mark.parametrize(
    ("path", "models"),
    [
        ("/v1/models/nothing", ("*",)),
        ("/v1/models/zeta", ("alias",)),
        ("/v1/models/real-name", ("*",)),
        ("/v1/models/Zeta", ("*",)),
        ("/v1/models/%FF", ("*",)),
        ("/v1/models/zeta/", ("*",)),
    ],
)
def test_a_model_that_is_not_there_or_not_allowed_is_not_found(path: str, models: tuple[str, ...]) -> None:
    with pytest.raises(Refusal) as refusal:
        listed(path, *models)
    assert (refusal.value.status, refusal.value.code) == (404, "model_not_found")
