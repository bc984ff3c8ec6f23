from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.errors import Refusal
from gateway.wire.strictjson import MAX_DEPTH, parse

TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12),
    st.lists(
        st.sampled_from(['"', "\\", ":", ",", "{", "}", "[", "]", "a", "\n", "é", "🎉", "\\u0000"]), max_size=10
    ).map("".join),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False), TEXTS
)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5), max_leaves=25
)


def refused(raw: bytes, **limits: int) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        parse(raw, **limits)
    assert refusal.value.status == 400
    return refusal.value


def escaped(key: str) -> str:
    """The key as JSON, every character as an escape."""
    units = key.encode("utf-16-be")
    return '"' + "".join(f"\\u{units[at]:02x}{units[at + 1]:02X}" for at in range(0, len(units), 2)) + '"'


@st.composite
def documents_with_one_repeated_key(draw: st.DrawFn) -> bytes:
    members = draw(st.dictionaries(TEXTS, DOCUMENTS, min_size=1, max_size=4))
    key = draw(st.sampled_from(sorted(members)))
    comma, colon = draw(st.sampled_from([(", ", ": "), (",", ":")]))

    def written(document: Any) -> str:
        return json.dumps(document, ensure_ascii=comma != ",", separators=(comma, colon))

    pairs = [(written(name), written(value)) for name, value in members.items()]
    spelled = draw(st.sampled_from([json.dumps(key), json.dumps(key, ensure_ascii=False), escaped(key)]))
    pairs.insert(draw(st.integers(0, len(pairs))), (spelled, written(draw(DOCUMENTS))))
    text = "{" + comma.join(f"{name}{colon}{value}" for name, value in pairs) + "}"
    for _ in range(draw(st.integers(0, 4))):
        beside = written(draw(DOCUMENTS))
        text = draw(
            st.sampled_from([f"[{text}]", f"[{beside},{text}]", f'{{"in":{text}}}', f'{{"a":{beside},"b":{text}}}'])
        )
    return text.encode()


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS, st.booleans(), st.sampled_from([None, 2]))
def test_a_sound_document_is_read_as_the_standard_library_reads_it(
    document: Any, ascii_only: bool, indent: int | None
) -> None:
    """JSON-01"""
    raw = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    assert parse(raw) == json.loads(raw)


@settings(max_examples=60, deadline=None)
@given(documents_with_one_repeated_key())
def test_a_repeated_key_is_found_wherever_and_however_it_is_written(raw: bytes) -> None:
    """JSON-01"""
    assert refused(raw).code == "duplicate_key"


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (b'{"model":"a","model":"b"}', "model"),
        (b'{"model":"a","model":"a"}', "model"),
        (b'{"model":"a","mod\\u0065l":"b"}', "model"),
        (b'{"\\u006d\\u006F\\u0064\\u0065\\u006C":"a","model":"b"}', "model"),
        (b'{"a/b":1,"a\\/b":2}', "a/b"),
        ('{"é":1,"\\u00e9":2}'.encode(), "é"),
        ('{"🎉":1,"\\ud83c\\udf89":2}'.encode(), "🎉"),
        (b'{"":1,"":2}', ""),
        (b'{"a":{"b":[{"c":1,"c":2}]}}', "c"),
        (b'{"a":{"x":1},"a":{"y":2}}', "a"),
        (b'[{"a":1},{"a":1,"b":2,"a":3}]', "a"),
        (b'{ "a"\n:\t1 , "a" : "::" }', "a"),
    ],
)
def test_a_repeated_key_is_named(raw: bytes, key: str) -> None:
    """JSON-01"""
    refusal = refused(raw)
    assert (refusal.code, refusal.param) == ("duplicate_key", key)


def test_a_very_long_repeated_key_is_not_quoted() -> None:
    """JSON-01"""
    key = "k" * 65
    refusal = refused(f'{{"{key}":1,"{key}":2}}'.encode())
    assert (refusal.code, refusal.param) == ("duplicate_key", None)


@pytest.mark.parametrize(
    "raw",
    [
        b'[{"a":1},{"a":1}]',
        b'{"a":{"a":{"a":1}}}',
        b'{"a":1,"A":2}',
        '{"\u00e9":1,"e\u0301":2}'.encode(),
        b'{"a":":","b":"\\":","c":"\\\\","d":"{\\"a\\":1,\\"a\\":2}"}',
        b'{"a\\\\":1,"a\\"":2}',
        b'{"\\\\":"\\\\","\\\\\\\\":":"}',
    ],
)
def test_keys_that_only_look_repeated_pass(raw: bytes) -> None:
    """JSON-01"""
    assert parse(raw) == json.loads(raw)


