"""Patterns for RE2: the same language where RE2 can say it, a larger one where it cannot.

RE2 knows no lookaround and no back references, and its classes are ASCII. So a pattern is parsed, written again without
what RE2 lacks, and run over an ASCII shadow of the text. Whatever the original finds, the loosened pattern finds too:
it is safe as a filter. Where nothing had to be loosened (`exact`), its matches are the original's matches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from re import _constants as op  # type: ignore[attr-defined]  # the parser of `re`, which has no public name
from re import _parser as sre  # type: ignore[attr-defined]
from typing import Any

import re2
import regex

from gateway.guards.pii_shadow import STANDINS

_LONG = 64  # repeats above this become unbounded: counting states is what makes an automaton large
_EDGE = re.compile(rb"[ \t\n\r]")
_EDGES = (b" ", b"\t", b"\n", b"\r")
_SIGNS = frozenset(map(ord, " \t\n\r!\"#$%&'()*+,-./:;<=>?@[\\]^`{|}~"))
_BLANK = frozenset(map(ord, " \t\n\r\x0b\x0c"))
_CLASSES = {
    op.CATEGORY_DIGIT: r"\d",
    op.CATEGORY_NOT_DIGIT: r"\D",
    op.CATEGORY_SPACE: r"\s\x0b",
    op.CATEGORY_WORD: r"\w",
    op.CATEGORY_NOT_WORD: r"\W",
}


class Unloosable(ValueError):
    """Not in the syntax that Python's own `re` knows: nothing can be said about it."""


@dataclass(frozen=True, slots=True)
class Loose:
    """A loosened pattern. `also`: what must stand in the text besides, from lookaheads that were taken out.
    `least`: the fewest characters of a match. `by_name`: it asks by name for a character that others look
    like in the shadow (the vertical tab, "_", NUL), so that it is exact for ASCII only.

    `exact`: nothing was loosened. `dense`: no blank can be part of a match, or of what decides one, so that a text may
    be searched chunk by chunk between its blanks.
    """

    main: str
    also: tuple[str, ...] = ()
    least: int = 0
    exact: bool = True
    by_name: bool = False
    dense: bool = True


def loosen(pattern: str, flags: int) -> Loose:
    """`flags` are those of `regex` that presidio compiles with: DOTALL, MULTILINE, IGNORECASE."""
    while pattern.startswith("(?i)"):
        pattern, flags = pattern[4:], flags | regex.IGNORECASE
    try:
        parsed = sre.parse(
            pattern.replace("(?i)", ""), int(flags) & int(regex.DOTALL | regex.MULTILINE | regex.IGNORECASE)
        )
    except (sre.error, RecursionError) as fault:
        raise Unloosable(str(fault)) from fault
    writer = _Writer(flags)
    main = writer.sequence(parsed)
    prefix = "(?i)" if flags & regex.IGNORECASE else ""
    return Loose(
        prefix + main,
        tuple(prefix + more for more in writer.also),
        least=parsed.getwidth()[0],
        exact=writer.exact,
        by_name=writer.by_name,
        dense=writer.dense,
    )


def _range(item: tuple[Any, Any]) -> tuple[int, int]:
    """The first and last character of a member of a class; an empty range for a category."""
    code, value = item
    if code is op.RANGE:
        return int(value[0]), int(value[1])
    return (int(value), int(value)) if code is op.LITERAL else (1, 0)


