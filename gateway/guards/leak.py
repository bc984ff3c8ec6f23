"""The guard "leak": an answer must not tell the system prompt, nor a canary that stands in it.

Every window of `window` characters of the system texts is indexed, at every offset, and an answer is read twice: as it
reads (case folded, white space as one blank), and by its letters and digits alone, so that other punctuation, line
breaks and spaced-out letters do not help. The second reading does what shingles of eight words would: prose has eight
words in about the letters that its threshold asks for. Decoded and folded texts come from `normal.views`.

A leak is a passage of at least `min_characters`, or `coverage` of a system text where that is less. What the caller's
own texts say as well is no leak, nor are phrases that everybody's prompts have. Each finding depends on its own
passage only, so that a stream gives the same findings: pieces below the threshold are not added up.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path
from typing import Literal, Protocol

from pydantic import Field, field_validator, model_validator

from gateway.core.span import Context, Finding, Text, View
from gateway.guards import normal
from gateway.guards.base import BaseGuard, GuardRow

Range = tuple[int, int]
Leaked = tuple[str, int, int]
"""Kind, start and end in raw characters."""
Index = Callable[[tuple[str, ...]], "tuple[Seeker, ...]"]
"""System texts -> what is sought because of them."""

MIN_COVERED = 24
"""Characters. A shorter part of a short prompt is found in ordinary answers too."""
MIN_CANARY = 8
GRAM = 6
"""Characters. A text whose last `GRAM` are nowhere in the prompts holds one less, without a search for the place."""
LINE = 80
KEPT = 16
"""Indexes of so many system prompts are remembered: most calls of an application have the same."""

COMMON = (
    "you are a helpful assistant",
    "you are a helpful AI assistant",
    "you are an AI assistant",
    "as an AI language model",
    "I'm sorry, but I can't help with that",
    "I cannot help with that request",
    "is there anything else I can help you with",
    "please let me know if you have any questions",
    "feel free to ask if you have any questions",
    "let me know if you need anything else",
    "if you don't know the answer, just say that you don't know",
    "use the following pieces of context to answer the question",
    "answer in the same language as the question",
    "let's think step by step",
    "I don't have access to that information",
    "please provide more information about",
)


class Row(GuardRow):
    """Answers must not repeat the system prompt."""

    type: Literal["leak"]
    min_characters: int = Field(
        40, ge=20, le=10_000, description="A passage of the system texts of this length is a leak; blanks count once."
    )
    coverage: float = Field(
        0.5, gt=0, le=1, description=f"So is this share of a short system text, from {MIN_COVERED} characters on."
    )
    window: int = Field(32, ge=8, le=256, description="Characters that are compared at once.")
    allow: list[str] = Field(default_factory=list, description="Phrases of the system texts that answers may repeat.")
    canary: list[str] = Field(
        default_factory=list,
        max_length=100,
        description="Marks in the system texts that no answer has: also found spaced out, reversed or in base64.",
    )

    @field_validator("canary")
    @classmethod
    def _rare(cls, canaries: list[str]) -> list[str]:
        if any(len(LETTERS.of(one)) < MIN_CANARY for one in canaries):
            raise ValueError(f"a canary needs at least {MIN_CANARY} letters and digits: ordinary text may hold it")
        return canaries

    @model_validator(mode="after")
    def _fits(self) -> Row:
        if self.window > self.min_characters:
            raise ValueError("window is longer than min_characters: lower window or raise min_characters")
        return self


def build(row: Row, _: Path) -> Leak:
    return Leak(row)


NOT_BLANK = re.compile(r"\S+")


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """One way to read a text: the words that `word` finds in what `fold` makes of it, joined by `joint`. The form of a
    text's beginning is the beginning of the text's form. `share`: how much of a text of prose is left of it."""

    word: re.Pattern[str]
    joint: str
    fold: Callable[[str], str] = str.casefold
    share: float = 1.0

    def of(self, text: str) -> str:
        folded = self.fold(text)
        return self.joint.join(folded.split() if self.word is NOT_BLANK else self.word.findall(folded))

    def places(self, text: str) -> list[int]:
        """Where in the text each character of its form comes from."""
        folded = self.fold(text)
        places: list[int] = []
        for word in self.word.finditer(folded):
            if places and self.joint:
                places.append(places[-1] + 1)
            places.extend(range(*word.span()))
        if len(folded) == len(text):  # folding never makes less of a character
            return places
        grown = [at for at, char in enumerate(text) for _ in self.fold(char)]
        return [grown[place] for place in places]


def _base64(text: str) -> str:
    return text.replace("-", "+").replace("_", "/")


READING = Form(NOT_BLANK, " ")
LETTERS = Form(re.compile(r"[^\W_]+"), "", share=0.8)
BASE64 = Form(re.compile(r"[A-Za-z0-9+/]+"), "", fold=_base64)


class Seeker(Protocol):
    """Finds passages in one form of a text."""

    form: Form
    kind: str
    size: int
    """Characters that decide whether a passage may begin."""

    def find(self, text: str) -> Iterable[Range]:
        """The passages, each as long as it can be."""

    def open(self, text: str) -> int:
        """How many characters at the end may be the beginning of a passage."""


class Passages:
    """Windows of texts, of which `least` characters in a row are a leak."""

    kind = "SYSTEM_PROMPT_LEAK"

    def __init__(self, form: Form, texts: Iterable[str], least: int, window: int) -> None:
        self.form = form
        self.least = least
        self.size = min(window, least)
        texts = list(texts)
        self._all = "\0".join(texts)
        self.windows = frozenset(_slices(texts, self.size))
        self._grams = frozenset(_slices(texts, min(GRAM, self.size)))

    def find(self, text: str) -> Iterator[Range]:
        """A passage has more windows than a step is long: none is stepped over."""
        windows, size = self.windows, self.size
        step, last, at = self.least - size + 1, len(text) - size, 0
        while at <= last:
            if text[at : at + size] in windows:
                begin = self._first(text, at)
                while text[at + 1 : at + 1 + size] in windows:
                    at += 1
                if at + size - begin >= self.least:
                    yield begin, at + size
                at += 1  # this window is none of them
            at += step

    def open(self, text: str) -> int:
        if not self.windows:
            return 0
        if text[-GRAM:] not in self._grams:
            return min(len(text), GRAM - 1)
        if text[-self.size :] in self.windows:
            return len(text) - self._first(text, len(text) - self.size)
        known, unknown = GRAM, self.size
        while unknown - known > 1:
            middle = (known + unknown) // 2
            known, unknown = (middle, unknown) if text[-middle:] in self._all else (known, middle)
        return min(known, len(text))

    def _first(self, text: str, at: int) -> int:
        """Where the row of known windows begins that reaches `at`."""
        while at and text[at - 1 : at - 1 + self.size] in self.windows:
            at -= 1
        return at


class Canaries:
    """Fixed strings."""

    kind = "CANARY_LEAK"

    def __init__(self, form: Form, strings: Iterable[str]) -> None:
        self.form = form
        self._strings = tuple(dict.fromkeys(strings))
        self.size = max(map(len, self._strings))

    def find(self, text: str) -> Iterator[Range]:
        for string in self._strings:
            at = text.find(string)
            while at >= 0:
                yield at, at + len(string)
                at = text.find(string, at + 1)

    def open(self, text: str) -> int:
        return max((_begun(text, string) for string in self._strings), default=0)


class Leak(BaseGuard):
    """For one call when it has its context; without it only canaries are found."""

    def __init__(self, row: Row, context: Context | None = None, index: Index | None = None) -> None:
        self._row = row
        self._context = context or Context()
        self._index: Index = index or lru_cache(maxsize=KEPT)(partial(_seekers, row))
        self._shared: dict[Seeker, frozenset[str]] = {}
        self._last: tuple[Text | None, list[Leaked]] = (None, [])

    def for_call(self, context: Context) -> Leak:
        """Nothing is indexed before there is an answer."""
        return Leak(self._row, context, self._index)

    def check(self, view: View) -> list[Finding]:
        if view.direction == "input":
            return []
        return [
            Finding(index, start, end, kind)
            for index, text in enumerate(view.texts)
            for kind, start, end in self._leaks(text)
        ]

    def open_tail(self, text: Text) -> int:
        """What may still be read otherwise, the passages that may go on there, and findings that reach into them."""
        place, growing = normal.settled(text)
        for seeker in self._index(self._context.system):
            for view in growing:
                at = _opens(seeker, view.text)
                if at < len(view.text):
                    place = min(place, view.raw(at, at + 1)[0])
        for _, start, end in sorted(self._leaks(text), key=lambda leak: leak[1], reverse=True):
            if start < place < end:
                place = start
        return len(text.raw) - place

    def _leaks(self, text: Text) -> list[Leaked]:
        """Those of a kind do not overlap. The last are remembered: a gate asks for the tail of a text, then for it."""
        known, leaks = self._last
        if known is not text:
            found: dict[str, list[Range]] = {}
            for view in normal.views(text):
                self._seek(view, found)
            leaks = [(kind, *one) for kind, ranges in found.items() for one in _merged(ranges)]
            self._last = text, leaks
        return leaks

    def _seek(self, view: normal.Folded, found: dict[str, list[Range]]) -> None:
        forms: dict[Form, str] = {}
        for seeker in self._index(self._context.system):
            form = seeker.form
            if form not in forms:
                forms[form] = form.of(view.text)
            ranges = [part for one in seeker.find(forms[form]) for part in self._own(seeker, forms[form], one)]
            if ranges:
                places = form.places(view.text)
                raw = [view.raw(places[start], places[end - 1] + 1) for start, end in ranges]
                found.setdefault(seeker.kind, []).extend(raw)

    def _own(self, seeker: Seeker, text: str, found: Range) -> Iterator[Range]:
        """The parts of a passage that the caller's texts do not have, where they are long enough."""
        shared = self._shared_windows(seeker) if isinstance(seeker, Passages) else None
        if not isinstance(seeker, Passages) or not shared:
            yield found
            return
        begin, end = found
        theirs = bytearray(end - begin)
        for at in range(begin, end - seeker.size + 1):
            if text[at : at + seeker.size] in shared:
                theirs[at - begin : at - begin + seeker.size] = b"\1" * seeker.size
        for is_theirs, places in groupby(range(begin, end), lambda at: theirs[at - begin]):
            part = list(places)
            if not is_theirs and len(part) >= seeker.least:
                yield part[0], part[-1] + 1

    def _shared_windows(self, seeker: Passages) -> frozenset[str]:
        """The windows that the caller's texts have too: sought when the first passage is found, as most calls have
        none. Threads that come at the same time find the same."""
        shared = self._shared.get(seeker)
        if shared is None:
            texts = [seeker.form.of(view.text) for one in self._context.user for view in _plain_views(one)]
            shared = frozenset(one for one in _slices(texts, seeker.size) if one in seeker.windows)
            self._shared[seeker] = shared
        return shared


