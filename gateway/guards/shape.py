"""The guard "shape": how much, in which language and script, code, and where URLs lead. Every condition is optional."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol, Self
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from gateway.core.ports import Guard
from gateway.core.span import Finding, Text, View
from gateway.guards.base import BaseGuard, GuardRow
from gateway.guards.normal import Folded, views
from gateway.guards.patterns import encodable
from gateway.guards.reach import Reach, open_tail
from gateway.tokens.vocabulary import bundled

RUN = 64
"""Letters of one finding about a script, so that a stream knows early where one ends."""
ASKERS = frozenset({"user", "assistant", "tool"})
"""The roles whose texts are messages; system and developer are the app's own."""
MESSAGES = frozenset({"content", "result"})
URL = r"""(?i)(?:(?:https?|wss?|ftps?):[/\\]+|(?<![a-z0-9])www\.|(?<![/\\])//(?=[\w-]{1,63}\.))[^\s<>"'`]{1,2048}"""
"""Browsers take a backslash for a slash, one or three of them for two, and need no scheme before two."""
TRAILING = ".,;:!?)]}*_"
"""What ends a sentence, a bracket or an emphasis around a URL rather than the URL."""
CODE_LINES = 3
"""Lines of code that a run needs without a fence; one or two are often prose about code."""
FENCE = re.compile(r"^[ \t]{0,3}(```|~~~)", re.MULTILINE)
CODE_LINE = (
    r"(?:async\s+)?def\s+\w+\s*\(",
    r"(?:from\s+[\w.]+\s+)?import\s+[\w.*{][^.]*$",
    r"class\s+\w+\s*[:({]",
    r"@\w[\w.]*(?:\(|$)",
    r"(?:export\s+)?(?:const|let|var)\s+[\w{\[].*=",
    r"(?:export\s+)?(?:async\s+)?function\b.*\(",
    r"(?:public|private|protected|static|final)\s+[\w<>\[\],\s]+[({;=]",
    r"func\s+[\w(]+\(|fn\s+\w+|package\s+[\w.]+;?$|using\s+[\w.]+;|namespace\s+\w+",
    r"#(?:include|define|ifdef|ifndef|pragma)\b|#!/",
    r"(?:if|for|while|switch|elif|catch)\b.+[{:]$|(?:else|try|finally|do)\s*[{:]$",
    r"(?i:select\s.+\sfrom\s|insert\s+into\s|create\s+(?:table|index|view)\s|update\s+\w+\s+set\s|delete\s+from\s)",
    r"</?[a-zA-Z][\w:-]*(?:\s[^<>]*)?/?>",
    r"[\w.\[\]]+\s*(?:[-+*/|&]?=|:=)\s*\S|[\w.]+\(.*\)\s*;?$|.*[;{]$|[})\]]+[;,)]*$|\$\s+\w",
)
"""How lines begin, blanks aside, that are code in the languages that assistants are asked for most (RE2)."""


class LanguageRule(BaseModel):
    """Which languages texts may be in."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    allow: list[str] = Field(min_length=1, description="ISO 639 codes as py3langid writes them: en, de, pt, zh.")
    min_characters: int = Field(40, ge=1, description="Letters that a text needs to be judged.")
    probability: float = Field(0.9, gt=0, le=1, description="How sure the identifier must be of another language.")


class UrlRule(BaseModel):
    """Domains; each stands for its subdomains too. Without a list every URL is a finding."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    allow: list[str] | None = Field(None, description="The only domains that URLs may lead to.")
    deny: list[str] = Field(default_factory=list, description="Domains that URLs may not lead to, even if allowed.")

    @model_validator(mode="after")
    def _domains(self) -> Self:
        for domain in (*(self.allow or ()), *self.deny):
            if _host("https://" + domain) is None or re.search(r"[/:@*]", domain):
                raise ValueError(f"{domain!r} is not a domain; write example.com, which covers its subdomains")
        return self


class Row(GuardRow):
    """Limits of size and shape."""

    type: Literal["shape"]
    max_messages: int | None = Field(None, ge=1, description="Texts of the roles user, assistant and tool.")
    max_characters: int | None = Field(None, ge=1, description="Characters of all texts together.")
    max_tokens: int | None = Field(None, ge=1, description="Tokens of all texts together.")
    encoding: Literal["o200k_base", "cl100k_base"] = Field("o200k_base", description="How tokens are counted.")
    languages: LanguageRule | None = Field(None, description="Languages that are allowed.")
    scripts: list[str] | None = Field(
        None, min_length=1, description="Scripts that letters may be of: Latin, Greek, Han."
    )
    code: bool = Field(False, description="Code fences and lines of code are findings.")
    urls: UrlRule | None = Field(None, description="URLs and the domains that they may lead to.")

    @field_validator("scripts")
    @classmethod
    def _known(cls, scripts: list[str] | None) -> list[str] | None:
        for script in scripts or ():
            if script.upper() not in _scripts():
                raise ValueError(
                    f"no letter is of the script {script!r}; write the first word of its letters' Unicode names"
                )
        return scripts

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        limits = (self.max_messages, self.max_characters, self.max_tokens, self.languages, self.scripts, self.urls)
        if not self.code and all(limit is None for limit in limits):
            raise ValueError("it limits nothing; set max_characters, languages, scripts, code, urls or another limit")
        return self


