"""What the policy decides for one caller and one model, in the order in which it runs. Shows no secret."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from gateway.callers.issuer import Rights
from gateway.core.model import Caller, Names, Provider
from gateway.core.money import dollars
from gateway.core.rates import Rates
from gateway.core.rules import GuardSet, Rule
from gateway.policy.compile import ContentCapture, PolicySet, Tracing, guards_for, output_cap
from gateway.policy.limits import LimitRule, Measure, rules_for
from gateway.policy.suggest import suggestion
from gateway.prices.catalogue import Catalogue
from gateway.sinks.sampling import Keep


def explain(policy: PolicySet, caller_name: str, model: str) -> str:
    """Readable text. ValueError when there is no such caller or issuer."""
    lines = [f"policy {policy.version}", "", *_admit(policy, caller_name), "", *_bind(policy, caller_name, model)]
    return "\n".join(lines)


def _admit(policy: PolicySet, name: str) -> list[str]:
    limits = policy.limits
    lines = ["1 admit", *_identity(policy, name)]
    lines.append(f"    bodies     up to {limits.max_body_bytes} bytes, uploads up to {limits.max_upload_bytes}")
    lines.append(f"    unknown fields {'are refused' if limits.unknown_fields == 'refuse' else 'pass'}")
    return lines


def _identity(policy: PolicySet, name: str) -> list[str]:
    for row in policy.keys.values():
        if row.caller.name == name:
            return [*_caller(row.caller), f"    expires    {_moment(row.expires_at)}"]
    for issuer in policy.issuers:
        if issuer.name == name:
            lines = [f"    issuer     {name} ({issuer.issuer}), audience {issuer.audience}"]
            for when, rights in issuer.rights:
                claims = ", ".join(f"{claim}={value}" for claim, value in when.items()) or "every token"
                lines.append(f"    rights     {claims}: models {_names(rights.models)}; trace {_trace(rights)}")
            return lines
    known = {row.caller.name for row in policy.keys.values()} | {issuer.name for issuer in policy.issuers}
    raise ValueError(f'there is no caller and no issuer "{name}"{suggestion(name, known)}')


def _caller(caller: Caller) -> list[str]:
    return [
        f"    caller     {caller.name}, team {caller.team}",
        f"    models     {_names(caller.models)}",
        f"    endpoints  {_names(caller.endpoints)}",
        f"    trace      {_trace(caller)}",
    ]


def _bind(policy: PolicySet, name: str, model: str) -> list[str]:
    refused = _refused(policy, name, model)
    if refused:
        return ["2 bind", f"    model      {model}: {refused}"]
    targets = policy.models.targets_for(model) or ()
    caller = next((row.caller for row in policy.keys.values() if row.caller.name == name), None)
    guards = _guard_set(policy, caller, name, model)
    lines = ["2 bind", f'    model      {model}, by the rule "{policy.models.rule_for(model)}"']
    lines += [f"    guards     {guards.name if guards else 'none'}", ""]
    lines += [*_reserve(policy, caller, model), "", *_screen(guards), "6 forward"]
    for index, target in enumerate(targets):
        lines += _target(policy.providers[target.provider], target.model, index)
    if policy.left_out:
        lines.append(f"    left out   {', '.join(policy.left_out)} (optional, and not configured)")
    return [*lines, *_relay(guards), "", *_settle(policy.tracing, name, model)]


def _guard_set(policy: PolicySet, caller: Caller | None, name: str, model: str) -> GuardSet | None:
    """An issuer's callers have the sets of their rights rows."""
    return guards_for(policy, caller or Caller(name, name, Names.of([]), Names.of([]), {}), model)


def _reserve(policy: PolicySet, caller: Caller | None, model: str) -> list[str]:
    rules = rules_for(policy, caller, model)
    lines = ["3 reserve"]
    if rules and caller is None:
        lines.append("    these may hold; the claims of a token decide")
    lines += [line for rule in rules for line in _limit(rule)] or ["    limits     none"]
    lines.append(f"    output     {_output(policy, rules, model)}")
    catalogue, now = Catalogue(policy.prices), time.time()
    for target in policy.models.targets_for(model) or ():
        rates = catalogue.rates(policy.providers[target.provider], target.model, "", now)
        lines.append(f"    price      {target.provider} as {target.model}: {_price(policy, rates)}")
    return lines


def _limit(rule: LimitRule) -> list[str]:
    apart = f" for each {' and '.join(rule.each)}" if rule.each else ""
    where = ", ".join(f"{key} is {wanted}" for key, wanted in rule.match.items())
    held = f"{apart}{f', where {where}' if where else ''}: {'refused beyond' if rule.hard else 'only warned of'}"
    warns = f", warns at {', '.join(map(str, rule.warn_at))} %" if rule.warn_at else ""
    return [
        f"    {'budget' if measure.unit == 'usd' else 'limit':<10} {rule.name}: {_amount(measure)}{held}{warns}"
        for measure in rule.measures
    ]


def _amount(measure: Measure) -> str:
    if measure.unit == "usd":
        return f"{dollars(measure.amount)} dollars {'in total' if measure.window == 'total' else f'a {measure.window}'}"
    return f"{measure.amount} {'calls at the same time' if measure.unit == 'calls' else f'{measure.unit} a minute'}"