class _Writer:
    """Writes a parsed pattern in RE2's syntax and notes what was lost on the way."""

    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.also: list[str] = []
        self.exact = True
        self.by_name = False
        self.dense = True
        self._groups: dict[int, str] = {}

    def sequence(self, items: Iterable[tuple[Any, Any]]) -> str:
        return "".join(self._item(code, value) for code, value in items)

    def _item(self, code: Any, value: Any) -> str:
        if code is op.LITERAL:
            return self._literal(value)
        if code in (op.NOT_LITERAL, op.ANY):
            return self._wide(code, value)
        if code is op.IN:
            return self._class(value)
        if code is op.BRANCH:
            return "(?:" + "|".join(self.sequence(branch) for branch in value[1]) + ")"
        if code is op.SUBPATTERN:
            return self._group(value)
        if code in (op.MAX_REPEAT, op.MIN_REPEAT):
            return self._repeat(value, "" if code is op.MAX_REPEAT else "?")
        if code in (op.ASSERT, op.ASSERT_NOT):
            return self._look(code, value)
        if code is op.AT:
            return self._boundary(value)
        if code is op.GROUPREF:
            self.exact = False
            return self._groups.get(value, "(?s:.*)")
        raise Unloosable(f"{code} is not known here")

    def _literal(self, code: int) -> str:
        if code in _BLANK:
            self.dense = False
        if code > 127:
            self.exact = False
            return "(?s:.)"
        self.by_name |= code in STANDINS
        return rf"\x{code:02x}"

    def _wide(self, code: Any, value: Any) -> str:
        self.dense = False
        if code is op.NOT_LITERAL:
            return self._negated([(op.LITERAL, value)], False)
        return "(?s:.)"

    def _class(self, items: list[tuple[Any, Any]]) -> str:
        negated = items[0][0] is op.NEGATE
        if negated:
            return self._negated(items[1:], self.dense)
        body = "".join(self._member(code, value) for code, value in items)
        if (op.CATEGORY, op.CATEGORY_WORD) not in items:
            self.by_name |= any(low <= one <= high for low, high in map(_range, items) for one in STANDINS)
        return f"[{body}]" if body else "(?s:.)"

    def _member(self, code: Any, value: Any) -> str:
        if code is op.CATEGORY:
            if value not in _CLASSES:
                raise Unloosable("a class within a class")
            if value is not op.CATEGORY_DIGIT and value is not op.CATEGORY_WORD:
                self.dense = False
            return _CLASSES[value]
        low, high = value if code is op.RANGE else (value, value)
        if any(low <= blank <= high for blank in _BLANK):
            self.dense = False
        if high > 127:
            self.exact = False
        return rf"\x{low:02x}-\x{min(high, 127):02x}" if low < 128 else r"\x00-\x7f"

    def _negated(self, items: list[tuple[Any, Any]], dense: bool) -> str:
        """Blanks stay outside of ``[^\\s...]``; any other negated class may hold them. Only signs and blanks are
        left out for certain: a character beyond ASCII may be excluded in the shadow of a letter."""
        if any(value not in _SIGNS for code, value in items if code is op.LITERAL) or any(
            code is not op.LITERAL and (code, value) != (op.CATEGORY, op.CATEGORY_SPACE) for code, value in items
        ):
            self.exact = self.dense = False
            return "(?s:.)"
        body = "".join(self._member(code, value) for code, value in items)
        self.dense = dense and (op.CATEGORY, op.CATEGORY_SPACE) in items
        return f"[^{body}]"

    def _group(self, value: Any) -> str:
        number, add, remove, items = value
        if add & ~int(regex.IGNORECASE) or remove:
            raise Unloosable("flags within the pattern")
        inner = self.sequence(items)
        if number is not None:
            self._groups[number] = f"(?:{inner})"
        return f"(?:{inner})"

    def _repeat(self, value: Any, lazy: str) -> str:
        low, high, items = value
        inner = self.sequence(items)
        if high is op.MAXREPEAT:
            return f"(?:{inner}){{{low},}}{lazy}"
        if high > _LONG:
            self.exact = False
            return f"(?:{inner}){{{min(low, _LONG)},}}{lazy}"
        return f"(?:{inner}){{{low},{high}}}{lazy}"

    def _look(self, code: Any, value: Any) -> str:
        """A lookaround goes. What a lookahead asks for must be somewhere in the text: that stays as a condition."""
        self.exact = False
        direction, items = value
        inner = self.sequence(items)
        if code is op.ASSERT and direction == 1:
            self.also.append(inner)
        return ""

    def _boundary(self, at: Any) -> str:
        if at is op.AT_BOUNDARY:
            return r"\b"
        if at is op.AT_NON_BOUNDARY:
            return r"\B"
        self.dense = self.exact = False  # line and text ends: say nothing about them
        return ""


def options() -> Any:
    """For patterns and texts of bytes. The memory is what automata may grow to, not what they take."""
    made = re2.Options()
    made.log_errors = False
    made.max_mem = 256 << 20
    made.encoding = re2.Options.Encoding.LATIN1
    return made


@cache
def compiled(pattern: str) -> Any:
    """For bytes. `re2.error` where it is beyond RE2."""
    return re2.compile(pattern.encode("ascii"), options())


def chunks(loose: Loose, ascii_text: bytes) -> Iterator[tuple[int, int]]:
    """The stretches between blanks in which a dense pattern, and what it asks for besides, can be found."""
    first, *rest = [compiled(pattern) for pattern in (loose.main, *loose.also)][::-1]
    done = 0
    while found := first.search(ascii_text, done):
        left = max(ascii_text.rfind(blank, done, found.start()) for blank in _EDGES) + 1 or done
        edge = _EDGE.search(ascii_text, found.end())
        done = edge.start() if edge else len(ascii_text)
        if done - left >= loose.least and all(pattern.search(ascii_text[left:done]) for pattern in rest):
            yield left, done