def build(row: Row, _: Path) -> Guard:
    conditions: list[Condition] = []
    if row.max_messages is not None:
        conditions.append(MaxMessages(row.max_messages))
    if row.max_characters is not None:
        conditions.append(MaxCharacters(row.max_characters))
    if row.max_tokens is not None:
        conditions.append(MaxTokens(row.max_tokens, row.encoding))
    if row.languages is not None:
        conditions.append(Languages(row.languages))
    if row.scripts is not None:
        conditions.append(Scripts(row.scripts))
    if row.code:
        conditions.append(Code())
    if row.urls is not None:
        conditions.append(Urls(row.urls))
    return Shape(conditions)


class Condition(Protocol):
    def check(self, view: View) -> list[Finding]: ...

    def open_tail(self, text: Text) -> int: ...


class Shape(BaseGuard):
    reads_parts = False

    def __init__(self, conditions: list[Condition]) -> None:
        self._conditions = conditions

    def check(self, view: View) -> list[Finding]:
        return [finding for condition in self._conditions for finding in condition.check(view)]

    def open_tail(self, text: Text) -> int:
        return max(condition.open_tail(text) for condition in self._conditions)


class Whole:
    """A condition on texts as wholes: nothing of a text decides it."""

    def open_tail(self, _: Text) -> int:
        return 0


class MaxMessages(Whole):
    def __init__(self, limit: int) -> None:
        self._limit = limit

    def check(self, view: View) -> list[Finding]:
        messages = [
            (index, text) for index, text in enumerate(view.texts) if text.role in ASKERS and text.kind in MESSAGES
        ]
        return [Finding(index, 0, len(text.raw), "TOO_MANY_MESSAGES") for index, text in messages[self._limit :][:1]]


class MaxCharacters(Whole):
    def __init__(self, limit: int) -> None:
        self._limit = limit

    def check(self, view: View) -> list[Finding]:
        room = self._limit
        for index, text in enumerate(view.texts):
            if len(text.raw) > room:
                return [Finding(index, room, len(text.raw), "TOO_LONG")]
            room -= len(text.raw)
        return []


class MaxTokens(Whole):
    """Reads no more of a text than it takes to exceed the limit: no token of these vocabularies is longer than
    `LONGEST` bytes (counted in both)."""

    LONGEST = 128

    def __init__(self, limit: int, encoding: str) -> None:
        self._limit = limit
        self._tokens = bundled(encoding)

    def check(self, view: View) -> list[Finding]:
        room = self._limit
        for index, text in enumerate(view.texts):
            needed = encodable(text.raw[: room * self.LONGEST + 1])
            count = self._tokens.count_till_limit(needed, room)
            if count is None:
                return [Finding(index, self._fitting(needed, room), len(text.raw), "TOO_MANY_TOKENS")]
            room -= count
        return []

    def _fitting(self, text: str, room: int) -> int:
        """How many characters of a text that exceeds `room` tokens are in it; the last is not."""
        exceeds: Callable[[int], bool] = lambda length: self._tokens.count_till_limit(text[:length], room) is None  # noqa: E731
        return bisect_left(range(len(text)), True, key=exceeds) - 1


class Languages(Whole):
    def __init__(self, rule: LanguageRule) -> None:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415 - heavy

        self._identifier: Any = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        unknown = sorted(set(rule.allow) - set(self._identifier.labels))
        if unknown:
            raise ValueError(
                f"languages.allow: no language {unknown[0]!r}; one of {', '.join(self._identifier.labels)}"
            )
        self._rule = rule

    def check(self, view: View) -> list[Finding]:
        """Nothing in the middle of a stream: a few words are no language."""
        found = []
        for index, text in enumerate(view.texts if view.whole else ()):
            read = views(text)[0].text
            if sum(map(str.isalpha, read)) < self._rule.min_characters:
                continue
            language, probability = self._identifier.classify(encodable(read))
            if language not in self._rule.allow and probability >= self._rule.probability:
                found.append(Finding(index, 0, len(text.raw), "LANGUAGE", probability))
        return found


class Scripts:
    """Runs of letters of other scripts, in the text as it reads: folding would make them Latin."""

    def __init__(self, allow: list[str]) -> None:
        self._allowed = {script.upper() for script in allow}

    def check(self, view: View) -> list[Finding]:
        return [
            Finding(index, *folded.raw(start, end), "SCRIPT")
            for index, text in enumerate(view.texts)
            for folded in views(text)[:1]
            for start, end in self._runs(folded.text)
        ]

    def open_tail(self, text: Text) -> int:
        """The last run may grow, up to RUN letters."""
        return open_tail(text, self._held)

    def _held(self, text: str) -> int:
        start = len(text)
        while start and self._foreign(text[start - 1]):
            start -= 1
        return (len(text) - start) % RUN

    def _runs(self, text: str) -> Iterator[tuple[int, int]]:
        foreign = "".join(filter(self._foreign, set(text)))
        if foreign:
            for run in re.finditer(f"[{re.escape(foreign)}]{{1,{RUN}}}", text):
                yield run.span()

    def _foreign(self, character: str) -> bool:
        script = _script(character)
        return script is not None and script not in self._allowed


