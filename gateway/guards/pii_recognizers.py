"""The recognisers of the PII guard: the seam, and the one that works on patterns.

Recognisers of names and places need a model; they take their place in the guard's list beside this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import Any, Protocol

import regex
from presidio_analyzer import EntityRecognizer, Pattern, PatternRecognizer

from gateway.guards.pii_context import boosted
from gateway.guards.pii_engine import DISTANT, Engine, Match
from gateway.guards.pii_registry import recognizers, stop_words
from gateway.guards.pii_traps import NINO_MARK, NINO_REACH, TRAPS, VAGUE_CONTEXT

WITHIN = 96
"""Characters before a match in which context words count. More than the five words that presidio looks back."""


class Recognizer(Protocol):
    """Finds personal data in a text of its own. Pure CPU, safe for many threads, linear in the size of the text."""

    def find(self, text: str) -> Iterable[Match]:
        """Matches with their final scores, at or above the threshold that it was built with."""

    def patterns(self) -> Sequence[str]:
        """What matches look like and what decides them, in the syntax of `re`: `Reach` holds a stream back by these."""


class Custom(PatternRecognizer):
    """A recogniser from a policy row."""

    def __init__(self, entity: str, patterns: Sequence[tuple[str, float]], context: Sequence[str], luhn: bool) -> None:
        made = [Pattern(f"{entity} {number}", text, score) for number, (text, score) in enumerate(patterns)]
        super().__init__(supported_entity=entity, name=entity, patterns=made, context=list(context))
        self._luhn = luhn

    def validate_result(self, pattern_text: str) -> bool | None:
        return passes_luhn(pattern_text) if self._luhn else None


def passes_luhn(value: str) -> bool:
    """Whether the decimal digits of `value`, two at least, pass Luhn's check."""
    digits = [int(char) for char in value if char.isdecimal()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return len(digits) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


class Patterns:
    """Presidio's recognisers with our defaults on top: whole context words, near ones only, and no known traps."""

    def __init__(self, owners: Sequence[EntityRecognizer], stop: frozenset[str], threshold: float) -> None:
        self._engine = Engine(owners, stop)
        self._threshold = threshold
        self._plain = {entity: _best(owners, entity) for owner in owners for entity in owner.supported_entities}

    def find(self, text: str) -> list[Match]:
        found = self._engine.find(text, threshold=self._threshold, whole_words=True, within=WITHIN)
        return [match for match in found if not self._trapped(text, match)]

    def _trapped(self, text: str, match: Match) -> bool:
        trap = TRAPS.get(match.kind)
        context = match.score > self._plain[match.kind]
        return trap is not None and trap(text, match.start, match.end, context)

    def patterns(self) -> list[str]:
        """One character more than the engine's: traps look at it."""
        found = [NINO_REACH if NINO_MARK in one else one.removeprefix("(?i)") for one in self._engine.patterns()]
        return [rf"(?:{pattern})(?s:.)" for pattern in found]


def _best(owners: Sequence[EntityRecognizer], entity: str) -> float:
    """The best score of an entity without a context word or a checksum."""
    scores = [
        max((pattern.score for pattern in getattr(owner, "patterns", ())), default=getattr(owner, "SCORE", 1.0))
        for owner in owners
        if entity in owner.supported_entities
    ]
    return max(scores)


def chosen(
    languages: Sequence[str], entities: Set[str], threshold: float, *, context: bool
) -> tuple[list[EntityRecognizer], frozenset[str]]:
    """Presidio's recognisers of these entities that can reach the threshold, and the words that do not count. What
    several languages share is there once, with the context words of all."""
    found: dict[type, EntityRecognizer] = {}
    for language in languages:
        for owner in recognizers(language):
            if not entities & set(owner.supported_entities):
                continue
            first = found.setdefault(type(owner), owner)
            words = {*(first.context or ()), *(owner.context or ())} - VAGUE_CONTEXT.get(
                owner.supported_entities[0], set()
            )
            first.context = sorted(words) if context else []
    for owner in found.values():
        _prune(owner, threshold)
    stop = frozenset[str]().union(*(stop_words(language) for language in languages))
    return list(found.values()), stop


def _prune(owner: EntityRecognizer, threshold: float) -> None:
    """Without the patterns that can never reach the threshold, and without the one that asks for what stands behind a
    match at any distance, which no stream can know (and which takes any word of ten letters for a tax number)."""
    if isinstance(owner, PatternRecognizer):
        untyped: Any = owner
        untyped.patterns = [
            pattern
            for pattern in untyped.patterns
            if pattern.regex != DISTANT and _reaches(owner, pattern.score, threshold)
        ]


def _reaches(owner: PatternRecognizer, score: float, threshold: float) -> bool:
    checked = type(owner).validate_result is not PatternRecognizer.validate_result
    return checked or score >= threshold or bool(owner.context and boosted(score) >= threshold)


def entities_of(languages: Sequence[str]) -> frozenset[str]:
    """All entities that can be found in these languages."""
    return frozenset(
        entity for language in languages for owner in recognizers(language) for entity in owner.supported_entities
    )


REACH_FLAGS: int = int(regex.IGNORECASE | regex.DOTALL | regex.MULTILINE)
"""The flags that presidio compiles patterns with."""
