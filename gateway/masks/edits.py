"""Where texts are changed: findings become edits, edits become the new strings of a document, and JSON stays JSON."""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from gateway.core.span import Finding, Path, Span

Source = TypeVar("Source")
Write = Callable[[int, str], str]

_HEX = "[0-9a-fA-F]"
# Two escapes that are one character beyond U+FFFF are one unit: a half alone is no character.
_UNIT = rf"\\(?:u[dD][89abAB]{_HEX}{{2}}\\u[dD][c-fC-F]{_HEX}{{2}}|u{_HEX}{{4}}|.)"
_UNFINISHED = (
    rf"\\(?:u{_HEX}{{0,3}}|u[dD][89abAB]{_HEX}{{2}}(?:\\(?:u(?:[dD](?:[c-fC-F]{_HEX}?)?)?)?)?)?\Z"  # an escape, cut off
)
_ESCAPE = re.compile(_UNIT, re.DOTALL)
_BODY = re.compile(rf'(?:[^"\\]++|(?!{_UNFINISHED}){_UNIT})*+', re.DOTALL)
_OUTSIDE = re.compile(r'"|(?P<bare>[^\s{}\[\],:"]++)')
_SHORT = {"\\" + name: says for name, says in zip('"\\/bfnrt', '"\\/\b\f\n\r\t', strict=True)}
_SURROGATE = re.compile("[\ud800-\udfff]")
WORD = "[0-9A-Za-z_\u00c0-\u052f]"
_IS_WORD = re.compile(WORD)


@dataclass(frozen=True, slots=True)
class Edit:
    """`text[start:end]` becomes `text`, which can be somebody's data and is never shown."""

    start: int
    end: int
    text: str = field(repr=False)


def merge(found: Iterable[tuple[Finding, Source]]) -> list[tuple[Finding, Source]]:
    """Findings of all guards, each with whatever it came from (its guard), in order of place; those of a text that
    overlap or touch are one, from the first's start to the last's end. Kind, score and source are those of the highest
    score, then of the longest."""
    merged: list[tuple[Finding, Source]] = []
    group: list[tuple[Finding, Source]] = []
    end = 0
    for finding, source in sorted(found, key=lambda one: (one[0].text, one[0].start, one[0].end, one[0].kind)):
        if group and (finding.text != group[0][0].text or finding.start > end):
            merged.append(_one(group, end))
            group = []
        end = max(end, finding.end) if group else finding.end
        group.append((finding, source))
    if group:
        merged.append(_one(group, end))
    return merged


def _one(group: Sequence[tuple[Finding, Source]], end: int) -> tuple[Finding, Source]:
    best, source = max(group, key=lambda one: (one[0].score, one[0].end - one[0].start))
    return Finding(best.text, group[0][0].start, end, best.kind, best.score), source


def border(merged: Iterable[tuple[Finding, Source]], limit: int) -> int:
    """How much of an unfinished text may be released when no guard needs what is before `limit`: no finding lies
    across the border, nor ends at it, where another may still touch it. `merged` are findings of one text."""
    for finding, _ in merged:
        if finding.start < limit <= finding.end:
            return finding.start
    return limit


def apply(text: str, edits: Iterable[Edit]) -> str:
    """The text with all edits, which are in order of place and do not overlap."""
    parts: list[str] = []
    at = 0
    for edit in edits:
        if not at <= edit.start <= edit.end <= len(text):
            raise ValueError("edits must be in order, without overlap and within the text")
        parts += text[at : edit.start], edit.text
        at = edit.end
    parts.append(text[at:])
    return "".join(parts)


def pieces_after(span: Span, edits: Sequence[Edit]) -> dict[Path, str]:
    """The new strings of the pieces that change. What is written stands in the first piece that an edit covers; the
    others lose what it covers of them. `edits` are in order of place and do not overlap."""
    ends = [edit.end for edit in edits]
    written = -1  # the last edit whose text has its place
    after: dict[Path, str] = {}
    for piece in sorted(span.pieces, key=lambda one: one.start):
        inner: list[Edit] = []
        index = bisect_right(ends, piece.start)
        while index < len(edits) and edits[index].start < piece.end:
            edit = edits[index]
            new = edit.text if index > written else ""
            start, end = max(edit.start, piece.start), min(edit.end, piece.end)
            inner.append(Edit(start - piece.start, end - piece.start, new))
            written = max(written, index)
            index += 1
        old = span.text[piece.start : piece.end]
        new = apply(old, inner)
        if new != old:
            after[piece.path] = new
    return after


@dataclass(frozen=True, slots=True)
class JsonState:
    """Where JSON source stands after what was fed, for sources that arrive in parts.

    `inside` a string or not; `word`: the last character, decoded, is part of a word; `escape`: an escape sequence that
    is not finished; `bare`: how many characters of a number or another bare value stand at the end.
    """

    inside: bool = False
    word: bool = False
    escape: str = field(default="", repr=False)
    bare: int = 0

    @property
    def pending(self) -> int:
        """How many characters at the end must be held, because an edit could only take them as a whole."""
        return len(self.escape) + self.bare

    def feed(self, text: str) -> JsonState:
        source = self.escape + text
        inside, bare, word, at = self.inside, self.bare, self.word, 0
        while at < len(source):
            if inside:
                end = _body_end(source, at)
                word = _ends_in_word(source[at:end]) if end > at else word
                at = end
                if source[at : at + 1] != '"':
                    return JsonState(True, word, source[at:])
                inside, word, at = False, False, at + 1
                continue
            found = _OUTSIDE.search(source, at)
            if found is None or found.start() > at:
                bare, word = 0, False
            if found is None:
                break
            at = found.end()
            inside = found["bare"] is None
            bare = 0 if inside else bare + at - found.start()
            word = not inside and is_word(source[at - 1])
            if not inside and at < len(source):
                bare, word = 0, False
        return JsonState(inside, word, "", bare)


