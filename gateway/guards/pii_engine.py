"""Presidio's findings at a fraction of its cost.

One pass of RE2 over the text says which patterns can match at all; only those run, by RE2 itself where it can say the
same (linear time), else by `regex` over the chunks in question. Validators, context words and the way results swallow
each other are presidio's own or repeat its rules. `tests/guards/test_pii.py` compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple, cast

import phonenumbers
import re2
import regex
from presidio_analyzer import EntityRecognizer, PatternRecognizer
from presidio_analyzer.predefined_recognizers import IbanRecognizer, PhoneRecognizer
from presidio_analyzer.predefined_recognizers.country_specific.south_africa.za_phone_number_recognizer import (
    ZaPhoneNumberRecognizer,
)

from gateway.guards.pii_context import ContextWords, boosted
from gateway.guards.pii_loose import Loose, Unloosable, chunks, compiled, loosen, options
from gateway.guards.pii_phone import CANDIDATE, Phones
from gateway.guards.pii_shadow import Shadow

TIMEOUT = 5.0
"""Seconds for one pattern in `regex`, which can backtrack. Beyond it TimeoutError: the guard has not run."""
DISTANT = r"\b((?=.*?[a-zA-Z])(?=.*?[0-9]{4})[\w@#$%^?~-]{10})\b"
"""A pattern of IN_PAN that looks ahead to the end of the text from every word. It asks for a letter and for four digits
anywhere behind, so that only the last of each matters: found once, from the end."""
_NEAR = r"\b[\w@#$%^?~-]{10}\b"


class Match(NamedTuple):
    kind: str
    start: int
    end: int
    score: float


class Rule:
    """One pattern of a recogniser."""

    def __init__(self, owner: PatternRecognizer, pattern: str, score: float) -> None:
        self.owner = owner
        self.pattern = pattern
        self.score = score
        flags = owner.global_regex_flags or 0
        self._distant = pattern == DISTANT
        self._regex = regex.compile(_NEAR if self._distant else pattern, flags)
        self.loose = _loose(_NEAR if self._distant else pattern, flags)

    def find(self, shadow: Shadow) -> Iterator[Match]:
        for start, end in self._spans(shadow):
            if end > start and (score := self._judge(shadow.text[start:end])) > 0:
                yield Match(self.owner.supported_entities[0], start, end, score)

    def _spans(self, shadow: Shadow) -> Iterable[tuple[int, int]]:
        loose = self.loose
        if loose is not None and loose.exact and (shadow.text.isascii() or (shadow.faithful and not loose.by_name)):
            spans: Iterable[tuple[int, int]] = (found.span() for found in compiled(loose.main).finditer(shadow.ascii))
        elif loose is not None and loose.dense:
            spans = self._by_chunk(shadow, loose)
        else:
            spans = (found.span() for found in self._regex.finditer(shadow.text, timeout=TIMEOUT))
        return _before(shadow.text, spans) if self._distant else spans

    def _by_chunk(self, shadow: Shadow, loose: Loose) -> Iterator[tuple[int, int]]:
        """Dense patterns see no further than the next blank, so a chunk between blanks is a text of its own."""
        for left, right in chunks(loose, shadow.ascii):
            for found in self._regex.finditer(shadow.text[left:right], timeout=TIMEOUT):
                yield found.start() + left, found.end() + left

    def _judge(self, value: str) -> float:
        """The score after the recogniser's own check of the value, 0 where that says no."""
        valid = self.owner.validate_result(value)
        if self.owner.invalidate_result(value):
            return 0.0
        return self.score if valid is None else float(bool(valid))


def _loose(pattern: str, flags: int) -> Loose | None:
    """None where nothing can be said about the pattern in RE2: it always runs."""
    try:
        loose = loosen(pattern, flags)
        for part in (loose.main, *loose.also):
            compiled(part)
    except (Unloosable, re2.error):
        return None
    return loose


