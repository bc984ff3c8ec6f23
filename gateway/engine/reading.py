"""Spans -> the texts that guards read. A span of several parts is read as one, so that a value cut over parts is seen,
and also in its parts, where a word ends with its part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from gateway.core.rules import Rule
from gateway.core.span import Finding, Span, Text
from gateway.engine.judge import Judgement
from gateway.wire.things import apart

Masks = dict[int, list[tuple[Rule, Finding]]]
"""What is to be changed, by the index of the text or span that it stands in."""


class Reading:
    """`texts` go to the guards; `masks_of` gives what they found back by span."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self.spans = [span for span in spans if span.kind != "media"]
        self.texts: list[Text] = []
        self._origin: list[tuple[int, int]] = []
        for index, span in enumerate(self.spans):
            self._add(span, span.kind, index, 0)
        for index, span in enumerate(self.spans):
            for offset, part in apart(span):
                self._add(part, "part", index, offset)

    def _add(self, span: Span, kind: str, index: int, offset: int) -> None:
        self.texts.append(Text(span.text, span.role, kind, span.escaped))
        self._origin.append((index, offset))

    def masks_of(self, judgement: Judgement, outcomes: frozenset[str] = frozenset({"mask"})) -> Masks:
        """By span, with offsets in the span."""
        found: Masks = {}
        for index, masks in by_text(judgement, outcomes).items():
            span, offset = self._origin[index]
            found.setdefault(span, []).extend((rule, _moved(finding, span, offset)) for rule, finding in masks)
        return dict(sorted(found.items()))

    def whole_texts(self) -> Sequence[Text]:
        return self.texts[: len(self.spans)]


def by_text(judgement: Judgement, outcomes: frozenset[str]) -> Masks:
    """The findings of rules in force that came to one of these, by the index of their text."""
    found: Masks = {}
    for judged in judgement.rules:
        if judged.outcome in outcomes and judged.rule.enforced:
            for finding in judged.findings:
                found.setdefault(finding.text, []).append((judged.rule, finding))
    return found


def _moved(finding: Finding, text: int, offset: int) -> Finding:
    return replace(finding, text=text, start=finding.start + offset, end=finding.end + offset)
