"""Ways to write a text so that a reader still understands it and a pattern does not, and how detectors bear them.

print(table({"pii": sees_pii}, {"pii": texts_with_pii}, harmless_texts))
"""

from __future__ import annotations

import base64
import codecs
import json
import unicodedata
from collections.abc import Callable, Sequence
from urllib.parse import quote

_TWINS = dict(zip("aeopcyxisjhdABEKMHOPCTXISJ", "аеорсухіѕјһԁАВЕКМНОРСТХІЅЈ", strict=True))
_LEET = str.maketrans("aeiostAEIOST", "431057431057")


def zero_width(text: str) -> str:
    """A zero-width space after each character."""
    return "\u200b".join(text)


def soft_hyphen(text: str) -> str:
    return "\u00ad".join(text)


def tag_characters(text: str) -> str:
    """Nothing to see at all: U+E0020 to U+E007E spell ASCII."""
    return "".join(chr(0xE0000 + ord(char)) if " " <= char <= "~" else char for char in text)


def variation_selectors(text: str) -> str:
    """A smile that carries the UTF-8 bytes of the text as selectors."""
    return "\N{SMILING FACE WITH SMILING EYES}" + "".join(
        chr(0xFE00 + byte if byte < 16 else 0xE0100 + byte - 16) for byte in text.encode("utf-8", "surrogatepass")
    )


def homoglyphs(text: str) -> str:
    """Cyrillic letters wherever one looks the same."""
    return "".join(_TWINS.get(char, char) for char in text)


def full_width(text: str) -> str:
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)


def mathematical(text: str) -> str:
    """Bold letters and digits of mathematics."""
    return "".join(_bold(char) for char in text)


def _bold(char: str) -> str:
    if not (char.isascii() and char.isalnum()):
        return char
    case = "DIGIT" if char.isdigit() else "CAPITAL" if char.isupper() else "SMALL"
    name = unicodedata.name(char).removeprefix(f"LATIN {case} LETTER ").removeprefix("DIGIT ")
    return unicodedata.lookup(f"MATHEMATICAL BOLD {case} {name}")


def combining_marks(text: str) -> str:
    """A pile of marks on each letter and digit."""
    return "".join(char + "\u0336\u0301\u0323" if char.isalnum() else char for char in text)


def accents(text: str) -> str:
    """An acute accent on each letter, composed where there is such a letter."""
    return unicodedata.normalize("NFC", "".join(char + "\u0301" if char.isalpha() else char for char in text))


def bidi(text: str) -> str:
    """Written backwards, shown forwards by an override in each line."""
    return "\n".join(f"\u202e{line[::-1]}\u202c" for line in text.split("\n"))


def bidi_marks(text: str) -> str:
    """A left-to-right override around each word, which changes nothing for the reader."""
    return " ".join(f"\u202d{word}\u202c" for word in text.split(" "))


def percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


def percent_twice(text: str) -> str:
    return quote(percent(text))


def html_entities(text: str) -> str:
    return "".join(f"&#{ord(char)};" for char in text)


def quoted_printable(text: str) -> str:
    return "".join(f"={byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


def json_escapes(text: str) -> str:
    return "".join(f"\\u{ord(char):04x}" if ord(char) < 0x10000 else json.dumps(char)[1:-1] for char in text)


def base64_run(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()


def base64_twice(text: str) -> str:
    return base64_run(base64_run(text))


def base64_lines(text: str) -> str:
    """As mail wraps it: 76 characters a line."""
    return base64.encodebytes(text.encode("utf-8", "surrogatepass")).decode().rstrip()


def hex_digits(text: str) -> str:
    return text.encode("utf-8", "surrogatepass").hex()


def spaced(text: str) -> str:
    return " ".join(text)


def leet(text: str) -> str:
    return text.translate(_LEET)


def backwards(text: str) -> str:
    return text[::-1]


def rot13(text: str) -> str:
    return codecs.encode(text, "rot13")


def newline_inside(text: str) -> str:
    """A line break in the middle of each word of four letters and more."""
    return " ".join(
        f"{word[: len(word) // 2]}\n{word[len(word) // 2 :]}" if len(word) > 3 else word for word in text.split(" ")
    )


TRANSFORMS: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "zero-width spaces": zero_width,
    "soft hyphens": soft_hyphen,
    "tag characters": tag_characters,
    "variation selectors": variation_selectors,
    "homoglyphs": homoglyphs,
    "full-width": full_width,
    "mathematical letters": mathematical,
    "combining marks": combining_marks,
    "accents": accents,
    "bidi marks": bidi_marks,
    "bidi, written backwards": bidi,
    "percent": percent,
    "percent, twice": percent_twice,
    "HTML entities": html_entities,
    "quoted-printable": quoted_printable,
    "JSON escapes": json_escapes,
    "base64": base64_run,
    "base64, twice": base64_twice,
    "base64, wrapped": base64_lines,
    "hex": hex_digits,
    "upper case": str.upper,
    "lower case": str.lower,
    "spaced letters": spaced,
    "leet": leet,
    "reversed": backwards,
    "rot13": rot13,
    "newline inside": newline_inside,
}


def table(detectors: dict[str, Callable[[str], bool]], attacks: dict[str, list[str]], harmless: list[str]) -> str:
    """A Markdown table: for each transform and detector the share of its attacks that it finds, and the share of the
    harmless texts, transformed in the same way, that it finds too.

    `attacks` names the texts of each detector; a detector that it does not name has to find the texts of all.
    """
    everything = [text for texts in attacks.values() for text in texts]
    lines = [
        _line(["transform", *(f"{name}: found | {name}: false" for name in detectors)]),
        _line(["---", *["---: | ---:"] * len(detectors)]),
    ]
    for name, transform in TRANSFORMS.items():
        cells = [
            f"{_share(detector, transform, attacks.get(which, everything))} | {_share(detector, transform, harmless)}"
            for which, detector in detectors.items()
        ]
        lines.append(_line([name, *cells]))
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _share(detector: Callable[[str], bool], transform: Callable[[str], str], texts: Sequence[str]) -> str:
    """Whole per cents, two decimals where those would say all or nothing wrongly."""
    if not texts:
        return "-"
    found = sum(detector(transform(text)) for text in texts)
    share = 100 * found / len(texts)
    return f"{share:.0f} %" if 0.5 <= share <= 99.5 or share in {0, 100} else f"{share:.2f} %"
