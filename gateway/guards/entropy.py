"""Whether a value looks random, or like something that a person wrote in a secret's place."""

from __future__ import annotations

import math
import re
from collections import Counter

HEX_FLOOR = 3.0
"""Bits a character. Random hexadecimal has at most 4; 32 digits drawn at random lie below 3 about once in 10,000."""

_STAND_IN = re.compile(
    r"""(?ix)
    example | change[-_. ]?me | change[-_. ]?this | place[-_. ]?holder | redacted | dummy | insert[-_. ]
    | replace[-_. ]?
    | your[-_. ]? (?:own|api|access|secret|key|token|pass|pwd|project|account|client|org|user|app|auth)
    | (?:^|[-_. ]) your (?:[-_. ]|$) | (?:^|[-_]) my [-_]
    | goes[-_. ]?here | x{4} | \*{3} | \.{3} | \#{3} | \?{3} | -{5} | _{4} | 0{8} | 1{8} | 01234567 | 12345678
    | 87654321 | abcdefgh
    | \$\{ | \$\( | \{\{ | %\( | < [^>]* > | \[ [^\]]* \] | ^ \$ | ^ %
    """
)
# A part of letters with at most four digits behind them, or a short number: what names, versions and paths are made of.
_PART = re.compile(r"[A-Za-z]+\d{0,4}|\d{1,4}")
_SPLIT = re.compile(r"[^A-Za-z0-9]+")
_HEX = re.compile(r"[0-9a-f]+|[0-9A-F]+")


def shannon(text: str) -> float:
    """Bits a character, from the text's own frequencies. 0.0 for the empty text."""
    size = len(text)
    return -sum(n / size * math.log2(n / size) for n in Counter(text).values())


def stands_in(value: str) -> bool:
    """Whether `value` only marks the place of a secret: changeme, xxxx, <your-key>, ${VAR}, AKIA...EXAMPLE."""
    return _STAND_IN.search(value) is not None


def named(value: str) -> bool:
    """Whether `value` reads as names: my-secret-v2, self.password, AES256-GCM, UserPool2."""
    return all(_PART.fullmatch(part) for part in _SPLIT.split(value) if part)


def hexadecimal(value: str) -> bool:
    return _HEX.fullmatch(value) is not None


def classes(value: str) -> int:
    """How many of lower case, upper case, digits and the rest occur."""
    kinds = {"l" if c.islower() else "u" if c.isupper() else "d" if c.isdigit() else "s" for c in value}
    return len(kinds)


def random_enough(value: str, floor: float) -> bool:
    """At least `floor` bits a character; for hexadecimal, which cannot have more than 4, at least HEX_FLOOR."""
    return shannon(value) >= (min(floor, HEX_FLOOR) if hexadecimal(value) else floor)
