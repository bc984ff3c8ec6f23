"""Where text is in a JSON document: a walk that finds every string, led by a shape's rules.

A shape is a tree of rules. A rule says what the value at its place is (text of a kind, structure, media, an object with
known members) and gives the children to look at next. What no rule knows is text that nobody says (`ANY`), so that a
field which a provider invents tomorrow is covered today. The walk keeps its own stack: depth costs no recursion.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from gateway.core.span import Path, Piece, Span
from gateway.wire.payloads import is_base64, payload_of

# What can be left out as structure. Anything else is text, wherever it stands.
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_.:/-]{0,128}")
_SCHEMA_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
# Members that JSON Schema gives a meaning to; every other key of a schema was chosen by its author.
_SCHEMA_WORDS: Final = frozenset(
    {
        "type",
        "properties",
        "required",
        "items",
        "enum",
        "const",
        "description",
        "title",
        "default",
        "examples",
        "format",
    }
    | {"additionalProperties", "patternProperties", "propertyNames", "anyOf", "oneOf", "allOf", "not", "if", "then"}
    | {"else", "$ref", "$defs", "definitions", "$schema", "$id", "minimum", "maximum", "minLength", "maxLength"}
    | {"minItems", "maxItems", "uniqueItems", "pattern", "nullable", "strict", "prefixItems", "multipleOf", "$comment"}
    | {"exclusiveMinimum", "exclusiveMaximum", "minProperties", "maxProperties", "contains", "name", "parameters"}
)


class At(NamedTuple):
    """A value on the way: its place, the rule for it, and who speaks (`role`) what (`kind`) around it."""

    value: Any
    path: Path
    rule: Rule
    role: str
    kind: str


class Rule(Protocol):
    def visit(self, at: At, found: Found) -> list[At]:
        """Notes the texts at this place; gives the places below it, in order."""


@dataclass(slots=True)
class Found:
    """What a walk has found. `keys`: names of members that are text were asked for, whoever chose them."""

    keys: bool
    spans: list[Span] = field(default_factory=list)
    logprobs: list[Path] = field(default_factory=list)
    _named: set[tuple[str, str]] = field(default_factory=set)

    def text(self, text: str, path: Path, role: str, kind: str, escaped: bool = False) -> None:
        if text:
            self.spans.append(Span(text, role, kind, (Piece(path, 0, len(text)),), escaped))

    def unplaced(self, text: str, role: str, kind: str) -> None:
        """A text that can be judged and not rewritten."""
        if text:
            self.spans.append(Span(text, role, kind, ()))

    def key(self, name: str, kind: str) -> None:
        """Once, however often it stands there."""
        if (name, kind) not in self._named:
            self._named.add((name, kind))
            self.unplaced(name, "", kind)

    def media(self, path: Path, role: str) -> None:
        self.spans.append(Span("", role, "media", (Piece(path, 0, 0),)))


def walk(document: Any, rule: Rule, *, role: str = "", keys: bool = True) -> Found:
    """Every text of a document, in its order. `keys` False: names of unknown members that look like identifiers are
    the provider's own (answers)."""
    found = Found(keys)
    stack = [At(document, (), rule, role, "other")]
    while stack:
        at = stack.pop()
        below = at.rule.visit(at, found)
        below.reverse()
        stack += below
    return found


def is_identifier(text: str) -> bool:
    return _IDENTIFIER.fullmatch(text) is not None


def entries(at: At, rule: Rule, role: str, kind: str) -> list[At]:
    """The entries of a list that can hold text."""
    return [
        At(entry, (*at.path, index), rule, role, kind)
        for index, entry in enumerate(at.value)
        if type(entry) is str or type(entry) is dict or type(entry) is list
    ]


