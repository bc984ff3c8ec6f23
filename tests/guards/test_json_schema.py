"""Answers that must be JSON: what is wrong is found, mended where there is one way to, and explained without values."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.core.span import Context, Finding, Text, View
from gateway.guards.json_schema import JsonSchema, Row, build

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0},
        "ok": {"type": ["boolean", "null"]},
    },
    "required": ["name"],
    "additionalProperties": False,
}


def row(**given: Any) -> Row:
    return Row.model_validate({"type": "json_schema", "action": "regenerate", "on_error": "block"} | given)


def guard(schema: dict[str, Any] | None = None) -> JsonSchema:
    return build(row(schema=PERSON if schema is None else schema), Path())


def answer(*texts: str, whole: bool = True) -> View:
    return View("output", tuple(Text(text, "assistant", "content") for text in texts), whole)


def repairs(text: str, schema: dict[str, Any] | None = None) -> str | None:
    (finding,) = guard(schema).check(answer(text))
    assert (finding.start, finding.end, finding.kind) == (0, len(text), "INVALID_JSON")
    return finding.repair


def test_an_answer_that_follows_the_schema_gives_no_finding() -> None:
    assert guard().check(answer('{"name": "Ada", "age": 36}', ' {"name":"Bob"}\n')) == []


@pytest.mark.parametrize(
    "text", ['{"age": 36}', '{"name": "Ada", "age": -1}', '{"name": "Ada", "x": 1}', "[]", '"Ada"', "null"]
)
def test_sound_json_that_does_not_follow_the_schema_is_a_mismatch_without_repair(text: str) -> None:
    (finding,) = guard().check(answer('{"name": "Ada"}', text))
    assert finding == Finding(1, 0, len(text), "SCHEMA_MISMATCH")
    assert finding.repair is None


MENDED = {
    "code fence": ('```json\n{"name": "Ada"}\n```', '{"name": "Ada"}'),
    "code fence in prose": ('Sure:\n```\n{"name": "Ada"}\n```\nAnything else?', '{"name": "Ada"}'),
    "code fence never closed": ('```json\n{"name": "Ada"}', '{"name": "Ada"}'),
    "prose around": ('Here it is: {"name": "Ada"}. Enjoy!', '{"name": "Ada"}'),
    "prose with brackets": ('As said [above], {you} get {"name": "Ada"} [sic]', '{"name": "Ada"}'),
    "prose with another value that is not it": ('See [1]: {"name": "Ada"}', '{"name": "Ada"}'),
    "byte order mark": ('\ufeff{"name": "Ada"}', '{"name": "Ada"}'),
    "cut in a string": ('{"name": "Ad', '{"name": "Ad"}'),
    "cut in an escape": ('{"name": "Ad\\u00', '{"name": "Ad"}'),
    "cut after a backslash": ('{"name": "Ad\\', '{"name": "Ad"}'),
    "cut in a surrogate pair": ('{"name": "Ad\\ud83d\\ude', '{"name": "Ad"}'),
    "cut after a comma": ('{"name": "Ada", ', '{"name": "Ada" }'),
    "last brace missing": ('{"name": "Ada"', '{"name": "Ada"}'),
    "cut in a fence": ('```json\n{"name": "Ada", "age": 3\n```', '{"name": "Ada", "age": 3\n}'),
    "trailing comma": ('{"name": "Ada",}', '{"name": "Ada"}'),
    "single quotes": ("{'name': 'Ada'}", '{"name": "Ada"}'),
    "single quotes with quotes in them": ("{'name': 'A\\'d\"a'}", '{"name": "A\'d\\"a"}'),
    "Python literals": ('{"name": "Ada", "ok": True}', '{"name": "Ada", "ok": true}'),
    "Python None": ('{"name": "Ada", "ok": None}', '{"name": "Ada", "ok": null}'),
    "newline in a string": ('{"name": "A\nd\ta"}', '{"name": "A\\nd\\ta"}'),
    "comments": ('// a person\n{"name": /* first */ "Ada" # all\n}', '{"name":  "Ada" \n}'),
    "comment signs in a string": ('{"name": "http://a.test /* # */",}', '{"name": "http://a.test /* # */"}'),
    "several at once": ("Sure!\n```json\n{'name': 'Ada', 'ok': False,}\n```", '{"name": "Ada", "ok": false}'),
}


@pytest.mark.parametrize(("text", "repair"), MENDED.values(), ids=MENDED)
def test_what_can_be_mended_in_one_way_brings_its_repair(text: str, repair: str) -> None:
    assert repairs(text) == repair
    assert guard().check(answer(repair)) == []


NOT_MENDED = {
    "nothing": "",
    "no JSON": "I cannot help with that.",
    "two documents that would both do": '{"name": "Ada"} or {"name": "Bob"}',
    "two fences": '```\n{"name": "Ada"}\n```\n```\n{"name": "Bob"}\n```',
    "a number that may have lost digits": '{"name": "Ada", "age": 3',
    "a key without a value": '{"name": "Ada", "age',
    "a colon without a value": '{"name": "Ada", "age":',
    "a literal cut off": '{"name": "Ada", "ok": tru',
    "quotes in a string": '{"name": "the "first" one"}',
    "a string that runs into prose": '{"name": "Ada\n\nI hope this helps!',
    "a missing comma": '{"name": "Ada" "age": 3}',
    "a comma too many": '{"name": "Ada",, "age": 3}',
    "crossed brackets": '{"name": "Ada"]',
    "a key that stands twice": '{"name": "Ada", "name": "Bob"}',
    "a bare key": "{name: 1}",
    "not a number": '{"name": "Ada", "age": NaN}',
    "the inner part of a broken document": '{"list" {"name": "Ada"}}',
    "mended but against the schema": "{'age': 3,}",
    "a comment without an end": '{"name": "Ada" /* ',
    "a lone surrogate": '{"name": "\ud800"}',
    "nested too deep": "[" * 100_000,
}


@pytest.mark.parametrize("text", NOT_MENDED.values(), ids=NOT_MENDED)
def test_what_can_be_read_in_several_ways_or_none_has_no_repair(text: str) -> None:
    assert repairs(text) is None


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abé\"'\\/", max_size=4), inner, max_size=4),
    max_leaves=12,
)


SIMPLE = st.none() | st.booleans() | st.integers() | st.text("aé b'\"\\{}[],:#/", max_size=12)
LITERALS = st.recursive(
    SIMPLE, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab '", max_size=4), inner)
)


@given(LITERALS)
def test_a_python_literal_is_mended_to_the_same_document(value: Any) -> None:
    document = {"of": value}
    assert json.loads(repairs(repr(document), {}) or "") == document


@given(VALUES)
def test_a_sound_document_in_a_fence_is_mended_to_itself(value: Any) -> None:
    document = json.dumps(value, ensure_ascii=False)
    assert repairs(f"```json\n{document}\n```", {}) == document


@given(st.text("{}[]\",:'\\/*# \n`truefalsn0-1ab", max_size=60))
def test_a_repair_is_always_sound(text: str) -> None:
    checker = guard({})
    for finding in checker.check(answer(text)):
        if finding.repair is not None:
            assert checker.check(answer(finding.repair)) == []


@given(VALUES, st.data())
def test_a_cut_document_is_mended_to_one_without_invented_values(value: Any, data: st.DataObject) -> None:
    """Whatever scalar the repair holds, the whole document held, strings from their beginning."""
    document = json.dumps([value], ensure_ascii=False)
    prefix = document[: data.draw(st.integers(1, len(document)))]
    for finding in guard({}).check(answer(prefix)):
        if finding.repair is not None:
            assert_part(json.loads(finding.repair), [value])


def assert_part(part: Any, whole: Any) -> None:
    assert type(part) is type(whole)
    if isinstance(part, list):
        assert len(part) <= len(whole)
        for one, other in zip(part, whole, strict=False):
            assert_part(one, other)
    elif isinstance(part, dict):
        for key in part:
            assert_part(part[key], whole[key])
    elif isinstance(part, str):
        assert whole.startswith(part)
    else:
        assert part == whole


def test_a_stream_is_held_whole_and_judged_at_its_end() -> None:
    text = Text('{"name": "Ada"', "assistant", "content")
    assert guard().open_tail(text) == len(text.raw)
    assert guard().check(View("output", (text,), whole=False)) == []


def test_texts_that_are_not_the_answer_are_neither_held_nor_checked() -> None:
    others = tuple(
        Text("no JSON", role, kind)
        for role, kind in [("assistant", "reasoning"), ("assistant", "arguments"), ("tool", "result")]
    )
    assert guard().check(View("output", others)) == []
    assert [guard().open_tail(text) for text in others] == [0, 0, 0]


def test_an_answer_that_calls_a_tool_or_refuses_need_not_say_anything() -> None:
    for kind in ("arguments", "refusal"):
        texts = (Text("", "assistant", "content"), Text("{}", "assistant", kind))
        assert guard().check(View("output", texts)) == []
        assert len(guard().check(View("output", (Text("hm", "assistant", "content"), texts[1])))) == 1


def test_without_a_schema_of_its_own_it_takes_the_one_of_the_request() -> None:
    policy = build(row(), Path())
    asked = policy.for_call(Context(schema=PERSON))
    assert [finding.kind for finding in asked.check(answer('{"age": 1}'))] == ["SCHEMA_MISMATCH"]
    assert asked.check(answer('{"name": "Ada"}')) == []
    assert asked.open_tail(answer("{").texts[0]) == 1


def test_a_request_for_a_json_object_takes_any_object() -> None:
    asked = build(row(), Path()).for_call(Context(json_object=True))
    assert asked.check(answer('{"anything": []}')) == []
    assert [finding.kind for finding in asked.check(answer("[1]"))] == ["SCHEMA_MISMATCH"]


def test_where_nothing_is_asked_nothing_is_held_or_found() -> None:
    asked = build(row(), Path()).for_call(Context())
    assert asked.check(answer("plain prose")) == []
    assert asked.open_tail(answer("plain prose").texts[0]) == 0
    assert asked.feedback(answer("plain prose")) == asked.explain("plain prose") == ""


def test_the_policys_schema_wins_over_the_requests() -> None:
    assert guard().for_call(Context(schema={"type": "array"})).check(answer('{"name": "Ada"}')) == []


def test_a_schema_of_the_request_that_cannot_be_used_raises_and_quotes_nothing() -> None:
    """GRD-10: that is the verdict not run."""
    asked = build(row(), Path()).for_call(Context(schema={"type": "canary-word"}))
    with pytest.raises(ValueError, match="not a JSON Schema") as caught:
        asked.check(answer("{}"))
    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:1/schema"},
        {"$ref": "https://detector.test/schema"},
        {"$ref": "file:///etc/hostname"},
        {"$ref": "other.json"},
        {"$ref": "#/$defs/missing"},
        {"$schema": "http://dialect.test/"},
        {"type": "strin"},
        {"properties": {"a": {"pattern": "("}}},
        {"properties": {"a": {"pattern": "(?=a)b"}}},
    ],
    ids=str,
)
def test_a_schema_that_is_wrong_or_leads_elsewhere_is_refused_at_load(schema: dict[str, Any]) -> None:
    """SSRF-06, GRD-13."""
    with pytest.raises(ValueError, match="schema: not a JSON Schema that can be used here"):
        guard(schema)


def test_references_inside_of_the_schema_and_to_the_standards_own_are_followed() -> None:
    schema = {"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}}
    assert guard(schema).check(answer("[[],[[]]]")) == []
    assert len(guard(schema).check(answer("[[1]]"))) == 1
    assert len(guard({"$ref": "https://json-schema.org/draft/2020-12/schema"}).check(answer('{"type": 1}'))) == 1


def test_drafts_are_detected_and_formats_are_checked() -> None:
    old = {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "type": "number",
        "minimum": 1,
        "exclusiveMinimum": True,
    }
    assert len(guard(old).check(answer("1"))) == 1
    assert len(guard({"type": "string", "format": "date"}).check(answer('"yesterday"'))) == 1
    assert guard({"type": "string", "format": "date"}).check(answer('"2026-11-21"')) == []


def test_the_schema_may_stand_in_a_file_of_the_policy_folder(tmp_path: Path) -> None:
    (tmp_path / "person.json").write_text(json.dumps(PERSON))
    assert len(build(row(schema_file="person.json"), tmp_path).check(answer("{}"))) == 1
    for content in ("[]", '{"a":'):
        (tmp_path / "person.json").write_text(content)
        with pytest.raises(ValueError, match="schema_file: "):
            build(row(schema_file="person.json"), tmp_path)
    with pytest.raises(OSError, match="No such file"):
        build(row(schema_file="missing.json"), tmp_path)
    with pytest.raises(ValidationError, match="keep one"):
        row(schema=PERSON, schema_file="person.json")


def test_the_explanation_names_places_and_keywords_and_no_values() -> None:
    """GRD-12."""
    told = guard().explain('{"age": "canary-word", "other": "canary-word"}')
    assert "at /age: type (integer)" in told
    assert "at the top: required (name)" in told
    assert "additionalProperties" in told
    assert "canary" not in told
    assert guard().explain('{"name": "canary-word", }') == "- not valid JSON at line 1, column 23"
    assert guard().explain('{"name": 1, "name": 1}') == "- the document is refused: duplicate key"
    assert guard().explain("\ud800") == "- the text is not Unicode"
    assert guard().explain('{"name": "Ada"}') == ""
    assert len(guard({"items": {"type": "null"}}).explain(json.dumps([1] * 1000)).splitlines()) == 10


def test_the_feedback_to_the_model_explains_all_wrong_texts_in_one() -> None:
    told = guard().feedback(answer('{"name": "Ada"}', "{}", '{"name": 1}'))
    assert told.splitlines() == [
        "The answer must be one JSON document that follows its schema.",
        "- at the top: required (name)",
        "- at /name: type (string)",
    ]
    assert guard().feedback(answer('{"name": "Ada"}')) == ""


LARGE = {
    "sound": json.dumps({"name": "x" * 1_000_000}),
    "trailing comma": '{"name": "' + "x\n" * 500_000 + '",}',
    "open brackets": "[" * 1_000_000,
    "open objects": '{"a":' * 200_000,
    "spaced brackets": "[ " * 500_000,
    "many values in prose": "[1] " * 250_000,
    "escapes": '"' + '\\"' * 500_000,
    "comments": '{"k":1' + "/* " * 300_000,
    "fences": "\n```" * 250_000,
    "single quotes": "[" + "'a'," * 250_000,
}


@pytest.mark.parametrize("text", LARGE.values(), ids=LARGE)
def test_a_megabyte_takes_linear_time_whatever_it_is(text: str) -> None:
    """GRD-13. The bound is generous: a quadratic step would take minutes."""
    began = time.process_time()
    guard().check(answer(text))
    assert time.process_time() - began < 5
