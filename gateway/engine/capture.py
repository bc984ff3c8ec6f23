"""What a call says -> its Content, for spans: as guards left it, and with every finding masked that is left in it.

What guards found in the request is known from when they looked. An answer is judged once more as a whole, by the guards
of answers and by those of requests that find values, as a model repeats what it was told; it is taken before the
caller's own values are put back into it. What guards block is not captured, nor is what a guard could not look at.
All of it happens when the call has ended: nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.core.clock import Clock
from gateway.core.model import Call, Content, Plan, Record
from gateway.core.rules import GuardSet, Rule
from gateway.core.span import Context, Direction, Finding, Path, Span, Text
from gateway.engine.judge import Judge, Judged, Judgement
from gateway.engine.masking import masked
from gateway.engine.reading import Reading
from gateway.engine.tasks import for_size
from gateway.masks.edits import Edit, JsonState, pieces_after
from gateway.masks.restore import Restorer
from gateway.masks.vault import Vault
from gateway.policy.compile import ContentCapture
from gateway.wire import content, texts
from gateway.wire.assembly import Assembly
from gateway.wire.fitted import fitted

_REFUSED: Final = frozenset({"guard_blocked", "guardrail_unavailable"})
_AN_ID: Final = 256  # characters that the id of a file may have
_ANSWER: Final = ("choices", "output", "status")  # what is told of an answer; the rest repeats the request

Said = Mapping[str, Any]
"""Names of the fields of Content -> their values."""


class Noting(Judge):
    """A Judge that keeps what it said of whole texts."""

    def __init__(
        self, rules: Sequence[Rule], direction: Direction, budget_s: float, context: Context, clock: Clock
    ) -> None:
        super().__init__(rules, direction, budget_s, context, clock)
        self.noted: list[tuple[Sequence[Text], Judgement]] = []

    async def whole(self, seen: Sequence[Text]) -> Judgement:
        judgement = await super().whole(seen)
        self.noted.append((seen, judgement))
        return judgement


@dataclass(frozen=True, slots=True, repr=False)
class Watched:
    """The guards of a call, and what they came to by its end. `spans` are the request's; `is_json` as in Output."""

    guards: GuardSet
    spans: Sequence[Span]
    context: Context
    vault: Vault
    input: Judge
    output: Judge
    is_json: bool
    clock: Clock


def _noted(judge: Judge) -> Sequence[tuple[Sequence[Text], Judgement]]:
    return judge.noted if isinstance(judge, Noting) else ()


class LeftOut(Exception):
    """Why one side of a call is not captured."""


class Answer:
    """What one reply says, as its relay sees it."""

    def __init__(self, shape: str, max_bytes: int) -> None:
        self._stream = Assembly(shape, max_bytes)
        self._is_stream = False
        self._document: Mapping[str, Any] | None = None

    def frame(self, frame: bytes) -> None:
        self._is_stream = True
        self._stream.feed(frame)

    def whole(self, document: Any) -> None:
        self._document = document if type(document) is dict else None

    @property
    def is_cut(self) -> bool:
        return self._stream.is_full

    def document(self) -> Mapping[str, Any] | None:
        """None where nothing was read."""
        found = self._stream.document() if self._is_stream else self._document
        return {name: found[name] for name in _ANSWER if name in found} if found is not None else None