def _seekers(row: Row, system: tuple[str, ...]) -> tuple[Seeker, ...]:
    return (*_canaries(row.canary), *_passages(row, system))


def _passages(row: Row, system: tuple[str, ...]) -> Iterator[Passages]:
    """System texts by form and by what counts as a leak of them, which is less for a short one."""
    for form in (READING, LETTERS):
        common = _common(form, row.allow)
        groups: dict[int, list[str]] = {}
        for text in dict.fromkeys(form.of(view.text) for one in system for view in _plain_views(one)):
            share_of_it = int(len(text) * row.coverage / form.share)
            least = round(min(row.min_characters, max(MIN_COVERED, share_of_it)) * form.share)
            groups.setdefault(least, []).extend(part for part in common.split(text) if len(part) >= least)
        for least, parts in groups.items():
            if parts:
                yield Passages(form, parts, least, round(row.window * form.share))


def _common(form: Form, allowed: Iterable[str]) -> re.Pattern[str]:
    phrases = {form.of(phrase) for phrase in (*COMMON, *allowed)} - {""}
    return re.compile("|".join(re.escape(phrase) for phrase in sorted(phrases, key=len, reverse=True)))


def _canaries(given: Sequence[str]) -> tuple[Canaries, ...]:
    """In any case, spaced out and reversed, by their letters and digits; in base64 at any place of what was encoded."""
    if not given:
        return ()
    turned = [text for one in given for text in (one, one[::-1])]
    encoded = [_encoded(text.encode("utf-8", "replace"), offset) for text in turned for offset in range(3)]
    return Canaries(LETTERS, map(LETTERS.of, turned)), Canaries(BASE64, encoded)


