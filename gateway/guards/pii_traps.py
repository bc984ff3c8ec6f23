"""What presidio takes for personal data and is none, as far as it is known: our defaults, on top of its findings.

Sources of the traps: the issues listed in guardrails.md section 1.4 (licence numbers that match S3, C4 or H1, "public"
as "lic"), and what its patterns find in code and logs. A trap looks at a match, a few characters around it and whether
a context word spoke for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

DEFAULT_ENTITIES = frozenset(
    {
        "CA_SIN",
        "CREDIT_CARD",
        "CRYPTO",
        "DE_SOCIAL_SECURITY",
        "EMAIL_ADDRESS",
        "ES_NIE",
        "ES_NIF",
        "FI_PERSONAL_IDENTITY_CODE",
        "IBAN_CODE",
        "IP_ADDRESS",
        "IT_FISCAL_CODE",
        "KR_RRN",
        "MAC_ADDRESS",
        "PHONE_NUMBER",
        "SE_PERSONNUMMER",
        "UK_DRIVING_LICENCE",
        "UK_NINO",
        "US_ITIN",
        "US_SSN",
    }
)
"""Precise by themselves: a checksum, a rare shape, or a score that needs a context word. Dates, URLs, licence plates,
post codes, and bare numbers with a one-digit checksum (of which one in ten passes by chance) have to be listed."""
VAGUE_CONTEXT = {"PHONE_NUMBER": frozenset({"number"})}
"""Context words of presidio that stand before any number, by entity."""
AROUND = 32
"""Characters before a match that a trap looks at."""

Trap = Callable[[str, int, int, bool], bool]
"""Text, start, end and whether there was a context word. True: no personal data."""

_VERSION = re.compile(
    r"(?:\bv|version|\bver\.?|release|build|firmware|[=<>~^]=?|[\w.]/|@)[ :=\"']{0,3}$", re.IGNORECASE
)
_FILES = re.compile(
    r"\.(?:py|md|js|ts|rs|sh|so|pl|cc|sc|ps|mk|vi|ml|hs|tf|do|in|is|name|zip|mov|run|app|build|info|now)$",
    re.IGNORECASE,
)
_SAFE_ENDS = re.compile(
    r"\.(?:com|org|net|edu|gov|io|eu|co\.uk|de|fr|es|it|nl|pl|ch|at|uk|us|ca|au|jp|cn|br)(?:/|$)", re.IGNORECASE
)
_REVERSED = re.compile(r"(?:com|org|net|io|edu|gov)\.", re.IGNORECASE)
_FILE_NAMES = re.compile(
    r"@(?:(?:readme|index|main|setup|test|init|app|config|\w*_\w*)\.(?:py|md|sh|rs|so|pl|cc)|\dx\.[a-z]+)$",
    re.IGNORECASE,
)
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}")
_PHONE_DOTS = re.compile(r"\d{3}\.\d{3}\.\d{4}|\d{2}(?:\.\d{2}){4}")


_NOBODY = {"0.0.0.0", "127.0.0.1", "255.255.255.255", "::", "::1"}  # noqa: S104 - nothing is bound


def _digits(value: str) -> int:
    return sum(char.isdigit() for char in value)


def _licence(text: str, start: int, end: int, _: bool) -> bool:
    """S3, C4, H1 and words of twelve letters."""
    return _digits(text[start:end]) < 4


def _email(text: str, start: int, end: int, _: bool) -> bool:
    """``git@host:path`` is where code lies; ``name@main.py`` and ``image@2x.io`` are files."""
    remote = text[start : start + 4].lower() == "git@" and text[end : end + 1] in {":", "/"}
    return remote or _FILE_NAMES.search(text[start:end]) is not None


def _nino(text: str, start: int, _: int, __: bool) -> bool:
    """``is 12 34 56 a``: two small letters and a blank are a word."""
    return text[start : start + 2].islower() and not text[start + 2 : start + 3].isdigit()


NINO_MARK = "(?!bg|gb|nk|kn|nt|tn|zz"
NINO_REACH = r"\b(?:(?-i:[A-Z]{2}) ?(?:[0-9]{2} ?){3}[a-d]|[a-z]{2}[0-9]{2} ?(?:[0-9]{2} ?){2}[a-d])"
"""What a national insurance number looks like that is not trapped: prose goes on after "is " and "at "."""


def _url(text: str, start: int, end: int, _: bool) -> bool:
    """Without a scheme, a dotted name is a file, a module or an attribute more often than a page."""
    value = text[start:end].strip("'\"")
    if value.lower().startswith(("http://", "https://", "www.")):
        return False
    attribute = (
        text[end : end + 1] in {"(", "_", "[", "="}
        or text[end : end + 1].isalnum()
        or text[start - 1 : start] in {"_", "@"}
    )
    return (
        attribute
        or _REVERSED.match(value) is not None
        or not _SAFE_ENDS.search(value)
        or _FILES.search(value) is not None
    )


def _address(text: str, start: int, end: int, context: bool) -> bool:
    """Versions of four numbers, loopback and unspecified addresses, and ``dead::beef``, which may be C++."""
    value = text[start:end].partition("/")[0]
    if value in _NOBODY or (":" in value and not _digits(value)):
        return True
    return not context and ":" not in value and _after_version(text, start)


def _date(text: str, start: int, end: int, _: bool) -> bool:
    return "." in text[start:end] and _after_version(text, start)


def _after_version(text: str, start: int) -> bool:
    return _VERSION.search(text[max(0, start - AROUND) : start]) is not None


def _phone(text: str, start: int, end: int, context: bool) -> bool:
    """Without a context word or a plus, a phone number has the look of one: grouped, and not a date or a decimal."""
    value = text[start:end]
    if context or "+" in value or "\uff0b" in value:
        return False
    bare = value.isdigit() or _digits(value) < 9
    dotted = "." in value and not _PHONE_DOTS.fullmatch(value)
    return (
        bare or dotted or _DATE.search(value) is not None or text[start - 1 : start] in {"-", ".", "/", "_", "=", "#"}
    )


def _card(text: str, start: int, _: int, __: bool) -> bool:
    """The digits behind a decimal point."""
    return start > 1 and text[start - 1] == "." and text[start - 2].isdigit()


TRAPS: dict[str, Trap] = {
    "UK_NINO": _nino,
    "US_DRIVER_LICENSE": _licence,
    "EMAIL_ADDRESS": _email,
    "URL": _url,
    "IP_ADDRESS": _address,
    "DATE_TIME": _date,
    "PHONE_NUMBER": _phone,
    "CREDIT_CARD": _card,
}
