"""Rules for objects with known members and for lists of content parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.core.span import Path, Piece, Span
from gateway.wire.spans import ANY, DEFINITION, ID, At, Found, Rule, Words, entries, is_identifier

Frame = Callable[[Mapping[str, Any], str, str], tuple[str, str]]


def unchanged(_: Mapping[str, Any], role: str, kind: str) -> tuple[str, str]:
    return role, kind


@dataclass(frozen=True, slots=True)
class Thing:
    """An object, or a list of such, with known members. `frame` reads from it who speaks what in it; a string in its
    place follows `bare`, members that are not known follow `rest` and their names count as text."""

    members: Mapping[str, Rule]
    frame: Frame = unchanged
    bare: Rule = Words()
    rest: Rule | None = None

    def visit(self, at: At, found: Found) -> list[At]:
        value = at.value
        if type(value) is str:
            return self.bare.visit(at, found)
        if type(value) is list:
            return entries(at, self, at.role, at.kind)
        if type(value) is not dict:
            return []
        role, kind = self.frame(value, at.role, at.kind)
        below: list[At] = []
        for name, entry in value.items():
            rule = self.members.get(name)
            if rule is None:
                rule = self.rest or ANY
                if found.keys or not is_identifier(name):
                    found.key(name, "definition" if rule is DEFINITION else "other")
            if type(entry) is str:
                if rule is not ID or not is_identifier(entry):  # most strings of a stream's event are ids
                    below.append(At(entry, (*at.path, name), rule, role, kind))
            elif type(entry) is dict or type(entry) is list:
                below.append(At(entry, (*at.path, name), rule, role, kind))
        return below


@dataclass(frozen=True, slots=True)
class Parts:
    """Content: a string, or a list of parts in which texts that follow each other are one span. `part` is the rule of
    one part; None in its place, role and kind are as around it."""

    part: Thing
    kind: str | None = None
    role: str | None = None

    def visit(self, at: At, found: Found) -> list[At]:
        kind = at.kind if self.kind is None else self.kind
        role = at.role if self.role is None else self.role
        if type(at.value) is list:
            return self._listed(at, role, kind, found)
        return self.part.visit(at._replace(role=role, kind=kind), found)

    def _listed(self, at: At, role: str, kind: str, found: Found) -> list[At]:
        below: list[At] = []
        run: list[tuple[Path, str]] = []
        said = (role, kind)  # of the texts in the run
        for child in entries(at, self.part, role, kind):
            part = child.value
            text = part.get("text") if type(part) is dict else None
            if type(text) is not str:
                _join(run, said, found)
                below.append(child)
                continue
            speaker = self.part.frame(part, role, kind)
            if speaker != said:
                _join(run, said, found)
                said = speaker
            run.append(((*child.path, "text"), text))
            below.append(child._replace(value={name: entry for name, entry in part.items() if name != "text"}))
        _join(run, said, found)
        return below


def _join(run: list[tuple[Path, str]], said: tuple[str, str], found: Found) -> None:
    """The texts of the run as one span, each a piece; the run is empty then."""
    pieces: list[Piece] = []
    end = 0
    for path, text in run:
        pieces.append(Piece(path, end, end + len(text)))
        end += len(text)
    if end:
        found.spans.append(Span("".join(text for _, text in run), *said, tuple(pieces)))
    run.clear()


def apart(span: Span) -> list[tuple[int, Span]]:
    """The texts that a joined span was made of, each with its offset in it; none for a span of one piece. A number that
    a word boundary ends in its own part has none once the next part is glued to it: guards should see both."""
    if len(span.pieces) < 2:
        return []
    return [
        (piece.start, Span(text, span.role, span.kind, (Piece(piece.path, 0, len(text)),), span.escaped))
        for piece in span.pieces
        if (text := span.text[piece.start : piece.end])
    ]
