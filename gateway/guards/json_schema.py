"""The guard "json_schema": the answer is one JSON document, and it follows a schema.

The schema is the policy's own, or else the one that the request asked for. A document that is not sound JSON is mended
when there is just one sensible way to (`_documents`), and the result follows the schema: a finding then brings it along
as its `repair`. What is guessed is syntax only, never a value: a number that the end may have cut is not mended.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson
from pydantic import Field, model_validator

from gateway.core.errors import Refusal
from gateway.core.span import Context, Finding, Text, View
from gateway.guards.base import BaseGuard, GuardRow
from gateway.wire import strictjson

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError, Validator

MAX_EXPLAINED = 10
MAX_POINTER = 200
"""Characters of a JSON pointer that are told: its keys are the model's."""
MAX_DOCUMENTS = 16
"""Of a text with more of them, none is the document."""


class Row(GuardRow):
    """Answers must be JSON that follows a schema; without one, the schema that the request asked for."""

    type: Literal["json_schema"]
    schema_: dict[str, Any] | None = Field(
        None, alias="schema", description="The JSON Schema that answers must follow. Its $ref stay inside of it."
    )
    schema_file: str | None = Field(
        None, min_length=1, description="The same in a JSON file; a relative path begins at the policy folder."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Row:
        if self.schema_ is not None and self.schema_file is not None:
            raise ValueError("schema and schema_file are both given: keep one")
        return self


def build(row: Row, folder: Path) -> JsonSchema:
    """ValueError when the schema is not a sound one; OSError for its file."""
    schema: Any = row.schema_
    if row.schema_file is not None:
        try:
            schema = strictjson.parse((folder / row.schema_file).read_bytes())
        except Refusal as refusal:
            raise ValueError(f"schema_file: {refusal}") from None
        if not isinstance(schema, dict):
            raise ValueError("schema_file: write a JSON object that is a JSON Schema")
    guard = JsonSchema(orjson.dumps(schema) if schema is not None else None)
    guard.compile()
    return guard


@lru_cache(maxsize=64)
def _compiled(schema: bytes) -> Validator:
    """Drafts as `$schema` says (2020-12 without), formats checked, patterns in linear time, nothing fetched.
    Remembered, as callers send the same few schemas again and again."""
    import jsonschema_rs  # noqa: PLC0415

    try:
        return jsonschema_rs.validator_for(
            orjson.loads(schema), validate_formats=True, offline=True, pattern_options=jsonschema_rs.RegexOptions()
        )
    except jsonschema_rs.ValidationError as error:
        place = _pointer(error.instance_path)
        problem = f"schema: not a JSON Schema that can be used here, at {place} ({error.kind.name}); "
    except ValueError:
        problem = "schema: not a JSON Schema that can be used here; "
    raise ValueError(problem + "each $ref must lead to a place inside of it, and patterns must not look around")


class JsonSchema(BaseGuard):
    """`schema` is JSON, None where nothing is asked of answers, as before the request is known. That of a request is
    compiled when the answer is there, off the event loop; one that cannot be used raises then: *not run*."""

    def __init__(self, schema: bytes | None) -> None:
        self._schema = schema

    def for_call(self, context: Context) -> JsonSchema:
        if self._schema is not None:
            return self
        if context.schema is not None:
            return JsonSchema(orjson.dumps(dict(context.schema)))
        return JsonSchema(b'{"type":"object"}') if context.json_object else self

    def compile(self) -> Validator | None:
        """Raises ValueError."""
        return _compiled(self._schema) if self._schema is not None else None

    def check(self, view: View) -> list[Finding]:
        """A text in the middle of a stream is no document yet: `open_tail` holds all of it."""
        validator = self.compile()
        if not view.whole or validator is None:
            return []
        return [_finding(index, view.texts[index].raw, kind, validator) for index, kind in _wrong(view, validator)]

    def open_tail(self, text: Text) -> int:
        return len(text.raw) if self._schema is not None and _is_answer(text) else 0

    def explain(self, text: str) -> str:
        """What is wrong with the text, by place and keyword, without its values; "" when nothing is."""
        validator = self.compile()
        if validator is None:
            return ""
        try:
            errors = validator.iter_errors(strictjson.parse(text.encode()))
        except UnicodeEncodeError:
            return "- the text is not Unicode"
        except Refusal as refusal:
            return f"- {_syntax(text, refusal)}"
        return "\n".join(f"- {_said(error)}" for error in islice(errors, MAX_EXPLAINED))

    def feedback(self, view: View) -> str:
        """What to tell the model before it is asked again; "" when nothing is wrong."""
        validator = self.compile()
        wrong = _wrong(view, validator) if validator is not None else ()
        problems = [self.explain(view.texts[index].raw) for index, _ in wrong]
        heading = ["The answer must be one JSON document that follows its schema."] if problems else []
        return "\n".join(heading + problems)


def _wrong(view: View, validator: Validator) -> Iterator[tuple[int, str]]:
    """(index, kind) of the texts that are not as they must be. An answer that calls tools need not say anything."""
    silent = any(text.kind in {"arguments", "refusal"} and text.raw for text in view.texts)
    for index, text in enumerate(view.texts):
        if _is_answer(text) and not (silent and not text.raw.strip()):
            kind = _verdict(text.raw, validator)
            if kind:
                yield index, kind


def _verdict(text: str, validator: Validator) -> str:
    try:
        document = strictjson.parse(text.encode())
    except (Refusal, UnicodeEncodeError):
        return "INVALID_JSON"
    return "" if validator.is_valid(document) else "SCHEMA_MISMATCH"


def _finding(index: int, text: str, kind: str, validator: Validator) -> Finding:
    sound = [one for one in _documents(text) if not _verdict(one, validator)] if kind == "INVALID_JSON" else []
    return Finding(index, 0, len(text), kind, repair=sound[0] if len(sound) == 1 else None)


def _is_answer(text: Text) -> bool:
    return text.role == "assistant" and text.kind == "content"


def _syntax(text: str, refusal: Refusal) -> str:
    if refusal.code in {"duplicate_key", "too_deep", "too_many_values"}:
        return f"the document is refused: {refusal.code.replace('_', ' ')}"
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return f"not valid JSON at line {error.lineno}, column {error.colno}"
    return "not valid JSON"


def _said(error: ValidationError) -> str:
    """The keyword, and what the schema says with it where that helps."""
    kind = error.kind
    wanted = getattr(kind, "types", None) or [getattr(kind, name, None) for name in ("property", "limit", "format")]
    told = ", ".join(str(one) for one in wanted if one is not None)
    return f"at {_pointer(error.instance_path)}: {kind.name}{f' ({told})' if told else ''}"


def _pointer(path: list[str | int]) -> str:
    """RFC 6901."""
    whole = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path) or "the top"
    return whole if len(whole) <= MAX_POINTER else whole[:MAX_POINTER] + "…"


