"""How much of an unfinished text patterns can still reach into: what a stream must hold back, and no more.

A match attempt is open when some way through the pattern has read every character up to the end of the text and wants
another. The patterns become one automaton of characters; it is run backwards from the end, where every state is open,
and stops at the first character that lets none survive. Ordinary prose costs its last word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from re import _compiler, _constants, _parser  # type: ignore[attr-defined]  # the parser of `re`, which has no public name
from typing import Any, NamedTuple

from gateway.core.span import Text
from gateway.guards import normal

COPIES = 128
"""A repetition is counted exactly up to here; a longer one counts as one without an end (it holds more, never less)."""
STATES = 200_000
MEMO = 20_000
"""Steps of the automaton that are remembered; then it starts anew."""
END = 0
"""The state that wants nothing more."""
SYNTAX = re.IGNORECASE | re.MULTILINE | re.DOTALL | re.VERBOSE


class Reach:
    """Safe for many threads: what is remembered is only ever added, or dropped as a whole."""

    def __init__(self, automaton: Automaton, span: int) -> None:
        self._automaton = automaton
        self._span = span
        self._start = automaton.begin()

    @classmethod
    def of(cls, patterns: Iterable[str], *, flags: int = 0, limit: int = 512) -> Reach:
        """`patterns` in the syntax of `re`, compiled with `flags`; `re.error` when one is not. A pattern without a
        greatest length is followed over `limit` characters. Right for `re`, `regex` and RE2 alike: a class such as
        ``\\w`` holds what any of them takes for it."""
        drawing, span = _Drawing(), 0
        for pattern in dict.fromkeys(patterns):
            tree = _parser.parse(pattern, flags & SYNTAX)
            width = drawing.add(tree, (flags | tree.state.flags) & SYNTAX)
            span = max(span, limit if width == math.inf else int(width))
        return cls(drawing.automaton(), span)

    def open_tail(self, text: Text) -> int:
        """How many raw characters at the end could still become, or decide, a match, in any view of the text."""
        return open_tail(text, self.held)

    def held(self, text: str) -> int:
        """The same for a plain string, which reads as it always will."""
        state, longest = self._start, 0
        for back, character in enumerate(text[: -self._span - 1 : -1], 1):
            after = state.steps.get(character)
            if after is None:
                after = self._step(state, character)
            if not after.live:
                break
            if after.opens or (after.bounded and _may_bound(text, len(text) - back)):
                longest = back
            state = after
        return longest

    def _step(self, state: State, character: str) -> State:
        if self._automaton.full():
            self._automaton = self._automaton.anew()
            self._start = self._automaton.begin()
        return self._automaton.step(state, character)


class State:
    """The places that are still alive, one bit each; `opens`: a pattern that begins here is open; `bounded`: one is if
    a word begins or ends here."""

    __slots__ = ("bounded", "live", "opens", "steps")

    def __init__(self, live: int, opens: bool, bounded: bool) -> None:
        self.live = live
        self.opens = opens
        self.bounded = bounded
        self.steps: dict[str, State] = {}


class Leaf(NamedTuple):
    """Places that take the same characters, and how to tell which."""

    kinds: tuple[re.Pattern[str], ...]
    places: int

    def takes(self, character: str) -> bool:
        # RE2 alone leaves the vertical tab out of \s.
        return character == "\v" or any(kind.match(character) for kind in self.kinds)


class Takers(NamedTuple):
    """The places that take a character, and the jumps from them."""

    places: int
    jumps: list[tuple[int, int]]


class Automaton:
    """Places are bits. Place i leads to place i-1 when bit i of `chain` is set, and by `jumps` (from, to) elsewhere."""

    def __init__(
        self, leaves: list[Leaf], first: int, bounded: int, chain: int, jumps: list[tuple[int, int]], places: int
    ) -> None:
        self._shape = (leaves, first, bounded, chain, jumps, places)
        self._leaves, self._first, self._bounded, self._chain, self._jumps, self._places = self._shape
        self._states: dict[int, State] = {}
        self._takers: dict[str, Takers] = {}
        self._alike: dict[int, Takers] = {}  # characters that the same places take share what is known of them
        self._steps = 0

    def begin(self) -> State:
        """At the end of the text: wherever a pattern stands, it wants another character."""
        return State(self._places, False, False)

    def full(self) -> bool:
        return self._steps >= MEMO

    def anew(self) -> Automaton:
        return Automaton(*self._shape)

    def step(self, state: State, character: str) -> State:
        """The state one character further left."""
        taken = self._takers.get(character)
        if taken is None:
            taken = self._takers[character] = self._takes(character)
        live = (state.live << 1) & self._chain & taken.places
        for source, target in taken.jumps:
            if state.live & target:
                live |= source
        after = self._states.setdefault(live, State(live, bool(live & self._first), bool(live & self._bounded)))
        state.steps[character] = after
        self._steps += 1
        return after

    def _takes(self, character: str) -> Takers:
        takers = 0
        for leaf in self._leaves:
            if leaf.takes(character):
                takers |= leaf.places
        if takers not in self._alike:
            jumps = [(source & takers, target) for source, target in self._jumps if source & takers]
            self._alike[takers] = Takers(takers, jumps)
        return self._alike[takers]


class _Drawing:
    """Draws patterns from their last element to their first, so that each state knows what follows it."""

    def __init__(self) -> None:
        self._next: list[list[int]] = [[]]  # state -> the states it leads to; END leads nowhere
        self._width: list[float] = [0]  # state -> the most characters that are read from it on
        self._place: dict[int, str] = {}  # states that take a character -> the key of their leaf
        self._kinds: dict[str, tuple[re.Pattern[str], ...]] = {}
        self._firsts: list[int] = []
        self._bounded: list[int] = []  # of patterns that begin with a word boundary
        self._groups: dict[int, tuple[Any, int]] = {}
        self._draw: dict[Any, Callable[[Any, int, int], int]] = {
            _constants.SUBPATTERN: self._subpattern,
            _constants.ATOMIC_GROUP: self._sequence,
            _constants.BRANCH: self._branch,
            _constants.MAX_REPEAT: self._repeat,
            _constants.MIN_REPEAT: self._repeat,
            _constants.POSSESSIVE_REPEAT: self._repeat,
            _constants.ASSERT: self._look,
            _constants.ASSERT_NOT: self._look,
            _constants.AT: self._anchor,
            _constants.GROUPREF: self._group,
            _constants.GROUPREF_EXISTS: self._condition,
        }

    def add(self, tree: Any, flags: int) -> float:
        """Draws one pattern and returns the most characters that it reads, anchors and what it looks at included."""
        self._groups = dict(_groups(tree, flags))
        first = self._sequence(tree, flags, END)
        (self._bounded if _begins_with_boundary(tree) else self._firsts).append(first)
        return self._width[first]

    def automaton(self) -> Automaton:
        bits = {state: 1 << index for index, state in enumerate(sorted(self._place))}
        leaves: dict[str, int] = {}
        jumps: dict[int, int] = {}
        chain = 0
        for state, bit in bits.items():
            key = self._place[state]
            leaves[key] = leaves.get(key, 0) | bit
            targets = self._reached(self._next[state], bits)
            if targets & (bit >> 1):
                chain |= bit
                targets &= ~(bit >> 1)
            if targets:
                jumps[targets] = jumps.get(targets, 0) | bit
        return Automaton(
            [Leaf(self._kinds[key], places) for key, places in leaves.items()],
            self._reached(self._firsts, bits),
            self._reached(self._bounded, bits),
            chain,
            [(source, target) for target, source in jumps.items()],
            (1 << len(bits)) - 1,
        )

    def _reached(self, states: Iterable[int], bits: dict[int, int]) -> int:
        """The places that can be reached without taking a character."""
        found, seen, rest = 0, set(states), list(states)
        while rest:
            state = rest.pop()
            if state in bits:
                found |= bits[state]
            else:
                fresh = set(self._next[state]) - seen
                seen |= fresh
                rest += fresh
        return found

    def _fork(self, *states: int) -> int:
        if len(self._next) > STATES:
            raise re.error(f"too large to be followed in a stream: it has more than {STATES} elements when spelled out")
        self._next.append(list(states))
        self._width.append(max(self._width[state] for state in states))
        return len(self._next) - 1

    def _take(self, item: Any, flags: int, after: int) -> int:
        """A state that takes one character. `re` itself says which, with and without re.ASCII: engines differ there."""
        key = f"{flags}{item}"
        if key not in self._kinds:
            self._kinds[key] = tuple(_compile(item, flags | extra) for extra in (re.UNICODE, re.ASCII))
        state = self._fork(after)
        self._width[state] += 1
        self._place[state] = key
        return state

    def _anything(self, after: int) -> int:
        return self._take((_constants.ANY, None), re.DOTALL, after)

    def _sequence(self, items: Any, flags: int, after: int) -> int:
        for op, value in reversed(list(items)):
            draw = self._draw.get(op)
            after = draw(value, flags, after) if draw else self._take((op, value), flags, after)
        return after

    def _subpattern(self, value: Any, flags: int, after: int) -> int:
        _, added, dropped, items = value
        return self._sequence(items, _scoped(flags, added, dropped), after)

    def _branch(self, value: Any, flags: int, after: int) -> int:
        return self._fork(*[self._sequence(items, flags, after) for items in value[1]])

    def _repeat(self, value: Any, flags: int, after: int) -> int:
        least, most, items = value
        if most <= COPIES:
            entry = after
            for _ in range(most - least):
                entry = self._fork(self._sequence(items, flags, entry), after)
        else:
            entry = self._loop(items, flags, after, most - min(least, COPIES))
        for _ in range(min(least, COPIES)):
            entry = self._sequence(items, flags, entry)
        return entry

    def _loop(self, items: Any, flags: int, after: int, most: int) -> int:
        entry = self._fork(after)
        body = self._sequence(items, flags, entry)
        self._next[entry].append(body)
        if self._width[entry] < self._width[body]:
            once = self._width[body] - self._width[entry]
            self._width[entry] += once * (math.inf if most >= _constants.MAXREPEAT - COPIES else most)
        return entry

    def _look(self, value: Any, flags: int, after: int) -> int:
        """What is looked ahead at is read and then forgotten; what is looked back at is there already."""
        direction, items = value
        return after if direction < 0 else self._fork(self._sequence(items, flags, END), after)

    def _anchor(self, where: Any, _: int, after: int) -> int:
        """The next character decides ``\\b`` and ``$``; ``$`` looks behind a last line's end as well."""
        if where in {_constants.AT_BEGINNING, _constants.AT_BEGINNING_STRING}:
            return after
        ahead = self._anything(END)
        line = self._take((_constants.LITERAL, ord("\n")), 0, ahead) if where is _constants.AT_END else ahead
        return self._fork(ahead, line, after)

    def _group(self, group: int, _: int, after: int) -> int:
        """What a group has matched is something that it can match."""
        items, flags = self._groups[group]
        return self._sequence(items, flags, after)

    def _condition(self, value: Any, flags: int, after: int) -> int:
        _, yes, no = value
        return self._fork(self._sequence(yes, flags, after), self._sequence(no or (), flags, after))


