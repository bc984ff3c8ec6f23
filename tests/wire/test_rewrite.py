"""Rewriting changes the values at its places and no other byte (GRD-18)."""

from __future__ import annotations

import copy
import json
import time
import tracemalloc
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.span import Path
from gateway.wire.rewrite import remove_members, replace_strings

BLANKS = st.sampled_from(["", " ", "\n", "\t \r\n"])
# Keys that look alike, also once they are escaped, and strings that look like structure.
KEYS = st.sampled_from(["a", "b", "", 'a"', "\\", "{", "content", "a:", ",", "é", "\U0001f600"])
STRINGS = st.one_of(
    st.sampled_from(['"', "\\", '\\"', "{}", "[,]", '":"', "\n", "\x1f", "é", "\U0001f600", ""]), st.text(max_size=8)
)
SCALARS = st.one_of(
    STRINGS, st.none(), st.booleans(), st.integers(-9, 9), st.floats(allow_nan=False, allow_infinity=False)
)
DOCUMENTS = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=4) | st.dictionaries(KEYS, below, max_size=4), max_leaves=12
)


def written(draw: st.DrawFn, value: Any, path: Path, spans: dict[Path, tuple[int, int]], out: list[str]) -> None:
    """`value` as JSON with any blanks and escapes; `spans`: where each value stands in it, in characters."""

    def put(text: str) -> None:
        out.append(text)

    def string(text: str) -> str:
        return json.dumps(text, ensure_ascii=draw(st.booleans()))

    def here() -> int:
        return sum(map(len, out))

    put(draw(BLANKS))
    start = here()
    if type(value) is str:
        put(string(value))
    elif type(value) is list or type(value) is dict:
        put("[" if type(value) is list else "{")
        items = value.items() if type(value) is dict else enumerate(value)
        for index, (step, entry) in enumerate(items):
            if index:
                put(",")
            if type(value) is dict:
                put(draw(BLANKS) + string(step) + draw(BLANKS) + ":")
            written(draw, entry, (*path, step), spans, out)
        put(draw(BLANKS) + ("]" if type(value) is list else "}"))
    else:
        put(json.dumps(value))
    spans[path] = (start, here())
    put(draw(BLANKS))


@st.composite
def documents(draw: st.DrawFn) -> tuple[Any, str, dict[Path, tuple[int, int]]]:
    value = draw(DOCUMENTS)
    spans: dict[Path, tuple[int, int]] = {}
    out: list[str] = []
    written(draw, value, (), spans, out)
    return value, "".join(out), spans


def at(document: Any, path: Path) -> Any:
    for step in path:
        document = document[step]
    return document


def expected(text: str, patches: dict[tuple[int, int], str]) -> str:
    done, parts = 0, []
    for (start, end), value in sorted(patches.items(), key=lambda item: (item[0][0], -item[0][1])):
        if start >= done:
            parts += [text[done:start], value]
            done = end
    return "".join([*parts, text[done:]])


@settings(max_examples=150, deadline=None)
@given(documents(), st.data())
def test_the_strings_at_the_paths_change_and_no_other_byte(made: Any, data: st.DataObject) -> None:
    document, text, spans = made
    strings = [path for path in spans if type(at(document, path)) is str]
    chosen = data.draw(st.lists(st.sampled_from(strings), unique=True)) if strings else []
    texts = {path: data.draw(STRINGS) for path in chosen}
    changed = replace_strings(text.encode(), texts)
    assert changed.decode() == expected(text, {spans[path]: orjson.dumps(new).decode() for path, new in texts.items()})
    wanted = [copy.deepcopy(document)]
    for path, new in texts.items():
        at(wanted, (0, *path[:-1]) if path else ())[path[-1] if path else 0] = new
    assert json.loads(changed) == wanted[0]


