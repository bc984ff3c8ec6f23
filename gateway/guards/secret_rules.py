"""What a rule for secrets is, how rules are written, and all of them. The tables are in the files secret_rules_*.py.

Formats are the vendors' published ones. Patterns are RE2 and bounded, so that a stream knows what it must hold. A rule
runs only where one of its keywords stands in the text (guardrails.md, section 3, "Cheap filter first").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.guards.entropy import random_enough, stands_in

Judge = Callable[[str], float]
"""The probability, 0.0 to 1.0, that a value of the right form is a secret."""

SHORT = 512
"""No match of a rule has more characters, unless it is `long`."""
LONG = 16_384
"""The same for long rules: private keys and JWT."""
FLOOR = 2.5
"""Bits a character below which no token was drawn at random; keys of 16 characters of a large alphabet have over 3."""

# What may stand before a token: no word character, or the escape of a line's end in quoted JSON.
LEFT = r"(?:\b|\\[nrt])"
# What ends a token: neither a word character nor a hyphen.
END = r"(?:[^A-Za-z0-9_-]|$)"
# What ends a value in base64.
END64 = r"(?:[^A-Za-z0-9_+/=-]|$)"
# Between the vendor's name and the value: the rest of the key's name, and what assigns.
GAP = r"[\w.\- ]{0,30}"
SEP = r"""["'`\])\\]{0,4}[ \t]{0,8}(?:=>|:=|==?|:|,|>|[ \t]is[ \t])[ \t]{0,8}["'`\\(\[]{0,4}"""

HEX32 = "[0-9a-f]{32}"
HEX40 = "[0-9a-f]{40}"
HEX64 = "[0-9a-f]{64}"
UUID = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
WORD = "[A-Za-z0-9_-]"


@dataclass(frozen=True, slots=True)
class Rule:
    """`pattern` finds the secret: its first group that took part, or all of it. `keywords` are lower-case literals, one
    of which every match holds; none: the rule always runs. `names`: the vendor's name
    that `assigned` reads, empty elsewhere. `weak`: what another rule also finds is told by the other rule. `long`: a
    match has up to LONG characters. `cut`: what is longer is a secret up to there; without it, none."""

    name: str
    kind: str
    vendor: str
    pattern: str
    keywords: tuple[str, ...]
    judge: Judge
    names: str = ""
    weak: bool = False
    long: bool = False
    cut: bool = False


def plausible(value: str) -> float:
    """For tokens whose form says what they are."""
    return 0.0 if stands_in(value) or not random_enough(value, FLOOR) else 1.0


def certain(_: str) -> float:
    """For forms that nothing else has."""
    return 1.0


def token(
    name: str, kind: str, vendor: str, prefix: str | tuple[str, ...], body: str, judge: Judge = plausible
) -> Rule:
    """A word that begins with the literal `prefix`, or one of several, and goes on with `body`."""
    prefixes = (prefix,) if isinstance(prefix, str) else prefix
    heads = "|".join(_literal(one) for one in prefixes)
    left = LEFT if prefixes[0][0].isalnum() else ""
    return Rule(
        name, kind, vendor, f"{left}((?:{heads}){body}){END}", tuple(sorted({one.lower() for one in prefixes})), judge
    )


def word(name: str, kind: str, vendor: str, pattern: str, keywords: tuple[str, ...], judge: Judge = plausible) -> Rule:
    """A word of any form. `pattern` says its own borders."""
    return Rule(name, kind, vendor, pattern, keywords, judge)


def assigned(
    name: str, kind: str, vendor: str, names: str, value: str, keywords: tuple[str, ...], judge: Judge = plausible
) -> Rule:
    """A value whose form says little, given to a name that says whose it is: ``DATADOG_API_KEY=``, "Datadog key: ".
    `names` is a pattern in any letter case; every keyword is a part of it."""
    pattern = f"(?i:{names})(?i:{GAP}){SEP}({value}){END64}"
    return Rule(name, kind, vendor, pattern, keywords, judge, names)


def _literal(text: str) -> str:
    return "".join(c if c.isalnum() or c in "_-/@:" else "\\" + c for c in text)
