"""Builds values that look like secrets, at run time and from a seed, so that none stands in the tree.

A sample is a rule's pattern turned round: letters are written, classes are drawn from. Checksums and encodings are then
put right by the kind of the rule. A near miss is the same with its drawn part too short, or all of one character.
"""

from __future__ import annotations

import base64
import random
import re
import string
from collections.abc import Callable, Sequence
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from gateway.guards.secret_rules import Rule
from gateway.guards.secret_rules_judges import crc62

ALPHABET = string.ascii_letters + string.digits
NAMES_CRC = {"github-personal", "github-oauth", "github-user", "github-server", "npm-token"}


def drawn(rule: Rule, seed: int) -> tuple[str, str]:
    """(text, secret): `secret` is what the rule should find in `text`."""
    rng = random.Random(f"{rule.name} {seed}")
    if rule.name in SPECIAL:
        return SPECIAL[rule.name](rng)
    writer = _Writer(rng)
    text = writer.write(parser.parse(rule.pattern))
    secret = writer.groups.get(1, text)
    if rule.name in NAMES_CRC:
        body = secret[:-6].rpartition("_")[2]
        right = secret[:-6] + crc62(body)
        return text.replace(secret, right), right
    return text, secret


def spoiled(text: str, secret: str) -> str:
    """The text with a secret that was cut to a third."""
    return text.replace(secret, secret[: max(1, len(secret) // 3)])


def stand_in(text: str, secret: str) -> str:
    """The text with a secret whose characters behind its first quarter are x."""
    keep = len(secret) // 4
    return text.replace(secret, secret[:keep] + re.sub(r"[^\s.:/-]", "x", secret[keep:]))


class _Writer:
    """Writes one string of a parsed pattern. Of a choice it takes any branch, of a count the least and some more."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.groups: dict[int, str] = {}

    def write(self, items: Any) -> str:
        return "".join(self._one(kind, value) for kind, value in items)

    def _one(self, kind: Any, value: Any) -> str:
        if kind is op.LITERAL:
            return chr(value)
        if kind is op.ANY or kind is op.NOT_LITERAL:
            return "a"
        if kind is op.IN:
            return self._rng.choice(_members(value))
        if kind is op.BRANCH:
            return self.write(self._rng.choice(value[1]))
        if kind in {op.MAX_REPEAT, op.MIN_REPEAT}:
            least, most, body = value
            count = min(most, least + (least > 8) * self._rng.randrange(3))
            return _told_apart("".join(self.write(body) for _ in range(count)), body)
        if kind is op.SUBPATTERN:
            text = self.write(value[3])
            if value[0] is not None:
                self.groups[value[0]] = text
            return text
        return ""  # borders


def _told_apart(text: str, body: Any) -> str:
    """With a digit between letters, where the class takes both: a few words in a hundred would be drawn without."""
    takes = _members(body[0][1]) if len(text) > 8 and len(body) == 1 and body[0][0] is op.IN else ""
    letter = next((c for c in takes if c.isalpha()), "")
    return f"{text[:2]}7{letter}{text[4:]}" if letter and "7" in takes else text


def _members(value: Sequence[tuple[Any, Any]]) -> str:
    """Characters of a class, of letters and digits first."""
    state = parser.State()
    state.str = ""
    state.flags = 0
    test = re._compiler.compile(parser.SubPattern(state, [(op.IN, list(value))]), 0)  # type: ignore[attr-defined]
    found = "".join(character for character in ALPHABET if test.match(character))
    return found or next(c for c in " \n\"'=:;,.-+/!?" if test.match(c))


def some(rng: random.Random, size: int, alphabet: str = ALPHABET) -> str:
    return "".join(rng.choice(alphabet) for _ in range(size))


def _b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _jwt(rng: random.Random) -> tuple[str, str]:
    header, claims = _b64url(b'{"alg":"HS256","typ":"JWT"}'), _b64url(b'{"sub":"canary","iat":1}')
    token = f"{header}.{claims}.{some(rng, 43)}"
    return f"token {token} end", token


def _jwe(rng: random.Random) -> tuple[str, str]:
    header = _b64url(b'{"alg":"dir","enc":"A256GCM"}')
    token = f"{header}..{some(rng, 16)}.{some(rng, 60)}.{some(rng, 22)}"
    return f"token {token} end", token


def private_key(rng: random.Random, label: str = "RSA PRIVATE", lines: int = 6) -> str:
    body = "\n".join(some(rng, 64) for _ in range(lines))
    return f"-----BEGIN {label} KEY-----\n{body}\n{some(rng, 10)}==\n-----END {label} KEY-----"


def _private_key(rng: random.Random) -> tuple[str, str]:
    block = private_key(rng)
    return f"my key:\n{block}\nthank you", block


def _putty(rng: random.Random) -> tuple[str, str]:
    lines = "\n".join(some(rng, 64) for _ in range(4))
    block = (
        f"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: canary\nPublic-Lines: 2\n{lines}\n"
        f"Private-Lines: 1\n{some(rng, 48)}\nPrivate-MAC: {some(rng, 64, '0123456789abcdef')}\n"
    )
    return f"key:\n{block}thank you", block


def _basic(rng: random.Random) -> tuple[str, str]:
    value = base64.b64encode(f"aladdin:{some(rng, 12)}".encode()).decode()
    return f"Authorization: Basic {value}", value


def _given(name: str, size: int, mark: str = "") -> Callable[[random.Random], tuple[str, str]]:
    def build(rng: random.Random) -> tuple[str, str]:
        value = mark + some(rng, size)
        return f'{name} = "{value}"', value

    return build


def _around(before: str, after: str, size: int = 14) -> Callable[[random.Random], tuple[str, str]]:
    def build(rng: random.Random) -> tuple[str, str]:
        value = some(rng, size)
        return before + value + after, value

    return build


SPECIAL: dict[str, Callable[[random.Random], tuple[str, str]]] = {
    "private-key": _private_key,
    "putty-key": _putty,
    "jwt": _jwt,
    "jwe": _jwe,
    "basic-auth": _basic,
    "password": _given("db_password", 12, "aB3!"),
    "secret": _given("client_secret", 32),
    "database-url": _around("postgresql://app:", "@db.internal:5432/x"),
    "url-password": _around("https://bob:", "@git.internal/x"),
    "url-token": _around("https://", "@git.internal/x", 40),
    "connection-string": _around("Server=db;Database=x;User Id=sa;Pwd=", ";Encrypt=yes"),
    "jdbc-password": _around("jdbc:mysql://db:3306/x?user=app&password=", "&ssl=true"),
    "curl-user": _around("curl -s -u bob:", " https://api.internal/"),
    "netrc-password": _around("machine git.internal login bob password ", "\n"),
    "bearer-auth": _around("Authorization: Bearer ", "\n", 32),
    "token-auth": _around("Authorization: token ", "\n", 40),
}
