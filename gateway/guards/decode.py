"""What a text says in another notation: JSON escapes, percent and HTML escapes, and runs of base64 and hex digits.

Everything here is bounded: a run is decoded at most RUN_CHARS at a time, and `hidden` stops when its budget is spent.
"""

from __future__ import annotations

import binascii
import html
import re
from collections.abc import Iterable, Iterator

Part = tuple[str, int, int]
"""What is said, and the characters that say it: (said, start, end)."""

RUN_MIN = 16
"""Characters. Shorter runs of base64 or hex hold eleven letters at most and look like ordinary words and numbers."""
RUN_CHARS = 2700
"""Characters of one line decoded together, a multiple of four; with the lines after it about 4 kB of output."""
PRINTABLE = 0.9
"""Share of the decoded characters that must be printable. Random bytes pass it about never."""

_HEX4 = "[0-9A-Fa-f]{4}"
_UNIT = rf"(?![dD][89a-fA-F]){_HEX4}"
_PAIR = r"[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}"

JSON_ESCAPE = re.compile(rf'\\(?:u(?:{_PAIR}|{_UNIT})|["\\/bfnrt])')
"""One escape of a JSON string. A cut one and half a surrogate pair do not match, so that they stay as they are."""

ESCAPE = re.compile(
    r"[%=&\\](?:"  # one set of beginnings, to which the search can jump
    r"(?P<octets>(?<=%)[0-9A-Fa-f]{2}(?:%[0-9A-Fa-f]{2})*|(?<==)[0-9A-Fa-f]{2}(?:=[0-9A-Fa-f]{2}){3,}"
    r"|(?<=\\)x[0-9A-Fa-f]{2}(?:\\x[0-9A-Fa-f]{2})*)"
    rf"|(?P<unit>(?<=\\)u(?:{_PAIR}|{_UNIT}|\{{[0-9A-Fa-f]{{1,6}}\}}))"
    r"|(?<=&)(?:#[0-9]{1,10};?|#[xX][0-9A-Fa-f]{1,8};?|[A-Za-z][A-Za-z0-9]{1,31};))"
)
"""Escapes that an ordinary text can hold: percent, quoted-printable, the ones of programming languages, HTML."""

_SHORT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
_SHAPE = bytes(
    ord("r") if c in _DIGITS else ord("e") if c in b"%&\\=" else ord("c") if c < 32 and c not in b"\t\n\v\f\r" else 32
    for c in range(256)
)
_SHAPE = _SHAPE[:127] + b"c" + _SHAPE[128:]
_LONG = b"r" * RUN_MIN

_DIGIT = "[A-Za-z0-9+/_-]"
_RUN = re.compile(rf"{_DIGIT}{{{RUN_MIN},{RUN_CHARS}}}(?:(?<={_DIGIT}{{60}})\r?\n{_DIGIT}{{1,76}}){{0,35}}={{0,2}}")
"""A block of base64 or hex digits; lines of 60 and more are one block with the line after them, as MIME wraps them."""
_HEX = re.compile(r"(?:0[xX])?((?:[0-9A-Fa-f]{2}){8,})")
_STANDARD = str.maketrans("-_", "+/", "=\r\n")
_GLUE = re.compile(r"[+/_\s-]")
_NOISE = re.compile(r"[^\t\n\r -~\u00a0-\ud7ff\ue000-\ufffc\U00010000-\U0010ffff]")


def shape(text: str) -> bytes:
    """A byte per character: r digit of base64 or hex, e begins an escape, c control character, space anything else.
    It answers what a text can hold at memory speed, where a pattern would take a hundred times as long."""
    return text.encode("latin-1", "replace").translate(_SHAPE)


def has_run(shaped: bytes) -> bool:
    return _LONG in shaped


def json_parts(match: re.Match[str]) -> Iterable[Part]:
    """What a JSON_ESCAPE says."""
    said = match[0]
    char = chr_of(said) if said[1] == "u" else _SHORT.get(said[1], said[1])
    return ((char, match.start(), match.end()),)


def chr_of(escape: str) -> str:
    r"""The character of \uXXXX, \u{X}, or of a surrogate pair of two \uXXXX."""
    if len(escape) == 12:
        high, low = int(escape[2:6], 16), int(escape[8:], 16)
        return chr(0x10000 + ((high - 0xD800) << 10) + low - 0xDC00)
    return chr(int(escape[2:].strip("{}"), 16))


def escape_parts(match: re.Match[str]) -> Iterable[Part] | None:
    """What an ESCAPE says; None where it says nothing."""
    if match["octets"]:
        return _octets(match)
    try:
        said = chr_of(match[0]) if match["unit"] else html.unescape(match[0])
    except (ValueError, OverflowError):  # beyond U+10FFFF
        return None
    return None if said == match[0] else ((said, match.start(), match.end()),)


def _octets(match: re.Match[str]) -> Iterator[Part]:
    """UTF-8 in escapes of one byte each. Bytes that are not UTF-8 stay escapes, so that they spoil nothing else."""
    run, at = match[0], match.start()
    width = 4 if run[0] == "\\" else 3
    octets = bytes.fromhex("".join(run[i + width - 2 : i + width] for i in range(0, len(run), width)))
    for char in octets.decode("utf-8", "surrogateescape"):
        end = at + width * len(char.encode("utf-8", "surrogateescape"))
        yield (match.string[at:end] if "\udc80" <= char <= "\udcff" else char), at, end
        at = end


def hidden(text: str, shaped: bytes) -> Iterator[Part]:
    """The runs of base64 and hex in `text` that decode to readable text, in order."""
    at = shaped.find(_LONG)
    while at >= 0:
        run = _RUN.match(text, at)
        if run is None:  # the shape promised one
            return
        yield from _read(run[0], at)
        at = shaped.find(_LONG, run.end())


def _read(run: str, at: int) -> Iterator[Part]:
    """The run as a whole, else its parts between the digits that also join words (a path, a key in a URL)."""
    said = _hex(run) or _base64(run)
    if said:
        yield said, at, at + len(run)
        return
    start = 0
    for end in [*(glue.start() for glue in _GLUE.finditer(run)), len(run)]:
        part = run[start:end]
        if RUN_MIN <= len(part) < len(run) and (said := _hex(part) or _base64(part)):
            yield said, at + start, at + end
        start = end + 1


def _hex(run: str) -> str:
    digits = _HEX.fullmatch(run)
    return readable(bytes.fromhex(digits[1])) if digits else ""


def _base64(run: str) -> str:
    digits = run.translate(_STANDARD)
    whole = len(digits) - (len(digits) % 4 == 1)  # one digit too many says nothing
    return readable(binascii.a2b_base64(digits[:whole] + "=="[: -whole % 4]))


def readable(octets: bytes) -> str:
    """The bytes as text where nearly all of it is printable UTF-8, else ""."""
    said = octets.decode("utf-8", "replace")
    if said.isprintable() and "\ufffd" not in said:
        return said
    return said if len(_NOISE.findall(said)) <= (1 - PRINTABLE) * len(said) else ""
