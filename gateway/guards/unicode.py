"""The guard "unicode": text that hides something from its readers. Such text is a finding by what it is; what it says
is for the other guards, which see it decoded (gateway/guards/normal.py).

Emoji, flags, the joiners of Persian and Hindi, accents and words of other scripts give no finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from gateway.core.ports import Guard
from gateway.core.span import Finding, Text, View
from gateway.guards import normal
from gateway.guards.base import BaseGuard, GuardRow
from gateway.guards.normal import FLAG, SELECTORS, TAGS, ZERO_WIDTH

_HIDDEN = re.compile(
    rf"(?P<flag>{FLAG})|[{TAGS}]{{1,4096}}|[{ZERO_WIDTH}{SELECTORS}]{{3,4096}}"
    rf"|(?:[0-9A-Za-z][{ZERO_WIDTH}]){{3,2048}}"
)
"""Tags (they spell ASCII), and what can carry bits: three zero-width characters or selectors in a row, or one after
each letter. Longer runs are several findings."""
_OVERRIDE = re.compile("[\u202d\u202e]")
"""They show any text in an order that is not its own; embeddings and isolates belong to right-to-left scripts."""
_MIN_LETTERS = 3
_GAP = 2
"""Characters between words that belong together: a comma and a space."""
_MAX_WAITING = 8
"""Words. So many look-alike words in a row are no accident."""
_GREEK_SMALL = re.compile("[\u03b1-\u03c9]")
_LATIN_SMALL = re.compile("[a-z]")


class Row(GuardRow):
    """Hidden characters, reordered text, words in look-alike letters."""

    type: Literal["unicode"]
    mixed_script: bool = Field(True, description="Also words that mix scripts to look like Latin ones (MIXED_SCRIPT).")


class UnicodeGuard(BaseGuard):
    def __init__(self, mixed_script: bool) -> None:
        self._mixed_script = mixed_script

    def check(self, view: View) -> list[Finding]:
        return [finding for i, text in enumerate(view.texts) for finding in self._findings(i, text)]

    def open_tail(self, text: Text) -> int:
        place, growing = normal.settled(text)
        reading = growing[0]
        if self._mixed_script and normal.HAS_FOREIGN.search(reading.text):
            words = _Words()
            for _ in words.read(reading.text):
                pass
            if words.waiting:
                place = reading.raw(words.waiting[0].start(), len(reading.text))[0]
        return len(text.raw) - place

    def _findings(self, index: int, text: Text) -> Iterator[Finding]:
        reading = normal.views(text)[0]
        if reading.text.isascii():
            return
        for match in _HIDDEN.finditer(reading.text):
            if not match["flag"]:
                yield Finding(index, *reading.raw(*match.span()), "INVISIBLE_TEXT")
        for match in _OVERRIDE.finditer(reading.text):
            yield Finding(index, *reading.raw(*match.span()), "BIDI_OVERRIDE")
        if self._mixed_script and normal.HAS_FOREIGN.search(reading.text):
            for match in look_alikes(reading.text):
                yield Finding(index, *reading.raw(*match.span()), "MIXED_SCRIPT")


class _Words:
    """Finds words that a reader takes for Latin and a machine does not: letters of two scripts in one word, or a word
    of nothing but look-alikes between Latin words (such letters alone are good Russian or Greek)."""

    def __init__(self) -> None:
        self.waiting: list[re.Match[str]] = []
        """Words of look-alikes after a Latin word, on which the next word decides."""
        self._after_latin = False

    def read(self, text: str) -> Iterator[re.Match[str]]:
        end = 0
        for match in normal.WORD.finditer(text):
            if match.start() - end > _GAP:
                yield from self._end()
            end = match.end()
            yield from self._next(match)
        if len(text) - end > _GAP:
            yield from self._end()

    def _next(self, match: re.Match[str]) -> Iterator[re.Match[str]]:
        word = match[0]
        mixed = _is_mixed(word)
        if mixed or not normal.HAS_FOREIGN.search(word):
            yield from self._end()
            self._after_latin = True
            if mixed:
                yield match
        elif self._after_latin and _is_disguised(word):
            self.waiting.append(match)
            if len(self.waiting) > _MAX_WAITING:
                yield from self._end()
        else:
            self._after_latin, self.waiting = False, []

    def _end(self) -> Iterator[re.Match[str]]:
        """What waits is found: a Latin word follows, or none at all."""
        yield from (match for match in self.waiting if len(match[0]) >= _MIN_LETTERS)
        self._after_latin, self.waiting = False, []


def look_alikes(text: str) -> Iterator[re.Match[str]]:
    words = _Words()
    yield from words.read(text)
    yield from (match for match in words.waiting if len(match[0]) >= _MIN_LETTERS)


def _is_mixed(word: str) -> bool:
    """Both scripts, and all Latin to the eye. Greek letters are at home in names such as TNF-alpha and NF-kappa-B,
    which have few small Latin letters."""
    if len(word) < _MIN_LETTERS or not normal.HAS_LATIN.search(word) or not _is_disguised(word):
        return False
    return not _GREEK_SMALL.search(word) or len(_LATIN_SMALL.findall(word)) >= _MIN_LETTERS


def _is_disguised(word: str) -> bool:
    return bool(normal.ALIKE.fullmatch(word) and normal.HAS_FOREIGN.search(word))


def build(row: Row, _: Path) -> Guard:
    return UnicodeGuard(row.mixed_script)
