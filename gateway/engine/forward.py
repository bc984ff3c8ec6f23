"""Phase 6: Plan -> Reply. The first target is asked."""

from __future__ import annotations

import orjson

from gateway.core.clock import Clock
from gateway.core.errors import UpstreamFault
from gateway.core.model import Call, Headers, Plan, Provider, Record, Target
from gateway.core.ports import UpstreamReply, UpstreamRequest
from gateway.engine import headers as header_rules
from gateway.engine.account import Account
from gateway.engine.admit import PASSTHROUGH
from gateway.engine.need import Need
from gateway.engine.runtime import Runtime
from gateway.engine.tasks import for_size
from gateway.engine.tracing import outbound
from gateway.wire import edit
from gateway.wire.dialects import DIALECTS

# Chat has two names for it: providers differ in which one they take.
_CAP_FIELDS = {"completions": "max_tokens", "responses": "max_output_tokens"}


async def forward(
    call: Call, plan: Plan, runtime: Runtime, record: Record, clock: Clock, account: Account
) -> UpstreamReply:
    """The reply's head has arrived. UpstreamFault when the provider gave none. Nothing is sent before it is written
    down that it will be."""
    target = plan.targets[0]
    record.provider = target.provider
    record.upstream_model = target.model
    request = await _request(call, target, runtime, account, record)
    attempt = await account.durable()
    try:
        reply = await runtime.upstreams[target.provider].send(request)
        attempt.status = reply.status
        return reply
    except UpstreamFault as fault:
        attempt.sent, attempt.failed, attempt.error = fault.kind.sent, True, fault.kind.code
        raise
    finally:
        record.upstream_s += clock.monotonic() - attempt.started


async def _request(call: Call, target: Target, runtime: Runtime, account: Account, record: Record) -> UpstreamRequest:
    provider = runtime.policy.providers[target.provider]
    body, length = call.body, call.content_length
    if isinstance(body, bytes):
        # The caller's own bytes, but for what the policy wants otherwise.
        wants_usage, need = _wants_usage(call, provider), account.need
        if (wants_usage or need.cap or need.tool_cap or target.model != call.model) and call.endpoint in DIALECTS:
            body = await for_size(len(body), _edited, call, body, target, provider, wants_usage, need)
        length = len(body)
    headers = _headers(call, provider, account, record)
    return UpstreamRequest(call.method, call.path.removeprefix("/v1"), headers, body, length)


def _headers(call: Call, provider: Provider, account: Account, record: Record) -> Headers:
    headers = header_rules.to_provider(call.headers, coding=b"identity" if call.endpoint != PASSTHROUGH else None)
    if provider.traceparent and record.trace is not None and account.attempt is not None:
        headers.append((b"traceparent", outbound(record.trace, account.attempt.span_id)))
    if header_rules.value_of(headers, b"x-client-request-id") is None:
        headers.append((b"x-client-request-id", account.name))
    if not isinstance(call.body, bytes):
        encoding = header_rules.value_of(call.headers, b"content-encoding")
        if encoding is not None:  # an upload passes unread, so its coding passes with it
            headers.append((b"content-encoding", encoding))
    return headers


def _edited(call: Call, body: bytes, target: Target, provider: Provider, wants_usage: bool, need: Need) -> bytes:
    if need.cap:
        body = _capped(call, body, _CAP_FIELDS.get(call.endpoint, provider.output_cap_field), need.cap)
    if need.tool_cap:
        body = _capped(call, body, "max_tool_calls", need.tool_cap)
    if wants_usage and call.document is not None:
        body = DIALECTS[call.endpoint].with_usage(body, call.document)
    if target.model != call.model:
        body = edit.set_member(body, "model", orjson.dumps(target.model))
    return body


def _capped(call: Call, body: bytes, field: str, cap: int) -> bytes:
    is_there = call.document is not None and field in call.document  # as null
    return (edit.set_member if is_there else edit.add_member)(body, field, b"%d" % cap)


def usage_was_added(call: Call, record: Record, runtime: Runtime) -> bool:
    """Whether the usage chunk of this stream was asked for by the gateway and not by the caller."""
    return _wants_usage(call, runtime.policy.providers[record.provider])


def _wants_usage(call: Call, provider: Provider) -> bool:
    if not call.stream or not provider.stream_usage or call.document is None:
        return False
    dialect = DIALECTS.get(call.endpoint)
    return dialect is not None and dialect.wants_usage_injected(call.document)
