"""Puts the values back in the model's answer, in one pass: what is put back is never looked at again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from gateway.masks.edits import WORD, Edit, JsonState, decoded, is_word, json_escaped
from gateway.masks.vault import SEPARATORS, Vault, squeezed

_OPEN, _CLOSE = r"[\[\uff3b\u3010\u3014]", r"[\]\uff3d\u3011\u3015]"
_WORDS = f"[A-Za-z0-9{SEPARATORS}]"
_EXTRA = 16  # characters that a spelling may have more than the placeholder has
_NAME = rf"(?<!{WORD})[A-Z0-9](?:[A-Z0-9]|\\?_)*+"  # EMAIL_ADDRESS_1, EMAIL\_ADDRESS\_1
_ALONE = re.compile(rf"{_NAME}(?!{WORD})")
_LAST_NAME = re.compile(rf"{_NAME}\\?\Z")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class _Match:
    start: int
    end: int
    value: str = field(repr=False)


class Restorer:
    """Finds the stand-ins of one vault, as it is now, in texts of the answer.

    Placeholders are found in the spellings that models make of them; fakes only as they are. `before` and `state` say
    what stands before the text where it is the rest of a stream: `before` is any end of what was released, `state` the
    JsonState after it, where the text is JSON source (`escaped`).
    """

    __slots__ = ("_bracketed", "_exact", "_fakes", "_holds", "_longest", "_open", "_placeholders")

    def __init__(self, vault: Vault) -> None:
        pairs = vault.pairs()
        words = [(pair.stand_in[1:-1], pair.value) for pair in pairs if not pair.exact]
        self._placeholders = {squeezed(word): value for word, value in words}
        self._exact = dict(words)
        self._longest = max((len(word) for word, _ in words), default=0) + _EXTRA
        self._bracketed = re.compile(rf"{_OPEN}({_WORDS}{{1,{self._longest}}}+){_CLOSE}")
        self._open = re.compile(rf"\\?{_OPEN}({_WORDS}{{0,{self._longest}}}+)\Z|\\\Z")
        self._fakes = _Fakes((pair.stand_in, pair.value) for pair in pairs if pair.exact)
        self._holds = _beginnings(self._placeholders), _beginnings(self._exact)

    def __bool__(self) -> bool:
        """Whether there is anything to restore."""
        return bool(self._placeholders or self._fakes)

    def edits(
        self, text: str, escaped: bool = False, *, before: str = "", state: JsonState | None = None
    ) -> list[Edit]:
        """What puts the values back, in order of place, without overlap."""
        if not self:
            return []
        if not escaped:
            return [Edit(one.start, one.end, one.value) for one in self._found(text, _ends_in_word(before))]
        state = state or JsonState()
        plain, starts = decoded(text, state)
        matches = [_Match(starts[one.start], starts[one.end], one.value) for one in self._found(plain, state.word)]
        return list(_in_json(text, matches, state))

    def open_tail(self, text: str, escaped: bool = False, *, before: str = "", state: JsonState | None = None) -> int:
        """How many characters at the end may still become a stand-in, or stand in one that is there."""
        if not self:
            return 0
        if not escaped:
            return len(text) - self._settled(text, _ends_in_word(before))
        state = state or JsonState()
        whole = len(text) - len(state.feed(text).escape)
        plain, starts = decoded(text[:whole], state)
        return len(text) - starts[self._settled(plain, state.word)]

    def _settled(self, text: str, in_word: bool) -> int:
        """Where the open tail begins. Only the last characters are looked at, unless something is open."""
        brackets, names = self._holds
        near = max(0, len(text) - self._longest - 2)
        start = len(text)
        found = self._open.search(text, near)
        if found is not None and (found[1] is None or squeezed(found[1]) in brackets):
            start = found.start()
        found = _LAST_NAME.search(text, max(0, near - self._longest))
        if found is not None and found[0].replace("\\", "") in names and not (in_word and found.start() == 0):
            start = min(start, found.start())
        start = min(start, self._fakes.settled(text, in_word))
        if start < len(text):
            start = min((one.start for one in self._found(text, in_word) if one.start < start < one.end), default=start)
        return start

    def _found(self, text: str, in_word: bool) -> list[_Match]:
        """The leftmost, of these the longest, without overlap."""
        matches = [*self._in_brackets(text), *self._alone(text, in_word), *self._fakes.found(text, in_word)]
        matches.sort(key=lambda one: (one.start, -one.end))
        chosen: list[_Match] = []
        for one in matches:
            if not chosen or one.start >= chosen[-1].end:
                chosen.append(one)
        return chosen

    def _in_brackets(self, text: str) -> Iterator[_Match]:
        for found in self._bracketed.finditer(text):
            value = self._placeholders.get(squeezed(found[1]))
            if value is not None:
                # A backslash before the bracket belongs to the placeholder if the other bracket has one too: else it is
                # the user's, who wrote it before what was masked.
                escaped = found[1].endswith("\\") and text.endswith("\\", 0, found.start())
                yield _Match(found.start() - escaped, found.end(), value)

    def _alone(self, text: str, in_word: bool) -> Iterator[_Match]:
        """Without brackets, but else as it was given: "email address 1" can be anything."""
        for found in _ALONE.finditer(text) if "_" in text else ():
            value = self._exact.get(found[0].replace("\\", ""))
            if value is not None and not (in_word and found.start() == 0):
                yield _Match(found.start(), found.end(), value)

    def __repr__(self) -> str:
        return "Restorer(****)"

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("a restorer is neither pickled nor copied")


def _ends_in_word(before: str) -> bool:
    return bool(before) and is_word(before[-1])


def _beginnings(words: Iterable[str]) -> frozenset[str]:
    return frozenset(word[:end] for word in words for end in range(len(word) + 1))


def _in_json(text: str, matches: Iterable[_Match], state: JsonState) -> Iterator[Edit]:
    """Inside a string the value is escaped. A model that left the quotes out gets them; a number stays a number."""
    at = 0
    for one in matches:
        state = state.feed(text[at : one.start])
        at = one.start
        if state.inside:
            new = json_escaped(one.value)
        elif _NUMBER.fullmatch(text[one.start : one.end]) and _NUMBER.fullmatch(one.value):
            new = one.value
        else:
            new = f'"{json_escaped(one.value)}"'
        yield Edit(one.start, one.end, new)


class _Fakes:
    """Any number of exact texts in one pass, as whole words."""

    __slots__ = ("_beginnings", "_longest", "_search", "_values")

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values = dict(pairs)
        self._beginnings = _beginnings(self._values) - {""}
        self._longest = max(map(len, self._values), default=0)
        self._search: Any = _automaton(self._values) if self._values else None

    def __len__(self) -> int:
        return len(self._values)

    def found(self, text: str, in_word: bool) -> Iterator[_Match]:
        for last, made in self._search.iter(text) if self._values else ():
            start, end = last + 1 - len(made), last + 1
            inside = is_word(made[-1]) and end < len(text) and is_word(text[end])
            if not inside and self._may_begin(text, start, in_word):
                yield _Match(start, end, self._values[made])

    def settled(self, text: str, in_word: bool) -> int:
        for start in range(max(0, len(text) - self._longest), len(text)):
            if text[start:] in self._beginnings and self._may_begin(text, start, in_word):
                return start
        return len(text)

    @staticmethod
    def _may_begin(text: str, start: int, in_word: bool) -> bool:
        follows = is_word(text[start - 1]) if start else in_word
        return not (follows and is_word(text[start]))


def _automaton(words: Iterable[str]) -> Any:
    import ahocorasick  # noqa: PLC0415  # only calls with fakes need it

    automaton = ahocorasick.Automaton()
    for word in words:
        automaton.add_word(word, word)
    automaton.make_automaton()
    return automaton