def _before(text: str, spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    last = [regex.search("(?ri)" + what, text) for what in ("[a-zA-Z]", "[0-9]{4}")]
    if None not in last:
        limit = min(found.start() for found in last)
        yield from (span for span in spans if span[0] <= limit)


class Plan:
    """A recogniser and how it is run: `find` yields what it would return."""

    def __init__(self, owner: EntityRecognizer) -> None:
        self.context = tuple(word.lower() for word in owner.context or ())
        self.rules: list[Rule] = []
        self.whole: Callable[[Shadow, Phones], Iterable[Match]] | None = None
        if isinstance(owner, IbanRecognizer):
            self.rules = _rules(owner)
            self.whole = lambda shadow, _: _asked(owner, shadow.text)
        elif isinstance(owner, PatternRecognizer):
            self.rules = _rules(owner)
        elif isinstance(owner, PhoneRecognizer):
            self.whole = lambda _, phones: _phones(owner, phones)
        else:
            self.whole = lambda shadow, _: _asked(owner, shadow.text)

    def find(self, shadow: Shadow, phones: Phones, rules: Sequence[Rule]) -> list[Match]:
        """`rules`: those of this recogniser that can match."""
        if self.whole is None:
            return without_contained(found for rule in rules for found in rule.find(shadow))
        return without_contained(self.whole(shadow, phones)) if rules or not self.rules else []


def _rules(owner: PatternRecognizer) -> list[Rule]:
    return [Rule(owner, pattern.regex, pattern.score) for pattern in cast(Any, owner).patterns]


def _asked(owner: EntityRecognizer, text: str) -> Iterator[Match]:
    for found in owner.analyze(text, owner.supported_entities, cast(Any, None)):
        yield Match(found.entity_type, found.start, found.end, found.score)


def _phones(owner: PhoneRecognizer, phones: Phones) -> Iterator[Match]:
    for start, end, number in phones.find(owner.supported_regions, owner.leniency or 0):
        if not isinstance(owner, ZaPhoneNumberRecognizer) or _south_african(owner, number):
            yield Match(owner.supported_entities[0], start, end, owner.SCORE)


def _south_african(owner: ZaPhoneNumberRecognizer, number: phonenumbers.PhoneNumber) -> bool:
    here: bool = phonenumbers.region_code_for_number(number) == owner.REGION
    return here and owner._classify(number) == owner.target_classification


def without_contained(found: Iterable[Match]) -> list[Match]:
    """Without matches that lie in another of their kind with at least their score, as presidio does it."""
    kept: list[Match] = []
    active: list[Match] = []
    for match in sorted(set(found), key=lambda m: (m.kind, m.start, m.start - m.end, -m.score)):
        active = [other for other in active if other.kind == match.kind and other.end >= match.start]
        if not any(match.end <= other.end and match.score <= other.score for other in active):
            kept.append(match)
            active.append(match)
    return kept


MAX_KNOWN = 4096


class Engine:
    """Recognisers of one or more languages, built once, used by many threads at the same time."""

    def __init__(self, owners: Sequence[EntityRecognizer], stop: frozenset[str]) -> None:
        self._plans = [Plan(owner) for owner in owners]
        self._stop = stop
        self._always: set[int] = set()
        self._needs: dict[int, list[int]] = {}
        self._known: dict[frozenset[int], list[tuple[Plan, list[Rule]]]] = {}
        self._set, self._sign = self._fill()

    @cached_property
    def _rules(self) -> list[tuple[Plan, Rule]]:
        return [(plan, rule) for plan in self._plans for rule in plan.rules]

    def _fill(self) -> tuple[re2.Set, int]:
        """The set of all loosened patterns; a rule may need several of them to be in the text. One pattern is in every
        text: without it the set ran out of memory, which RE2 tells in no other way."""
        found = re2.Set.SearchSet(options())
        sign, known = found.Add(b""), {}
        for number, (_, rule) in enumerate(self._rules):
            if rule.loose is None:
                self._always.add(number)
                continue
            for part in (rule.loose.main, *rule.loose.also):
                if part not in known:
                    known[part] = found.Add(part.encode("ascii"))
            self._needs[number] = [known[part] for part in (rule.loose.main, *rule.loose.also)]
        found.Compile()
        return found, sign

    def find(
        self, text: str, *, threshold: float = 0.0, whole_words: bool = False, within: int | None = None
    ) -> list[Match]:
        """`whole_words` and `within` are those of `ContextWords`; presidio has neither."""
        shadow = Shadow(text)
        words = ContextWords(text, self._stop, whole=whole_words, within=within)
        phones = Phones(text)
        found = []
        for plan, rules in self._possible(shadow):
            for match in plan.find(shadow, phones, rules):
                scored = self._scored(match, plan, words)
                if scored.score >= threshold:
                    found.append(scored)
        return without_contained(found)

    def _possible(self, shadow: Shadow) -> list[tuple[Plan, list[Rule]]]:
        """The rules that can match. Few sets of loosened patterns occur in practice, so what they mean is kept."""
        hits = frozenset(self._set.Match(shadow.ascii) or ())
        possible = self._known.get(hits)
        if possible is None:
            possible = list(self._possible_for(hits))
            if len(self._known) < MAX_KNOWN:
                self._known[hits] = possible
        return possible

    def _possible_for(self, hits: frozenset[int]) -> Iterator[tuple[Plan, list[Rule]]]:
        blind = self._sign not in hits
        able: dict[int, list[Rule]] = {}
        for number, (plan, rule) in enumerate(self._rules):
            if blind or number in self._always or all(part in hits for part in self._needs[number]):
                able.setdefault(id(plan), []).append(rule)
        for plan in self._plans:
            rules = able.get(id(plan), [])
            if rules or plan.whole is not None:
                yield plan, rules

    def _scored(self, match: Match, plan: Plan, words: ContextWords) -> Match:
        if match.score >= 1.0 or not plan.context or not words.supports(match.start, plan.context):
            return match
        return match._replace(score=boosted(match.score))

    def patterns(self) -> list[str]:
        """What its matches look like, for `Reach`."""
        found = [rule.pattern for _, rule in self._rules if rule.pattern != DISTANT]
        phone = any(plan.whole is not None and not plan.rules for plan in self._plans)
        return [*found, rf"(?:{CANDIDATE.pattern})(?::[0-5]\d)?"] if phone else found
