"""The gate of a stream: frames are held until what they say is decided, then leave as they came or rewritten. Pure.

Each lane (one choice's content, one tool's arguments) is one text. The guards say how much of its end could still
become a finding; what lies before is decided: it is clear, or edited. A frame leaves when all its pieces are decided
and the frames before it have left, so the order never changes. What is decided once never changes, and it depends on
the text alone and not on how it was cut into frames.

Left of what is undecided a lane keeps some text that has left already: findings may need words before them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.core.span import Delta, Path, Text
from gateway.masks.edits import Edit, JsonState

LEFT_CONTEXT = 200
MAX_HELD_CHARACTERS = 1 << 20


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a lane that the guards look at. What is before `since` was decided earlier, what is from `until`
    on is not decided yet (offsets in the text). `state`: where JSON source (an escaped text) stands at the begin."""

    text: Text
    since: int
    until: int
    whole: bool
    state: JsonState | None = None


OpenTail = Callable[[Text, JsonState | None], int]
"""How much of the end of an unfinished text is not to be decided."""

Decide = Callable[[Window], tuple[Sequence[Edit], int]]
"""Edits in order, without overlap, and how far the text is decided: at most `until`. Raises what cuts the stream."""

Rewrite = Callable[[bytes, Mapping[Path, str]], bytes]
"""(frame, new strings by path) -> frame."""


class TooMuchHeld(Exception):
    """A stream holds more undecided text than the gate keeps."""


@dataclass(slots=True)
class _Lane:
    """Offsets are counted from the start of the lane; `text` begins at `base`."""

    role: str
    kind: str
    escaped: bool
    text: str = ""
    base: int = 0
    decided: int = 0
    edits: list[Edit] = field(default_factory=list)
    state: JsonState | None = None  # of an escaped text, at `base`
    looked: bool = True  # whether the guards have seen all of `text`

    @property
    def length(self) -> int:
        return self.base + len(self.text)


@dataclass(slots=True)
class _Piece:
    lane: _Lane
    start: int
    end: int
    text: str
    path: Path


@dataclass(slots=True)
class _Held:
    frame: bytes
    pieces: list[_Piece]


class Gate:
    """`open_tail` and `decide` are the guards, `rewrite` the wire format."""

    def __init__(
        self, open_tail: OpenTail, decide: Decide, rewrite: Rewrite, max_held: int = MAX_HELD_CHARACTERS
    ) -> None:
        self._open_tail = open_tail
        self._decide = decide
        self._rewrite = rewrite
        self._max_held = max_held
        self._lanes: dict[Hashable, _Lane] = {}
        self._held: deque[_Held] = deque()
        self._held_characters = 0

    def feed(self, frame: bytes, deltas: Sequence[Delta] = ()) -> None:
        """Takes one frame. TooMuchHeld when what is undecided outgrows the gate."""
        pieces = []
        for delta in deltas:
            lane = self._lane(delta)
            start = lane.length
            lane.text += delta.text
            lane.looked = lane.looked and not delta.text
            pieces.append(_Piece(lane, start, lane.length, delta.text, delta.path))
            self._held_characters += len(delta.text)
            if delta.whole:
                self._look(lane, whole=True)
        if self._held_characters > self._max_held:
            raise TooMuchHeld
        self._held.append(_Held(frame, pieces))

    def release(self) -> list[bytes]:
        """The frames that may leave now."""
        for lane in self._lanes.values():
            if not lane.looked:
                self._look(lane, whole=False)
        return self._leaving()

    def end(self, ends: Callable[[Hashable], bool] = lambda _: True) -> list[bytes]:
        """The lanes that `ends` names are complete (all, at the end of the stream): what they held is decided."""
        for key, lane in self._lanes.items():
            if ends(key) and lane.decided < lane.length:
                self._look(lane, whole=True)
        return self._leaving()

    def texts(self) -> list[Text]:
        """What the lanes hold."""
        return [Text(lane.text, lane.role, lane.kind, lane.escaped) for lane in self._lanes.values()]

    def _lane(self, delta: Delta) -> _Lane:
        if delta.whole:
            return _new_lane(delta)
        lane = self._lanes.get(delta.lane)
        if lane is None:
            lane = self._lanes[delta.lane] = _new_lane(delta)
        return lane

    def _look(self, lane: _Lane, *, whole: bool) -> None:
        self._forget(lane)
        text = Text(lane.text, lane.role, lane.kind, lane.escaped)
        clear = lane.length if whole else lane.length - self._open_tail(text, lane.state)
        lane.looked = True
        if clear <= lane.decided:
            return
        edits, until = self._decide(Window(text, lane.decided - lane.base, clear - lane.base, whole, lane.state))
        clear = lane.base + until
        for edit in edits:
            start, end = lane.base + edit.start, lane.base + edit.end
            if end <= lane.decided:
                continue  # seen before
            if start >= clear:
                break
            if end > clear:
                clear = start
                break
            lane.edits.append(Edit(max(start, lane.decided), end, edit.text))
        lane.decided = max(lane.decided, clear)

    def _forget(self, lane: _Lane) -> None:
        """Drops the text that is no longer needed, up to a blank: a word is never cut."""
        cut = lane.decided - lane.base - LEFT_CONTEXT
        if cut <= 0:
            return
        cut = max(lane.text.rfind(" ", 0, cut), lane.text.rfind("\n", 0, cut)) + 1
        lane.state = lane.state.feed(lane.text[:cut]) if lane.state is not None else None
        lane.text = lane.text[cut:]
        lane.base += cut

    def _leaving(self) -> list[bytes]:
        leaving = []
        while self._held and all(piece.end <= piece.lane.decided for piece in self._held[0].pieces):
            held = self._held.popleft()
            self._held_characters -= sum(piece.end - piece.start for piece in held.pieces)
            leaving.append(self._written(held))
        return leaving

    def _written(self, held: _Held) -> bytes:
        changed: dict[Path, str] = {}
        for piece in held.pieces:
            changes = [edit for edit in piece.lane.edits if edit.start < piece.end and edit.end > piece.start]
            if changes:
                changed[piece.path] = _piece_text(piece, changes)
            piece.lane.edits = [edit for edit in piece.lane.edits if edit.end > piece.end]
        return self._rewrite(held.frame, changed) if changed else held.frame


def _piece_text(piece: _Piece, changes: Sequence[Edit]) -> str:
    """A new text stands in the piece in which its change begins; the other pieces lose what it covers."""
    parts = []
    at = piece.start
    for change in changes:
        parts.append(piece.text[at - piece.start : max(at, change.start) - piece.start])
        if change.start >= piece.start:
            parts.append(change.text)
        at = min(max(at, change.end), piece.end)
    parts.append(piece.text[at - piece.start :])
    return "".join(parts)


def _new_lane(delta: Delta) -> _Lane:
    return _Lane(delta.role, delta.kind, delta.escaped, state=JsonState() if delta.escaped else None)