class Code(Whole):
    """Fenced blocks, and runs of lines that read like code. Nothing in the middle of a stream: where a block ends shows
    later."""

    def __init__(self) -> None:
        import re2  # noqa: PLC0415 - heavy

        self._line: Any = re2.compile("|".join(CODE_LINE))

    def check(self, view: View) -> list[Finding]:
        return [
            Finding(index, *folded.raw(start, end), "CODE")
            for index, text in enumerate(view.texts if view.whole else ())
            for folded in views(text)[:1]
            for start, end in self._blocks(encodable(folded.text))
        ]

    def _blocks(self, text: str) -> Iterator[tuple[int, int]]:
        at = 0
        for start, end in _fenced(text):
            yield from self._dense(text, at, start)
            yield start, end
            at = end
        yield from self._dense(text, at, len(text))

    def _dense(self, text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Runs of lines of code, with the blank and indented lines between them, that hold enough of them."""
        first = last = found = 0
        for line in re.finditer(r"[^\n]+", text[start:end]):
            if self._line.match(line[0].strip()):
                first = first if found else line.start()
                last, found = line.end(), found + 1
            elif not line[0][0].isspace():
                if found >= CODE_LINES:
                    yield start + first, start + last
                found = 0
        if found >= CODE_LINES:
            yield start + first, start + last


class Urls:
    def __init__(self, rule: UrlRule) -> None:
        self._pattern = re.compile(URL)
        self._reach = Reach.of([URL], limit=2100)
        self._allow = None if rule.allow is None else _hosts(rule.allow)
        self._deny = _hosts(rule.deny)
        self._kind = "URL" if rule.allow is None and not rule.deny else "URL_NOT_ALLOWED"

    def check(self, view: View) -> list[Finding]:
        found = {
            Finding(index, *place, self._kind)
            for index, text in enumerate(view.texts)
            for folded in views(text)
            for place in self._places(folded)
        }
        return sorted(found)

    def open_tail(self, text: Text) -> int:
        return self._reach.open_tail(text)

    def _places(self, view: Folded) -> Iterator[tuple[int, int]]:
        for match in self._pattern.finditer(view.text):
            url = match[0].rstrip(TRAILING) or match[0]
            if self._kind == "URL" or not self._allowed(url):
                yield view.raw(match.start(), match.start() + len(url))

    def _allowed(self, url: str) -> bool:
        """A host that cannot be read is allowed nowhere."""
        name = _host(url)
        if name is None:
            return False
        labels = name.split(".")
        domains = {".".join(labels[at:]) for at in range(len(labels))}
        return not domains & self._deny and (self._allow is None or bool(domains & self._allow))


def _fenced(text: str) -> Iterator[tuple[int, int]]:
    """A fence that is not closed reaches to the end."""
    opened: re.Match[str] | None = None
    for fence in FENCE.finditer(text):
        if opened is None:
            opened = fence
        elif fence[1] == opened[1]:
            yield opened.start(), fence.end()
            opened = None
    if opened is not None:
        yield opened.start(), len(text)


def _hosts(domains: list[str]) -> frozenset[str]:
    return frozenset(name for domain in domains if (name := _host("https://" + domain)) is not None)


def _host(url: str) -> str | None:
    """The host that a browser would go to, in ASCII and lower case, an IPv6 address in brackets; None: none."""
    rest = re.sub(r"^(?:[a-zA-Z]+:)?[/\\]+", "", url)
    authority = re.split(r"[/\\?#]", rest, maxsplit=1)[0]
    name = unquote(authority.rpartition("@")[2])
    if name.startswith("["):
        return name.partition("]")[0].lower() + "]"
    name = name.partition(":")[0].rstrip(".\u3002")
    if len(name) > 253:
        return None
    try:
        ascii_name = name.encode("idna").decode().lower()
    except UnicodeError:
        return None
    return ascii_name if re.fullmatch(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", ascii_name) else None


@lru_cache(maxsize=8192)
def _script(character: str) -> str | None:
    """The script of a letter: the first word of its Unicode name, in upper case, but HAN for ideographs. None: it is no
    letter, or one of all scripts. A mathematical or full-width letter is of the script of the letter it stands for."""
    if not character.isalpha() or unicodedata.category(character) == "Lm":
        return None
    plain = unicodedata.normalize("NFKC", character)[0]
    first = unicodedata.name(plain, "").split(" ")[0].split("-")[0]
    return "HAN" if first in {"CJK", "IDEOGRAPHIC"} else first or None


@lru_cache(maxsize=1)
def _scripts() -> frozenset[str]:
    """All that `_script` can say."""
    return frozenset(filter(None, (_script.__wrapped__(chr(code)) for code in range(0x40000) if chr(code).isalpha())))
