"""The most that an attempt can use, before it is sent. Pure.

Input is bounded by bytes first, which costs nothing; only where that does not fit a limit are tokens counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.core.accounts import Ask, Denied, Limit, Terms
from gateway.core.errors import Refusal
from gateway.core.model import Call, Plan
from gateway.core.rates import Rates, worst_case
from gateway.core.windows import bound
from gateway.engine.admit import PASSTHROUGH
from gateway.engine.runtime import Runtime
from gateway.policy.compile import Accounting
from gateway.tokens.bound import choices_of, input_bound, output_limit
from gateway.tokens.images import most_per_image
from gateway.wire import hosted

FREE = frozenset({"responses.object", "moderations"})
WITHOUT_OUTPUT = frozenset({"embeddings", "moderations", "responses.object", PASSTHROUGH})
BY_TOKENS = frozenset({"usd", "tokens"})
_ORDINARY = frozenset({"", "auto", "default"})


@dataclass(slots=True)  # not frozen: see core/accounts.py
class Need:
    """`nano` None: the price is not known, and policy lets the call pass. `cap`: the output limit that the gateway
    writes into the body, for each choice; 0: none. `input_bound` is what the bytes allow at most. `tools`: those of the
    provider that it offers and charges for, which are used `uses` times in all; `tool_cap` is written into the body."""

    input_tokens: int
    output_tokens: int
    nano: int | None
    cap: int = 0
    input_bound: int = 0
    counted: bool = False
    tools: tuple[str, ...] = ()
    uses: int = 0
    tool_cap: int = 0

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


def terms_of(plan: Plan, runtime: Runtime, at: float) -> Terms:
    """At the wall time `at`. Prices change at whole minutes and windows at whole hours, so they are kept for a
    minute."""
    terms, minute = plan.terms, int(at) // 60
    if terms.minute != minute:
        terms.asks = tuple([bound(limit, 0, at) for limit in plan.limits])
        terms.capped = is_capped(plan.limits)
        terms.rates = _rates(plan, runtime, "", at)
        terms.minute = minute
    return terms


def need_of(call: Call, plan: Plan, runtime: Runtime, at: float, input_tokens: int | None = None) -> Need:
    """`input_tokens`: counted; None: bounded by bytes. Refusal `max_tokens_too_large`, `unpriced_model`,
    `unpriced_tool`."""
    terms = terms_of(plan, runtime, at)
    output, cap = _output(call, plan, terms)
    if call.endpoint in FREE:
        return Need(0, 0, 0)
    bound_ = _input(call, plan, runtime.policy.accounting)
    tokens = bound_ if input_tokens is None else min(input_tokens, bound_)
    tools = hosted.offered(call.document) if call.document is not None else ()
    uses, tool_cap = _uses(call, terms, runtime.policy.accounting) if tools else (0, 0)
    nano = _worst(call, plan, runtime, at, tokens, output, tools, uses)
    return Need(tokens, output, nano, cap, bound_, input_tokens is not None, tools, uses, tool_cap)


def _input(call: Call, plan: Plan, accounting: Accounting) -> int:
    size = len(call.body) if isinstance(call.body, bytes) else call.content_length or 0
    if call.document is None:
        return size
    tokens, pictures, unseen = input_bound(size, call.document)
    if pictures:
        tokens += pictures * max((most_per_image(target.model) for target in plan.targets), default=0)
    return tokens + accounting.unseen_input_tokens if unseen else tokens


def _output(call: Call, plan: Plan, terms: Terms) -> tuple[int, int]:
    """The most output tokens of all choices, and the cap to write into the body."""
    if call.endpoint in WITHOUT_OUTPUT or call.document is None:
        return 0, 0
    asked = output_limit(call.document, call.endpoint)
    if asked is None:
        cap = plan.output_cap if terms.capped or plan.output_ceiling else 0
        return plan.output_cap * choices_of(call.document), cap
    if plan.output_ceiling and asked > plan.output_ceiling * choices_of(call.document):
        raise Refusal("max_tokens_too_large", f"This model answers with at most {plan.output_ceiling} tokens here.")
    return asked, 0


def _uses(call: Call, terms: Terms, accounting: Accounting) -> tuple[int, int]:
    """The most uses of hosted tools, and the cap to write into the body. A chat searches once and knows no cap."""
    if call.endpoint != "responses" or call.document is None:
        return 1, 0
    asked = call.document.get("max_tool_calls")
    if asked is not None:
        return asked, 0
    return accounting.max_tool_calls, accounting.max_tool_calls if terms.capped else 0


def is_capped(limits: Sequence[Limit]) -> bool:
    """Whether one of them makes the reservation a bound that must hold."""
    return any(limit.hard and limit.unit in BY_TOKENS for limit in limits)


def _rates(plan: Plan, runtime: Runtime, tier: str, at: float) -> tuple[Rates | None, ...]:
    providers, prices = runtime.policy.providers, runtime.prices
    return tuple([prices.rates(providers[target.provider], target.model, tier, at) for target in plan.targets])


def _worst(
    call: Call,
    plan: Plan,
    runtime: Runtime,
    at: float,
    input_tokens: int,
    output_tokens: int,
    tools: Sequence[str],
    uses: int,
) -> int | None:
    """Over all targets and the tiers that may serve: the dearest."""
    if call.endpoint == PASSTHROUGH:
        return _unpriced(plan, runtime.policy.accounting) if plan.charge_nano is None else plan.charge_nano
    dearest: int | None = None
    found = terms_of(plan, runtime, at).rates
    if tier := _asked_tier(call):
        found += _rates(plan, runtime, tier, at)
    for rates in found:
        nano = worst_case(rates, input_tokens, output_tokens) if rates is not None else None
        if rates is None or nano is None:
            nano = _unpriced(plan, runtime.policy.accounting)
        elif tools:
            nano += _fees(rates, tools, uses, plan, runtime.policy.accounting)
        if nano is not None and (dearest is None or nano > dearest):
            dearest = nano
    return dearest


def _fees(rates: Rates, tools: Sequence[str], uses: int, plan: Plan, accounting: Accounting) -> int:
    """The dearest tool every time; what has no fee, by policy."""
    fees = [rates.fees[tool] for tool in tools if tool in rates.fees]
    unknown = _unpriced_tool(plan, accounting) if len(fees) < len(tools) else 0
    return max(fees, default=0) * uses + unknown


def _unpriced_tool(plan: Plan, accounting: Accounting) -> int:
    if accounting.unpriced == "refuse" and _must_hold(plan):
        raise Refusal(
            "unpriced_tool",
            "A budget holds for this call, and the gateway knows no fee for a tool of the provider that it offers: the "
            "operator must state one (prices: fees).",
            param="tools",
        )
    return accounting.flat_nano if accounting.unpriced == "flat" else 0


def _must_hold(plan: Plan) -> bool:
    return any(limit.unit == "usd" and limit.hard for limit in plan.limits)


def _asked_tier(call: Call) -> str:
    """The empty name for the ordinary one, which may serve in any case."""
    asked = call.document.get("service_tier") if call.document is not None else None
    return asked if isinstance(asked, str) and asked not in _ORDINARY else ""


def _unpriced(plan: Plan, accounting: Accounting) -> int | None:
    """What to reserve where no price is known."""
    if accounting.unpriced == "flat":
        return accounting.flat_nano
    if accounting.unpriced == "refuse" and _must_hold(plan):
        raise Refusal(
            "unpriced_model",
            "A budget holds for this call and the gateway knows no price for the model: the operator must state one.",
            param="model",
        )
    return None


def asks_of(terms: Terms, need: Need, *, first: bool) -> list[Ask]:
    """What the attempt reserves. A further attempt of a call is no further request."""
    amounts = {"usd": need.nano or 0, "tokens": need.tokens, "requests": 1, "calls": 1}
    return [
        Ask(ask.limit, ask.key, amounts[ask.limit.unit], ask.window_start_at, ask.window_end_at)
        for ask in terms.asks
        if first or ask.limit.unit != "requests"
    ]


def fits_at_best(asks: Sequence[Ask], denied: Denied) -> bool:
    """Whether counting the input could make the denied ask fit: no text has as many as 16 bytes a token."""
    ask = asks[denied.ask]
    return ask.limit.unit in BY_TOKENS and ask.amount // 16 <= denied.balance.remaining
