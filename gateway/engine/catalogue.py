"""`GET /v1/models` and `/v1/models/{id}`, answered from policy: what this caller may use."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import orjson

from gateway.core.errors import Refusal
from gateway.core.model import Call, Target
from gateway.engine.runtime import Runtime

_PREFIX = "/v1/models"


def catalogue(call: Call, runtime: Runtime) -> bytes:
    """The JSON body. Patterns are served but not listed: the policy does not know which names they stand for."""
    name = unquote(call.path.partition("?")[0].removeprefix(_PREFIX).removeprefix("/"))
    if name:
        return orjson.dumps(_one(name, call, runtime))
    models = runtime.policy.models
    data = [_entry(name, models.targets_for(name), runtime) for name in models.names() if name in call.caller.models]
    return orjson.dumps({"object": "list", "data": data})


def _one(name: str, call: Call, runtime: Runtime) -> dict[str, Any]:
    targets = runtime.policy.models.targets_for(name)
    if name not in call.caller.models or targets is None:
        raise Refusal("model_not_found", "This gateway has no model of this name for this API key.", param="model")
    return _entry(name, targets, runtime)


def _entry(name: str, targets: tuple[Target, ...] | None, runtime: Runtime) -> dict[str, Any]:
    owner = targets[0].provider if targets else ""
    return {"id": name, "object": "model", "created": int(runtime.loaded_at), "owned_by": owner}
