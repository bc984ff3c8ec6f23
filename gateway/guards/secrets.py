"""The guard "secrets": keys, tokens, passwords and private keys, by the formats of their makers.

Keywords first: an RE2 set, here seven times as fast as Aho-Corasick, says in one pass which rules can match; RE2
runs those; judges (checksums, decoding, entropy) say whether it is a secret. The rules are in secret_rules_*.py.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from gateway.core.ports import Guard
from gateway.core.span import Finding, Text, View
from gateway.guards import secret_rules_all
from gateway.guards.base import BaseGuard, GuardRow
from gateway.guards.entropy import shannon
from gateway.guards.normal import Folded, views
from gateway.guards.patterns import NOT_SHARED, encodable
from gateway.guards.reach import Reach, open_tail, shortest
from gateway.guards.secret_rules import LONG, SHORT, Judge, Rule
from gateway.guards.secret_rules_open import LONG_OPEN, short_open

Kind = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]
BLOCKS = ("private key", "putty-user-key-file", "$ansible_vault")
"""What the lower-cased text holds where a finding has more than one word."""
MEMORY = 32 << 20
"""Bytes of RE2's automaton for one rule."""
KINDS = frozenset(rule.kind for rule in secret_rules_all.rules())


class OwnRule(BaseModel):
    """A format of one's own."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    kind: Kind = Field(description="The kind of the findings.")
    pattern: str = Field(description="RE2; its first group is the secret, without a group all that matches.")
    keywords: list[Annotated[str, StringConstraints(min_length=1)]] = Field(
        [], description="Literals, in any letter case, one of which every match holds; none: the pattern always runs."
    )
    min_entropy: float = Field(0.0, ge=0, le=8, description="Bits a character that the secret must have.")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        compiled(pattern)
        return pattern


class Row(GuardRow):
    """Secrets."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_by_name=True, validate_by_alias=True)

    type: Literal["secrets"]
    only: list[Kind] | None = Field(None, description="Only findings of these kinds; none: of all.")
    except_: list[Kind] = Field([], alias="except", description="No findings of these kinds.")
    min_entropy: float = Field(
        secret_rules_all.MIN_ENTROPY,
        ge=0,
        le=8,
        description="Bits a character of a value given to a name such as api_key that make it a secret.",
    )
    allow: list[str] = Field([], description="Values that are no findings.")
    allow_patterns: list[str] = Field([], description="RE2; values that match from end to end are no findings.")
    rules: list[OwnRule] = Field([], description="Rules of one's own.")

    @field_validator("allow_patterns")
    @classmethod
    def _compile(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            compiled(pattern)
        return patterns

    @model_validator(mode="after")
    def _kinds_are_known(self) -> Self:
        known = KINDS | {rule.kind for rule in self.rules}
        for kind in [*(self.only or []), *self.except_]:
            if kind not in known:
                near = difflib.get_close_matches(kind, known, 3, 0.4)
                raise ValueError(
                    f"secrets: no rule finds {kind}; " + (f"meant: {', '.join(near)}?" if near else "see the list")
                )
        return self


def build(row: Row, _: Path) -> Guard:
    rules = [*map(_own, row.rules), *secret_rules_all.rules(row.min_entropy)]
    wanted = [rule for rule in rules if (row.only is None or rule.kind in row.only) and rule.kind not in row.except_]
    if not wanted:
        raise ValueError("secrets: no rule is left; take some kinds out of `except`, or put some into `only`")
    return Secrets(wanted, Allowed(row.allow, row.allow_patterns), own=len([one for one in wanted if not one.name]))


class Allowed:
    """Values that are no secrets, whatever they look like."""

    def __init__(self, values: Iterable[str] = (), patterns: Iterable[str] = ()) -> None:
        self._values = frozenset(values)
        self._patterns = [compiled(pattern) for pattern in patterns]

    def __contains__(self, value: str) -> bool:
        return value in self._values or any(pattern.fullmatch(encodable(value)) for pattern in self._patterns)


class Hit(NamedTuple):
    """Sorted: where several rules find a secret at one place, the strongest and then the longest comes first."""

    start: int
    weak: bool
    rank: int
    end: int
    score: float


class Secrets(BaseGuard):
    """`rules` in the order of their rank; the first `own` of them are the policy's."""

    def __init__(self, rules: Sequence[Rule], allowed: Allowed, *, own: int = 0) -> None:
        import re2  # noqa: PLC0415 - heavy

        self._rules = rules
        self._allowed = allowed
        self._own = own
        self._patterns = [compiled(rule.pattern) for rule in rules[:own]] + [
            _bytewise(one.pattern) for one in rules[own:]
        ]
        self._always = [rank for rank, rule in enumerate(rules) if not rule.keywords]
        by_keyword = _by_keyword(rules)
        self._ranks = list(by_keyword.values())
        self._keywords = re2.Set.SearchSet(_options())
        for keyword in by_keyword:
            self._keywords.Add(re2.escape(keyword.encode("ascii", "replace")))
        self._keywords.Compile()
        self._word = Reach.of([f"[!-~]{{1,{SHORT}}}"], limit=SHORT)
        self._own_reach = Reach.of([rule.pattern for rule in rules[:own]], limit=SHORT) if own else None
        self._open = [_bytewise(pattern) for pattern in short_open(rules[own:])]
        self._long_open = {keyword: _bytewise(pattern) for keyword, pattern in LONG_OPEN.items()}

    def check(self, view: View) -> list[Finding]:
        return [
            Finding(index, hit.start, hit.end, self._rules[hit.rank].kind, hit.score)
            for index, text in enumerate(view.texts)
            for hit in _told(sorted({hit for folded in views(text) for hit in self._hits(folded)}))
        ]

    def open_tail(self, text: Text) -> int:
        place = len(text.raw) - open_tail(text, self.held)
        if any(mark in view.text.lower() for view in views(text) for mark in BLOCKS):
            # A block has many words: the last of them can be open when the block is not.
            for finding in sorted(self.check(View("output", (text,), whole=False)), reverse=True):
                if finding.start < place < finding.end:
                    place = finding.start
        return len(text.raw) - place

    def held(self, text: str) -> int:
        """How many of the last characters of a plain string are open: the last word, and beginnings of more."""
        return max(self._word.held(text), self._own_reach.held(text) if self._own_reach else 0, self._begun(text))

    def _begun(self, text: str) -> int:
        """How far back the first match begins that more text could complete or decide, of rules for several words."""
        end = text[-LONG - SHORT :]
        ascii_, lower = end.encode("ascii", "replace"), end.lower()
        near = ascii_[-2 * SHORT :]
        begun = [len(near) - found.start() for pattern in self._open if (found := pattern.search(near))]
        for keyword, pattern in self._long_open.items():
            if keyword in lower and (found := pattern.search(ascii_)):
                begun.append(len(ascii_) - found.start())
        return max(begun, default=0)

    def _hits(self, view: Folded) -> Iterator[Hit]:
        # One byte for each character, so that places stay.
        ascii_, text = view.text.encode("ascii", "replace"), ""
        for rank in self._can_match(view.text):
            if rank < self._own:
                text = text or encodable(view.text)
            for match in self._patterns[rank].finditer(text if rank < self._own else ascii_):
                place, score = self._judged(self._rules[rank], match, view)
                if score:
                    start, end = view.raw(*place)
                    yield Hit(start, self._rules[rank].weak, rank, end, score)

    def _can_match(self, text: str) -> list[int]:
        ranks = set(self._always)
        for index in self._keywords.Match(text.lower().encode("ascii", "replace")) or ():
            ranks.update(self._ranks[index])
        return sorted(ranks)

    def _judged(self, rule: Rule, match: Any, view: Folded) -> tuple[tuple[int, int], float]:
        """The place of the secret in a match, and the probability that it is one."""
        start, end = next(
            span for span in [*map(match.span, range(1, match.re.groups + 1)), match.span()] if span[0] >= 0
        )
        if end - start > LONG and not rule.cut:
            return (start, end), 0.0
        end = min(end, start + LONG)
        value = view.text[start:end]
        return (start, end), 0.0 if not value or value in self._allowed else rule.judge(value)


def _told(hits: Iterable[Hit]) -> Iterator[Hit]:
    """One hit for a place. What begins inside another hit tells nothing new, unless it goes on behind its end and is no
    weak one. Only earlier places decide, so that a stream, which knows no later ones, comes to the same."""
    start, end = -1, -1
    for hit in hits:
        if hit.start == start or hit.end <= end or (hit.weak and hit.start < end):
            continue
        start, end = hit.start, max(end, hit.end)
        yield hit


def _by_keyword(rules: Sequence[Rule]) -> dict[str, tuple[int, ...]]:
    ranks: dict[str, list[int]] = {}
    for rank, rule in enumerate(rules):
        for keyword in rule.keywords:
            ranks.setdefault(keyword, []).append(rank)
    return {keyword: tuple(found) for keyword, found in ranks.items()}


def _own(rule: OwnRule) -> Rule:
    keywords = tuple(sorted({keyword.lower() for keyword in rule.keywords}))
    return Rule("", rule.kind, "", rule.pattern, keywords, _at_least(rule.min_entropy))


def _at_least(floor: float) -> Judge:
    return lambda value: float(shannon(value) >= floor)


def _bytewise(pattern: str) -> Any:
    """A built-in pattern: it is ASCII and reads bytes, which saves RE2 memory and the counting of characters."""
    import re2  # noqa: PLC0415

    return re2.compile(pattern.encode(), _options())


def _options() -> Any:
    import re2  # noqa: PLC0415

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = MEMORY
    return options


def compiled(pattern: str) -> Any:
    """The pattern for RE2. ValueError: RE2 refuses it, or it matches where nothing is."""
    import re2  # noqa: PLC0415

    options = re2.Options()
    options.log_errors = False
    try:
        found = re2.compile(pattern, options)
        empty = shortest(pattern) == 0
    except re2.error:
        raise ValueError("secrets: RE2 refuses a pattern; it has no backreferences and no lookaround") from None
    except re.error:
        raise ValueError(
            "secrets: a pattern must be one for RE2 and for Python's re, which streams are held by"
        ) from None
    for difference, fix in NOT_SHARED.items():
        if re.search(difference, pattern):
            raise ValueError(f"secrets: RE2 and Python read a pattern in different ways; {fix}")
    if empty:
        raise ValueError("secrets: a pattern matches the empty text, so everywhere; ask for at least one character")
    return found
