"""A text as RE2 sees it: every character beyond ASCII replaced by one that presidio's patterns treat alike."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import regex

STANDINS = (0, 0x0B, ord("_"))
"""What characters beyond ASCII become, besides letters and digits: NUL, the vertical tab and "_"."""


class _Shadows(dict[int, str]):
    """The ASCII shadow of every character: of the same class in the eyes of presidio's patterns, one for one.

    Letters beyond ASCII become "_" (a word character that is no letter), digits 0, blanks a
    vertical tab, the rest NUL. The four letters that `regex` takes for ASCII ones when it ignores case become those.
    """

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if code < 128:
            shadow = char
        elif char in "\u017f\u212a\u0130\u0131":
            shadow = {"\u017f": "s", "\u212a": "k"}.get(char, "i")
        elif regex.match(r"\d", char):
            shadow = "0"
        elif regex.match(r"\s", char):
            shadow = "\x0b"
        else:
            shadow = "_" if regex.match(r"\w", char) else "\0"
        self[code] = shadow
        return shadow


_SHADOWS = _Shadows()


@dataclass(frozen=True)
class Shadow:
    """A text and its ASCII shadow, of the same length."""

    text: str

    @cached_property
    def ascii(self) -> bytes:
        text = self.text if self.text.isascii() else self.text.translate(_SHADOWS)
        return text.encode("ascii")

    @cached_property
    def faithful(self) -> bool:
        """Whether exact patterns may be matched on the shadow: no character beyond ASCII became a letter or a digit,
        which ``[0-9]`` or ``[A-Z]`` would take where the original would not."""
        return self.text.isascii() or not any(
            char > "\x7f" and _SHADOWS[ord(char)].isalnum() for char in set(self.text)
        )
