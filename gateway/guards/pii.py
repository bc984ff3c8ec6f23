"""The PII guard: e-mail addresses, numbers of phones, cards, accounts and identity papers, by pattern and checksum.

Presidio's recognisers do the finding (`pii_engine.py` makes them fast), our defaults leave out what is known to be none
(`pii_traps.py`), and recognisers from the policy row add to them. Names and places are found by other `Recognizer`s in
the guard's list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import re2
from pydantic import BaseModel, ConfigDict, Field, field_validator

from gateway.core.ports import Guard
from gateway.core.span import Finding, Text, View
from gateway.guards.base import BaseGuard, GuardRow
from gateway.guards.normal import Folded, views

if TYPE_CHECKING:
    from gateway.guards.pii_engine import Match
    from gateway.guards.pii_recognizers import Recognizer

LEFT_CONTEXT = 160
"""Characters before the open tail that must stay in a checked window: context words (96 characters, and the word that
they may cut), what a pattern looks back at ("prior authorization number: "), and what a trap looks at."""


class CustomPattern(BaseModel):
    """One pattern of a recogniser of the policy."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    regex: str = Field(min_length=1, max_length=2_000, description="RE2 syntax; letter case does not matter.")
    score: float = Field(gt=0, le=1, description="How sure a match is without context words and checksum.")

    @field_validator("regex")
    @classmethod
    def _linear(cls, pattern: str) -> str:
        return _checked(pattern)


class CustomRecognizer(BaseModel):
    """A recogniser of the policy."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str = Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$", description="The kind of its findings, like EMPLOYEE_ID.")
    patterns: list[CustomPattern] = Field(min_length=1, max_length=100, description="Any of them may match.")
    context: list[str] = Field([], description="Words that raise the score by 0.35 when they stand before a match.")
    checksum: Literal["luhn"] | None = Field(None, description="Matches that fail it are dropped, others are sure.")


class Row(GuardRow):
    """Personal data. Entities are presidio's; those with a low precision are found only where they are listed."""

    type: Literal["pii"]
    entities: list[str] | None = Field(
        None, description="Entities to find, of the chosen languages; none: the precise ones."
    )
    languages: list[str] = Field(
        ["en"], min_length=1, description="ISO 639-1 codes: whose recognisers and context words."
    )
    score_threshold: float = Field(0.4, gt=0, le=1, description="Findings below it are dropped.")
    allow: list[str] = Field([], description="Values that are no finding, exactly as written.")
    allow_patterns: list[str] = Field([], description="RE2: a value that one of them matches as a whole is no finding.")
    context: bool = Field(True, description="Whether words before a match raise its score.")
    recognizers: list[CustomRecognizer] = Field([], description="Recognisers of your own; always on.")

    @field_validator("allow_patterns")
    @classmethod
    def _linear(cls, patterns: list[str]) -> list[str]:
        return [_checked(pattern) for pattern in patterns]


def _checked(pattern: str) -> str:
    """The pattern, if it is in the syntax of RE2 and of Python: linear time, and known to the stream."""
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
        re.compile(pattern)
    except (re2.error, re.error) as fault:
        raise ValueError(f"not a pattern of RE2 ({fault}); leave out lookarounds and back references") from None
    return pattern


def build(row: Row, _folder: Path) -> Guard:
    """Imports presidio, which takes seconds. `ValueError` for a language or an entity that is not known."""
    from gateway.guards.pii_recognizers import Custom, Patterns, chosen  # noqa: PLC0415 - heavy

    owners, stop = chosen(row.languages, _entities(row), row.score_threshold, context=row.context)
    for own in row.recognizers:
        patterns = [(pattern.regex, pattern.score) for pattern in own.patterns]
        context = own.context if row.context else []
        owners.append(Custom(own.name, patterns, context, own.checksum == "luhn"))
    guard = PiiGuard([Patterns(owners, stop, row.score_threshold)], row.allow, row.allow_patterns)
    guard.check(View("input", (Text(""),)))
    return guard


def _entities(row: Row) -> set[str]:
    from gateway.guards.pii_recognizers import entities_of  # noqa: PLC0415 - heavy
    from gateway.guards.pii_registry import known_languages  # noqa: PLC0415 - heavy
    from gateway.guards.pii_traps import DEFAULT_ENTITIES  # noqa: PLC0415 - heavy

    unknown = sorted(set(row.languages) - known_languages())
    if unknown:
        raise ValueError(
            f"languages: {', '.join(unknown)} is not known; choose of {', '.join(sorted(known_languages()))}"
        )
    possible = entities_of(row.languages)
    if row.entities is None:
        return set(DEFAULT_ENTITIES & possible)
    unknown = sorted(set(row.entities) - possible - {own.name for own in row.recognizers})
    if unknown:
        raise ValueError(
            f"entities: {', '.join(unknown)} is not found in {', '.join(row.languages)};"
            f" choose of {', '.join(sorted(possible))}, or add its language to `languages`"
        )
    return set(row.entities)


class PiiGuard(BaseGuard):
    """Asks each recogniser about each view of each text. `allow` and `allow_patterns`: values that are no finding."""

    def __init__(
        self, recognizers: Sequence[Recognizer], allow: Sequence[str] = (), allow_patterns: Sequence[str] = ()
    ) -> None:
        from gateway.guards.pii_recognizers import REACH_FLAGS  # noqa: PLC0415 - heavy
        from gateway.guards.reach import Reach  # noqa: PLC0415 - heavy

        self._recognizers = tuple(recognizers)
        self._allow = frozenset(allow)
        self._allow_patterns = tuple(re2.compile(pattern) for pattern in allow_patterns)
        patterns = [pattern for recognizer in recognizers for pattern in recognizer.patterns()]
        self._reach = Reach.of(patterns, flags=REACH_FLAGS, limit=640)  # the longest phone number of the library

    def check(self, view: View) -> list[Finding]:
        found = (
            Finding(number, *folded.raw(match.start, match.end), match.kind, match.score)
            for number, text in enumerate(view.texts)
            for folded in views(text)
            for match in self._matches(folded)
        )
        return list(dict.fromkeys(found))  # most are seen in more than one view

    def _matches(self, folded: Folded) -> list[Match]:
        return [
            match
            for recognizer in self._recognizers
            for match in recognizer.find(folded.text)
            if not self._allowed(folded.text[match.start : match.end])
        ]

    def _allowed(self, value: str) -> bool:
        return value in self._allow or any(pattern.fullmatch(value) for pattern in self._allow_patterns)

    def open_tail(self, text: Text) -> int:
        return self._reach.open_tail(text)
