"""The life of a call, in order. The order is the security property; it is code, not configuration.

1 admit     who asks, and is the document sound?             -> Call
2 bind      what does the policy say about it?               -> Plan
3 reserve   is there room in its budgets and limits?         -> Account
4 screen    may this be asked, and what of it is masked?     -> Call
5 recall    (cache: with the cache)
6 forward   the provider answers; what is sent is on disk    -> Reply
7 relay     the answer reaches the caller, through the gate where guards look at it
8 settle    the attempts are concluded and the Record is told, always, once
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from gateway.core.bugs import place
from gateway.core.clock import Clock
from gateway.core.errors import Refusal, UpstreamFault
from gateway.core.model import Call, Headers, Plan, Record
from gateway.core.money import dollars
from gateway.core.ports import Client, Sink, UpstreamReply
from gateway.core.trace import Step
from gateway.engine import limits
from gateway.engine.account import Account
from gateway.engine.accounts import Accounts
from gateway.engine.admit import PASSTHROUGH, admit, identify
from gateway.engine.bind import bind
from gateway.engine.capture import Capture
from gateway.engine.catalogue import catalogue
from gateway.engine.forward import forward, usage_was_added
from gateway.engine.guarding import Guarding, verdict_header, with_feedback
from gateway.engine.heartbeat import with_heartbeat
from gateway.engine.idempotency import Idempotency, Keeping
from gateway.engine.judge import Regenerate, blocked_by
from gateway.engine.relay import Relay
from gateway.engine.runtime import Runtime
from gateway.engine.settle import settle
from gateway.engine.statements import balances, own_usage
from gateway.engine.tasks import Tasks
from gateway.engine.things import Things, making, may_refer, narrowed
from gateway.engine.tracing import trace_of
from gateway.policy.limits import limits_for
from gateway.wire.asked import asked
from gateway.wire.dialects import DIALECTS

# Answers that are read on at a time although their callers have left; the rest is closed.
MAX_READ_ON = 256

# How a refusal looks to the caller: (refusal, call id) -> header list and body.
Render = Callable[[Refusal, str], tuple[Headers, bytes]]


@dataclass(frozen=True, slots=True)
class Services:
    """What all calls share. `secret` keys masks and sealed answers. `explains`: spans are exported, so what was asked
    and answered is told in them."""

    accounts: Accounts
    things: Things
    sinks: Sequence[Sink]
    clock: Clock
    tasks: Tasks
    log: FilteringBoundLogger
    render: Render
    secret: bytes
    explains: bool = False


class Engine:
    """Serves calls with the current Runtime. `runtime` is swapped as a whole; a call keeps the one it began with."""

    def __init__(self, runtime: Runtime, services: Services) -> None:
        self.runtime = runtime
        self.tasks = services.tasks
        self._services = services
        # Call ids are names, not secrets, and the system's source costs a call. They begin with the time (milliseconds;
        # as UUID version 7, RFC 9562), so that what is new lies together in the ledger's index.
        self._random = random.Random()  # noqa: S311

    async def handle(self, client: Client) -> None:
        task = self.tasks.enter()
        passage = Passage(client, self._record(client), self.runtime, self._services)
        try:
            await passage.answered()
        finally:
            passage.end()
            self.tasks.leave(task)

    def _record(self, client: Client) -> Record:
        now, wall = self._services.clock.monotonic(), self._services.clock.wall()
        call_id = f"req_{int(wall * 1000) << 52 | self._random.getrandbits(52):024x}"
        record = Record(call_id, wall, now, client.method, client.target.partition("?")[0])
        record.marked = now
        return record


class Passage:
    """One call on its way."""

    __slots__ = (
        "_account", "_asking", "_call", "_capture", "_claim", "_client", "_keeping", "_left", "_log", "_now",
        "_record", "_relay", "_runtime", "_services",
    )  # fmt: skip

    def __init__(self, client: Client, record: Record, runtime: Runtime, services: Services) -> None:
        self._client = client
        self._record = record
        self._runtime = runtime
        self._services = services
        self._log = services.log
        self._now = services.clock.monotonic
        self._account: Account | None = None
        self._capture: Capture | None = None
        self._claim: Idempotency | None = None
        self._relay: Relay | None = None
        self._call: Call | None = None
        self._asking: asyncio.Future[UpstreamReply] | None = None
        self._left = False

    async def answered(self) -> None:
        """Every way a call can end, each with its outcome."""
        record = self._record
        try:
            await self._phases()
        except Refusal as refusal:
            await self._refuse(refusal)
        except UpstreamFault as fault:
            record.detail = fault.detail
            await self._refuse(fault.refusal())
        except ConnectionError:
            record.outcome = "client_closed"
            self._left = True
            self._client.abort()
        except TimeoutError:
            record.outcome = "client_slow"
            self._left = True
            self._client.abort()
        except asyncio.CancelledError:
            if not self._services.tasks.cutting:
                record.outcome = "client_closed"
                self._left = True
                raise
            await self._refuse(Refusal("draining", "The gateway is shutting down.", retry_after_s=1))
        except Exception as bug:
            # Only its type and place are logged: the text of an exception may quote what was asked.
            self._log.error("bug", call=record.call_id, error=type(bug).__name__, at=place(bug))
            await self._refuse(Refusal("internal", "The gateway failed to handle this request."))

    # -- phases 1 to 7

    async def _phases(self) -> None:
        record, runtime = self._record, self._runtime
        record.policy_version = runtime.policy.version
        caller = await identify(self._client, runtime.authenticator)
        record.caller, record.team = caller.name, caller.team
        draw = self._services.accounts.random
        record.trace = trace_of(self._client.headers, caller.trace_mode, caller.trusted, draw)
        call = await admit(self._client, caller, runtime)
        self._mark("admit")
        record.endpoint, record.model, record.stream = call.endpoint, call.model, call.stream
        record.unknown_fields = call.unknown_fields
        if self._services.explains and call.document is not None:
            record.asked = asked(call.endpoint, call.document)
        record.request_bytes = len(call.body) if isinstance(call.body, bytes) else call.content_length or 0
        plan = bind(call, runtime)
        self._mark("bind")
        if not plan.targets:
            await self._answer_here(call)
            return
        if may_refer(call):
            plan = await narrowed(call, plan, self._services.things, runtime)
        claim = self._claim = Idempotency.of(self._services.accounts.ledger, self._services.secret, call)
        if claim is None or not await self._was_answered_before(claim):
            await self._ask(call, plan)

    async def _ask(self, call: Call, plan: Plan) -> None:
        account = self._account = Account(self._services.accounts, call, plan, self._record, self._runtime)
        began = self._record.marked
        await account.open()
        self._mark("reserve")
        reserved = {"gw.budget.reserved_usd_nano": account.need.nano or 0}
        self._record.steps.append(Step("reserve", began, self._record.marked, reserved))
        self._capture = Capture.of(self._runtime.policy.tracing.content, call, plan)
        if plan.guards is None:
            await self._relayed(call, await self._forwarded(call, plan, account), account, None)
            return
        guarding = await Guarding.of(plan.guards, call, self._services.clock, self._services.secret, self._capture)
        self._record.verdicts = guarding.verdicts()
        reply, call = await self._screened_and_forwarded(call, plan, account, guarding)
        await self._relayed_guarded(call, reply, plan, account, guarding)

    async def _screened_and_forwarded(
        self, call: Call, plan: Plan, account: Account, guarding: Guarding
    ) -> tuple[UpstreamReply, Call]:
        if not guarding.alongside:
            call = await guarding.screen(call)
            self._mark("screen")
            return await self._forwarded(call, plan, account), call
        # No heartbeat: it would begin the answer before the verdict.
        asking = asyncio.ensure_future(self._forward(call, plan, account))
        try:
            await guarding.screen(call)
            self._mark("screen")
            reply = await asking
        except BaseException:
            asking.cancel()
            (reply_or_error,) = await asyncio.gather(asking, return_exceptions=True)
            if not isinstance(reply_or_error, BaseException):
                reply_or_error.close()
            raise
        self._mark("forward")
        return reply, call

    async def _relayed_guarded(
        self, call: Call, reply: UpstreamReply, plan: Plan, account: Account, guarding: Guarding
    ) -> None:
        """The answer, asked for again as often as a guard may."""
        for attempt in itertools.count(1):
            try:
                await self._relayed(call, reply, account, guarding)
                return
            except Regenerate as again:
                if attempt >= again.rule.attempts:
                    raise blocked_by(again.rule) from None
                call = await with_feedback(call, again)
            self._abandon()
            await account.again("regenerate")
            reply = await self._forwarded(call, plan, account)

    async def _forwarded(self, call: Call, plan: Plan, account: Account) -> UpstreamReply:
        every_s = self._runtime.policy.limits.heartbeat_s
        if call.stream and every_s:
            own = [(b"x-request-id", self._record.call_id.encode()), *_own_headers(self._record)]
            reply = await with_heartbeat(self._forward(call, plan, account), self._client, every_s, own)
        else:
            reply = await self._forward(call, plan, account)
        self._mark("forward")
        return reply

    async def _forward(self, call: Call, plan: Plan, account: Account) -> UpstreamReply:
        if call.endpoint == PASSTHROUGH:
            work = self._noted(call, plan, account)
        else:
            work = forward(call, plan, self._runtime, self._record, self._services.clock, account)
        if self._runtime.policy.accounting.disconnect == "close":
            return await work
        self._call, self._relay = call, None
        self._asking = asyncio.ensure_future(work)  # goes on when the caller leaves
        return await asyncio.shield(self._asking)

    async def _noted(self, call: Call, plan: Plan, account: Account) -> UpstreamReply:
        services = self._services
        reply = await forward(call, plan, self._runtime, self._record, services.clock, account)
        return await services.things.noted(call, reply, self._runtime, self._record.provider, services.clock.wall())

    async def _relayed(self, call: Call, reply: UpstreamReply, account: Account, guarding: Guarding | None) -> None:
        record = self._record
        record.outcome = "ok"
        relay = self._relay = self._relay_for(call, reply, account, guarding)
        try:
            hide = usage_was_added(call, record, self._runtime)
            await relay.run(self._runtime.upstreams[record.provider], hide_usage=hide)
        finally:
            if self._asking is None:
                reply.close()
            self._mark("relay")

    def _relay_for(self, call: Call, reply: UpstreamReply, account: Account, guarding: Guarding | None) -> Relay:
        services = self._services
        return Relay(
            call,
            reply,
            self._client,
            self._record,
            account,
            guarding,
            _own_headers,
            services.clock,
            services.tasks,
            making(call, services.things, services.accounts, self._record.provider),
            self._capture.answer() if self._capture is not None else None,
        )

    async def _answer_here(self, call: Call) -> None:
        if call.endpoint == "usage":
            body = await self._own_usage(call)
        else:
            body = catalogue(call, self._runtime)
        await self._answer(200, [(b"content-type", b"application/json")], body)

    async def _own_usage(self, call: Call) -> bytes:
        """What the caller used, and what is left of the limits that hold for it whatever the model."""
        accounts, now = self._services.accounts, self._services.clock.wall()
        held = limits_for(self._runtime.policy, call.caller, "")
        known = await balances(held, accounts.ledger, accounts.store, now)
        return await own_usage(accounts.ledger, call.caller, call.path.partition("?")[2], known, now)

    async def _was_answered_before(self, claim: Idempotency) -> bool:
        """Whether the caller's idempotency key was answered before, and is so again."""
        kept = await claim.claim(self._record.call_id, self._services.clock.wall())
        if kept is None:
            self._client = Keeping(self._client, claim, self._was_charged)
            return False
        headers = [pair for pair in kept.headers if pair[0] != b"x-gateway-request-id"]
        await self._answer(kept.status, [*headers, (b"x-gateway-idempotent-replay", b"true")], kept.body)
        return True

    async def _answer(self, status: int, headers: Headers, body: bytes) -> None:
        record = self._record
        record.status, record.outcome, record.response_bytes = status, "ok", len(body)
        named = {name for name, _ in headers}
        own = [(b"x-request-id", record.call_id.encode()), *_own_headers(record)]
        await self._client.answer(status, headers + [pair for pair in own if pair[0] not in named], body)

    # -- no

    async def _refuse(self, refusal: Refusal) -> None:
        record = self._record
        record.error = refusal.code
        record.outcome = "refused" if refusal.status < 500 else "failed"
        if self._client.started:
            await self._end_started(refusal)
            return
        record.status = refusal.status
        headers, body = self._services.render(refusal, record.call_id)
        headers.append((b"x-request-id", record.call_id.encode()))
        record.response_bytes = len(body)
        try:
            await self._client.answer(refusal.status, headers + _own_headers(record), body)
        except (ConnectionError, TimeoutError):
            self._client.abort()

    async def _end_started(self, refusal: Refusal) -> None:
        """A stream that only heartbeats have begun ends with an error event. The relay ends what it began itself."""
        record = self._record
        if record.first_byte_s is not None:
            self._client.abort()
            return
        record.status, record.outcome = 200, "cut"
        try:
            await self._client.write(DIALECTS[record.endpoint].error_event(refusal, record.call_id, None))
            await self._client.finish()
        except (ConnectionError, TimeoutError):
            self._client.abort()

    # -- phase 8

    def end(self) -> None:
        """At once where everything is known; else beside the calls, and waited for at a stop."""
        tasks = self._services.tasks
        reads_on = self._left and self._asking is not None and tasks.reading_on < MAX_READ_ON
        if reads_on:
            tasks.reading_on += 1
        else:
            self._abandon()
        self._note()
        closed = not reads_on and (self._account is None or self._account.close())
        if closed and self._claim is None and self._capture is None:
            settle(self._record, self._services.sinks, self._now())
        else:
            tasks.owe(self._end_later(reads_on=reads_on))

    def _note(self) -> None:
        """What spans are made of, and was not written down on the way."""
        record = self._record
        if record.trace is None:  # nobody was proven to ask, so nobody's context is heard
            record.trace = trace_of([], "link", False, self._services.accounts.random)
        if self._services.explains and record.stream and self._account is not None:
            self._account.tell()
        for verdict in record.verdicts:
            if verdict.began is not None:
                step = Step(f"guard {verdict.guard}", verdict.began, verdict.began + verdict.duration_s)
                step.attributes = {"gw.guardrail.direction": verdict.direction}
                record.steps.append(step)

    def _abandon(self) -> None:
        """An answer that was asked for beside the call, and that nobody waits for now."""
        asking = self._asking
        if asking is None or asking.cancelled():
            return
        if not asking.done():
            asking.cancel()
        elif asking.exception() is None:
            asking.result().close()

    async def _end_later(self, *, reads_on: bool) -> None:
        ended = None
        try:
            if reads_on:
                await self._read_on()
            charged = await self._was_charged()
            if self._claim is not None:
                await self._claim.keep(None, charged=charged)
            if self._capture is not None:
                ended = self._now()
                self._record.content = await self._capture.content(self._record)
        finally:
            settle(self._record, self._services.sinks, self._now() if ended is None else ended)

    async def _was_charged(self) -> bool:
        """Whether the call cost something; its open attempt is concluded for that."""
        account = self._account
        if account is not None and not account.close():
            await account.close_counted()
        return any(attempt.state == "settled" for attempt in self._record.attempts)

    async def _read_on(self) -> None:
        """The rest of an answer whose caller has left, for what it cost, within the policy's bounds."""
        accounting, account = self._runtime.policy.accounting, self._account
        assert self._asking is not None and self._call is not None and account is not None
        try:
            async with asyncio.timeout(accounting.drain_s):
                reply = await self._asking
                relay = self._relay or self._relay_for(self._call, reply, account, None)
                await relay.drain(accounting.drain_bytes)
        except (TimeoutError, UpstreamFault, Refusal):
            return
        finally:
            self._services.tasks.reading_on -= 1
            self._abandon()

    def _mark(self, phase: str) -> None:
        record, now = self._record, self._now()
        phases = record.phase_s
        phases[phase] = phases.get(phase, 0.0) + now - record.marked
        record.marked = now


def _own_headers(record: Record) -> Headers:
    own: Headers = [
        (b"cache-control", b"no-store"),
        (b"x-gateway-request-id", record.call_id.encode()),
        (b"x-gateway-policy", record.policy_version.encode()),
    ]
    if record.verdicts and (verdicts := verdict_header(record.verdicts)):
        own.append((b"x-gateway-guards", verdicts))
    if record.balances:
        own += limits.headers(record.balances, record.warnings)
    if record.attempts and record.attempts[-1].state == "settled":
        costs = [attempt.cost_nano for attempt in record.attempts if attempt.cost_nano is not None]
        if len(costs) == len(record.attempts):
            own.append((b"x-gateway-cost-usd", dollars(sum(costs)).encode()))
    return own
