"""phonenumbers' matcher for several regions at once, looking only where digits stand.

The library searches a text once per region and reads every character of it. What it takes for a candidate does not
depend on the region, so here the text is searched once, from digit to digit, and all regions look at each candidate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberMatcher
from phonenumbers.phonemetadata import PhoneMetadata
from phonenumbers.phonenumbermatcher import _PATTERN
from phonenumbers.phonenumberutil import _SECOND_NUMBER_START_PATTERN as _SECOND

CANDIDATE = _PATTERN
"""What the library looks at more closely: digits in groups, with signs between them."""

_DIGIT = re.compile(r"\d")
_LEAD = 10  # the most characters before the first digit of a candidate: twice a bracket or plus and four signs
_AFTER = 3  # ":59" behind a candidate makes it a time


class Candidate(NamedTuple):
    start: int
    end: int
    text: str
    digits: int


class Phones:
    """The phone numbers of one text. What one recogniser made it look up is remembered for the next."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._candidates: dict[int, Candidate | None] = {}
        self._looks: dict[tuple[str, str, str, int], tuple[int, int, PhoneNumber] | None] = {}

    def find(self, regions: Iterable[str], leniency: int) -> Iterator[tuple[int, int, PhoneNumber]]:
        """Start, end and number of what `PhoneNumberMatcher(text, region, leniency)` finds, for each region. The
        library gives up on a text after 65,535 failures; this does not."""
        pending = {0: tuple(regions)}
        while pending:
            index = min(pending)
            waiting = pending.pop(index)
            found = self._candidate(index)
            if found is None:
                continue
            missed = []
            for region in waiting:
                match = self._look(found, region, leniency) if found.digits >= _fewest(region) else None
                if match:
                    pending[match[1]] = (*pending.get(match[1], ()), region)
                    yield match
                else:
                    missed.append(region)
            if missed:
                pending[found.end] = (*pending.get(found.end, ()), *missed)

    def _candidate(self, index: int) -> Candidate | None:
        if index not in self._candidates:
            self._candidates[index] = _candidate(self._text, index)
        return self._candidates[index]

    def _look(self, candidate: Candidate, region: str, leniency: int) -> tuple[int, int, PhoneNumber] | None:
        """The verdict depends on the candidate, one character before it and a few behind it, and on nothing else."""
        left = max(0, candidate.start - 1)
        around = self._text[left : candidate.end + _AFTER]
        key = (around, candidate.text, region, leniency)
        if key not in self._looks:
            matcher = PhoneNumberMatcher(around, region, leniency=leniency)
            found = matcher._extract_match(candidate.text, candidate.start - left)
            self._looks[key] = (found.start, found.end, found.number) if found else None
        seen = self._looks[key]
        return seen and (seen[0] + left, seen[1] + left, seen[2])


def _candidate(text: str, index: int) -> Candidate | None:
    """The first candidate at or after `index`: it begins at most `_LEAD` characters before its first digit."""
    digit = _DIGIT.search(text, index)
    if digit is None:
        return None
    found = CANDIDATE.search(text, max(index, digit.start() - _LEAD))
    if found is None:
        return None
    second = _SECOND.search(found.group())
    value = found.group()[: second.start()] if second else found.group()
    return Candidate(found.start(), found.start() + len(value), value, _digits(value))


def _digits(candidate: str) -> int:
    """How many digits it has; many, where letters could become digits or say what is an extension."""
    if any(char.isalpha() for char in candidate):
        return 99
    return sum(char.isdigit() for char in candidate)


@cache
def _fewest(region: str) -> int:
    """The fewest digits of a number that can be valid when dialled in `region`, or with a country code."""
    shortest = {name: _shortest(name) for name in phonenumbers.SUPPORTED_REGIONS}
    same = phonenumbers.region_codes_for_country_code(phonenumbers.country_code_for_region(region))
    abroad = min(len(str(phonenumbers.country_code_for_region(name))) + digits for name, digits in shortest.items())
    return min(abroad, *(shortest[name] for name in same if name in shortest))


def _shortest(region: str) -> int:
    metadata: Any = PhoneMetadata.metadata_for_region(region)
    lengths: tuple[int, ...] = metadata.general_desc.possible_length
    return min(lengths)
