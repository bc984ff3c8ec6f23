"""The views of a text: as it reads, folded, and with what it hides decoded; each knows its places in the raw text.

Folding undoes what changes letters for a pattern and not for a reader: other shapes of the same character (NFKC), what
cannot be seen, piles of marks, letters of other scripts that look Latin, escapes. A view is for looking only: nothing
of it ever goes upstream. What is known not to be covered is in the table of tests/guards/evasion.py, with its figures.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from gateway.core.span import Text
from gateway.guards import decode
from gateway.guards.decode import Part

DEPTH = 2
"""How often what was decoded is decoded again."""
HIDDEN_CHARS = 1 << 16
"""Characters of all decoded views of a text together."""
_TAIL = 1 << 16
"""Characters. The longest construct that folding looks at as one: a block of base64 in escapes of escapes."""

# Ranges for character classes.
_MARK = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"  # of no script of their own
_LATIN = "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff"
_ACCENTED = "\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff"
_FOREIGN = "\u0370-\u0482\u048a-\u058f\u13a0-\u13ff\u1c80-\u1c8f\u1f00-\u1fff\uab70-\uabbf"  # scripts with Latin shapes
_JOINED = "\u0600-\u109f\u1780-\u18af\u1900-\u1aaf\u1b00-\u1c7f\ua800-\uabff\ufb50-\ufdff\ufe70-\ufefc"  # need joiners
_PICTURE = "\u00a9\u00ae\u203c-\u3299\ufe0f\U0001f000-\U0001faff"
_IDEOGRAPH = "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
SELECTORS = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
ZERO_WIDTH = "\u180e\u200b-\u200f\u2060-\u2064\ufeff"
TAGS = "\U000e0000-\U000e007f"
FLAG = "\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f"
"""The flag of a part of a country: a black flag, its name in tags, the end tag."""

_HIDDEN = re.compile(
    rf"(?P<flag>{FLAG})|(?P<tags>[{TAGS}]{{1,4096}})|(?P<octets>[{SELECTORS}]{{4,4096}})"
    rf"|(?<![{_JOINED}{_PICTURE}])[\u200c\u200d]"
    rf"|(?<![{_PICTURE}])[\ufe00-\ufe0f]|(?<![{_IDEOGRAPH}])[\U000e0100-\U000e01ef]"
    r"|[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    r"\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a]"
)
"""What cannot be seen and can go. Joiners stay where scripts and emoji need them, selectors after what they select."""

_BASE = f"A-Za-z0-9{_ACCENTED}{_FOREIGN}"
_PILE = re.compile(rf"(?:[{_BASE}][{_MARK}]{{1,64}}){{3,}}|([{_BASE}])([{_MARK}]{{1,64}})|[{_MARK}]+")
"""Marks: on three and more letters in a row (as in no language), on one letter, on what takes none."""
_CLUSTER = re.compile(rf"[{_BASE}][{_MARK}]*")
_ACCENTS = re.compile(rf"[{_ACCENTED}](?:[A-Za-z]?[{_ACCENTED}]){{2,}}")
"""Three and more accents with at most one plain letter between each."""

WORD = re.compile(rf"[{_LATIN}{_FOREIGN}]{{1,64}}")
HAS_FOREIGN = re.compile(f"[{_FOREIGN}]")
HAS_LATIN = re.compile(f"[{_LATIN}]")

_DASHES = "\u2010\u2011\u2012\u2013\u2212\ufe58\ufe63\uff0d"
_LATIN_SHAPE = re.compile(
    "(?:LATIN LETTER (SMALL) CAPITAL|LATIN (SMALL) LETTER SCRIPT|NEGATIVE (?:CIRCLED|SQUARED) LATIN CAPITAL LETTER) (.)"
)

# Letters that look Latin, by their Unicode names: script and case, then the name of the letter and what it looks like.
_SHAPES = {
    "CYRILLIC SMALL LETTER": "A:a IE:e O:o ER:p ES:c U:y HA:x BYELORUSSIAN-UKRAINIAN_I:i JE:j DZE:s SHHA:h KOMI_DE:d "
    "QA:q WE:w PALOCHKA:l STRAIGHT_U:y",
    "CYRILLIC CAPITAL LETTER": "A:A VE:B IE:E KA:K EM:M EN:H O:O ER:P ES:C TE:T U:Y HA:X BYELORUSSIAN-UKRAINIAN_I:I "
    "JE:J DZE:S QA:Q WE:W KOMI_SJE:G STRAIGHT_U:Y",
    "GREEK SMALL LETTER": "ALPHA:a OMICRON:o NU:v RHO:p IOTA:i UPSILON:u GAMMA:y KAPPA:k CHI:x",
    "GREEK CAPITAL LETTER": "ALPHA:A BETA:B EPSILON:E ZETA:Z ETA:H IOTA:I KAPPA:K MU:M NU:N OMICRON:O RHO:P TAU:T "
    "UPSILON:Y CHI:X",
    "ARMENIAN SMALL LETTER": "OH:o SEH:u HO:h VO:n CO:g ZA:q",
    "ARMENIAN CAPITAL LETTER": "OH:O SEH:U TIWN:S",
    "CHEROKEE LETTER": "GO:A YV:B TLI:C A:D GV:E MI:H GU:J TSO:K TLE:L LU:M TLV:P SV:R DU:S I:T DO:V LA:W NO:Z",
}
LOOK_ALIKES = {
    ord(unicodedata.lookup(f"{script} {name.replace('_', ' ')}")): latin
    for script, shapes in _SHAPES.items()
    for name, latin in (shape.split(":") for shape in shapes.split())
}
"""For str.translate."""
ALIKE = re.compile(f"[{_LATIN}{''.join(map(chr, LOOK_ALIKES))}]+")
"""A word that is all Latin to the eye."""
_CALLS = {
    "mark": re.compile(f"[{_MARK}]"),
    "accent": re.compile(f"[{_ACCENTED}{_MARK}]"),
    "alike": re.compile(f"[{''.join(map(chr, LOOK_ALIKES))}]"),
}


_PLACES = tuple(range(1 << 14))
"""Copied, which is ten times as fast as counting."""


@dataclass(frozen=True, slots=True)
class Folded:
    """One view. Character i of `text` came from raw characters `starts[i]` to `ends[i]`; None: it is the raw text."""

    text: str
    starts: Sequence[int] | None = None
    ends: Sequence[int] | None = None
    fixed: bool = False
    """Decoded from one run of digits, so that it does not grow with the text."""

    def raw(self, start: int, end: int) -> tuple[int, int]:
        """The raw characters behind `text[start:end]`, which is not empty."""
        if self.starts is None or self.ends is None:
            return start, end
        return self.starts[start], self.ends[end - 1]

    def until(self, place: int) -> Folded:
        """What of the view came from raw characters before `place`."""
        if self.starts is None or self.ends is None:
            return Folded(self.text[:place])
        end = bisect_left(self.starts, place)
        return Folded(self.text[:end], self.starts[:end], self.ends[:end])


def views(text: Text) -> tuple[Folded, ...]:
    """The text as it reads first (JSON escapes decoded where it is `escaped`), then every view that differs from it.
    Computed once for a Text and shared by all guards."""
    if text.views is None:
        text.views = _views(text)
    found: tuple[Folded, ...] = text.views
    return found


def _views(text: Text) -> tuple[Folded, ...]:
    reading = Folded(text.raw)
    if text.escaped and "\\" in text.raw:
        reading = rewrite(reading, decode.JSON_ESCAPE, decode.json_parts)
    folded, shape = _fold(reading)
    found = [reading] if folded is reading else [reading, folded]
    if decode.has_run(shape):
        _dig(folded, shape, DEPTH, HIDDEN_CHARS, found)
    return tuple(found)


def _dig(view: Folded, shape: bytes, depth: int, budget: int, found: list[Folded], at: Part | None = None) -> int:
    """Adds what the runs of `view` say, then what that hides, at most `budget` characters. Returns what is left of it.
    `at` is the raw place of the run that `view` was decoded from."""
    for said, start, end in decode.hidden(view.text, shape):
        if budget <= 0:
            break
        _, begin, stop = at or ("", *view.raw(start, end))
        inner, inner_shape = _fold(Folded(said[:budget]))
        budget -= len(inner.text)
        found.append(Folded(inner.text, [begin] * len(inner.text), [stop] * len(inner.text), fixed=True))
        if depth > 1 and decode.has_run(inner_shape):
            budget = _dig(inner, inner_shape, depth - 1, budget, found, ("", begin, stop))
    return budget


def rewrite(view: Folded, pattern: re.Pattern[str], parts: Callable[[re.Match[str]], Iterable[Part] | None]) -> Folded:
    """The view with every match replaced by what its `parts` say; None leaves it. No match: the very same view."""
    out: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    size = len(view.text)
    places = _PLACES if size < len(_PLACES) else range(size + 1)
    old_starts = places[:size] if view.starts is None else view.starts
    old_ends = places[1 : size + 1] if view.ends is None else view.ends
    done = 0
    for match in pattern.finditer(view.text):
        said = parts(match)
        if said is None:
            continue
        out.append(view.text[done : match.start()])
        starts.extend(old_starts[done : match.start()])
        ends.extend(old_ends[done : match.start()])
        for chars, start, end in said:
            out.append(chars)
            starts.extend([old_starts[start]] * len(chars))
            ends.extend([old_ends[end - 1]] * len(chars))
        done = match.end()
    if not done:
        return view
    out.append(view.text[done:])
    starts.extend(old_starts[done:])
    ends.extend(old_ends[done:])
    return Folded("".join(out), starts, ends)


def _fold(view: Folded) -> tuple[Folded, bytes]:
    """The view folded, the very same where folding changes nothing, and its shape."""
    shape = decode.shape(view.text)
    folded = view
    if b"e" in shape:
        folded = rewrite(folded, decode.ESCAPE, decode.escape_parts)
        if folded is not view:  # escapes of escapes
            folded = rewrite(folded, decode.ESCAPE, decode.escape_parts)
    if folded is not view or not view.text.isascii():
        folded = _fold_characters(folded)
    elif b"c" in shape:
        folded = rewrite(folded, _HIDDEN, _hidden_parts)
    if folded.text == view.text:
        return view, shape
    return folded, decode.shape(folded.text)


def _fold_characters(view: Folded) -> Folded:
    """Asks each different character what it calls for, as most texts call for little of it."""
    wanted = _wanted(view.text)
    if "hidden" in wanted:
        view = rewrite(view, _HIDDEN, _hidden_parts)
        wanted = _wanted(view.text)  # what was hidden can be anything
    if "plain" in wanted:
        changed = "".join(sorted(char for char in set(view.text) if plain(char) != char))
        view = rewrite(view, _any_of(changed), _plain_parts) if changed else view
    if "mark" in wanted:
        view = rewrite(view, _PILE, _pile_parts)
    if "accent" in wanted:
        view = rewrite(view, _ACCENTS, _bare_parts)
    if "alike" in wanted:
        view = rewrite(view, WORD, _Words())
    return view


def _wanted(text: str) -> set[str]:
    return set().union(*map(_wants, set(text)))


@lru_cache(maxsize=1 << 14)
def _wants(char: str) -> frozenset[str]:
    """Which steps of folding a character calls for, in its plain shape too."""
    wants = {"hidden"} if _HIDDEN.match(char) else set()
    if plain(char) != char:
        wants.add("plain")
    for one in {char, *plain(char)}:
        wants.update(want for want, pattern in _CALLS.items() if pattern.match(one))
    return frozenset(wants)


@lru_cache(maxsize=256)
def _any_of(chars: str) -> re.Pattern[str]:
    return re.compile(f"[{re.escape(chars)}]+")


@lru_cache(maxsize=1 << 14)
def plain(char: str) -> str:
    """One character in its plainest shape: NFKC, digits of all scripts as ASCII, dashes as "-". A ligature that stands
    for a sentence stays, so that a text cannot grow."""
    if char <= "\x7f":
        return char
    if char in _DASHES:
        return "-"
    digit = unicodedata.decimal(char, None)
    if digit is not None:
        return str(digit)
    if shape := _LATIN_SHAPE.fullmatch(unicodedata.name(char, "")):
        return shape[3].lower() if shape[1] or shape[2] else shape[3]
    folded = unicodedata.normalize("NFKC", char)
    return folded if len(folded) <= 4 else char


def _plain_parts(match: re.Match[str]) -> Iterable[Part]:
    return [(plain(char), at, at + 1) for at, char in enumerate(match[0], match.start())]


def _hidden_parts(match: re.Match[str]) -> Iterable[Part] | None:
    start, end = match.span()
    if match["flag"]:
        return None
    if match["tags"]:
        return [
            (chr(ord(tag) - 0xE0000), start + i, start + i + 1)
            for i, tag in enumerate(match[0])
            if "\U000e0020" <= tag <= "\U000e007e"
        ]
    if match["octets"]:  # sixteen selectors for the bytes 0 to 15, the supplement for the others
        codes = [ord(char) for char in match[0]]
        said = decode.readable(bytes(code - 0xFE00 if code < 0xE0100 else code - 0xE0100 + 16 for code in codes))
        return ((said, start, end),)
    return ()


def _pile_parts(match: re.Match[str]) -> Iterable[Part]:
    """A letter with its mark where there is such a letter; else without it."""
    start, end = match.span()
    if match[1]:
        # Ordering marks is quadratic in their number, and no letter has more than three.
        return ((unicodedata.normalize("NFC", match[1] + match[2][:3])[0], start, end),)
    return [
        (_bare(cluster[0][0]), start + cluster.start(), start + cluster.end())
        for cluster in _CLUSTER.finditer(match[0])
    ]


def _bare_parts(match: re.Match[str]) -> Iterable[Part]:
    return [(_bare(char), at, at + 1) for at, char in enumerate(match[0], match.start())]


def _bare(char: str) -> str:
    return unicodedata.normalize("NFD", char)[0]


class _Words:
    """Writes words in Latin letters that look so: those that mix scripts, and those made of nothing but look-alikes
    that are long or follow a Latin word ("a" and "c" are words of Russian too)."""

    _LONG = 3

    def __init__(self) -> None:
        self._after_latin = False

    def __call__(self, match: re.Match[str]) -> Iterable[Part] | None:
        word = match[0]
        if word.isascii() or not HAS_FOREIGN.search(word):
            self._after_latin = True
            return None
        alike = ALIKE.fullmatch(word) and (self._after_latin or len(word) >= self._LONG)
        if not alike and not HAS_LATIN.search(word):
            self._after_latin = False
            return None
        self._after_latin = True
        return [(char, at, at + 1) for at, char in enumerate(word.translate(LOOK_ALIKES), match.start())]


_JOINS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=%&#;\\{}")
_JOINS_ASCII = "".join(_JOINS) + "".join(chr(c) for c in (*range(9), *range(14, 32), 127))
_JOINS_OTHER = re.compile(f"[{_LATIN}{_FOREIGN}{_MARK}]")


def settled(text: Text) -> tuple[int, tuple[Folded, ...]]:
    """The raw place up to which an unfinished text reads as it always will, and the views that grow with the text (as
    it reads, folded) up to there. More can follow on each of them; a decoded view that begins before is complete."""
    place = len(text.raw) - open_tail(text)
    growing = [view for view in views(text)[:2] if not view.fixed]
    return place, tuple(view.until(place) for view in growing)


def open_tail(text: Text) -> int:
    """How many characters at the end of an unfinished text may be read otherwise once more follows: its last word, the
    escape or the run of digits that it ends in."""
    raw, begin = text.raw, max(0, len(text.raw) - _TAIL)
    at = len(raw)
    while at > begin:
        line = at = _word_start(raw, begin, at)
        # Base64 goes on in the next line when a line is long; 15 characters can stand for the 60 that a run needs.
        if raw[line - 1 : line] == "\n" and _word_start(raw, begin, line - 1) <= line - 16:
            at = line - 1
            continue
        if raw[line - 2 : line] == "\r\n" and _word_start(raw, begin, line - 2) <= line - 17:
            at = line - 2
            continue
        break
    return len(raw) - at


def _word_start(raw: str, begin: int, at: int) -> int:
    while at > begin:
        low = max(begin, at - 256)  # short pieces, as they are copied
        at = low + len(raw[low:at].rstrip(_JOINS_ASCII))
        if at > low:
            if not _joins(raw[at - 1]):
                break
            at -= 1
    return at


@lru_cache(maxsize=1 << 14)
def _joins(char: str) -> bool:
    """Whether a character that is not ASCII can be part of a word, an escape or a run once it is folded."""
    if char <= "\x7f":
        return False
    folded = plain(char)
    return bool(_HIDDEN.match(char) or _JOINS_OTHER.search(folded) or any(c in _JOINS for c in folded))
