"""Texts and where they stand; what guards look at and what they report. Offsets are characters, ends are exclusive."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Path = tuple[str | int, ...]
Direction = Literal["input", "output"]


@dataclass(frozen=True, slots=True)
class Piece:
    """The string at `path` of a JSON document is `text[start:end]` of its span."""

    path: Path
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Span:
    """A text that a client or a model can see.

    `role` is who says it: system, developer, user, assistant, tool, or "" where nobody does. `kind` is what it is:
    content, arguments, result, reasoning, refusal, definition, name, media, other. `escaped`: the text is JSON source
    (the arguments of a tool call), so that what it says shows only once its escapes are decoded.
    """

    text: str
    role: str
    kind: str
    pieces: tuple[Piece, ...]
    escaped: bool = False


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a span that a stream's event adds. Deltas of one `lane` are one text, in order of their events.

    `whole`: the event repeats a text that is complete (``response.completed``): it is a lane of its own.
    """

    lane: Hashable
    text: str
    role: str
    kind: str
    path: Path
    escaped: bool = False
    whole: bool = False


@dataclass(slots=True)
class Text:
    """One text under the eyes of the guards. `views` is filled by `guards/normal.py` and shared by all guards."""

    raw: str
    role: str = "user"
    kind: str = "content"
    escaped: bool = False
    views: Any = None


@dataclass(frozen=True, slots=True)
class Context:
    """What an output guard may know of the request: the texts of its system and user turns, and the JSON Schema that
    the answer was asked to follow (`response_format`), None without one."""

    system: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    json_object: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """What is checked together. `whole` is False in the middle of a stream, where more text follows."""

    direction: Direction
    texts: tuple[Text, ...]
    whole: bool = True


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """What a guard saw: never the text. `text` is the index in the View; a finding about a text as a whole spans it.

    `score` is the guard's own probability, 1.0 where it knows only yes and no. `repair` is a text that is right in the
    span's place, where the guard knows one (a JSON document whose last brace was missing).
    """

    text: int
    start: int
    end: int
    kind: str
    score: float = 1.0
    repair: str | None = field(default=None, compare=False, repr=False)
