"""Phases 3 and 8 of one call: what it reserves before it is sent, and what it comes to.

Every attempt has its own lease in the store and its own two rows in the ledger. One is open at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from gateway.core.accounts import Ask, Granted, Intent, Origin, Outcome, Unit, Unseeded
from gateway.core.errors import Refusal
from gateway.core.model import Attempt, Call, Plan, Record
from gateway.core.ports import LedgerDown, Store, StoreDown
from gateway.engine import limits
from gateway.engine.accounts import LEASE_S, Accounts, Settlement
from gateway.engine.bill import bill, is_counted, rates_text, verdict_text
from gateway.engine.meter import OutputMeter
from gateway.engine.need import Need, asks_of, fits_at_best, is_capped, need_of, terms_of
from gateway.engine.runtime import Runtime
from gateway.engine.tracing import span_id
from gateway.tokens.estimate import estimate_input

_NOTHING = Need(0, 0, 0)
_MAX_ASKS = 5
_FLUSH_S = 1.0


class Account:
    """`need` is what the open attempt reserved; `meter` counts what it writes."""

    __slots__ = (
        "_accounts", "_asks", "_call", "_intent", "_is_billed", "_plan", "_record", "_runtime", "_written",
        "attempt", "meter", "need",
    )  # fmt: skip

    def __init__(self, accounts: Accounts, call: Call, plan: Plan, record: Record, runtime: Runtime) -> None:
        self._accounts = accounts
        self._call = call
        self._plan = plan
        self._record = record
        self._runtime = runtime
        self._asks: Sequence[Ask] = ()
        self._intent: asyncio.Future[None] | None = None
        self.need = _NOTHING
        self.attempt: Attempt | None = None
        self.meter: OutputMeter | None = None
        self._written = ""
        self._is_billed = False

    @property
    def _target(self) -> str:
        return self._plan.targets[0].model

    # -- phase 3

    async def open(self, reason: str = "") -> None:
        """Reserves for the next attempt and begins to write down that it will be sent. `reason`: why there is a further
        one. Refusal 402, 429, 503."""
        now = self._accounts.clock.wall()
        self.need = need_of(self._call, self._plan, self._runtime, now)
        attempt = self._begun(now)
        attempt.reason = reason
        asks = self._asks_at(now, first=attempt.number == 1)
        if asks:
            await self._reserve(attempt, asks, now)
        self.attempt = attempt
        self.meter, self._written, self._is_billed = None, "", False
        self._record.attempts.append(attempt)
        self._intent = self._accounts.ledger.intend(self._intent_row(attempt))

    @property
    def name(self) -> bytes:
        """Of the open attempt, as the provider is told it."""
        return self.attempt.id.encode() if self.attempt is not None else b""

    async def durable(self) -> Attempt:
        """The open attempt, once its intent is on disk; to be awaited before the first byte is sent."""
        attempt = self.attempt
        assert self._intent is not None and attempt is not None
        try:
            await self._intent
        except LedgerDown:
            self._forget()
            raise Refusal(
                "ledger_unavailable", "Usage cannot be written down now, so nothing is sent.", retry_after_s=5
            ) from None
        attempt.sent, attempt.started = True, self._accounts.clock.monotonic()
        return attempt

    async def _reserve(self, attempt: Attempt, asks: list[Ask], now: float) -> None:
        flushed = False
        accounts = self._accounts
        alone = self._runtime.policy.accounting.when_store_is_down == "local"
        store = accounts.store if alone else accounts.shared
        for _ in range(_MAX_ASKS):
            try:
                answer = await store.reserve(attempt.id, asks, LEASE_S)
                if isinstance(answer, Unseeded):
                    await self._seed([asks[index] for index in answer.asks], store)
                    continue
            except StoreDown:
                self._without_store()
                return
            if isinstance(answer, Granted):
                self._asks = asks
                self._accounts.leases.add(attempt.id)
                self._told(asks, answer)
                return
            if not self.need.counted and fits_at_best(asks, answer):
                asks = await self._counted(now, first=attempt.number == 1)
            elif not flushed and await self._accounts.flushed(_FLUSH_S):
                flushed = True  # what this process has finished but not yet given back was in the way
            else:
                self._record.balances = ((asks[answer.ask].limit, answer.balance),)
                raise limits.refusal(asks, answer, now)
        raise Refusal("limits_unavailable", "The budgets of this call cannot be counted now.", retry_after_s=1)

    def _told(self, asks: Sequence[Ask], granted: Granted) -> None:
        """A further attempt has no ask of its own for what is counted once a call."""
        record = self._record
        told = tuple([(ask.limit, balance) for ask, balance in zip(asks, granted.balances, strict=True)])
        if record.balances:
            held = [limit for limit, _ in told]
            told = (*(pair for pair in record.balances if pair[0] not in held), *told)
        record.balances = told
        record.warnings = limits.warnings(told)

    async def _seed(self, asks: list[Ask], store: Store) -> None:
        try:
            await self._accounts.seed(asks, store)
        except LedgerDown:
            raise Refusal(
                "ledger_unavailable", "Usage cannot be read now, so nothing is sent.", retry_after_s=5
            ) from None

    async def _counted(self, now: float, *, first: bool) -> list[Ask]:
        """The asks with the input counted in tokens instead of bounded by bytes."""
        tokens = await self._input_tokens()
        self.need = need_of(self._call, self._plan, self._runtime, now, tokens)
        return self._asks_at(now, first=first)

    def _asks_at(self, now: float, *, first: bool) -> list[Ask]:
        return asks_of(terms_of(self._plan, self._runtime, now), self.need, first=first)

    async def _input_tokens(self) -> int:
        call = self._call
        if call.document is None:
            return 0
        return await estimate_input(call.document, call.endpoint, self._target, self._accounts.tokenizer)

    def _without_store(self) -> None:
        if any(limit.hard for limit in self._plan.limits):
            raise Refusal(
                "limits_unavailable", "The budgets of this call cannot be counted now.", retry_after_s=1
            ) from None

    def _begun(self, now: float) -> Attempt:
        number = len(self._record.attempts) + 1
        target = self._plan.targets[0]
        accounts = self._accounts
        # Here and below values go by their place: a class that is called with names makes a dictionary of them first.
        attempt = Attempt(
            f"{self._record.call_id}.{number}", number, target.provider, target.model, now, accounts.clock.monotonic()
        )
        attempt.span_id = span_id(accounts.random)
        return attempt

    def _intent_row(self, attempt: Attempt) -> Intent:
        need, origin = self.need, self._plan.terms.origin or self._origin()
        return Intent(
            attempt.id, self._record.call_id, attempt.number, attempt.started_at, origin, need.nano or 0, need.tokens
        )

    def _origin(self) -> Origin:
        call, plan = self._call, self._plan
        plan.terms.origin = Origin(
            caller=call.caller.name,
            team=call.caller.team,
            labels=call.caller.labels,
            endpoint=call.endpoint,
            model=call.model,
            provider=plan.targets[0].provider,
            target=plan.targets[0].model,
            policy=plan.policy_version,
            node=self._accounts.node,
        )
        return plan.terms.origin

    def _forget(self) -> None:
        """The open attempt was never written down, so it has no terminal row either."""
        attempt, self.attempt = self.attempt, None
        if attempt is not None and self._asks:
            self._accounts.settle(Settlement(attempt.id, self._asks, {"requests": 1}))
            self._asks = ()

    # -- while it runs

    def is_used_up(self) -> bool:
        """Whether the answer has more than was reserved for it. Frames are about as many as tokens and cost nothing to
        count, so tokens are counted only where there may be too many."""
        most, meter = self.need.output_tokens, self.meter
        return meter is not None and 0 < most < meter.frames and most < meter.output_tokens()

    async def grow(self) -> bool:
        """Reserves as much again for the answer, in the store and then durably. False: there is no room, policy does
        not want it, or it cannot be counted or written down now. Where no limit is hard, there is always room."""
        attempt = self.attempt
        assert attempt is not None
        nano, tokens = self.need.nano, self.need.output_tokens
        if is_capped([ask.limit for ask in self._asks]) and self._runtime.policy.accounting.exhausted != "grow":
            return False
        accounts = self._accounts
        try:
            if self._asks and not await accounts.store.grow(attempt.id, {"usd": nano or 0, "tokens": tokens}):
                return False
            await accounts.ledger.extend(attempt.id, nano or 0, tokens, accounts.clock.wall())
        except (StoreDown, LedgerDown):
            return False
        self.need = replace(self.need, output_tokens=tokens * 2, nano=nano * 2 if nano is not None else None)
        return True

    # -- phase 8

    def priced(self) -> None:
        """The open attempt's usage and cost as they are known now, for the answer's head."""
        if self.attempt is not None and is_counted(self.attempt, self._call):
            bill(self.attempt, self._call, self._plan, self.need, self._runtime)
            self._is_billed = self.attempt.complete

    async def again(self, reason: str) -> None:
        """The open attempt is over, and another is to be sent."""
        if not self.close():
            await self.close_counted()
        await self.open(reason)

    def close(self) -> bool:
        """The open attempt gets its terminal row; what it reserved is given back once that is durable. False, and
        nothing was done, when it must be counted first."""
        attempt = self.attempt
        if attempt is None:
            return True
        if not self._is_billed and not is_counted(attempt, self._call):
            return False
        self._conclude(attempt, None)
        return True

    async def close_counted(self) -> None:
        """The same, for an answer of which the provider did not say what it counted."""
        attempt = self.attempt
        if attempt is None:
            return
        estimate = (self.need.input_tokens, self.need.output_tokens)
        try:
            if self._call.document is None or self._call.document.get("background") is not True:
                estimate = (await self._input_tokens(), await self._output_tokens())
        finally:  # what cannot be counted costs what was reserved; the row is written in any case
            self._conclude(attempt, estimate)

    def tell(self) -> None:
        """What the answer said about itself, as far as its last frames are still there."""
        if self.attempt is not None and self.meter is not None:
            said = self.meter.said()
            self.attempt.response_id, self.attempt.finish_reasons = said.id, said.reasons

    def begin_stream(self, shape: str) -> None:
        self.meter = OutputMeter(shape, self._accounts.tokenizer, self._target)

    def wrote(self, text: str) -> None:
        """All that a whole answer says, where its provider did not count it."""
        self._written = text

    async def _output_tokens(self) -> int:
        metered = self.meter.output_tokens() if self.meter is not None else 0
        return metered + (await self._accounts.tokenizer.count_all([self._written], self._target)).tokens

    def _conclude(self, attempt: Attempt, estimate: tuple[int, int] | None) -> None:
        self.attempt = None
        if not self._is_billed:
            bill(attempt, self._call, self._plan, self.need, self._runtime, estimate)
        clock = self._accounts.clock
        attempt.duration_s = clock.monotonic() - attempt.started
        durable = self._accounts.ledger.conclude(self._outcome(attempt, clock.wall()))
        if self._asks:
            self._accounts.settle(self._settlement(attempt), after=durable)
            self._asks = ()

    def _settlement(self, attempt: Attempt) -> Settlement:
        actual: dict[Unit, int] = {
            "usd": attempt.cost_nano or 0,
            "tokens": attempt.usage.total_tokens,
            "requests": 1,
            "calls": 0,
        }
        return Settlement(attempt.id, self._asks, actual)

    def _outcome(self, attempt: Attempt, now: float) -> Outcome:
        said, verdicts = attempt.reported, self._record.verdicts
        return Outcome(
            attempt.id, now, attempt.state, attempt.cost_nano, attempt.usage, said.model, said.service_tier,
            rates_text(attempt), attempt.flags, attempt.status, attempt.duration_s,
            verdict_text(verdicts) if verdicts else "",
        )  # fmt: skip