def _encoded(data: bytes, offset: int) -> str:
    """The digits that `data` alone decides when `offset` bytes stand before it."""
    digits = b64encode(bytes(offset) + data).decode()
    return digits[-(-8 * offset // 6) : 8 * (offset + len(data)) // 6]


def _plain_views(text: str) -> list[normal.Folded]:
    return [view for view in normal.views(Text(text)) if not view.fixed]


def _slices(texts: Iterable[str], size: int) -> Iterator[str]:
    return (text[at : at + size] for text in texts for at in range(len(text) - size + 1))


def _begun(text: str, string: str) -> int:
    """The longest beginning of `string`, but not all of it, that `text` ends in."""
    size = len(string) if text else 0
    while size and (size := string.rfind(text[-1], 0, size - 1) + 1):
        if text.endswith(string[:size]):
            return size
    return 0


def _opens(seeker: Seeker, text: str) -> int:
    """Where the passage may begin that goes on after the text; its length: nowhere. Mostly the last line tells."""
    for much in (LINE, len(text)):
        last = text[max(0, len(text) - much) :]
        read = seeker.form.of(last)
        size = seeker.open(read)
        if size < len(read) and len(read) >= seeker.size:
            break
    return len(text) - len(last) + seeker.form.places(last)[-size] if size else len(text)


def _merged(ranges: Iterable[Range]) -> list[Range]:
    merged: list[Range] = []
    for start, end in sorted(ranges):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