@settings(max_examples=100, deadline=None)
@given(documents(), st.data())
def test_removed_values_are_null_and_no_other_byte_changes(made: Any, data: st.DataObject) -> None:
    _, text, spans = made
    chosen = data.draw(st.lists(st.sampled_from(sorted(spans, key=repr)), unique=True))
    assert remove_members(text.encode(), chosen).decode() == expected(text, {spans[path]: "null" for path in chosen})


@settings(max_examples=100, deadline=None)
@given(documents(), st.lists(st.one_of(KEYS, st.integers(0, 3)), max_size=3))
def test_what_is_not_there_is_an_error(made: Any, steps: list[Any]) -> None:
    document, text, spans = made
    path = tuple(steps)
    if path not in spans:
        with pytest.raises(KeyError):
            remove_members(text.encode(), [path])
    if path not in spans or type(at(document, path)) is not str:
        with pytest.raises(KeyError):
            replace_strings(text.encode(), {path: "new"})


@pytest.mark.parametrize(
    ("raw", "path", "changed"),
    [
        (b'{"a":{"a":{"a":"x"}},"b":{"a":"y"}}', ("b", "a"), b'{"a":{"a":{"a":"x"}},"b":{"a":"N"}}'),
        (b'{"\\u0061" : "x" , "b":"a"}', ("a",), b'{"\\u0061" : "N" , "b":"a"}'),
        (b'[["a","b"],"c"]', (0, 1), b'[["a","N"],"c"]'),
        (b'[["a","b"],"c"]', (1,), b'[["a","b"],"N"]'),
        (b'[[],{},[{}],"c"]', (3,), b'[[],{},[{}],"N"]'),
        (b'{"0":"x","a":["y"]}', ("a", 0), b'{"0":"x","a":["N"]}'),
        (
            b'{"n":-9999.0,"big":12345678901234567890123,"s":"\\ud83d\\ude00"}',
            ("s",),
            b'{"n":-9999.0,"big":12345678901234567890123,"s":"N"}',
        ),
    ],
)
def test_paths_are_exact(raw: bytes, path: Path, changed: bytes) -> None:
    assert replace_strings(raw, {path: "N"}) == changed


def test_new_texts_are_written_on_one_line_so_that_they_can_stand_in_an_event() -> None:
    changed = replace_strings(b'{"a":"x"}', {("a",): 'line\r\nfeed\0 "é'})
    assert not set(b"\r\n\0").intersection(changed)
    assert json.loads(changed) == {"a": 'line\r\nfeed\0 "é'}


def test_nothing_to_do_is_the_same_bytes() -> None:
    raw = b" {} "
    assert replace_strings(raw, {}) is raw
    assert remove_members(raw, []) is raw


def _seconds(raw: bytes, texts: dict[Path, str]) -> float:
    started = time.process_time()
    replace_strings(raw, texts)
    return time.process_time() - started


@pytest.mark.parametrize("entry", [{"content": "hello " * 20, "k": [1, {"content": "x"}]}, {"content": '"\\\n' * 40}])
def test_five_megabytes_take_linear_time(entry: dict[str, Any]) -> None:
    count = 5_000_000 // len(json.dumps(entry))
    small, large = (json.dumps({"m": [entry] * n}).encode() for n in (count // 8, count))
    texts: dict[Path, str] = {("m", index, "content"): "new" for index in range(0, count // 8, 3)}
    few = min(_seconds(small, texts) for _ in range(3))
    many = min(_seconds(large, {("m", index, "content"): "new" for index in range(0, count, 3)}) for _ in range(2))
    assert many < 24 * few  # 8 times the size
    assert many < 5


def test_a_long_string_costs_little_memory() -> None:
    raw = b'{"image":"' + b"\\n" * 500_000 + b'","text":"x"}'
    tracemalloc.start()
    try:
        changed = replace_strings(raw, {("text",): "new"})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert changed == raw.replace(b'"x"', b'"new"')
    assert peak < 4 * len(raw)