class Capture:
    """Of one call."""

    def __init__(self, max_bytes: int, call: Call, document: Mapping[str, Any], *, guarded: bool) -> None:
        self._max_bytes = max_bytes
        self._endpoint = call.endpoint
        self._document = document
        self._size = len(call.body) if isinstance(call.body, bytes) else 0
        self._guarded = guarded
        self._watched: Watched | None = None
        self._answer: Answer | None = None

    @classmethod
    def of(cls, rule: ContentCapture | None, call: Call, plan: Plan) -> Capture | None:
        """None where policy does not want it, or there is nothing to tell."""
        if rule is None or call.document is None or call.endpoint not in content.TOLD:
            return None
        if not rule.holds(call.caller.name, call.model):
            return None
        return cls(rule.max_bytes, call, call.document, guarded=plan.guards is not None)

    def watch(self, watched: Watched) -> None:
        self._watched = watched

    def answer(self) -> Answer | None:
        """For the reply that comes now; what came before is forgotten. None where answers are no words."""
        self._answer = Answer(self._endpoint, self._max_bytes) if self._endpoint in content.ANSWERED else None
        return self._answer

    async def content(self, record: Record) -> Content | None:
        """Once the call has ended. None where nothing was sent. Raises nothing: what cannot be told is left out."""
        if not any(attempt.sent or attempt.failed for attempt in record.attempts):
            return None
        told: dict[str, tuple[str, bool]] = {}
        left_out: list[str] = []
        for side, tell in (("input", self._request), ("output", self._reply)):
            try:
                told |= await tell(record)
            except LeftOut as why:
                left_out.append(f"{side}={why}")
            except Exception as bug:  # its text may quote what was said
                left_out.append(f"{side}={type(bug).__name__}")
        cut = tuple(name for name, (_, shorter) in told.items() if shorter)
        return Content(**{name: text for name, (text, _) in told.items()}, cut=cut, left_out=tuple(left_out))

    # -- the request

    async def _request(self, _: Record) -> dict[str, tuple[str, bool]]:
        return await for_size(self._size, lambda: self._fitted(self._asked(), is_cut=False))

    def _asked(self) -> Said:
        watched = self._watched
        if watched is None and self._guarded:  # refused before any guard could look
            raise LeftOut("not_checked")
        spans = texts.request_spans(self._endpoint, self._document) if watched is None else watched.spans
        changed = _without_media(self._document, spans)
        if watched is not None and watched.input:
            noted = _noted(watched.input)
            if not noted:
                raise LeftOut("not_checked")
            _, judgement = noted[0]
            _refuse(judgement)
            changed |= _masks(Reading(spans), judgement, watched.vault)
        said = content.request_content(self._endpoint, _with(self._document, changed))
        asked = content.chat_request(said)
        return {"system": said.system, "input": said.messages, "tools": said.tools, "asked": asked}

    # -- the answer

    async def _reply(self, record: Record) -> dict[str, tuple[str, bool]]:
        if record.error in _REFUSED:
            raise LeftOut("blocked")
        answer, attempt = self._answer, record.attempts[-1]
        if answer is None:
            return {}
        document = answer.document()
        if document is None:
            if attempt.complete and attempt.status < 300:
                raise LeftOut("too_large")
            return {}
        spans = texts.answer_spans(self._endpoint, document)
        changed = _without_media(document, spans)
        if self._watched is not None:
            review = _Review(self._watched, spans, is_whole=attempt.complete and not answer.is_cut)
            changed |= await review.changes()
        size = sum(len(span.text) for span in spans)
        reasons = attempt.finish_reasons
        return await for_size(size, lambda: self._fitted(self._answered(document, changed, reasons), answer.is_cut))

    def _answered(self, document: Said, changed: Mapping[Path, str], reasons: Sequence[str]) -> Said:
        messages = content.answer_content(self._endpoint, _with(document, changed))
        for message, reason in zip(messages, reasons, strict=False):
            message["finish_reason"] = reason
        said = any(message["parts"] for message in messages)
        return {"output": messages, "answered": content.chat_answer(messages)} if said else {}

    def _fitted(self, said: Said, is_cut: bool) -> dict[str, tuple[str, bool]]:
        written = {name: fitted(value, self._max_bytes) for name, value in said.items() if value}
        return {name: (text, cut or is_cut) for name, (text, cut) in written.items()}