def _may_bound(text: str, place: int) -> bool:
    """Whether a word may begin or end at the place. Engines differ only about characters beyond ASCII."""
    if place == 0:
        return True
    before, after = text[place - 1], text[place]
    if not (before.isascii() and after.isascii()):
        return True
    return (before.isalnum() or before == "_") != (after.isalnum() or after == "_")


def _begins_with_boundary(items: Any) -> bool:
    for op, value in items:
        if op is _constants.AT:
            return value is _constants.AT_BOUNDARY
        if op is _constants.SUBPATTERN:
            return _begins_with_boundary(value[3])
        if op is _constants.BRANCH:
            return all(_begins_with_boundary(branch) for branch in value[1])
        if op not in {_constants.ASSERT, _constants.ASSERT_NOT}:
            return False
    return False


def open_tail(text: Text, held: Callable[[str], int]) -> int:
    """What the normaliser still holds of an unfinished text, and what `held` says of every view before that: how many
    of its last characters are open. In raw characters."""
    place, settled = normal.settled(text)
    for view in settled:
        end = len(view.text)
        count = held(view.text)
        if count:
            place = min(place, view.raw(end - count, end)[0])
    return len(text.raw) - place


def shortest(pattern: str) -> int:
    """How many characters a match of the pattern has at the least; `re.error` when it is not one for `re`."""
    least: int = _parser.parse(pattern).getwidth()[0]
    return least


def _groups(items: Any, flags: int) -> Iterator[tuple[int, tuple[Any, int]]]:
    """All numbered groups of a parsed pattern, however deep: their content and the flags it stands under."""
    if isinstance(items, tuple) and len(items) == 2 and items[0] is _constants.SUBPATTERN:
        group, added, dropped, inner = items[1]
        flags = _scoped(flags, added, dropped)
        if group is not None:
            yield group, (inner, flags)
        yield from _groups(inner, flags)
    elif isinstance(items, tuple | list | _parser.SubPattern):
        for item in items:
            yield from _groups(item, flags)


def _scoped(flags: int, added: int, dropped: int) -> int:
    return (flags | added) & ~dropped & SYNTAX


def _compile(item: Any, flags: int) -> re.Pattern[str]:
    """A pattern for one parsed element that takes one character."""
    state = _parser.State()
    state.flags = flags
    state.str = ""
    compiled: re.Pattern[str] = _compiler.compile(_parser.SubPattern(state, [item]), flags)
    return compiled
