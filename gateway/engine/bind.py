"""Phase 2: Call + the current policy set -> Plan."""

from __future__ import annotations

from gateway.core.errors import Refusal
from gateway.core.model import Call, Plan, Target
from gateway.engine.admit import PASSTHROUGH, passthrough_row
from gateway.engine.runtime import Runtime
from gateway.policy.compile import guards_for, output_cap
from gateway.policy.limits import limits_for

MAX_PLANS = 4096


def bind(call: Call, runtime: Runtime) -> Plan:
    """Rights before existence: a caller cannot learn which models exist beyond its own list. The same caller asking the
    same is bound the same while the policy holds, so plans are kept."""
    if call.endpoint == PASSTHROUGH:
        return _bound(call, runtime)
    key = (id(call.caller), call.endpoint, call.model)
    kept = runtime.plans.get(key)
    if kept is not None and kept[0] is call.caller:
        return kept[1]
    plan = _bound(call, runtime)
    if len(runtime.plans) >= MAX_PLANS:
        runtime.plans.clear()
    runtime.plans[key] = (call.caller, plan)
    return plan


def _bound(call: Call, runtime: Runtime) -> Plan:
    policy = runtime.policy
    targets = _targets(call, runtime)
    ceiling = output_cap(policy, call.model) if call.model else None
    return Plan(
        policy_version=policy.version,
        targets=targets,
        guards=guards_for(policy, call.caller, call.model),
        limits=limits_for(policy, call.caller, call.model),
        output_cap=ceiling or policy.accounting.max_output_tokens,
        output_ceiling=ceiling or 0,
        charge_nano=passthrough_row(call, runtime).charge_nano if call.endpoint == PASSTHROUGH else None,
    )


def _targets(call: Call, runtime: Runtime) -> tuple[Target, ...]:
    if call.endpoint == PASSTHROUGH:
        return (Target(passthrough_row(call, runtime).provider, call.model),)
    if call.endpoint in {"models", "usage"}:
        return ()
    if call.endpoint == "responses.object":
        return _reachable(call, runtime)
    return _for_model(call, runtime)


def _for_model(call: Call, runtime: Runtime) -> tuple[Target, ...]:
    if not call.model:
        raise Refusal("missing_field", "Name the model to use in the field 'model'.", param="model")
    if call.model not in call.caller.models:
        raise Refusal("model_not_allowed", "This API key may not use this model.", param="model")
    targets = runtime.policy.models.targets_for(call.model)
    if targets is None:
        raise Refusal("model_not_found", "This gateway has no model of this name.", param="model")
    return targets


def _reachable(call: Call, runtime: Runtime) -> tuple[Target, ...]:
    """A stored object's id does not say which provider holds it: every provider that this caller's models lead to is
    a candidate, and the one that knows the id answers."""
    providers: dict[str, Target] = {}
    for rule, targets in runtime.policy.models.rules():
        if call.caller.models.meets(rule):
            for target in targets:
                providers.setdefault(target.provider, target)
    if not providers:
        raise Refusal("model_not_allowed", "This API key may not use any model of this gateway.")
    return tuple(providers.values())