class _Review:
    """The guards of a call over the whole of its answer. Their verdicts are not the call's."""

    def __init__(self, watched: Watched, spans: Sequence[Span], *, is_whole: bool) -> None:
        guards = watched.guards
        self._watched = watched
        self._is_whole = is_whole
        ruling = [rule for rule in guards.output if rule.enforced and guards.hold != "observe"]
        self._texts_of = {rule.name: rule.text for rule in ruling if rule.action == "replace"}
        self._refusing = {rule.name for rule in ruling if rule.action in {"block", "regenerate"}}
        self._reading = Reading(_as_source(span) if watched.is_json else span for span in spans)
        of_values = [rule for rule in guards.input if getattr(rule.guard, "reads_parts", False)]
        rules = {rule.name: rule for rule in (*of_values, *guards.output) if not rule.remote}
        masking = [replace(rule, action="mask", enforced=True, roles=None) for rule in rules.values()]
        self._judge = Judge(masking, "output", guards.budget_s, watched.context, watched.clock)
        restorer = Restorer(watched.vault)

        def stand_ins(text: Text, state: JsonState | None) -> Sequence[Edit]:
            return restorer.edits(text.raw, text.escaped, state=state)

        if restorer:
            self._judge.excuse(stand_ins)

    async def changes(self) -> dict[Path, str]:
        reading = self._reading
        judgement = await self._judge.whole(reading.texts)
        judgement.rules += self._remote()
        _refuse(judgement)
        everything = _everything(judgement)
        if any(judged.findings and judged.rule.name in self._refusing for judged in everything.rules):
            raise LeftOut("blocked")  # the caller left before the guard came to it
        found = reading.masks_of(everything)
        changed: dict[Path, str] = {}
        for index, span in enumerate(reading.spans):
            text = reading.texts[index]
            edits = self._edits(text, found.get(index, []))
            changed |= _changed(span, edits if self._is_whole else self._ended(text, edits))
        return changed

    def _edits(self, text: Text, masks: Sequence[tuple[Rule, Finding]]) -> list[Edit]:
        for rule, _ in masks:
            if rule.name in self._texts_of:
                return [Edit(0, len(text.raw), "{}" if text.escaped else self._texts_of[rule.name])]
        return masked(text, masks, self._watched.vault)

    def _ended(self, text: Text, edits: Sequence[Edit]) -> list[Edit]:
        """Without the end of a text that was cut: it may be the begin of a finding."""
        length = len(text.raw)
        border = length - self._judge.open_tail(text)
        border = min((edit.start for edit in edits if edit.start < border < edit.end), default=border)
        kept = [edit for edit in edits if edit.end <= border]
        return [*kept, Edit(border, length, "")] if border < length else kept

    def _remote(self) -> Iterator[Judged]:
        """What guards elsewhere said of these texts; they are not asked twice."""
        rules = [rule for rule in self._watched.guards.output if rule.remote]
        if not rules:
            return
        noted = _noted(self._watched.output)
        known = {text.raw for seen, _ in noted for text in seen}
        if any(text.raw not in known for text in self._reading.whole_texts()):
            raise LeftOut("not_checked")
        places: dict[str, list[int]] = {}
        for index, text in enumerate(self._reading.texts):
            places.setdefault(text.raw, []).append(index)
        for seen, judgement in noted:
            for judged in judgement.rules:
                if judged.rule.remote:
                    yield replace(judged, findings=tuple(_placed(judged.findings, seen, places)))


def _placed(
    findings: Sequence[Finding], seen: Sequence[Text], places: Mapping[str, Sequence[int]]
) -> Iterator[Finding]:
    for finding in findings:
        for index in places.get(seen[finding.text].raw, ()):
            yield replace(finding, text=index)


def _as_source(span: Span) -> Span:
    return replace(span, escaped=True) if span.kind == "content" else span


# -- what both sides share


def _refuse(judgement: Judgement) -> None:
    if judgement.of("block") is not None:
        raise LeftOut("blocked")
    if any(judged.outcome == "not_run" for judged in judgement.rules):
        raise LeftOut("not_checked")


def _everything(judgement: Judgement) -> Judgement:
    """As if every guard masked, in force. A repair is no finding about a value: it hides nothing."""
    return Judgement(
        [
            Judged(
                replace(judged.rule, enforced=True), "mask", tuple(one for one in judged.findings if one.repair is None)
            )
            for judged in judgement.rules
        ]
    )


def _masks(reading: Reading, judgement: Judgement, vault: Vault) -> dict[Path, str]:
    changed: dict[Path, str] = {}
    for index, masks in reading.masks_of(_everything(judgement)).items():
        changed |= _changed(reading.spans[index], masked(reading.texts[index], masks, vault))
    return changed


def _changed(span: Span, edits: Sequence[Edit]) -> Mapping[Path, str]:
    if edits and not span.pieces:  # the name of a member, the text in a file
        raise LeftOut("not_masked")
    return pieces_after(span, edits) if edits else {}


def _without_media(document: Mapping[str, Any], spans: Sequence[Span]) -> dict[Path, str]:
    """What replaces images, sound and files that stand in the document itself."""
    changed: dict[Path, str] = {}
    for span in spans:
        if span.kind == "media" and span.pieces:
            value: Any = document
            for step in span.pieces[0].path:
                value = value[step]
            if type(value) is str and (len(value) > _AN_ID or value[:5].lower() == "data:"):
                changed[span.pieces[0].path] = ""
    return changed


def _with(document: Mapping[str, Any], changed: Mapping[Path, str]) -> Mapping[str, Any]:
    """The document with these strings; what does not change is shared."""
    copies: dict[Path, Any] = {(): copy(document)}
    for path, text in changed.items():
        for depth in range(1, len(path)):
            here = path[:depth]
            if here not in copies:
                parent = copies[here[:-1]]
                copies[here] = parent[here[-1]] = copy(parent[here[-1]])
        copies[path[:-1]][path[-1]] = text
    found: Mapping[str, Any] = copies[()]
    return found
