"""What rules that read more than one word must hold of a stream: the beginnings of their matches.

Each pattern matches, up to the end of the text, whatever can still become a match of such rules or decide one. They
take more than that, and read a text forward once, so that a stream costs microseconds for each piece.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.guards.secret_rules import GAP, Rule
from gateway.guards.secret_rules_general import CONNECTION, GLUE, HEAD, LINE, PUTTY_HEAD, PUTTY_LINE

_QUOTES = r"""["'`\])\\]{0,4}"""
_AFTER = r"""[ \t]{0,8}["'`\\(\[]{0,4}[!-~]{0,512}"""
_VALUE = rf"{_QUOTES}\s{{0,8}}(?:(?:=>|:=|==?|:|,|>|is?)\s{{0,8}}{_AFTER})?"

# A value that is given to a name needs nothing held but itself, the last word: the name is no secret and has left, and
# the guard is shown what stood before.
_HEADER = r"(?i:basic|bearer|ssws|--token)[ \t]{0,3}[!-~]{0,512}$"
_AUTHORIZATION = r"(?i:authorization)[\"' \t:=,]{0,12}(?:[\w-]{1,12}[ \t]{1,3})?[!-~]{0,512}$"
_CONNECTION = rf"(?i:{CONNECTION})[ \t]{{0,2}}(?:=[^\n\"']{{0,512}})?$"
_CURL = r"\bcurl[ \t][^\n|;]{0,300}$"
_NETRC = (
    r"\bmachine[ \t]{1,4}[\w.-]{0,80}(?:\s{1,8}"
    r"(?:l\w{0,4}(?:[ \t]{1,4}\S{0,60}(?:\s{1,8}(?:p\w{0,7}(?:[ \t]{1,4}\S{0,100})?)?)?)?)?)?$"
)
_SALT = r"define\([^\n]{0,160}$"
_ANSIBLE = r"\$ANSIBLE_VAULT;[\w.;\\\s-]{0,300}$"

_HEADING = r"-{4,5} ?(?:B[A-Z]{0,4}(?: [A-Z0-9 ]{0,60}-{0,5})?)?$"
_FOOTING = r"-{1,5} ?(?:E[ND]{0,2} ?[A-Z0-9 ]{0,60}-{0,5})?"
_RUNS = rf"(?:{GLUE}{{0,80}}[A-Za-z0-9+/=]{{1,15}}){{0,3}}{GLUE}{{0,80}}"
_ATTRIBUTE = rf"{GLUE}{{0,80}}[A-Z][\w-]{{0,24}}(?:: ?[^\n\\]{{0,120}})?\\{{0,4}}"
_BLOCK = rf"{HEAD}{LINE}{{0,}}(?:{_RUNS}(?:{_FOOTING})?|{_ATTRIBUTE})$"
_PUTTY = rf"{PUTTY_HEAD}[\w-]{{0,40}}\s{{0,4}}{PUTTY_LINE}{{0,}}[^\n]{{0,160}}$"
_JWT = r"\beyJ[A-Za-z0-9_.-]{0,}$"

LONG_OPEN = {"private key": _BLOCK, "putty-user-key-file": _PUTTY, "eyj": _JWT}
"""What the lower-cased text must hold -> the pattern. Matches have up to LONG characters."""


def short_open(rules: Sequence[Rule]) -> list[str]:
    """For all rules but the long ones; matches have up to SHORT characters, and some more."""
    names = "|".join(sorted({rule.names for rule in rules if rule.names}))
    vendor = [rf"(?i:{names})(?i:{GAP}){_VALUE}$"] if names else []
    patterns = [_HEADER, _AUTHORIZATION, _CONNECTION, _CURL, _NETRC, _SALT, _ANSIBLE, _HEADING, *vendor]
    # From the word's beginning: no finding of one word is cut.
    return [rf"[!-~]{{0,512}}(?:{pattern})" for pattern in patterns]
