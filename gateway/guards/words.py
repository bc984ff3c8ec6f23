"""The guard "words": lists of words and phrases of any length, found in one pass. Competitors are such a list."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from gateway.core.ports import Guard
from gateway.core.span import Finding, Text, View
from gateway.guards.base import BaseGuard, GuardRow
from gateway.guards.normal import Folded, views
from gateway.guards.reach import open_tail

LONGEST = 1000
"""Characters of an entry. It bounds what a stream holds and what asking for it costs."""

Kind = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]


class Row(GuardRow):
    """Words that are findings."""

    type: Literal["words"]
    words: list[str] = Field(default_factory=list, description="Words and phrases.")
    files: list[str] = Field(
        default_factory=list,
        description="Files in the policy folder: one entry a line, lines that begin with # are comments.",
    )
    kind: Kind = Field("WORD", description="The kind of its findings, such as COMPETITOR.")
    ignore_case: bool = Field(True, description="Upper and lower case are the same.")
    whole_words: bool = Field(
        True, description="Only between other characters than letters and digits. Off for scripts without blanks."
    )

    @model_validator(mode="after")
    def _has_entries(self) -> Self:
        if not self.words and not self.files:
            raise ValueError("no words: list them in `words`, or name files in `files`")
        return self


def build(row: Row, folder: Path) -> Guard:
    entries = [*row.words, *(entry for name in row.files for entry in _lines(folder, name))]
    return Words(entries, row.kind, ignore_case=row.ignore_case, whole_words=row.whole_words)


def _lines(folder: Path, name: str) -> Iterator[str]:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"files: {name} is outside the policy folder; put it there")
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as fault:
        raise ValueError(f"files: {name} cannot be read ({fault.strerror}); it is looked for in {folder}") from None
    except UnicodeDecodeError as fault:
        raise ValueError(f"files: {name} is not UTF-8 at byte {fault.start}; save it as UTF-8") from None
    yield from (line for line in lines if not line.startswith("#"))


class Words(BaseGuard):
    """`_found` finds entries: entry -> (its length, whether it counts in folded views only). `_begun` holds what a text
    may end with while an entry is undecided: all of it but its last character, or all where the next one decides."""

    def __init__(self, entries: list[str], kind: str, *, ignore_case: bool = True, whole_words: bool = True) -> None:
        import ahocorasick  # noqa: PLC0415 - heavy

        self._kind = kind
        self._ignore_case = ignore_case
        self._whole_words = whole_words
        self._found: Any = ahocorasick.Automaton()
        self._begun: Any = ahocorasick.Automaton()
        self._firsts: frozenset[str] = frozenset()
        self._longest = 0
        self._fill(entries)

    def _fill(self, entries: list[str]) -> None:
        plain = {self._cased(entry.strip()) for entry in entries} - {""}
        if not plain:
            raise ValueError("no words: the lists hold blanks and comments only")
        too_long = next((entry for entry in plain if len(entry) > LONGEST), None)
        if too_long is not None:
            raise ValueError(f"words: an entry has {len(too_long)} characters, {LONGEST} are allowed; shorten it")
        folded = {self._cased(fold) for entry in plain if not entry.isascii() for fold in _folds(entry)} - plain - {""}
        for entry in plain | folded:
            self._found.add_word(entry, (len(entry), entry in folded))
            begun = entry if self._whole_words and _wordly(entry[-1]) else entry[:-1]
            if begun:
                self._begun.add_word(begun, True)
                self._longest = max(self._longest, len(begun))
        self._firsts = frozenset(entry[0] for entry in plain | folded)
        self._found.make_automaton()

    def check(self, view: View) -> list[Finding]:
        return [
            Finding(index, start, end, self._kind)
            for index, text in enumerate(view.texts)
            for start, end in sorted({place for folded in views(text) for place in self._places(folded)})
        ]

    def _places(self, view: Folded) -> Iterator[tuple[int, int]]:
        text = self._cased(view.text)
        for last, (length, folded_only) in self._found.iter(text):
            if folded_only and view.starts is None:
                continue
            start, end = last + 1 - length, last + 1
            if not self._whole_words or (_edge(text, start) and _edge(text, end)):
                yield view.raw(start, end)

    def open_tail(self, text: Text) -> int:
        return open_tail(text, self._held)

    def _held(self, text: str) -> int:
        """The length of the longest end of the text with which an entry begins."""
        text = text[-self._longest - 1 :]  # and what stands before it
        text = self._cased(text)
        end = len(text)
        for start in range(max(0, end - self._longest), end):
            if text[start] not in self._firsts or (self._whole_words and not _edge(text, start)):
                continue
            if self._begun.match(text[start:]):
                return end - start
        return 0

    def _cased(self, text: str) -> str:
        """Without case where it does not count, character for character: offsets stay."""
        if not self._ignore_case:
            return text
        folded = text.casefold()
        return folded if len(folded) == len(text) else "".join(map(_uncased, text))


def _uncased(character: str) -> str:
    """str.lower is no choice for whole texts: what it makes of a sigma depends on what follows."""
    forms = (character.casefold(), character.lower(), character)
    return next(form for form in forms if len(form) == 1)


def _folds(entry: str) -> list[str]:
    """What the normaliser makes of an entry: so it reads in the folded view of a text."""
    return [view.text for view in views(Text(entry))[1:]]


def _edge(text: str, at: int) -> bool:
    """Whether a word can begin or end here."""
    return not (0 < at < len(text) and _wordly(text[at - 1]) and _wordly(text[at]))


def _wordly(character: str) -> bool:
    return character.isalnum() or character == "_" or unicodedata.category(character)[0] == "M"
