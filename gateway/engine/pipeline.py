"""The life of a call, in order. The order is the security property; it is code, not configuration.

1 admit     who asks, and is the document sound?          -> Call
2 bind      what does the policy say about it?            -> Plan
3 reserve   (budgets and rates: with the accounting)
4 screen    may this be asked, and what of it is masked?  -> Call
5 recall    (cache: with the cache)
6 forward   the provider answers                          -> Reply
7 relay     the answer reaches the caller, through the gate where guards look at it
8 settle    the Record is told, always, once
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence

from structlog.typing import FilteringBoundLogger

from gateway.core.clock import Clock
from gateway.core.errors import Refusal, UpstreamFault
from gateway.core.model import Call, Headers, Plan, Record
from gateway.core.ports import Client, Sink, UpstreamReply
from gateway.engine.admit import admit, identify
from gateway.engine.bind import bind
from gateway.engine.catalogue import catalogue
from gateway.engine.forward import forward, usage_was_added
from gateway.engine.guarding import Guarding, verdict_header, with_feedback
from gateway.engine.heartbeat import with_heartbeat
from gateway.engine.judge import Regenerate, blocked_by
from gateway.engine.relay import Relay
from gateway.engine.runtime import Runtime
from gateway.engine.settle import settle
from gateway.engine.tasks import Tasks
from gateway.wire.dialects import DIALECTS

# How a refusal looks to the caller: (refusal, call id) -> header list and body.
Render = Callable[[Refusal, str], tuple[Headers, bytes]]


class Engine:
    """Serves calls with the current Runtime. `runtime` is swapped as a whole; a call keeps the one it began with."""

    def __init__(
        self,
        runtime: Runtime,
        sinks: Sequence[Sink],
        clock: Clock,
        tasks: Tasks,
        log: FilteringBoundLogger,
        render: Render,
        mask_key: bytes,
    ) -> None:
        self._mask_key = mask_key
        self.runtime = runtime
        self.tasks = tasks
        self._sinks = sinks
        self._clock = clock
        self._log = log
        self._render = render
        self._random = random.Random()  # noqa: S311  # call ids are names, not secrets; the system's source costs a call

    async def handle(self, client: Client) -> None:
        record = self._record(client)
        task = self.tasks.enter()
        try:
            await self._guarded(client, record)
        finally:
            settle(record, self._sinks, self._clock)
            self.tasks.leave(task)

    async def _guarded(self, client: Client, record: Record) -> None:
        """Every way a call can end, each with its outcome."""
        try:
            await self._phases(client, record, self.runtime)
        except Refusal as refusal:
            await self._refuse(client, record, refusal)
        except UpstreamFault as fault:
            record.detail = fault.detail
            await self._refuse(client, record, fault.refusal())
        except ConnectionError:
            record.outcome = "client_closed"
            client.abort()
        except TimeoutError:
            record.outcome = "client_slow"
            client.abort()
        except asyncio.CancelledError:
            if not self.tasks.cutting:
                record.outcome = "client_closed"
                raise
            await self._refuse(client, record, Refusal("draining", "The gateway is shutting down.", retry_after_s=1))
        except Exception as bug:
            # Only its type and place are logged: the text of an exception may quote what was asked.
            self._log.error("bug", call=record.call_id, error=type(bug).__name__, at=_place(bug))
            await self._refuse(client, record, Refusal("internal", "The gateway failed to handle this request."))

    async def _phases(self, client: Client, record: Record, runtime: Runtime) -> None:
        record.policy_version = runtime.policy.version
        caller = await identify(client, runtime.authenticator)
        record.caller, record.team = caller.name, caller.team
        call = await admit(client, caller, runtime)
        self._mark(record, "admit")
        record.endpoint, record.model, record.stream = call.endpoint, call.model, call.stream
        record.unknown_fields = call.unknown_fields
        record.request_bytes = len(call.body) if isinstance(call.body, bytes) else call.content_length or 0
        plan = bind(call, runtime)
        self._mark(record, "bind")
        if not plan.targets:
            await self._answer_here(client, call, record, runtime)
            return
        await self._ask(client, call, plan, record, runtime)

    async def _ask(self, client: Client, call: Call, plan: Plan, record: Record, runtime: Runtime) -> None:
        if plan.guards is None:
            reply = await self._forward(client, call, plan, record, runtime)
            await self._relay(client, call, reply, record, runtime, None)
            return
        guarding = await Guarding.of(plan.guards, call, self._clock, self._mask_key)
        record.verdicts = guarding.verdicts()
        reply, call = await self._screen_and_forward(client, call, plan, record, runtime, guarding)
        await self._relay_guarded(client, call, reply, plan, record, runtime, guarding)

    async def _screen_and_forward(
        self, client: Client, call: Call, plan: Plan, record: Record, runtime: Runtime, guarding: Guarding
    ) -> tuple[UpstreamReply, Call]:
        if not guarding.alongside:
            call = await guarding.screen(call)
            self._mark(record, "screen")
            return await self._forward(client, call, plan, record, runtime), call
        # No heartbeat: it would begin the answer before the verdict.
        asking = asyncio.ensure_future(forward(call, plan, runtime, record, self._clock))
        try:
            await guarding.screen(call)
            self._mark(record, "screen")
            reply = await asking
        except BaseException:
            asking.cancel()
            (reply_or_error,) = await asyncio.gather(asking, return_exceptions=True)
            if not isinstance(reply_or_error, BaseException):
                reply_or_error.close()
            raise
        self._mark(record, "forward")
        return reply, call

    async def _relay_guarded(
        self,
        client: Client,
        call: Call,
        reply: UpstreamReply,
        plan: Plan,
        record: Record,
        runtime: Runtime,
        guarding: Guarding,
    ) -> None:
        """The answer, asked for again as often as a guard may."""
        for attempt in itertools.count(1):
            try:
                await self._relay(client, call, reply, record, runtime, guarding)
                return
            except Regenerate as again:
                if attempt >= again.rule.attempts:
                    raise blocked_by(again.rule) from None
                call = await with_feedback(call, again)
            reply = await self._forward(client, call, plan, record, runtime)

    async def _forward(self, client: Client, call: Call, plan: Plan, record: Record, runtime: Runtime) -> UpstreamReply:
        work = forward(call, plan, runtime, record, self._clock)
        if call.stream and runtime.policy.limits.heartbeat_s:
            own = [(b"x-request-id", record.call_id.encode()), *_own_headers(record)]
            reply = await with_heartbeat(work, client, runtime.policy.limits.heartbeat_s, own)
        else:
            reply = await work
        self._mark(record, "forward")
        return reply

    async def _relay(
        self,
        client: Client,
        call: Call,
        reply: UpstreamReply,
        record: Record,
        runtime: Runtime,
        guarding: Guarding | None,
    ) -> None:
        record.outcome = "ok"
        relay = Relay(
            call, reply, client, record, guarding=guarding, own=_own_headers, clock=self._clock, tasks=self.tasks
        )
        try:
            hide = usage_was_added(call, record, runtime)
            await relay.run(runtime.upstreams[record.provider], hide_usage=hide)
        finally:
            reply.close()
            self._mark(record, "relay")

    async def _answer_here(self, client: Client, call: Call, record: Record, runtime: Runtime) -> None:
        body = catalogue(call, runtime)
        record.status, record.outcome, record.response_bytes = 200, "ok", len(body)
        headers: Headers = [(b"content-type", b"application/json"), (b"x-request-id", record.call_id.encode())]
        await client.answer(200, headers + _own_headers(record), body)

    async def _refuse(self, client: Client, record: Record, refusal: Refusal) -> None:
        record.error = refusal.code
        record.outcome = "refused" if refusal.status < 500 else "failed"
        if client.started:
            await self._end_started(client, record, refusal)
            return
        record.status = refusal.status
        headers, body = self._render(refusal, record.call_id)
        headers.append((b"x-request-id", record.call_id.encode()))
        record.response_bytes = len(body)
        try:
            await client.answer(refusal.status, headers + _own_headers(record), body)
        except (ConnectionError, TimeoutError):
            client.abort()

    async def _end_started(self, client: Client, record: Record, refusal: Refusal) -> None:
        """A stream that only heartbeats have begun ends with an error event. The relay ends what it began itself."""
        if record.first_byte_s is not None:
            client.abort()
            return
        record.status, record.outcome = 200, "cut"
        try:
            await client.write(DIALECTS[record.endpoint].error_event(refusal, record.call_id, None))
            await client.finish()
        except (ConnectionError, TimeoutError):
            client.abort()

    def _record(self, client: Client) -> Record:
        now = self._clock.monotonic()
        return Record(
            call_id=f"req_{self._random.getrandbits(96):024x}",
            started_at=self._clock.wall(),
            started=now,
            marked=now,
            method=client.method,
            path=client.target.partition("?")[0],
        )

    def _mark(self, record: Record, phase: str) -> None:
        now = self._clock.monotonic()
        record.phase_s[phase] = record.phase_s.get(phase, 0.0) + now - record.marked
        record.marked = now


def _own_headers(record: Record) -> Headers:
    own = [
        (b"cache-control", b"no-store"),
        (b"x-gateway-request-id", record.call_id.encode()),
        (b"x-gateway-policy", record.policy_version.encode()),
    ]
    if verdicts := verdict_header(record.verdicts):
        own.append((b"x-gateway-guards", verdicts))
    return own


def _place(bug: BaseException) -> str:
    trace = bug.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    code = trace.tb_frame.f_code
    return f"{code.co_filename.rsplit('gateway/', 1)[-1]}:{trace.tb_lineno}"
