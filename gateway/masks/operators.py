"""How a masked value is written, as pure functions of its kind, the value and a key. Nothing here can be undone: what
is restored in answers is known to the vault only."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import string
from base64 import b32encode
from collections.abc import Callable, Iterator, Sequence
from functools import cache

_SEPARATORS = frozenset(" \t\u00a0\u2013-./()+:,@_")
_MIN_FOR_LAST4 = 8  # letters and digits: at least as many stay hidden as are shown
_MIN_FAKE = 6  # a fake that is shorter would be found by chance in an answer
_TURNS = 64
_KIND = re.compile(r"[^A-Z0-9]+")


def tag(kind: str) -> str:
    """The kind as placeholders show it: upper case, digits and single underscores."""
    return _KIND.sub("_", kind.upper()).strip("_") or "VALUE"


def digest(key: bytes, *parts: str) -> bytes:
    """HMAC-SHA256 of the parts; no two lists of parts have the same input."""
    message = b"".join(
        len(part).to_bytes(4, "big") + part for part in (p.encode("utf-8", "surrogatepass") for p in parts)
    )
    return hmac.digest(key, message, hashlib.sha256)


def hashed(kind: str, value: str, key: bytes) -> str:
    """`[EMAIL_ADDRESS:5f3a9c]`: equal values are seen to be equal, and only the key's owner can test a guess."""
    return f"[{tag(kind)}:{digest(key, 'hash', kind, value).hex()[:6]}]"


def stable_id(kind: str, value: str, key: bytes, turn: int) -> str:
    """Six characters that are the same whenever kind, value and key are (30 bits); `turn` gives others."""
    return b32encode(digest(key, "stable", kind, value, str(turn)))[:6].decode()


def last4(_kind: str, value: str, _key: bytes) -> str:
    """The last four letters or digits and the separators between groups; stars for the rest, and for short values."""
    places = [at for at, character in enumerate(value) if character.isalnum()]
    if len(places) < _MIN_FOR_LAST4:
        return "*" * len(value)
    shown = frozenset(places[-4:])
    return "".join(c if at in shown or c in _SEPARATORS else "*" for at, c in enumerate(value))


def fake(kind: str, value: str, key: bytes) -> str | None:
    """The first of `fakes`."""
    return next(fakes(kind, value, key), None)


def fakes(kind: str, value: str, key: bytes) -> Iterator[str]:
    """Values of the same shape that belong to nobody where the kind has reserved ones, always the same ones in the same
    order. None shares four characters in a row with the value; there may be none, as of short values."""
    make = _MAKERS.get(kind, _alike)
    seen = _grams(value)
    for turn in range(_TURNS):
        made = make(value, _Draws(key, kind, value, str(turn)))
        if sum(c.isalnum() for c in made) >= _MIN_FAKE and seen.isdisjoint(_grams(made)):
            yield made


def _grams(text: str) -> frozenset[str]:
    folded = text.casefold()
    return frozenset(folded[at : at + 4] for at in range(len(folded) - 3))


class _Draws:
    """An endless row of numbers that the key and the parts decide."""

    def __init__(self, key: bytes, *parts: str) -> None:
        self._seed = digest(key, "fake", *parts)
        self._pool = b""
        self._block = 0

    def below(self, limit: int) -> int:
        if not self._pool:
            self._pool = hashlib.sha256(self._seed + self._block.to_bytes(4, "big")).digest()
            self._block += 1
        number, self._pool = int.from_bytes(self._pool[:4], "big"), self._pool[4:]
        return number % limit

    def of(self, choices: Sequence[str]) -> str:
        return choices[self.below(len(choices))]

    def digits(self, count: int) -> str:
        return "".join(self.of(string.digits) for _ in range(count))


def _alike(value: str, draws: _Draws) -> str:
    """Each letter another letter of its case, each digit another digit, the rest as it is; four in a row that the value
    has are not drawn, so that long values have fakes too."""
    seen, made = _grams(value), ""
    for old in value:
        choices = _class_of(old)
        new = draws.of(choices)
        for _ in range(16 if len(choices) > 1 else 0):
            if (made[-3:] + new).casefold() not in seen:
                break
            new = draws.of(choices)
        made += new
    return made


def _class_of(character: str) -> str:
    if character.isdigit():
        return string.digits
    if not character.isalpha():
        return character
    return string.ascii_uppercase if character.isupper() else string.ascii_lowercase


def _filled(value: str, new: str, wanted: Callable[[str], bool]) -> str:
    """`value` with its wanted characters replaced, one by one, by those of `new`."""
    row = iter(new)
    return "".join(next(row, "") if wanted(c) else c for c in value)


