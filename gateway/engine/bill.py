"""What an attempt came to: state, usage, cost, and what is not as it should be. Pure.

Nothing sent is voided; no answer, or an error, costs nothing; an answer costs what the provider counted, or what is
estimated where it did not say. Unknown is not zero: it is None, or the flat charge of the policy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gateway.core.model import Attempt, Call, Plan
from gateway.core.rates import Rates, cost
from gateway.core.rules import Verdict
from gateway.core.usage import Usage, disjoint
from gateway.engine.admit import PASSTHROUGH
from gateway.engine.need import FREE, WITHOUT_OUTPUT, Need
from gateway.engine.runtime import Runtime
from gateway.prices.stored import rates_json
from gateway.wire import hosted

# Beyond this a count is no count: ten times what was asked for, and a million.
_ABSURD_FACTOR = 10
_ABSURD_TOKENS = 1_000_000
_UNSEEN_TOKENS = 10_000  # what providers put around a request
_NOTHING = Usage()


def is_counted(attempt: Attempt, call: Call) -> bool:
    """Whether the provider said all of what it counted, or nothing was to be counted."""
    if not attempt.sent or _has_failed(attempt) or call.endpoint in FREE or call.endpoint == PASSTHROUGH:
        return True
    reported = attempt.reported
    return reported.input_tokens is not None and (reported.output_tokens is not None or call.endpoint in WITHOUT_OUTPUT)


def _has_failed(attempt: Attempt) -> bool:
    """One whose head never came because nobody waited for it any more has not: the provider may well work on it."""
    return attempt.failed or attempt.status >= 300


def bill(
    attempt: Attempt, call: Call, plan: Plan, need: Need, runtime: Runtime, estimate: tuple[int, int] | None = None
) -> None:
    """Fills in what the attempt came to. `estimate`: input and output tokens, where the provider did not count."""
    attempt.usage, attempt.cost_nano, attempt.flags, attempt.rates = _NOTHING, 0, (), None
    if not attempt.sent:
        attempt.state = "voided"
        return
    if _has_failed(attempt):
        attempt.state = "failed"
        return
    attempt.state = "settled"
    if call.endpoint in FREE:
        return
    flags = [] if attempt.complete else ["partial"]
    if call.endpoint == PASSTHROUGH:
        if plan.charge_nano is None:
            _unpriced(attempt, runtime, flags)
        else:
            attempt.cost_nano = plan.charge_nano
            flags.append("flat")
    else:
        _count(attempt, call, need, estimate, flags)
        _price(attempt, call, need, runtime, flags)
    if need.nano is not None and plan.limits and (attempt.cost_nano or 0) > need.nano:
        flags.append("overrun")
    if flags:
        attempt.flags = tuple(dict.fromkeys(flags))


def _count(attempt: Attempt, call: Call, need: Need, estimate: tuple[int, int] | None, flags: list[str]) -> None:
    reported = attempt.reported
    if estimate is not None and not is_counted(attempt, call):
        flags.append("estimated")
        # No more than what was reserved, where that is a bound that the provider was given.
        most_output = need.output_tokens or estimate[1]
        reported = attempt.reported = replace(
            reported,
            input_tokens=max(reported.input_tokens or 0, min(estimate[0], need.input_tokens)),
            output_tokens=max(reported.output_tokens or 0, min(estimate[1], most_output)),
        )
    if need.tools and not reported.uses and call.document is not None and hosted.may_search(call.document):
        reported = attempt.reported = replace(reported, uses=(("web_search", 1),))
    output_bound = max(need.output_tokens * _ABSURD_FACTOR, _ABSURD_TOKENS)
    attempt.usage, odd = disjoint(reported, need.input_bound + _UNSEEN_TOKENS, output_bound)
    flags += odd


def _price(attempt: Attempt, call: Call, need: Need, runtime: Runtime, flags: list[str]) -> None:
    rates = _rates(attempt, call, runtime)
    found = cost(rates, attempt.usage, attempt.reported.uses) if rates is not None else None
    if rates is None or found is None or found.nano is None:
        _unpriced(attempt, runtime, flags)
        return
    attempt.cost_nano = found.nano
    attempt.rates = rates
    flags += found.flags
    if need.tools and any(tool in need.tools and tool not in rates.fees for tool, _ in attempt.reported.uses):
        flags.append("unpriced-tool")
        if runtime.policy.accounting.unpriced == "flat":
            attempt.cost_nano += runtime.policy.accounting.flat_nano
            flags.append("flat")


def _rates(attempt: Attempt, call: Call, runtime: Runtime) -> Rates | None:
    """Of the model that served, else of the one that was asked for; in the tier that served."""
    provider, tier = runtime.policy.providers[attempt.provider], attempt.reported.service_tier
    for name in (attempt.reported.model, attempt.target, call.model):
        found = runtime.prices.rates(provider, name, tier, attempt.started_at) if name else None
        if found is not None:
            return found
    return None


def _unpriced(attempt: Attempt, runtime: Runtime, flags: list[str]) -> None:
    accounting = runtime.policy.accounting
    attempt.cost_nano = accounting.flat_nano if accounting.unpriced == "flat" else None
    flags.append("flat" if accounting.unpriced == "flat" else "unpriced")


def rates_text(attempt: Attempt) -> str:
    if attempt.rates is None:
        return ""
    return rates_json(attempt.rates, attempt.reported.service_tier, attempt.reported.uses)


def verdict_text(verdicts: Iterable[Verdict]) -> str:
    told = [f"{verdict.direction}/{verdict.guard}={verdict.outcome}" for verdict in verdicts if verdict.is_told]
    return ",".join(told)
