"""Phase 6: Plan -> Reply. The first target is asked; stored objects are looked for at each target in turn."""

from __future__ import annotations

import orjson

from gateway.core.clock import Clock
from gateway.core.model import Call, Plan, Record, Target
from gateway.core.ports import UpstreamReply, UpstreamRequest
from gateway.engine import headers as header_rules
from gateway.engine.admit import PASSTHROUGH
from gateway.engine.runtime import Runtime
from gateway.engine.tasks import for_size
from gateway.wire import edit
from gateway.wire.dialects import DIALECTS


async def forward(call: Call, plan: Plan, runtime: Runtime, record: Record, clock: Clock) -> UpstreamReply:
    """The reply's head has arrived. UpstreamFault when the provider gave none."""
    last = len(plan.targets) - 1
    for index, target in enumerate(plan.targets):
        reply = await _send(call, target, runtime, record, clock)
        if reply.status != 404 or call.endpoint != "responses.object" or index == last:
            return reply
        reply.close()
    raise AssertionError("a plan without targets is answered by the gateway itself")


async def _send(call: Call, target: Target, runtime: Runtime, record: Record, clock: Clock) -> UpstreamReply:
    record.provider = target.provider
    record.upstream_model = target.model
    upstream = runtime.upstreams[target.provider]
    request = await _request(call, target, runtime)
    began = clock.monotonic()
    try:
        return await upstream.send(request)
    finally:
        record.upstream_s += clock.monotonic() - began


async def _request(call: Call, target: Target, runtime: Runtime) -> UpstreamRequest:
    reads_answer = call.endpoint != PASSTHROUGH
    headers = header_rules.to_provider(call.headers, coding=b"identity" if reads_answer else None)
    body, length = call.body, call.content_length
    if isinstance(body, bytes):
        body = await _body(call, body, target, runtime)
        length = len(body)
    else:
        encoding = header_rules.value_of(call.headers, b"content-encoding")
        if encoding is not None:  # an upload passes unread, so its coding passes with it
            headers.append((b"content-encoding", encoding))
    return UpstreamRequest(call.method, call.path.removeprefix("/v1"), headers, body, length)


async def _body(call: Call, body: bytes, target: Target, runtime: Runtime) -> bytes:
    """The caller's own bytes, but for the model's name and the request for usage where the policy wants them."""
    dialect = DIALECTS.get(call.endpoint)
    if dialect is None or call.document is None:
        return body
    wants_usage = runtime.policy.providers[target.provider].stream_usage and dialect.wants_usage_injected(call.document)
    if target.model == call.model and not wants_usage:
        return body
    return await for_size(len(body), lambda: _edited(call, body, target, wants_usage))


def _edited(call: Call, body: bytes, target: Target, wants_usage: bool) -> bytes:
    if wants_usage and call.document is not None:
        body = DIALECTS[call.endpoint].with_usage(body, call.document)
    if target.model != call.model:
        body = edit.set_member(body, "model", orjson.dumps(target.model))
    return body


def usage_was_added(call: Call, record: Record, runtime: Runtime) -> bool:
    """Whether the usage chunk of this stream was asked for by the gateway and not by the caller."""
    dialect = DIALECTS.get(call.endpoint)
    if dialect is None or call.document is None:
        return False
    return runtime.policy.providers[record.provider].stream_usage and dialect.wants_usage_injected(call.document)
