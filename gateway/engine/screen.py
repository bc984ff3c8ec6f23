"""Phase 4: Call -> Call with masks applied. What was checked is what is sent: the spans come from the one parsed
document, and a masked body differs from the caller's bytes only where a span was replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import orjson

from gateway.core.errors import Refusal
from gateway.core.model import Call
from gateway.core.rules import GuardSet
from gateway.core.span import Path, Span
from gateway.engine import headers as header_rules
from gateway.engine import uploads
from gateway.engine.judge import Judge, Judgement, blocked_by
from gateway.engine.masking import masked
from gateway.engine.reading import Reading
from gateway.engine.tasks import for_size
from gateway.masks.edits import pieces_after
from gateway.masks.vault import Vault
from gateway.wire import rewrite

UNREADABLE = "unreadable"


async def screen(call: Call, spans: Sequence[Span], guards: GuardSet, judge: Judge, vault: Vault) -> Call:
    """Refusal `guard_blocked` or `guardrail_unavailable`."""
    if not judge:
        return call
    if not isinstance(call.body, bytes) or call.document is None:
        return await _screen_upload(call, guards, judge, vault)
    reading = Reading(spans)
    if len(reading.spans) < len(spans):
        _unread(judge, guards, "Images, audio and files cannot be read by the guards that the policy requires.")
    judgement = await judge.whole(reading.texts)
    judgement.refuse()
    changed = changes(reading, judgement, vault)
    if not changed:
        return call
    body = await for_size(len(call.body), lambda: rewrite.replace_strings(call_body(call), changed))
    return replace(call, body=body, document=orjson.loads(body), content_length=len(body))


async def _screen_upload(call: Call, guards: GuardSet, judge: Judge, vault: Vault) -> Call:
    """A body that is no JSON object: forms, files, batches, or nothing."""
    body, rest = (call.body, None) if isinstance(call.body, bytes) else await uploads.held(call.body)
    if body is None:
        assert rest is not None
        _unread(judge, guards, "This upload is too large to be read by the guards that the policy requires.")
        return replace(call, body=rest)
    call = replace(call, body=body, content_length=len(body))
    kind = header_rules.value_of(call.headers, b"content-type") or b""
    coded = header_rules.value_of(call.headers, b"content-encoding") is not None
    upload = await for_size(len(body), lambda: uploads.read(body, kind.decode("latin-1"), coded=coded))
    reading = Reading(upload.spans)
    if upload.unread or len(reading.spans) < len(upload.spans):
        _unread(judge, guards, "This upload cannot be read by the guards that the policy requires.")
    judgement = await judge.whole(reading.texts)
    judgement.refuse()
    changed = changes(reading, judgement, vault)
    if not changed:
        return call
    masked_body = upload.rewritten(body, changed)
    return replace(call, body=masked_body, content_length=len(masked_body))


def call_body(call: Call) -> bytes:
    assert isinstance(call.body, bytes)
    return call.body


def changes(reading: Reading, judgement: Judgement, vault: Vault) -> dict[Path, str]:
    """The new string of every place that a mask in force changes."""
    changed: dict[Path, str] = {}
    for index, masks in reading.masks_of(judgement).items():
        span = reading.spans[index]
        if not span.pieces:  # it can be judged and not rewritten
            raise blocked_by(masks[0][0])
        changed.update(pieces_after(span, masked(reading.texts[index], masks, vault)))
    return changed


def _unread(judge: Judge, guards: GuardSet, message: str) -> None:
    judge.unread(UNREADABLE)
    if guards.unreadable_blocks:
        raise Refusal("guardrail_unavailable", message)
