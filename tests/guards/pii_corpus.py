"""Texts for the PII guard, made from a seed: prose, code, logs, JSON and chat, with and without personal data.

Every value is random: numbers that look right (and pass their checksum at about the rate that chance gives), numbers with
a right checksum, and near misses. Nothing here belongs to a person.
"""

from __future__ import annotations

import json
import random
import re
import string
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256
from typing import Any

from presidio_analyzer import predefined_recognizers

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
WORDS = re.findall(
    r"\S+",
    "the a of to and in that is was he for it with as his on be at by had not are but from or have an they which one you"
    " were all her she there would their we him been has when who will no more if out so up said what its about than into"
    " them can only other time new some could these two may first then do any like my now over such our man me even most"
    " made after also did many off before must well back through years where much your way down should because long each"
    " introductory information committee government experience understanding particularly agreement meeting budget report"
    " quarter revenue customer public duplicate numbers accounting driver's licence published republic clicking",
)
CONTEXT = re.findall(
    r"\S+",
    "phone number telephone mobile call credit card visa iban bank account transfer ssn social security passport license"
    " driver lic permit email mail ip address mac wallet bitcoin btc tax itin nhs npi routing aba medicare abn tfn sin"
    " aadhaar pan voter uen fin nric nin umid tin date birthday url website link uuid claim prescription rx referral"
    " authorization member insurance id identification plate registration vehicle postcode zip vat dni nie nif pesel"
    " codice fiscale carta steuernummer reisepass personnummer public card_number phone_number ACCOUNT_NO",
)
PATTERNS = re.findall(
    r"[^|]+",
    "#########|###-##-####|### ## ####|###.##.####|##-#######|9##-7#-####|9##7#####|@########|@#########|@@######|@@#######"
    "|@@###|@#|@##|@###|@@@|@@@@@@@@@@@@|#### #### #### ####|################|####-####-####-####|3### ###### #####|4############"
    "|1############|+1 ### ### ####|(###) ###-####|###-###-####|### ### ####|+44 7### ######|+49 ### #######|0## ########"
    "|+33 # ## ## ## ##|00## ### ### ####|+27 8# ### ####|08# ### ####|### ### #### ext. ##|##########|###########|############"
    "|## ### ### ###|### ### ###|#### ##### #|#### #### ####|####-#######-#|#### ### ###|@@@@@####@|@@@#######|@##### # ####"
    "|@@##@@####|@@@####|##BH####@@|@@## @@@|@@##@@@|@## #@@|@#@ #@#|@#@#@#|@@# #@@|@@ ## ## ## @|@@######@|@#######@|@########"
    "|@@##@@####@|@1# ####9|@23####7|@@@ ###@@|@@@-123@@|########@|S#######@|####@@##@##|1@@1-@@1-@@11|###########@|##@@@@@####@1Z@|CLM-########|RX######|PA-#######"
    "|REF#######|##.##.####|##/##/####|####-##-##|#/#/##|##-MAY-####|####-##-##T##:##:##Z|####-##-##T##:##:##.###+01:00"
    "|##/####|1##.1##.##.#|10.#.#.##|#.#.#|v#.#.#.#|#.#.#.#/24|fe80::###:####:abcd|::1|::|dead::beef|::ffff:1#.#.#.#"
    "|a#:#b:##:c#:0#:ff|a#-#b-##-c#-0#-ff|####.ab##.cd##|########-####-4###-8###-############|#@@-###|@@@-####|@@@ ### @@"
    "|@@##@@ GP|@@ ## @@ GP|### @@ EC|####/######/##|CK####/######|########-@|@########@|X#######@|@@#######@|@@#####@@"
    "|@@@@@@##@##@###@|AB###########|IT###########|DE#########|HRB ######|######-####|######A###@|########-####|########@##"
    "|## @@@ ###|##@@##|# #### ##### ## #|211-227 (2003)|12 34 56 78 90 12 34|#,###.##|$###.##|##%|#####|####|###|##|#",
)
CHECKED = {
    "AuAbnRecognizer": "## ### ### ###",
    "AuAcnRecognizer": "### ### ###",
    "AuTfnRecognizer": "### ### ###",
    "AuMedicareRecognizer": "2### ##### #",
    "AbaRoutingRecognizer": "0########",
    "InAadhaarRecognizer": "#### #### ####",
    "InGstinRecognizer": "27@@@@@####@1Z@",
    "MedicalLicenseRecognizer": "A@#######",
    "NhsRecognizer": "### ### ####",
    "SgUenRecognizer": "T##LL####@",
    "UkDrivingLicenceRecognizer": "@@@@@#0112#@@9@@",
    "UsNpiRecognizer": "1#########",
    "ZaIdNumberRecognizer": "8#0#1#####08#",
    "ZaPassportRecognizer": "A########",
    "ZaCompanyRegistrationRecognizer": "2001/######/07",
    "ZaVatNumberRecognizer": "4#########",
    "EsNifRecognizer": "########@",
    "EsNieRecognizer": "X#######@",
    "ItFiscalCodeRecognizer": "@@@@@@8#A0#@###@",
    "ItVatCodeRecognizer": "###########",
    "PlPeselRecognizer": "8#0#1######",
    "DeTaxIdRecognizer": "###########",
    "TrNationalIdRecognizer": "1##########",
    "KrRrnRecognizer": "8#0#1#-1######",
    "ThTninRecognizer": "1############",
    "SePersonnummerRecognizer": "8#0#1#-####",
    "FiPersonalIdentityCodeRecognizer": "1#0#8#-###@",
}
"""Shapes that are drawn again until the recogniser's own check passes."""
TLDS = re.findall(
    r"\S+", "com org net de co.uk io it py md js sh rs in is ai dev invalid museum example com.br xn--p1ai c0m"
)
BREAKS = (
    " ",
    " ",
    " ",
    " ",
    " ",
    " ",
    "\n",
    "\t",
    "  ",
    ", ",
    ". ",
    ": ",
    "; ",
    "\u00a0",
    " - ",
    "/",
    "(",
    ") ",
    '"',
    "'",
    "=",
    "_",
    "",
    "#",
)
ODD = "äéßñ漢字ЖωK\u212a\u017fıİ٣५²½＋（５５５\u200b\u2011\u00ad😀\x1c\x85\u2028"


