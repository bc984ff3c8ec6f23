"""Context words: what stands before a match raises its score. Presidio's sum; the words are read only when asked."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

import regex

_BACKWARDS = regex.compile(r"(?r)\w+")
_FORWARDS = regex.compile(r"\w+")
_REST = regex.compile(r"\w*")
_BLANKS = regex.compile(r"\s*")
BEFORE = 5
"""Words before a match that count, besides the one that it begins in."""
_BOOST = 0.35
_LEAST = 0.4


def boosted(score: float) -> float:
    return min(max(score + _BOOST, _LEAST), 1.0)


class Before(NamedTuple):
    """What stands before the matches that begin in one word (or sign) of the text: the words, last first, and where
    they begin. That word itself is among them: a value may hang on to its name without a blank."""

    start: int
    end: int
    words: tuple[tuple[int, str], ...]


class ContextWords:
    """The words of one text, read backwards from the matches that ask, as far as they count.

    `whole`: a context word has to be a word of the text (or a part of one, between underscores; or its plural), not
    just letters in it: "public" is no "lic". `within`: words further than that many characters before a match do
    not count; None: however far they are.
    """

    def __init__(self, text: str, stop: frozenset[str], *, whole: bool = False, within: int | None = None) -> None:
        self._text = text
        self._stop = stop
        self._whole = whole
        self._within = within
        self._last = Before(-1, -1, ())
        self._known: dict[tuple[tuple[str, ...], int], bool] = {}

    def supports(self, start: int, context: tuple[str, ...]) -> bool:
        """Whether one of the `context` words, in lower case, supports a match that begins at `start`."""
        if not self._last.start <= start < self._last.end:
            self._last = self._before(start)
        return any(
            self._matches(at, word, context)
            for at, word in self._last.words
            if self._within is None or at >= start - self._within
        )

    def _before(self, start: int) -> Before:
        first = _BLANKS.match(self._text, start).end()
        end = _REST.match(self._text, first).end()
        words: list[tuple[int, str]] = []
        begin, inside = start, False
        # A word that the edge of the window cuts begins outside of what counts.
        edge = 0 if self._within is None else max(0, start - self._within - 1)
        for found in _BACKWARDS.finditer(self._text, edge, end):
            word = found.group().lower()
            counts = word not in self._stop
            if found.end() > start:
                begin, inside = min(start, found.start()), counts
            if counts:
                words.append((found.start(), word))
            if len(words) > BEFORE:
                break
        if self._within is None and not inside:
            words += self._next(end)
        return Before(begin, max(end, start + 1), tuple(words))

    def _next(self, start: int) -> list[tuple[int, str]]:
        """A match that begins with a sign or a word that does not count also has the next word behind it: a quirk of
        presidio. Not where `within` is set, as a stream cannot know that word yet."""
        words = ((found.start(), found.group().lower()) for found in _FORWARDS.finditer(self._text, start))
        return list(islice((word for word in words if word[1] not in self._stop), 1))

    def _matches(self, at: int, word: str, context: tuple[str, ...]) -> bool:
        known = self._known.get((context, at))
        if known is None:
            known = self._known[context, at] = self._compare(word, context)
        return known

    def _compare(self, word: str, context: Iterable[str]) -> bool:
        if not self._whole:
            return any(entry in word for entry in context)
        parts = {word, *word.split("_")}
        return any(entry in parts or entry + "s" in parts for entry in context)
