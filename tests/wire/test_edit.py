from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire.edit import set_member
from gateway.wire.strictjson import parse
from tests.wire.test_strictjson import DOCUMENTS, TEXTS, escaped

BLANKS = st.text(st.sampled_from(" \t\r\n"), max_size=3)
NAMES = st.one_of(st.sampled_from(["model", "stream_options", "a"]), TEXTS)


@st.composite
def objects(draw: st.DrawFn, keys: st.SearchStrategy[str]) -> tuple[list[tuple[str, str, str]], str]:
    """Written members (key, value, the text before the value) and the text of the object around them."""
    members = draw(st.dictionaries(keys, DOCUMENTS, max_size=5))
    written = []
    for key, value in members.items():
        spelled = draw(st.sampled_from([json.dumps(key), json.dumps(key, ensure_ascii=False), escaped(key)]))
        lead = f"{draw(BLANKS)}{spelled}{draw(BLANKS)}:{draw(BLANKS)}"
        written.append((key, json.dumps(value, ensure_ascii=draw(st.booleans())), lead))
    return written, draw(BLANKS)


def text_of(members: list[tuple[str, str, str]], blank: str) -> bytes:
    return (
        blank + "{" + ",".join(f"{lead}{value}{blank}" for _, value, lead in members) + blank + "}" + blank
    ).encode()


@settings(max_examples=40, deadline=None)
@given(objects(NAMES), NAMES, DOCUMENTS)
def test_the_result_is_the_document_with_that_member(written: Any, name: str, value: Any) -> None:
    raw = text_of(*written)
    assert parse(set_member(raw, name, json.dumps(value).encode())) == {**json.loads(raw), name: value}


@settings(max_examples=40, deadline=None)
@given(objects(NAMES), DOCUMENTS, st.data())
def test_a_member_that_is_there_is_replaced_and_no_other_byte_changes(written: Any, value: Any, data: Any) -> None:
    members, blank = written
    if members:
        at = data.draw(st.integers(0, len(members) - 1))
        name, _, lead = members[at]
        wanted = [*members[:at], (name, json.dumps(value), lead), *members[at + 1 :]]
        assert set_member(text_of(members, blank), name, json.dumps(value).encode()) == text_of(wanted, blank)


@settings(max_examples=40, deadline=None)
@given(objects(NAMES), NAMES, DOCUMENTS)
def test_a_new_member_is_written_first_and_no_other_byte_changes(written: Any, name: str, value: Any) -> None:
    raw = text_of(*written)
    if name not in json.loads(raw):
        start = raw.index(b"{") + 1
        changed = set_member(raw, name, json.dumps(value).encode())
        assert changed.startswith(raw[:start])
        assert changed.endswith(raw[start:])


@pytest.mark.parametrize(
    ("raw", "changed"),
    [
        (b'{"model":"a"}', b'{"model":"X"}'),
        (b'{"model" : "a" , "n":1}', b'{"model" : "X" , "n":1}'),
        (b'{"mod\\u0065l":"a"}', b'{"mod\\u0065l":"X"}'),
        (b'{"n":{"model":"a"},"model":"b"}', b'{"n":{"model":"a"},"model":"X"}'),
        (b'{"n":["model",{"model":1}],"model":{"model":2}}', b'{"n":["model",{"model":1}],"model":"X"}'),
        (b'{"n":"model","model":"n"}', b'{"n":"model","model":"X"}'),
        (b'{"n":"\\"model\\":1","model":"n"}', b'{"n":"\\"model\\":1","model":"X"}'),
        (b'{"model":[1,{"a":"}"}],"n":"]"}', b'{"model":"X","n":"]"}'),
        (b'{"n":1}', b'{"model":"X","n":1}'),
        (b"{}", b'{"model":"X"}'),
        (b" { } ", b' {"model":"X" } '),
        (b'{"n":{"model":1}}', b'{"model":"X","n":{"model":1}}'),
    ],
)
def test_only_the_top_level_member_counts(raw: bytes, changed: bytes) -> None:
    assert set_member(raw, "model", b'"X"') == changed


def test_a_name_that_needs_escapes_is_written_as_json() -> None:
    assert json.loads(set_member(b'{"a":1}', 'q"\\\n', b"2")) == {'q"\\\n': 2, "a": 1}


@pytest.mark.parametrize("text", ["A", "\\n", '\\"'])
def test_a_long_string_costs_little_memory(text: str) -> None:
    """One image in base64 is a string of megabytes."""
    raw = b'{"image":"' + text.encode() * (1_000_000 // len(text)) + b'","model":"m"}'
    tracemalloc.start()
    try:
        changed = set_member(raw, "model", b'"X"')
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert changed == raw.replace(b'"m"', b'"X"')
    assert peak < 8 * len(raw)