# Mending

_FENCE = re.compile(r"^[ \t]*```[^\n]*$", re.MULTILINE)
# What opens a JSON value in prose, other than "[sic]" or "{name}": a value, a key or the closing bracket follows.
_OPENER = re.compile(r"""[{\[](?=\s*(?:["'{}\[\]\-0-9]|true\b|false\b|null\b|True\b|False\b|None\b|\Z))""")
_TOKEN = re.compile(
    r"""
      (?P<blank>\s++)
    | (?P<comment>//[^\n]*+ | \#[^\n]*+ | /\*.*?\*/)
    | (?P<string>"(?P<double>(?:[^"\\]++|\\.)*+)(?:"|(?P<cut>\\?\Z))
                |'(?P<single>(?:[^'\\]++|\\.)*+)(?:'|(?P<short>\\?\Z)))
    | (?P<number>-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)(?![\w.])
    | (?P<word>[A-Za-z]++)
    | (?P<mark>[{}\[\],:])
    """,
    re.VERBOSE | re.DOTALL,
)
_WORDS = {"true": "true", "false": "false", "null": "null", "True": "true", "False": "false", "None": "null"}
_UNSAFE = re.compile(r'\\.|["\x00-\x1f]', re.DOTALL)
_SAFE = {"\\'": "'", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
# An escape, or the first half of a surrogate pair, that the end of the text cut off.
_CUT_ESCAPE = re.compile(r"(?:\\u[dD][89abAB][0-9a-fA-F]{2})?(?:\\u[0-9a-fA-F]{0,3})?\Z")


def _documents(text: str) -> list[str]:
    """The documents that the text can be read as, mended: of a text that is nothing else, of the one code fence, or
    else of all values in its prose. None where one of them cannot be mended: part of it is not the document."""
    whole = _mended(text, 0)
    if whole and not text[whole[1] :].strip():
        return [whole[0]]
    fences = list(_FENCE.finditer(text))
    if fences and text.lstrip()[0] not in "{[":
        return _fenced(text, fences)
    found: list[str] = []
    at = 0
    while opener := _OPENER.search(text, at):
        value = _mended(text, opener.start())
        if value is None:
            return []
        if len(found) == MAX_DOCUMENTS:
            return []
        found.append(value[0])
        at = value[1]
    return found


def _fenced(text: str, fences: list[re.Match[str]]) -> list[str]:
    if len(fences) > 2:
        return []
    body = text[fences[0].end() : fences[1].start() if len(fences) == 2 else len(text)]
    value = _mended(body, 0)
    return [value[0]] if value and not body[value[1] :].strip() else []


def _mended(text: str, at: int) -> tuple[str, int] | None:
    """The value that begins at `at`, and where it ends."""
    mender = _Mender()
    while token := _TOKEN.match(text, at):
        at = token.end()
        if not mender.take(token):
            return None
        if mender.done:
            return "".join(mender.parts).strip(), at
    return ("".join(mender.parts).strip(), at) if at == len(text) and mender.close() else None


class _Mender:
    """Reads tokens by the grammar and writes them as JSON. `expects` is what comes next: a value, a key, a colon, or
    "next": a comma or the end of the container. `may_close`: the container may also end here."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.done = False
        self._open: list[str] = []
        self._expects = "value"
        self._may_close = False
        self._comma: int | None = None  # where a comma stands that nothing has followed yet
        self._cut_number = False

    def take(self, token: re.Match[str]) -> bool:
        """False: the text is not JSON that can be mended."""
        kind = token.lastgroup
        if kind == "mark":
            return self._mark(token[0])
        if kind == "blank":
            self.parts.append(token[0])
            return True
        if kind == "comment":
            return True
        if kind == "word":
            return token[0] in _WORDS and self._value(_WORDS[token[0]])
        if kind == "number":
            self._cut_number = token.end() == len(token.string)
            return self._value(token[0])
        return self._string(token)

    def close(self) -> bool:
        """Ends what is open at a cut end. A number there may have lost digits, a key has lost its value."""
        if not self._open or self._cut_number or not (self._expects == "next" or self._may_close):
            return False
        self._drop_comma()
        self.parts += ["}" if one == "{" else "]" for one in reversed(self._open)]
        return True

    def _string(self, token: re.Match[str]) -> bool:
        double = token["double"]
        body = double if double is not None else token["single"]
        cut = token["cut"] is not None or token["short"] is not None
        if cut and "\n" in body:
            return False  # where the string ends, and something else begins, cannot be known
        if cut:
            body = _CUT_ESCAPE.sub("", body, count=1)
        written = '"' + _UNSAFE.sub(_safe, body) + '"'
        if self._expects == "key":
            return self._written(written, "colon")
        return self._value(written)

    def _value(self, written: str) -> bool:
        if self._expects != "value":
            return False
        self.done = not self._open
        return self._written(written, "next")

    def _written(self, written: str, expects: str) -> bool:
        self.parts.append(written)
        self._expects, self._may_close, self._comma = expects, False, None
        return True

    def _mark(self, mark: str) -> bool:
        if mark in "{[":
            if self._expects != "value" or len(self._open) >= strictjson.MAX_DEPTH:
                return False
            self._open.append(mark)
            self._written(mark, "key" if mark == "{" else "value")
            self._may_close = True
            return True
        if mark == ":":
            return self._expects == "colon" and self._written(mark, "value")
        if mark == ",":
            return self._expects == "next" and self._separate()
        return self._end(mark)

    def _separate(self) -> bool:
        self._written(",", "key" if self._open[-1] == "{" else "value")
        self._may_close, self._comma = True, len(self.parts) - 1
        return True

    def _end(self, mark: str) -> bool:
        fits = bool(self._open) and self._open[-1] == ("{" if mark == "}" else "[")
        if not fits or not (self._expects == "next" or self._may_close):
            return False
        self._drop_comma()
        self._open.pop()
        self.done = not self._open
        return self._written(mark, "next")

    def _drop_comma(self) -> None:
        if self._comma is not None:
            self.parts[self._comma] = ""


def _safe(found: re.Match[str]) -> str:
    one = found[0]
    return _SAFE.get(one) or (f"\\u{ord(one):04x}" if one < " " else one)
