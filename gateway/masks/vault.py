"""What stands for what in one call: the only place that knows which value a stand-in hides. It is never shared between
calls, logged, cached or traced, and is gone with its call."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import count
from typing import NoReturn

from gateway.masks import operators

# What models put between, leave out or add to the words of a placeholder; "\\" is Markdown's escape.
SEPARATORS = " \t\u00a0\u202f_\\-\u2010\u2011\u2012\u2013\\\\"  # inside a character class
_SEPARATOR = re.compile(f"[{SEPARATORS}]+")
_BETWEEN_DIGITS = re.compile(f"(?<=[0-9])[{SEPARATORS}]+(?=[0-9])")
_NOT_ALNUM = bytes(byte for byte in range(256) if not chr(byte).isalnum() or byte > 127)
_LONGEST_ID = 9


def squeezed(words: str) -> str:
    """What all spellings of a placeholder's words have in common. Digits are not joined: "1 2" is not 12."""
    return _SEPARATOR.sub("", _BETWEEN_DIGITS.sub("#", words)).lower()


@dataclass(frozen=True, slots=True, repr=False)
class Pair:
    """A stand-in and its value. `exact`: it is found only as it is written (a fake)."""

    stand_in: str
    value: str
    exact: bool

    def __repr__(self) -> str:
        return "Pair(****)"

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("what a vault holds is neither pickled nor copied")


class Vault:
    """The stand-ins of one call.

    `key`: the caller's own; it decides hashes, fakes and stable placeholders. `stable`: a value has the same
    placeholder in every call with the same key, so that a conversation needs no memory here. `avoid`: the text of the
    conversation; nothing that stands in it becomes a stand-in, in no spelling that a restorer would take for one.
    """

    __slots__ = ("_avoid", "_key", "_last", "_made", "_pairs", "_places", "_squeezed", "_stable", "_taken")

    def __init__(self, key: bytes, stable: bool = False, avoid: str = "") -> None:
        self._key = key
        self._stable = stable
        self._avoid = avoid
        self._squeezed: bytes | None = None
        self._made: dict[tuple[str, str, str, str], str] = {}
        self._pairs: dict[str, Pair] = {}  # by the stand-in: those that are restored
        self._places: set[str] = set()  # squeezed placeholders that are given
        self._taken: dict[str, frozenset[str]] = {}
        self._last: dict[str, int] = {}  # the last number of a tag

    def stand_in(self, kind: str, value: str, operator: str, text: str = "") -> str:
        """What is written for the value; the same in the whole call. `text` is what `replace` writes."""
        wanted = (kind, value, operator, text if operator == "replace" else "")
        if wanted not in self._made:
            self._made[wanted] = self._new(kind, value, operator, text)
        return self._made[wanted]

    def pairs(self) -> list[Pair]:
        """What can be restored, for the restorer and nobody else."""
        return list(self._pairs.values())

    def _new(self, kind: str, value: str, operator: str, text: str) -> str:
        match operator:
            case "placeholder":
                return self._placeholder(kind, value)
            case "fake":
                return self._fake(kind, value)
            case "hash":
                return operators.hashed(kind, value, self._key)
            case "last4":
                return operators.last4(kind, value, self._key)
            case "replace":
                return text
            case "remove":
                return ""
        raise ValueError("there is no such operator; use placeholder, replace, hash, last4, remove or fake")

    def _placeholder(self, kind: str, value: str) -> str:
        tag = operators.tag(kind)
        taken = self._taken_ids(tag)
        for number in count(1 if self._stable else self._last.get(tag, 0) + 1):
            label = operators.stable_id(kind, value, self._key, number) if self._stable else str(number)
            place = squeezed(f"{tag}_{label}")
            if label.lower() not in taken and place not in self._places:
                break
        self._last[tag] = number
        self._places.add(place)
        made = f"[{tag}_{label}]"
        self._pairs[made] = Pair(made, value, exact=False)
        return made

    def _fake(self, kind: str, value: str) -> str:
        """A placeholder where there is no fake that is free: two values never share one."""
        for made in operators.fakes(kind, value, self._key):
            if made not in self._pairs and made not in self._avoid:
                self._pairs[made] = Pair(made, value, exact=True)
                return made
        return self.stand_in(kind, value, "placeholder")

    def _taken_ids(self, tag: str) -> frozenset[str]:
        """What follows the words of the tag anywhere in the conversation, with all its beginnings. It is computed once
        a tag, so that a thousand values cost one search and not a thousand."""
        if tag not in self._taken:
            if self._squeezed is None:
                self._squeezed = _alnum(self._avoid)
            rows = re.finditer(b"(?=%b([a-z0-9]{1,%d}))" % (_alnum(tag), _LONGEST_ID), self._squeezed)
            self._taken[tag] = frozenset(row[1][:end].decode() for row in rows for end in range(1, len(row[1]) + 1))
        return self._taken[tag]

    def __repr__(self) -> str:
        return "Vault(****)"

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("a vault is neither pickled nor copied")


def _alnum(text: str) -> bytes:
    """Letters and digits of ASCII, lower case: what is equal in all spellings is equal here (and more is)."""
    return text.lower().encode("ascii", "ignore").translate(None, _NOT_ALNUM)