def _body_end(source: str, at: int) -> int:
    """From `at` inside a string to its closing quote, an unfinished escape, or the end."""
    found = _BODY.match(source, at)
    assert found is not None  # it also matches nothing at all
    return found.end()


def _ends_in_word(body: str) -> bool:
    """`body`, of a string, is not empty and ends with a whole character."""
    at = body.rfind("\\")
    before = body[: at + 1]
    if (len(before) - len(before.rstrip("\\"))) % 2:  # else the last backslash is itself what an escape says
        unit = _ESCAPE.match(body, at)
        if unit is not None and unit.end() == len(body):
            return is_word(json_unescaped(unit[0])[-1])
    return is_word(body[-1])


def is_word(character: str) -> bool:
    """As WORD: scripts that are written without blanks are no part of a name in Latin letters beside them."""
    return _IS_WORD.match(character) is not None


def json_escaped(text: str) -> str:
    """As it is written between the quotes of a JSON string."""
    source = json.dumps(text, ensure_ascii=False)[1:-1]
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", source)


def json_unescaped(source: str) -> str:
    """What stands between the quotes of a JSON string. Escapes that are none stay as they are written, and halves of
    characters, which no text can hold, become U+FFFD."""
    return _ESCAPE.sub(_character, source) if "\\" in source else source


def _character(escape: re.Match[str]) -> str:
    if escape[0] in _SHORT:
        return _SHORT[escape[0]]
    try:
        return _SURROGATE.sub("\ufffd", str(json.loads(f'"{escape[0]}"')))
    except ValueError:
        return escape[0]


def zones(text: str, state: JsonState) -> Iterator[tuple[bool, int, int]]:
    """What can be edited, as (is it a string, start, end): what stands between quotes, and bare values."""
    at, inside = 0, state.inside
    while at < len(text):
        if inside:
            end = _body_end(text, at)
            closed = text[end : end + 1] == '"'
            yield True, at, end if closed else len(text)
            at, inside = end + 1 if closed else len(text), False
            continue
        found = _OUTSIDE.search(text, at)
        if found is None:
            return
        at, inside = found.end(), found["bare"] is None
        if not inside:
            yield False, found.start(), at


def decoded(text: str, state: JsonState) -> tuple[str, Sequence[int]]:
    """JSON source with the escapes in its strings decoded, and where each character of that begins in `text`; one more
    number is where it ends. Ranges of whole characters cut no escape."""
    if "\\" not in text:
        return text, range(len(text) + 1)
    parts: list[str] = []
    starts: list[int] = []
    at = 0
    for string, start, end in zones(text, state):
        for first, last in _escapes(text, start, end) if string else ():
            character = json_unescaped(text[first:last])
            if character == text[first:last]:
                continue
            parts += text[at:first], character
            starts += range(at, first)
            starts += [first] * len(character)
            at = last
    parts.append(text[at:])
    starts += range(at, len(text) + 1)
    return "".join(parts), starts


def _escapes(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Where the escape sequences of the string `text[start:end]` stand."""
    return [found.span() for found in _ESCAPE.finditer(text, start, end)]


def json_edits(text: str, ranges: Sequence[tuple[int, int]], write: Write, state: JsonState) -> list[Edit]:
    """Edits of JSON source, valid before and after, for `ranges` in order of place, without overlap.

    A range is clipped to the strings and bare values it covers, widened to whole escape sequences. `write(i, value)` is
    the new text where `value`, decoded, was covered by range i. A bare value becomes a string, as no text is a number.
    `text` begins at `state`, which has nothing pending.
    """
    edits: list[Edit] = []
    ends = [end for _, end in ranges]
    for string, start, end in zones(text, state):
        index = bisect_right(ends, start)
        units = _escapes(text, start, end) if string and index < len(ranges) and ranges[index][0] < end else []
        inner: list[Edit] = []
        at = start
        while index < len(ranges) and ranges[index][0] < end:
            first, at = _widened(units, max(ranges[index][0], at), min(ranges[index][1], end))
            if first < at:
                inner.append(
                    Edit(first, at, write(index, json_unescaped(text[first:at]) if string else text[first:at]))
                )
            index += 1
        if string:
            edits += [Edit(one.start, one.end, json_escaped(one.text)) for one in inner]
        elif inner:
            edits.append(_quoted(text, start, end, inner))
    return edits


def _widened(units: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int]:
    """No unit is cut in two."""
    first = bisect_right(units, (start, -1)) - 1
    if first >= 0 and units[first][1] > start:
        start = units[first][0]
    last = bisect_left(units, (end, -1)) - 1
    if last >= 0 and units[last][1] > end:
        end = units[last][1]
    return start, end


def _quoted(text: str, start: int, end: int, inner: Iterable[Edit]) -> Edit:
    shifted = [Edit(one.start - start, one.end - start, one.text) for one in inner]
    return Edit(start, end, f'"{json_escaped(apply(text[start:end], shifted))}"')


def mask_edits(
    text: str, ranges: Sequence[tuple[int, int]], write: Write, state: JsonState | None = None
) -> list[Edit]:
    """Edits of a text for the `ranges` of merged findings; `write` as in `json_edits`. `state` says that the text is
    JSON source and where it stands at the text's begin."""
    if state is not None:
        return json_edits(text, ranges, write, state)
    return [Edit(start, end, write(index, text[start:end])) for index, (start, end) in enumerate(ranges)]