def _output(policy: PolicySet, rules: tuple[LimitRule, ...], model: str) -> str:
    cap = output_cap(policy, model)
    if cap is not None:
        return f"up to {cap} tokens: written into calls that name no limit, and more is refused"
    if any(measure.unit in {"usd", "tokens"} for rule in rules if rule.hard for measure in rule.measures):
        return f"{policy.accounting.max_output_tokens} tokens where a call names no limit"
    return "as many tokens as the provider allows: no hard budget or limit of tokens holds"


def _price(policy: PolicySet, rates: Rates | None) -> str:
    if rates is not None:
        parts = [f"{bucket} {dollars(nano)}" for bucket, nano in rates.per_million.items()]
        told = f"{', '.join(parts)} dollars a million tokens" if parts else "no rate for tokens"
        request = f", {dollars(rates.per_request)} a request" if rates.per_request else ""
        fees = "".join(f", {tool} {dollars(nano)} a use" for tool, nano in rates.fees.items())
        longer = f", others above {rates.tiers[0].above} tokens" if rates.tiers else ""
        return f"{told}{request}{fees}{longer} ({rates.source})"
    match policy.accounting.unpriced:
        case "flat":
            return f"not known: {dollars(policy.accounting.flat_nano)} dollars a request"
        case "allow":
            return "not known: calls pass, and are counted without a price"
        case _:
            return "not known: refused with 402 unpriced_model where a hard budget holds"


def _screen(guards: GuardSet | None) -> list[str]:
    if guards is None or not guards.input:
        return []
    when = "alongside the provider" if guards.alongside else "before the provider is asked"
    unreadable = "is refused" if guards.unreadable_blocks else "passes, and the verdict is not_run"
    return [
        f"4 screen     {when}, within {guards.budget_s:g} s",
        *map(_rule, guards.input),
        f"    what cannot be read {unreadable}",
        "",
    ]


def _relay(guards: GuardSet | None) -> list[str]:
    if guards is None or not guards.output:
        return []
    holds = {
        "window": "what could still become a finding is held",
        "all": "the whole answer is held",
        "observe": "nothing is held: guards only tell",
    }
    return ["", f"7 relay      streams: {holds[guards.hold]}", *map(_rule, guards.output)]


def _trace(row: Caller | Rights) -> str:
    modes = {
        "link": "linked to the caller's",
        "continue": "the caller's is continued",
        "continue-plain": "the caller's is continued, without tokens and cost",
    }
    return modes[row.trace_mode] + (", its sampled flag decides" if row.trusted else "")


def _settle(tracing: Tracing, name: str, model: str) -> list[str]:
    kept, content = _kept(tracing.keep), tracing.content
    profiles = f", for {', '.join(sorted(tracing.profiles))}" if tracing.profiles else ""
    return [
        "8 settle",
        f"    sampled    {tracing.sample:.4g} of the calls{f'; always {kept}' if kept and tracing.sample < 1 else ''}",
        f"    spans      {'thin' if tracing.thin else 'full'}{profiles}",
        *(_content(content) if content is not None and content.holds(name, model) else ()),
    ]


def _content(content: ContentCapture) -> list[str]:
    return [f"    content    captured, what guards find masked, up to {content.max_bytes} bytes an attribute"]


def _kept(keep: Keep) -> str:
    rules = {
        "errors": keep.errors,
        "blocked": keep.blocked,
        "masked": keep.masked,
        f"slower than {keep.slower_than_s or 0:g} s": keep.slower_than_s is not None,
        f"dearer than {dollars(keep.dearer_than_nano or 0)} dollars": keep.dearer_than_nano is not None,
        f"of {_names(keep.callers)}": keep.callers != Names.of([]),
    }
    return ", ".join(rule for rule, holds in rules.items() if holds)


def _rule(rule: Rule) -> str:
    how = f"{rule.action} ({rule.operator})" if rule.action == "mask" else rule.action
    fails = "lets pass" if rule.fails_open else "blocks"
    mode = "" if rule.enforced else ", only monitored"
    return f"    {rule.name:<10} {how}; when it fails: {fails}{mode}"


def _refused(policy: PolicySet, name: str, model: str) -> str:
    rights = [row.caller.models for row in policy.keys.values() if row.caller.name == name]
    if rights and all(model not in models for models in rights):
        return "refused with 403 model_not_allowed: it is not in the caller's list"
    if policy.models.targets_for(model) is None:
        return "refused with 404 model_not_found: no rule has this name"
    return ""


def _target(provider: Provider, model: str, index: int) -> list[str]:
    times = provider.timeouts
    use = "used now" if index == 0 else "in reserve"
    return [
        f"    target {index + 1}   {provider.name} as {model} ({use})",
        f"               {provider.base_url or 'built in'}",
        f"               connect {times.connect_s:g} s, first byte {times.first_byte_s:g} s, "
        f"idle {times.idle_s:g} s, total {times.total_s:g} s",
        *(["               is told of the trace (traceparent)"] if provider.traceparent else []),
    ]


def _names(names: Names) -> str:
    return ", ".join([*sorted(names.exact), *names.patterns]) or "none"


def _moment(seconds: float | None) -> str:
    return "never" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
