"""The guard "patterns": named patterns of the policy, matched by RE2 in linear time, whatever the pattern."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from gateway.core.ports import Guard
from gateway.core.span import Finding, Text, View
from gateway.guards.base import BaseGuard, GuardRow
from gateway.guards.normal import Folded, views
from gateway.guards.reach import Reach, shortest

MEMORY = 32 << 20
"""Bytes of RE2's automaton for one pattern; ten times that for the set of all."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]
NOT_SHARED = {
    r"\[\[?\^?:\^?\w+:\]": "write the characters out, [A-Za-z] for [[:alpha:]]",
    r"(?<!\\)(?:\\\\)*\{,\d": "write {0,n} for {,n}",
}
"""What RE2 and Python's parser, which the open tail is computed with, read in different ways -> what to write."""


class Row(GuardRow):
    """Patterns that are findings."""

    type: Literal["patterns"]
    patterns: dict[Name, str] = Field(min_length=1, description="The kind of the findings: a pattern in RE2's syntax.")
    ignore_case: bool = Field(False, description="Upper and lower case are the same.")


def build(row: Row, _: Path) -> Guard:
    return Patterns(row.patterns, ignore_case=row.ignore_case, seconds=row.budget_ms / 1000)


class Patterns(BaseGuard):
    """It stops by itself after `seconds`: one search is linear, but there can be one for every match."""

    def __init__(self, patterns: Mapping[str, str], *, ignore_case: bool = False, seconds: float = 1) -> None:
        import re2  # noqa: PLC0415 - heavy

        written = {name: f"(?i){pattern}" if ignore_case else pattern for name, pattern in patterns.items()}
        self._kinds = list(written)
        self._patterns = [_compiled(name, pattern) for name, pattern in written.items()]
        self._set = re2.Set.SearchSet(_options(MEMORY * 10))
        for pattern in written.values():
            self._set.Add(pattern)
        try:
            self._set.Compile()
        except re2.error:
            raise ValueError("patterns: together they are too large for RE2; split them over two guards") from None
        self._reach = Reach.of(written.values())
        self._seconds = seconds

    def check(self, view: View) -> list[Finding]:
        deadline = monotonic() + self._seconds
        found = {
            Finding(index, *place, kind)
            for index, text in enumerate(view.texts)
            for folded in views(text)
            for place, kind in self._places(folded, deadline)
        }
        return sorted(found)

    def open_tail(self, text: Text) -> int:
        return self._reach.open_tail(text)

    def _places(self, view: Folded, deadline: float) -> Iterator[tuple[tuple[int, int], str]]:
        text = encodable(view.text)
        for index in self._set.Match(text) or ():
            for match in self._patterns[index].finditer(text):
                if monotonic() > deadline:
                    raise TimeoutError(f"{self._kinds[index]} has too many matches for its time")
                yield view.raw(*match.span()), self._kinds[index]


def encodable(text: str) -> str:
    """The text with U+FFFD for halves of surrogate pairs, which UTF-8 has not. Offsets stay."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return re.sub("[\ud800-\udfff]", "\ufffd", text)
    return text


def _options(memory: int) -> Any:
    import re2  # noqa: PLC0415

    options = re2.Options()
    options.log_errors = False
    options.max_mem = memory
    return options


def _compiled(name: str, pattern: str) -> Any:
    """The pattern for RE2. ValueError: RE2 or Python's parser refuses it, or it matches where nothing is."""
    import re2  # noqa: PLC0415

    try:
        compiled = re2.compile(pattern, _options(MEMORY))
    except re2.error as fault:
        reason = fault.args[0].decode() if isinstance(fault.args[0], bytes) else fault.args[0]
        raise ValueError(
            f"patterns.{name}: RE2 refuses it ({reason}); it has no backreferences and no lookaround, "
            "and repeats at most 1000 times"
        ) from None
    for difference, fix in NOT_SHARED.items():
        if re.search(difference, pattern):
            raise ValueError(f"patterns.{name}: RE2 and Python read it in different ways; {fix}")
    try:
        Reach.of([pattern])
        empty = shortest(pattern) == 0
    except re.error as fault:
        raise ValueError(f"patterns.{name}: only what RE2 shares with Python's re can be used ({fault})") from None
    if empty:
        raise ValueError(f"patterns.{name}: it matches the empty text, so everywhere; ask for at least one character")
    return compiled
