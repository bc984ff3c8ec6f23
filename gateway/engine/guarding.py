"""The guards of one call: what they share between the request and the answer, and what they came to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from gateway.core.clock import Clock
from gateway.core.model import Call
from gateway.core.rules import GuardSet, Verdict
from gateway.core.span import Context, Span
from gateway.engine.capture import Capture, Noting, Watched
from gateway.engine.judge import Judge, Regenerate
from gateway.engine.output import Output
from gateway.engine.screen import UNREADABLE, screen
from gateway.engine.tasks import for_size
from gateway.masks.vault import Vault
from gateway.wire import texts
from gateway.wire.edit import set_member

ANSWERS_WITHOUT_TEXT = frozenset({"embeddings", "moderations"})


class Guarding:
    """`mask_key` keys hashes and stable placeholders; the caller's name goes into it, as two callers' never meet."""

    def __init__(
        self,
        guards: GuardSet,
        call: Call,
        spans: Sequence[Span],
        context: Context,
        clock: Clock,
        mask_key: bytes,
        capture: Capture | None = None,
    ) -> None:
        self._guards = guards
        self._spans = spans
        judge = Judge if capture is None else Noting
        self._input = judge.of(guards, "input", Context(), clock)
        self._output = judge.of(guards, "output", context, clock)
        self._is_json = context.schema is not None or context.json_object
        avoid = call.body.decode("utf-8", "replace") if isinstance(call.body, bytes) else ""
        key = mask_key + call.caller.name.encode()
        self._vault = Vault(key, stable=guards.stable, avoid=avoid)
        self._own = Vault(key, stable=guards.stable, avoid=avoid)
        if capture is not None:
            judges = (self._input, self._output)
            capture.watch(Watched(guards, spans, context, self._vault, *judges, self._is_json, clock))

    @classmethod
    async def of(
        cls, guards: GuardSet, call: Call, clock: Clock, mask_key: bytes, capture: Capture | None = None
    ) -> Guarding:
        """Refusal `invalid_value` for roles and parts that nobody here knows."""
        document = call.document
        if document is None:
            return cls(guards, call, (), Context(), clock, mask_key, capture)
        texts.refuse_unreadable(call.endpoint, document)
        size = len(call.body) if isinstance(call.body, bytes) else 0
        spans = await for_size(size, lambda: texts.request_spans(call.endpoint, document))
        context = texts.context_of(call.endpoint, document, spans)
        return cls(guards, call, spans, context, clock, mask_key, capture)

    @property
    def alongside(self) -> bool:
        return self._guards.alongside

    async def screen(self, call: Call) -> Call:
        """Refusal `guard_blocked` or `guardrail_unavailable`."""
        return await screen(call, self._spans, self._guards, self._input, self._vault)

    def output(self, endpoint: str) -> Output | None:
        """A fresh one for each answer; None where there is nothing to look at and nothing to restore."""
        if endpoint in ANSWERS_WITHOUT_TEXT or not (self._output or self._vault.pairs()):
            return None
        given = (endpoint, self._guards, self._output, self._vault, self._own, self.unreadable)
        return Output(*given, is_json=self._is_json)

    def verdicts(self) -> list[Verdict]:
        return [*self._input.verdicts.values(), *self._output.verdicts.values()]

    def unreadable(self) -> bool:
        """An answer cannot be read: every guard has not run. True when that blocks it."""
        self._output.unread(UNREADABLE)
        return bool(self._output) and self._guards.unreadable_blocks


def verdict_header(verdicts: Iterable[Verdict]) -> bytes:
    """The verdicts so far, for the answer's head; of a stream that is what came of the request."""
    shown = [f"{verdict.direction}/{verdict.guard}={verdict.outcome}" for verdict in verdicts if verdict.is_told]
    return ", ".join(shown).encode("ascii", "replace")


async def with_feedback(call: Call, again: Regenerate) -> Call:
    """The call to ask next: with what was wrong with the answer, where the guard can say it."""
    if not again.feedback or not isinstance(call.body, bytes) or call.document is None:
        return call
    body = _with_turns(call.endpoint, call.body, call.document, again)
    return replace(call, body=body, document=orjson.loads(body), content_length=len(body))


def _with_turns(endpoint: str, body: bytes, document: Mapping[str, Any], again: Regenerate) -> bytes:
    """The body with the refused answer and what was wrong with it as two more turns."""
    turns = [{"role": "assistant", "content": again.answer}, {"role": "user", "content": again.feedback}]
    if endpoint == "chat":
        return set_member(body, "messages", orjson.dumps([*document["messages"], *turns]))
    if endpoint == "responses":
        asked = document.get("input")
        items = [{"role": "user", "content": asked}] if isinstance(asked, str) else list(asked or [])
        return set_member(body, "input", orjson.dumps([*items, *turns]))
    return body
