"""Guards tried on a text, on messages or on a stream, without a call: for `gateway scan` and for policy tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.core.clock import Clock
from gateway.core.errors import Refusal
from gateway.core.rules import GRAVITY, GuardSet, Outcome, Rule
from gateway.core.span import Context, Direction, Finding, Text
from gateway.engine.gate import Window
from gateway.engine.judge import Judge, Judgement, Regenerate
from gateway.engine.masking import masked
from gateway.engine.output import Output
from gateway.engine.reading import Reading
from gateway.engine.screen import changes
from gateway.masks.edits import apply
from gateway.masks.vault import Vault
from gateway.wire import rewrite, texts
from gateway.wire.sse import data_of, frame


@dataclass(frozen=True, slots=True)
class GuardTrial:
    """One guard. Findings are of the first text where there are several."""

    guard: str
    outcome: Outcome
    duration_s: float
    findings: tuple[Finding, ...] = ()

    @property
    def score(self) -> float | None:
        return max((finding.score for finding in self.findings), default=None)


@dataclass(frozen=True, slots=True)
class Trial:
    """`outcome` is the gravest of the guards that are in force; `text` what is left of the text (of the last message's
    content), None when it is blocked."""

    outcome: Outcome
    text: str | None
    guards: tuple[GuardTrial, ...]
    kinds: Mapping[str, int] = field(default_factory=dict)


class Trials:
    """Guards of one set in one direction, ready for many texts."""

    def __init__(self, guards: GuardSet, rules: Sequence[Rule], direction: Direction, key: bytes, clock: Clock) -> None:
        self._guards = guards
        self._rules = rules
        self._direction: Direction = direction
        self._key = key
        self._clock = clock

    async def text(self, raw: str, role: str = "user") -> Trial:
        judge = self._judge()
        text = Text(raw, role)
        if judge.is_local:
            judgement, _ = judge.window(Window(text, 0, max(1, len(raw)), whole=True))
        else:
            judgement = await judge.whole([text])
        left = None if _stops(judgement) else self._masked(text, judgement)
        return self._trial(judge, judgement, left)

    async def messages(self, messages: Sequence[Mapping[str, Any]]) -> Trial:
        """As a chat request; the text is the last message's."""
        judge = self._judge()
        document = {"model": "trial", "messages": list(messages)}
        body = orjson.dumps(document)
        reading = Reading(texts.request_spans("chat", document))
        judgement = await judge.whole(reading.texts)
        left = None
        if not _stops(judgement):
            changed = changes(reading, judgement, Vault(self._key, stable=False, avoid=body.decode()))
            last = orjson.loads(rewrite.replace_strings(body, changed))["messages"][-1]["content"]
            left = last if isinstance(last, str) else orjson.dumps(last).decode()
        return self._trial(judge, judgement, left)

    async def stream(self, chunks: Sequence[str]) -> Trial:
        """As the answer to a chat request, one event a chunk, through the gate."""
        judge = self._judge()
        vault = Vault(self._key)
        output = Output("chat", self._guards, judge, vault, Vault(self._key), lambda: False)
        shown: list[bytes] = []
        stopped = False
        try:
            for chunk in chunks:
                shown += output.frames([_event(chunk)])
            shown += await output.end()
        except (Refusal, Regenerate):
            stopped = True
        left = None if stopped else "".join(map(_content, shown))
        return self._trial(judge, Judgement(), left)

    def _judge(self) -> Judge:
        return Judge(self._rules, self._direction, self._guards.budget_s, Context(), self._clock)

    def _masked(self, text: Text, judgement: Judgement) -> str:
        replaced = judgement.of("replace")
        if replaced is not None:
            return replaced.rule.text
        return apply(text.raw, masked(text, judgement.masks(), Vault(self._key, stable=self._guards.stable)))

    def _trial(self, judge: Judge, judgement: Judgement, left: str | None) -> Trial:
        found = {judged.rule.name: judged.findings for judged in judgement.rules}
        guards = tuple(
            GuardTrial(verdict.guard, verdict.outcome, verdict.duration_s, tuple(sorted(found.get(verdict.guard, ()))))
            for verdict in judge.verdicts.values()
        )
        in_force = [verdict.outcome for verdict in judge.verdicts.values() if verdict.enforced]
        kinds: dict[str, int] = {}
        for verdict in judge.verdicts.values():
            for kind, count in verdict.kinds.items():
                kinds[kind] = kinds.get(kind, 0) + count
        return Trial(max(in_force, key=GRAVITY.index, default="allow"), left, guards, kinds)


def _stops(judgement: Judgement) -> bool:
    try:
        judgement.refuse()
    except Refusal:
        return True
    return judgement.of("regenerate") is not None


def _event(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return frame(orjson.dumps({"object": "chat.completion.chunk", "choices": [choice]}))


def _content(one: bytes) -> str:
    return str(orjson.loads(data_of(one) or b"null")["choices"][0]["delta"]["content"])
