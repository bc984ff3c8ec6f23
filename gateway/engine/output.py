"""Guards over an answer, and the masked values put back: whole documents at once, streams through the gate.

Guards look first, at what the model said; stand-ins are restored after that, so the caller's own values are never taken
for a leak, and what a guard masks is never restored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import orjson

from gateway.core.errors import BAD_CONTENT, Refusal, UpstreamFault
from gateway.core.rules import GuardSet, Rule
from gateway.core.span import Delta, Finding, Path, Span, Text
from gateway.engine.gate import MAX_HELD_CHARACTERS, Gate, TooMuchHeld, Window
from gateway.engine.judge import Judge, Judgement, Regenerate
from gateway.engine.lanes import Ends, Lanes, finished
from gateway.engine.masking import joined, masked
from gateway.engine.reading import Reading, by_text
from gateway.engine.tasks import for_size
from gateway.masks.edits import Edit, JsonState, apply, pieces_after
from gateway.masks.restore import Restorer
from gateway.masks.vault import Vault
from gateway.wire import rewrite, texts
from gateway.wire.logprobs import repeat_their_text
from gateway.wire.sse import data_of, event_of, frame

Said = TypeVar("Said", Span, Delta)
_NOT_MASKED = "Blocked by this gateway's policy: the answer could not be masked."
MAX_HELD_WHOLE = 16 * 1024 * 1024
_CHANGES = frozenset({"mask", "replace", "regenerate"})  # regenerate: where the guard knows a repair


class Output:
    """One answer to one call."""

    def __init__(
        self,
        endpoint: str,
        guards: GuardSet,
        judge: Judge,
        vault: Vault,
        own: Vault,
        unreadable: Callable[[], bool],
        *,
        is_json: bool = False,
    ) -> None:
        """`vault` holds what the request's masks replaced, `own` takes what this answer's masks replace. `unreadable`
        is told when something cannot be read, and says whether that blocks. `is_json`: the answer was asked for as
        JSON, so that its content is JSON source, and stays it."""
        self._unreadable = unreadable
        self._endpoint = endpoint
        self._judge = judge
        self._restorer = Restorer(vault)
        if self._restorer:
            judge.excuse(self._stand_ins)
        self._is_json = is_json
        self._own = own
        self._holds_all = guards.hold == "all"
        self._settled: dict[str, list[Edit]] | None = None
        limit = MAX_HELD_WHOLE if self._holds_all else MAX_HELD_CHARACTERS
        self._gate = Gate(self._open_tail, self._decide, partial(_rewritten, endpoint), limit)
        self._lanes = Lanes()

    # -- whole answers

    async def document(self, body: bytes) -> bytes:
        """The body as it may leave. Refusal, Regenerate, UpstreamFault (it is not JSON)."""
        document = await for_size(len(body), lambda: _parsed(body))
        spans = texts.answer_spans(self._endpoint, document)
        self._note_unreadable(span.kind for span in spans)
        reading = Reading(map(self._as_source, spans))
        judgement = await self._judge.whole(reading.texts)
        self._refuse(judgement, reading.whole_texts())
        masks = reading.masks_of(judgement, _CHANGES)
        changed: dict[Path, str] = {}
        for index, span in enumerate(reading.spans):
            changed.update(_pieces(span, self._edits(reading.texts[index], masks.get(index, ()), None)))
        return await for_size(len(body), lambda: _written(self._endpoint, body, changed, event=False))

    # -- streams

    def frames(self, frames: Sequence[bytes]) -> list[bytes]:
        """The frames that may leave once these have arrived. Refusal and UpstreamFault cut the stream."""
        leaving: list[bytes] = []
        for one in frames:
            leaving += self._frame(one)
        return leaving + self._gate.release()

    async def end(self) -> list[bytes]:
        """Nothing follows: all that was held, or a Refusal or Regenerate."""
        if self._holds_all:
            held = self._gate.texts()
            judgement = await self._judge.whole(held)
            self._refuse(judgement, held)
            masks = by_text(judgement, _CHANGES)
            self._settled = {text.raw: self._edits(text, masks.get(index, ()), None) for index, text in enumerate(held)}
        return self._gate.end()

    def _frame(self, one: bytes) -> list[bytes]:
        data = data_of(one)
        if data is None:
            self._feed(one, ())
            return []
        if data == b"[DONE]":
            leaving = [] if self._holds_all else self._gate.end()
            self._feed(one, ())
            return leaving
        event = _parsed(data)
        if not isinstance(event, dict):
            raise UpstreamFault(BAD_CONTENT, "event is not a JSON object")
        deltas = [self._as_source(delta) for delta in texts.stream_deltas(self._endpoint, event)]
        self._note_unreadable(delta.kind for delta in deltas)
        if b'"logprobs"' in data:
            one = _rewritten(self._endpoint, one, {})
        leaving = self._complete(self._lanes.left(deltas))
        self._feed(one, deltas)
        return leaving + self._complete(finished(event))

    def _as_source(self, said: Said) -> Said:
        return replace(said, escaped=True) if self._is_json and said.kind == "content" else said

    def _stand_ins(self, text: Text, state: JsonState | None) -> Sequence[Edit]:
        return self._restorer.edits(text.raw, text.escaped, state=state)

    def _complete(self, ends: Ends | None) -> list[bytes]:
        return [] if ends is None or self._holds_all else self._gate.end(ends)

    def _note_unreadable(self, kinds: Iterable[str]) -> None:
        if "media" in kinds and self._unreadable():
            raise Refusal("guardrail_unavailable", "The guards that the policy requires cannot read this answer.")

    def _feed(self, one: bytes, deltas: Sequence[Delta]) -> None:
        try:
            self._gate.feed(one, deltas)
        except TooMuchHeld:
            raise UpstreamFault(BAD_CONTENT, "the guards hold more than they may") from None

    def _open_tail(self, text: Text, state: JsonState | None) -> int:
        if self._holds_all:
            return len(text.raw)
        cut_off = state.feed(text.raw).pending if state is not None else 0
        stand_in = self._restorer.open_tail(text.raw, text.escaped, state=state)
        return max(cut_off, stand_in, self._judge.open_tail(text))

    def _decide(self, window: Window) -> tuple[Sequence[Edit], int]:
        if self._settled is not None and window.text.raw in self._settled:
            return self._settled[window.text.raw], window.until
        judgement, until = self._judge.window(window)
        self._refuse(judgement, [window.text])
        return self._edits(window.text, by_text(judgement, _CHANGES).get(0, ()), window.state), until

    # -- both

    def _refuse(self, judgement: Judgement, seen: Sequence[Text]) -> None:
        judgement.refuse()
        again = judgement.of("regenerate")
        if again is not None and not all(finding.repair is not None for finding in again.findings):
            answer = "".join(text.raw for text in seen if text.kind == "content")
            raise Regenerate(again.rule, answer, self._judge.feedback(again.rule, seen))

    def _edits(self, text: Text, masks: Sequence[tuple[Rule, Finding]], state: JsonState | None) -> list[Edit]:
        whole = next((pair for pair in masks if _is_whole(*pair)), None)
        parts = [pair for pair in masks if not _is_whole(*pair)]
        edits = masked(text, parts, self._own, state) if parts else []
        if whole is None:
            return joined(edits, self._restorer.edits(text.raw, text.escaped, state=state))
        rule, finding = whole
        if finding.repair is None:
            return [Edit(0, len(text.raw), "{}" if text.escaped else rule.text)]
        repair = _masked_too(finding.repair, text, edits)
        return [Edit(finding.start, finding.end, apply(repair, self._restorer.edits(repair, text.escaped)))]


def _is_whole(rule: Rule, finding: Finding) -> bool:
    return finding.repair is not None or rule.action == "replace"


def _masked_too(repair: str, text: Text, edits: Sequence[Edit]) -> str:
    """A repair was made of the text as it was said, so what is masked there is in it. What the repair has written in
    another way cannot be found, and nobody may see it."""
    for edit in edits:
        value = text.raw[edit.start : edit.end]
        if value not in repair:
            raise Refusal("guard_blocked", _NOT_MASKED)
        repair = repair.replace(value, edit.text)
    return repair


def _pieces(span: Span, edits: Sequence[Edit]) -> Mapping[Path, str]:
    if edits and not span.pieces:
        raise Refusal("guard_blocked", _NOT_MASKED)
    return pieces_after(span, edits) if edits else {}


def _written(endpoint: str, data: bytes, changed: Mapping[Path, str], *, event: bool) -> bytes:
    """The document with these strings, and without log-probabilities that say something else than the text beside."""
    written = rewrite.replace_strings(data, changed) if changed else data
    if b'"logprobs"' not in written:
        return written
    document = _parsed(written)
    paths = texts.logprob_paths(endpoint, document, event=event)
    return rewrite.remove_members(written, [path for path in paths if not repeat_their_text(document, path)])


def _rewritten(endpoint: str, one: bytes, changed: Mapping[Path, str]) -> bytes:
    """The frame with these strings; its other lines stay."""
    if () in changed:  # it could be judged and not rewritten
        raise Refusal("guard_blocked", "Blocked by this gateway's policy: the answer could not be masked.")
    data = data_of(one) or b""
    written = _written(endpoint, data, changed, event=True)
    if one.count(data) == 1:
        return one.replace(data, written)
    return frame(written, event_of(one).decode() or None)


def _parsed(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        raise UpstreamFault(BAD_CONTENT, "answer is not JSON") from None