@dataclass(frozen=True, slots=True)
class Words:
    """Text, also in lists; in an object, free-form: all its strings, and its keys. None: as around it.

    `tokens`: a list of integers here is text that only a tokenizer can read, so it is reported like media.
    """

    kind: str | None = None
    role: str | None = None
    escaped: bool = False
    tokens: bool = False

    def visit(self, at: At, found: Found) -> list[At]:
        value = at.value
        kind = at.kind if self.kind is None else self.kind
        role = at.role if self.role is None else self.role
        if type(value) is str:
            found.text(value, at.path, role, kind, self.escaped)
        elif type(value) is list:
            if self.tokens and any(type(entry) is int for entry in value):
                found.media(at.path, role)
            return entries(at, self, role, kind)
        elif type(value) is dict:
            for name in value:
                found.key(name, "definition" if kind == "definition" else "other")
            below = Words(kind, role)
            return [At(entry, (*at.path, name), below, role, kind) for name, entry in value.items()]
        return []


@dataclass(frozen=True, slots=True)
class Schema:
    """A JSON Schema, or another definition: everything is text but the names of types and what the standard names."""

    def visit(self, at: At, found: Found) -> list[At]:
        value = at.value
        if type(value) is str:
            found.text(value, at.path, "", "definition")
        elif type(value) is list:
            return entries(at, self, "", "definition")
        elif type(value) is dict:
            for name in value:
                if name not in _SCHEMA_WORDS:
                    found.key(name, "definition")
            return [At(value[name], (*at.path, name), _schema_rule(name), "", "definition") for name in value]
        return []


@dataclass(frozen=True, slots=True)
class _SchemaType:
    """The value of `type` in a schema."""

    def visit(self, at: At, found: Found) -> list[At]:
        if type(at.value) is str and at.value in _SCHEMA_TYPES:
            return []
        if type(at.value) is list:
            return entries(at, self, "", "definition")
        return DEFINITION.visit(at, found)


def _schema_rule(name: str) -> Rule:
    return _SCHEMA_TYPE if name == "type" else DEFINITION


@dataclass(frozen=True, slots=True)
class Structure:
    """Ids, enums, dates, counters: no text as long as it looks like that. `opaque`: what the provider sealed for
    itself (base64 of any length) neither."""

    opaque: bool = False

    def visit(self, at: At, found: Found) -> list[At]:
        value = at.value
        if type(value) is str:
            if not is_identifier(value) and not (self.opaque and is_base64(value)):
                found.text(value, at.path, at.role, "other")
        elif type(value) is list:
            return entries(at, self, at.role, at.kind)
        elif type(value) is dict:
            for name in value:
                if not is_identifier(name):
                    found.key(name, "other")
            return [At(entry, (*at.path, name), self, at.role, at.kind) for name, entry in value.items()]
        return []


@dataclass(frozen=True, slots=True)
class Media:
    """An image, a sound, a file: inline, or where it can be fetched. The text in it is given where there is one."""

    def visit(self, at: At, found: Found) -> list[At]:
        value = at.value
        if type(value) is not str:
            return ANY.visit(at, found)
        held = payload_of(value)
        if held.literal:
            found.text(value, at.path, at.role, at.kind)
        if held.media:
            found.media(at.path, at.role)
        if held.text is not None:
            found.unplaced(held.text, at.role, "content")
        return []


@dataclass(frozen=True, slots=True)
class Stored:
    """The id of a file that the provider keeps: what it says was not sent with this request."""

    def visit(self, at: At, found: Found) -> list[At]:
        if type(at.value) is str and at.value:
            found.media(at.path, at.role)
        return ID.visit(at, found)


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Tokens of the answer once more. The place is noted; what it says is the text that stands beside it."""

    def visit(self, at: At, found: Found) -> list[At]:
        if at.value:
            found.logprobs.append(at.path)
        return []


ID: Final = Structure()
SEALED: Final = Structure(opaque=True)
MEDIA: Final = Media()
STORED: Final = Stored()
LOGPROBS: Final = Logprobs()
DEFINITION: Final = Schema()
_SCHEMA_TYPE: Final = _SchemaType()
TEXT: Final = Words()
ANY: Final = Words(kind="other", role="")
CONTENT: Final = Words(kind="content")
NAME: Final = Words(kind="name")
ARGUMENTS: Final = Words(kind="arguments", escaped=True)
CALLED: Final = Words(kind="arguments")  # what a tool is given as it is: code, a command, a query
REFUSAL: Final = Words(kind="refusal")
REASONING: Final = Words(kind="reasoning")
RESULT: Final = Words(kind="result", role="tool")