@pytest.mark.parametrize(("opened", "inner", "closed"), [("[", "", "]"), ('{"a":', "1", "}"), ('[{"a":', "1", "}]")])
def test_nesting_is_bounded(opened: str, inner: str, closed: str) -> None:
    """JSON-03"""
    levels = opened.count("[") + opened.count("{")

    def nested(depth: int) -> bytes:
        return (opened * (depth // levels) + inner + closed * (depth // levels)).encode()

    parse(nested(MAX_DEPTH))
    assert refused(nested(MAX_DEPTH + levels)).code == "too_deep"
    assert refused(nested(1024)).code == "too_deep"
    assert refused(nested(4000)).code == "too_deep"
    assert refused(nested(400_000)).code == "too_deep"


def test_a_document_of_many_shallow_objects_is_read_and_a_repeated_key_in_it_found() -> None:
    """JSON-01, JSON-03: the number of brackets alone says nothing of depth"""
    plain = [{"a": "["} for _ in range(MAX_DEPTH)]
    for separators in ((",", ":"), (", ", ": ")):
        assert parse(json.dumps(plain, separators=separators).encode()) == plain
    assert refused(json.dumps(plain).replace('"["', '1,"a":2', 1).encode()).code == "duplicate_key"
    assert (
        refused(json.dumps(plain, separators=(",", ":")).replace('"["', '1,"a":2', 1).encode()).code == "duplicate_key"
    )


def test_the_bound_of_nesting_can_be_chosen() -> None:
    """JSON-03"""
    parse(b'{"a":[[]]}', max_depth=3)
    assert refused(b'{"a":[[]]}', max_depth=2).code == "too_deep"


def test_the_number_of_values_is_bounded() -> None:
    """JSON-03"""
    parse(b"[1,2,3]", max_values=3)
    assert refused(b"[1,2,3,4]", max_values=3).code == "too_many_values"
    assert refused(b"[[],[],{}]", max_values=5).code == "too_many_values"
    parse(b'[",,,,[[[["]', max_values=1)


@pytest.mark.parametrize(
    "raw",
    [
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-16-le"),
        '{"a":1}'.encode("utf-16-be"),
        '{"a":1}'.encode("utf-32"),
        b'{"a":"\xff"}',
        b'{"a":"\xc3"}',
        b'{"a":"\xc0\xaf"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xf4\x90\x80\x80"}',
        '{"a":"é"}'.encode("latin-1"),
    ],
)
def test_only_utf8_without_a_mark_is_read(raw: bytes) -> None:
    """JSON-05"""
    assert refused(raw).code == "invalid_encoding"


@pytest.mark.parametrize(
    "raw",
    [b'{"a":"\\ud800"}', b'{"a":"\\udc00"}', b'{"a":"\\udc00\\ud800"}', b'{"a":"\\uD800x"}', b'{"\\udfff":1}'],
)
def test_a_lone_surrogate_is_refused(raw: bytes) -> None:
    """JSON-06"""
    assert refused(raw).code == "invalid_encoding"


def test_a_pair_of_surrogates_is_one_character() -> None:
    """JSON-06"""
    assert parse(b'{"a":"\\ud83c\\udf89"}') == {"a": "🎉"}


@pytest.mark.parametrize(
    "raw", [b'{"a":"x\\u0000y"}', b'{"a\\u0000":1}', b'{"a":"\\\\\\u0000"}', b'{"a":"x\0y"}', b'{"a":1}\0', b"\0"]
)
def test_nul_is_refused_escaped_or_not(raw: bytes) -> None:
    """JSON-06"""
    assert refused(raw).code == "invalid_encoding"


def test_an_escaped_backslash_before_u0000_is_not_nul() -> None:
    """JSON-06"""
    assert parse(b'{"a":"\\\\u0000"}') == {"a": "\\u0000"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b'{"a":1}{"b":2}',
        b'{"a":1} 2',
        b'{"a":1}\n{"a":1}',
        b'{"a":1,}',
        b"[1,]",
        b"[,1]",
        b'{,"a":1}',
        b'{"a":1 /* c */}',
        b'{"a":1} // c',
        b'# c\n{"a":1}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":.5}',
        b'{"a":1.}',
        b'{"a":0x10}',
        b"{'a':1}",
        b"{a:1}",
        b'{"a":True}',
        b'{"a":undefined}',
        b'{"a":"\t"}',
        b'{"a":"\n"}',
        b'{"a":"\\x41"}',
        b'{"a":"\\u12"}',
        b'{"a" 1}',
        b'{"a":1',
        b'{"a":"1}',
        b'{"a":1,"a":2',
        b'\x0b{"a":1}',
        b'\xc2\xa0{"a":1}',
        b"nul",
    ],
)
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    """JSON-07"""
    assert refused(raw).code == "invalid_json"


@pytest.mark.parametrize("raw", [b"null", b"1", b'"a"', b"[]", b"{}", b" \r\n\t{} \n"])
def test_any_kind_of_document_is_read(raw: bytes) -> None:
    """JSON-07"""
    assert parse(raw) == json.loads(raw)


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text(st.sampled_from('{}[]":,\\u0 \n1ae-.'), max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    """JSON-03, JSON-05, JSON-07"""
    try:
        parse(raw)
    except Refusal as refusal:
        assert refusal.status == 400


def test_a_refusal_quotes_no_content() -> None:
    """JSON-07"""
    assert "secret" not in refused(b'{"a":"secret",}').message