def _email(_: str, draws: _Draws) -> str:
    """In domains that RFC 2606 reserves."""
    domain = draws.of(["example.com", "example.org", "example.net", "mail.test", "post.invalid"])
    return f"{draws.of(_first_names()).lower()}.{draws.of(_last_names()).lower()}{draws.digits(2)}@{domain}"


def _phone(value: str, draws: _Draws) -> str:
    """Length and grouping stay. +999 is given to no country; of numbers as in North America, 555-01xx to nobody. Other
    national numbers have no reserved range: theirs are any digits."""
    old = "".join(c for c in value if c.isdigit())
    if len(old) < 7:
        return ""
    if len(old) == 10 or (len(old) == 11 and old[0] == "1"):
        new = old[:-10] + draws.of("23456789") + draws.digits(2) + "55501" + draws.digits(2)
    elif value.lstrip("( ").startswith("+") or old.startswith("00"):
        lead = "00" if old.startswith("00") else ""
        new = f"{lead}999{draws.digits(len(old) - len(lead) - 3)}"
    else:
        new = old[0] + draws.digits(len(old) - 1)
    return _filled(value, new, str.isdigit)


def _card(value: str, draws: _Draws) -> str:
    """Numbers that card networks and processors give out for tests begin like these. The Luhn digit is right."""
    count = sum(c.isdigit() for c in value)
    if count < 12:
        return ""
    body = draws.of(["400000", "411111", "424242", "555555"]) + draws.digits(count - 7)
    return _filled(value, body + _luhn(body), str.isdigit)


def _luhn(body: str) -> str:
    total = 0
    for at, digit in enumerate(reversed(body)):
        doubled = int(digit) * (2 if at % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return str(-total % 10)


def _iban(value: str, draws: _Draws) -> str:
    """Of the country ZZ, which ISO 3166 leaves to users; the check digits (ISO 7064, mod 97) are right."""
    old = [c for c in value.upper() if c.isalnum()]
    if len(old) < 15 or not all(c.isascii() for c in old):
        return ""
    body = "".join(draws.of(_class_of(c)) for c in old[4:])
    number = int("".join(str(int(c, 36)) for c in f"{body}ZZ00"))
    return _filled(value, f"ZZ{98 - number % 97:02d}{body}", str.isalnum)


def _ip(value: str, draws: _Draws) -> str:
    """Of the ranges for documentation: RFC 5737, RFC 3849."""
    try:
        version = ipaddress.ip_address(value.partition("%")[0]).version
    except ValueError:
        return _alike(value, draws)
    if version == 4:
        return draws.of(["192.0.2.", "198.51.100.", "203.0.113."]) + str(1 + draws.below(254))
    return "2001:db8:" + ":".join(f"{0x1000 + draws.below(0xF000):x}" for _ in range(6))


def _person(value: str, draws: _Draws) -> str:
    """As many words as before. A name alone is one that is not a word as well."""
    words = len(value.split())
    names = [draws.of(_first_names()), *(draws.of(_last_names()) for _ in range(min(words, 4) - 1))]
    made = " ".join(names)
    return made.upper() if value.isupper() else made


def _place(_: str, draws: _Draws) -> str:
    return draws.of(_last_names()) + draws.of(["ville", "burgh", "haven", "stad", "mouth"])


def _organization(_: str, draws: _Draws) -> str:
    return f"{draws.of(_last_names())} & {draws.of(_last_names())}"


_WORDS = frozenset(
    {"autumn", "carter", "chance", "charity", "destiny", "genesis", "harmony", "heaven", "hunter", "jasmine", "journey"}
    | {"mckenna", "melody", "mercedes", "parker", "savannah", "serenity", "summer", "trinity", "virginia"}
)


@cache
def _first_names() -> list[str]:
    return _names("first_names")


@cache
def _last_names() -> list[str]:
    return _names("last_names")


def _names(which: str) -> list[str]:
    """Faker's names, by its data alone: its generators keep state, which calls would share."""
    from faker.providers.person.en_US import Provider  # noqa: PLC0415  # 0.1 s, for those who use fakes

    names = (str(name) for name in getattr(Provider, which))
    return sorted({n for n in names if len(n) >= 6 and n.isalpha() and n.isascii() and n.lower() not in _WORDS})


_MAKERS: dict[str, Callable[[str, _Draws], str]] = {
    "EMAIL_ADDRESS": _email,
    "PHONE_NUMBER": _phone,
    "CREDIT_CARD": _card,
    "IBAN_CODE": _iban,
    "IP_ADDRESS": _ip,
    "PERSON": _person,
    "LOCATION": _place,
    "ORGANIZATION": _organization,
}
