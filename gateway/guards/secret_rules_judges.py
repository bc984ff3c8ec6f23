"""What tells a secret from a value of the same form: checksums, decoding, randomness."""

from __future__ import annotations

import base64
import binascii
import re
import zlib

import orjson

from gateway.guards.entropy import classes, hexadecimal, named, random_enough, shannon, stands_in
from gateway.guards.secret_rules import FLOOR, Judge, plausible

UNPROVEN = 0.8
"""The score of a value of the right form whose checksum does not hold: mistyped, made up, or of a newer form."""

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_CODE = re.compile(
    r"^(?:env|file|vault|secret|arn|https?|ssm|sops|op|sm|ref):|^[./~]|://|\w\(|%[sd]|\{\w*\}|::|->|==|&&|\|\||\\"
)


def mixed(value: str) -> float:
    """For values whose form says little: letters and digits, drawn at random, not names."""
    if hexadecimal(value) or classes(value) < 2 or not any(map(str.isdigit, value)) or named(value):
        return 0.0
    return plausible(value) if shannon(value) >= FLOOR + 0.5 else 0.0


def checksummed(value: str) -> float:
    """GitHub and npm: after the underscore 30 characters, then their CRC-32 in six digits of base 62."""
    body = value[value.rindex("_") + 1 :]
    if len(body) >= 36 and crc62(body[:-6]) == body[-6:]:
        return 1.0
    return min(plausible(value), UNPROVEN)


def crc62(text: str) -> str:
    """The CRC-32 of `text`, six digits of base 62."""
    rest, digits = zlib.crc32(text.encode("ascii")), ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        digits = _BASE62[digit] + digits
    return digits


def aws_key_id(value: str) -> float:
    """Since 2019 the characters after the kind hold the account's number, which has at most twelve decimal digits; in
    older ids the first of them is I or J."""
    if stands_in(value) or shannon(value[4:]) < FLOOR:
        return 0.0
    if value[4] in "IJ":
        return 1.0
    number = 0
    for character in value[4:14]:
        number = number << 5 | _BASE32.index(character)
    return 1.0 if (number >> 9 & (1 << 39) - 1) < 10**12 else UNPROVEN


def jwt(value: str) -> float:
    """The header is a JSON object that names its algorithm."""
    try:
        header = orjson.loads(_decoded(value.split(".", 1)[0]))
    except ValueError:
        return 0.0
    return 1.0 if isinstance(header, dict) and isinstance(header.get("alg"), str) else 0.0


def basic(value: str) -> float:
    """Base64 of a name, a colon and a password, as RFC 7617 has it."""
    try:
        user, colon, password = _decoded(value).decode("utf-8").partition(":")
    except ValueError:
        return 0.0
    printable = (user + password).isprintable()
    return 1.0 if colon and printable and len(password) >= 3 and not stands_in(password) else 0.0


def key_block(value: str) -> float:
    """A header, and behind it a run of a key's characters, drawn at random."""
    body = "".join(re.findall(r"[A-Za-z0-9+/=]{16,}", value[max(0, value.find("KEY")) :]))
    return 1.0 if body and shannon(body) >= FLOOR else 0.0


def url_password(value: str) -> float:
    """A password between a URL's user and host: whatever is no stand-in."""
    plain = value.lower()
    harmless = {"password", "passwd", "pass", "pwd", "secret", "user", "token", "x-oauth-basic", "xxx", "..."}
    return 0.0 if plain in harmless or stands_in(value) or len(set(value)) < 3 or _CODE.search(value) else 1.0


def bearer(value: str) -> float:
    return 0.0 if named(value) or _CODE.search(value) else plausible(value)


def given(floor: float) -> Judge:
    """For what is given to the name of a key, secret or token: random with at least `floor` bits a character."""

    def judge(value: str) -> float:
        if len(value) < 16 or _harmless(value):
            return 0.0
        return 1.0 if _UUID.fullmatch(value) or random_enough(value, floor) else 0.0

    return judge


def password(floor: float) -> Judge:
    """For what is given to the name of a password: chosen by people, so three kinds of characters, one bit less."""

    def judge(value: str) -> float:
        if _harmless(value):
            return 0.0
        return 1.0 if classes(value) >= 3 and shannon(value) >= floor - 1 else 0.0

    return judge


def _harmless(value: str) -> bool:
    """A stand-in, a piece of code, or names."""
    letters, digits = any(map(str.isalpha, value)), any(map(str.isdigit, value))
    return not (letters and digits) or stands_in(value) or bool(_CODE.search(value)) or _worded(value)


def _worded(value: str) -> bool:
    """Names; with a symbol that names do not have (P4ss!word) it is none."""
    return named(value) and not re.search(r"[!@#$%^&*?~]", value)


def _decoded(text: str) -> bytes:
    """Base64 of either alphabet, with or without its padding. ValueError when it is not."""
    try:
        return base64.b64decode(
            text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=_altchars(text), validate=True
        )
    except binascii.Error as wrong:
        raise ValueError("not base64") from wrong


def _altchars(text: str) -> bytes | None:
    return b"-_" if "-" in text or "_" in text else None