class Maker:
    """Draws texts. `one()` gives the next; the same seed gives the same texts."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self._shapes: tuple[Callable[[], str], ...] = (
            self.prose,
            self.chat,
            self.code,
            self.log,
            self.json,
            self.noise,
        )

    def one(self) -> str:
        text = self.draw.choice(self._shapes)()
        return self._spiced(text) if self.draw.random() < 0.15 else text

    def word(self) -> str:
        return str(self.draw.choice(WORDS))

    def near(self) -> str:
        return str(self.draw.choice(CONTEXT))

    def value(self) -> str:
        """One thing that a recogniser looks for, or nearly."""
        shapes = (self._filled, self._filled, self._filled, self._checked)
        made = self.draw.choice((*shapes, self._mail, self._url, self._card, self._iban, self._coin))
        return self._cased(made())

    def _cased(self, value: str) -> str:
        turn = self.draw.random()
        return value.lower() if turn < 0.15 else value.upper() if turn < 0.25 else value

    def _filled(self, pattern: str = "") -> str:
        return "".join(self._sign(sign) for sign in pattern or self.draw.choice(PATTERNS))

    def _checked(self) -> str:
        name, pattern = self.draw.choice(list(CHECKED.items()))
        owner = _recognizer(name)
        drawn = (self._filled(pattern) for _ in range(400))
        return next((value for value in drawn if owner.validate_result(value)), "none")

    def _sign(self, sign: str) -> str:
        if sign == "#":
            return self.draw.choice(string.digits)
        return self.draw.choice(string.ascii_uppercase) if sign == "@" else sign

    def _label(self) -> str:
        return "".join(self.draw.choices(string.ascii_lowercase + string.digits + "-_.", k=self.draw.randint(1, 12)))

    def _domain(self) -> str:
        return f"{self._label()}.{self.draw.choice(TLDS)}"

    def _mail(self) -> str:
        return f"{self._label()}@{self._domain()}"

    def _url(self) -> str:
        head = self.draw.choice(("http://", "https://", "www.", "", "'", '"https://', "ftp://"))
        tail = self.draw.choice(("", "/", "/a/b?c=d&e=f", "'", '"', ":8080/x", "mand", "(x)", "/path)"))
        return head + self._domain() + tail

    def _card(self) -> str:
        digits = self.draw.choice(("4", "51", "37", "6011")) + "".join(self.draw.choices(string.digits, k=13))
        body = digits[:15]
        return body + luhn(body)

    def _iban(self) -> str:
        country, length = self.draw.choice((("DE", 18), ("GB", 18), ("FR", 23), ("IT", 23), ("ES", 20), ("NL", 14)))
        body = "".join(self.draw.choices(string.digits, k=length))
        if country in {"GB", "NL"}:
            body = "ABNA" + body[4:]
        plain = "".join(str(int(sign, 36)) for sign in f"{body}{country}00")
        whole = f"{country}{98 - int(plain) % 97:02d}{body}"
        return whole if self.draw.random() < 0.6 else " ".join(whole[at : at + 4] for at in range(0, len(whole), 4))

    def _coin(self) -> str:
        """A bitcoin address with a right checksum (base58), or something that looks like one."""
        if self.draw.random() < 0.5:
            return self.draw.choice(("1", "3", "bc1")) + "".join(
                self.draw.choices(string.ascii_letters + string.digits, k=33)
            )
        body = b"\x05" + self.draw.randbytes(20)
        number = int.from_bytes(body + sha256(sha256(body).digest()).digest()[:4], "big")
        signs = ""
        while number:
            number, sign = divmod(number, 58)
            signs = BASE58[sign] + signs
        return signs

    def _spiced(self, text: str) -> str:
        """Characters beyond ASCII in random places."""
        for _ in range(self.draw.randint(1, 6)):
            at = self.draw.randint(0, len(text))
            text = text[:at] + self.draw.choice(ODD) + text[at:]
        return text

    def prose(self) -> str:
        rate = self.draw.choice((0.0, 0.02, 0.1))
        return " ".join(self._mixed(rate) for _ in range(self.draw.randint(3, 150)))

    def _mixed(self, rate: float) -> str:
        turn = self.draw.random()
        return self.value() if turn < rate else self.near() if turn < 3 * rate else self.word()

    def chat(self) -> str:
        return "".join(
            f"{self.word()} {self.near()}{self.draw.choice((' is ', ': ', ' ', '=', ' no. ', ' # '))}{self.value()}{self.draw.choice('.,!? ')}\n"
            for _ in range(self.draw.randint(1, 6))
        )

    def code(self) -> str:
        lines = (
            f"def {self.word()}_{self.near()}(self):",
            f"    return self.{self.word()}.{self.near()}['{self.value()}']",
            f"import os.{self.word()}  # see {self.word()}.py, README.md and index.js",
            f'@{self.word()}.route("/{self.value()}")',
            f"{self.near()} = {self.value()!r};",
            f"std::{self.word()}::{self.near()}(a::b, {self.value()});",
            f"pip install {self.word()}=={self.value()}",
        )
        return "\n".join(self.draw.choices(lines, k=self.draw.randint(1, 12)))

    def log(self) -> str:
        return "\n".join(
            f"2024-0{self.draw.randint(1, 9)}-1{self.draw.randint(0, 9)} 08:{self.draw.randint(10, 59)}:07,123 INFO"
            f" [{self.word()}] {self.near()}={self.value()} {self.word()}={self.draw.randint(0, 10**9)} {self.value()}"
            for _ in range(self.draw.randint(1, 8))
        )

    def json(self) -> str:
        entries = {
            self.near() + str(at): self.draw.choice((self.value(), self.word(), self.draw.randint(0, 10**12)))
            for at in range(6)
        }
        return json.dumps({"rows": [entries], self.word(): self.value()}, indent=self.draw.choice((None, 2)))

    def noise(self) -> str:
        """Values, words and separators in any order."""
        pieces = (
            self.draw.choice((self.value, self.near, self.word))() + self.draw.choice(BREAKS)
            for _ in range(self.draw.randint(1, 25))
        )
        return "".join(pieces)


@cache
def _recognizer(name: str) -> Any:
    return getattr(predefined_recognizers, name)()


def luhn(body: str) -> str:
    """The digit that makes `body` pass Luhn's check."""
    total = sum(sum(divmod(int(digit) * (2 - at % 2), 10)) for at, digit in enumerate(reversed(body)))
    return str(-total % 10)


def texts(count: int, seed: int = 1) -> Iterator[str]:
    maker = Maker(seed)
    return (maker.one() for _ in range(count))


def ordinary_prose(length: int = 4_000, seed: int = 7) -> str:
    """Sentences with a few numbers, as letters and articles have them, and nothing personal."""
    draw = random.Random(seed)
    sentences: list[str] = []
    while sum(len(sentence) for sentence in sentences) < length:
        words = draw.choices(WORDS, k=draw.randint(8, 22))
        if draw.random() < 0.25:
            words[draw.randrange(len(words))] = draw.choice(("2024", "1998", "17", "3.5", "40 %", "1,200", "$25"))
        sentences.append(" ".join(words).capitalize() + ". ")
    return "".join(sentences)[:length]
