"""Where text is. I10: every string that a client or a model can see is in a span (GRD-01, GRD-03 to GRD-08, GRD-15)."""

from __future__ import annotations

import base64
import copy
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from gateway.core.errors import Refusal
from gateway.core.span import Delta, Path, Span
from gateway.wire.rewrite import remove_members, replace_strings
from gateway.wire.texts import (
    answer_spans,
    context_of,
    logprob_paths,
    refuse_unreadable,
    request_spans,
    stream_deltas,
)
from gateway.wire.things import apart
from tests.wire import coverage
from tests.wire import documents as docs

# A text that looks like no identifier is found everywhere. One that does is left out at these members only.
TEXT = "the canary, seven of them"
WORD = "canary.7"
STRUCTURE = frozenset(
    {"type", "role", "id", "model", "object", "status", "detail", "format", "index", "finish_reason", "service_tier"}
    | {"tool_call_id", "tool_use_id", "call_id", "file_id", "item_id", "approval_request_id", "previous_response_id"}
    | {"system_fingerprint", "obfuscation", "encoding_format", "version", "include", "truncation", "reason", "code"}
    | {"voice", "modalities", "reasoning_effort", "effort", "summary", "verbosity", "search_context_size", "syntax"}
    | {"encrypted_content", "embedding"}
)


def leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    if type(value) is str:
        yield path
    items = value.items() if type(value) is dict else enumerate(value) if type(value) is list else ()
    for step, entry in items:
        yield from leaves(entry, (*path, step))


def at(document: Any, path: Path) -> Any:
    for step in path:
        document = document[step]
    return document


def planted(document: Any, path: Path, value: Any) -> Any:
    changed = copy.deepcopy(document)
    at(changed, path[:-1])[path[-1]] = value
    return changed


def texts_of(direction: str, name: str, document: Any) -> list[str]:
    """What guards see of it. What stands beside log-probabilities is judged in the text itself; they are removed."""
    found: list[Span] | list[Delta]
    if direction == "request":
        found = request_spans(name, document)
    else:
        found = answer_spans(name, document) if direction == "answer" else stream_deltas(name, document)
    return [span.text for span in found]


ALL = [
    (direction, name, document)
    for direction, table in (("request", docs.REQUESTS), ("answer", docs.ANSWERS), ("event", docs.EVENTS))
    for name, examples in table.items()
    for document in examples
]


@pytest.mark.parametrize(("direction", "name", "document"), ALL)
def test_a_text_at_any_string_of_any_document_is_in_a_span(direction: str, name: str, document: Any) -> None:
    """I10, GRD-01, GRD-05: no member name is trusted to hold no text."""
    for path in leaves(document):
        if "logprobs" not in path:
            assert any(TEXT in text for text in texts_of(direction, name, planted(document, path, TEXT))), path


@pytest.mark.parametrize(("direction", "name", "document"), ALL)
def test_only_the_listed_members_may_hold_a_word_that_is_no_text(direction: str, name: str, document: Any) -> None:
    left_out = {
        next(step for step in reversed(path) if type(step) is str)
        for path in leaves(document)
        if "logprobs" not in path
        and not any(WORD in text for text in texts_of(direction, name, planted(document, path, WORD)))
    }
    assert left_out <= STRUCTURE


@pytest.mark.parametrize(("direction", "name", "document"), ALL)
def test_every_path_leads_to_its_text_so_that_it_can_be_rewritten(direction: str, name: str, document: Any) -> None:
    raw = orjson.dumps(document)
    places: dict[Path, str] = {}
    if direction == "event":
        for delta in stream_deltas(name, document):
            if delta.path and delta.kind != "media":
                assert at(document, delta.path) == delta.text
                places[delta.path] = f"<{len(places)}>"
    else:
        for span in request_spans(name, document) if direction == "request" else answer_spans(name, document):
            for piece in span.pieces:
                if span.kind != "media":
                    assert at(document, piece.path) == span.text[piece.start : piece.end]
                    assert piece.path not in places, "one text, one span"
                    places[piece.path] = f"<{len(places)}>"
    changed = orjson.loads(replace_strings(raw, places))
    for path, text in places.items():
        assert at(changed, path) == text


@pytest.mark.parametrize("name", ["chat", "responses", "completions", "embeddings", "moderations", "unknown"])
def test_the_names_that_a_caller_chooses_are_text(name: str) -> None:
    for field in ("metadata", "tomorrow", "user"):
        spans = request_spans(name, {"model": "m", "input": "a", field: {"deep": {TEXT: 1}}})
        assert Span(TEXT, "", "other", ()) in spans


def test_the_names_of_a_schema_are_definitions() -> None:
    """GRD-15."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {TEXT: {"type": "string"}}}}}
    assert Span(TEXT, "", "definition", ()) in request_spans("chat", {"messages": [], "tools": [tool]})


@pytest.mark.parametrize(
    ("path", "role", "kind"),
    [
        (("messages", 0, "content"), "system", "content"),
        (("messages", 0, "name"), "system", "name"),
        (("messages", 1, "content", 0, "text"), "developer", "content"),
        (("messages", 2, "content", 7, "source", "data"), "user", "content"),
        (("messages", 2, "content", 8, "content", 0, "text"), "tool", "result"),
        (("messages", 2, "content", 9, "content"), "tool", "result"),
        (("messages", 3, "content", 1, "refusal"), "assistant", "refusal"),
        (("messages", 3, "reasoning_content"), "assistant", "reasoning"),
        (("messages", 3, "tool_calls", 0, "function", "arguments"), "assistant", "arguments"),
        (("messages", 3, "tool_calls", 1, "custom", "input"), "assistant", "arguments"),
        (("messages", 3, "function_call", "name"), "assistant", "name"),
        (("messages", 4, "content"), "tool", "result"),
        (("messages", 6, "content"), "tool", "result"),
        (("messages", 8, "mood"), "", "other"),
        (("tools", 0, "function", "name"), "", "definition"),
        (("tools", 0, "function", "parameters", "properties", "town", "enum", 1), "", "definition"),
        (("functions", 0, "description"), "", "definition"),
        (("response_format", "json_schema", "schema", "description"), "", "definition"),
        (("tool_choice", "function", "name"), "", "name"),
        (("prediction", "content", 0, "text"), "", "content"),
        (("stop", 0), "", "other"),
    ],
)
def test_chat_tells_who_says_what(path: Path, role: str, kind: str) -> None:
    """GRD-06."""
    span = next(s for s in request_spans("chat", docs.CHAT_REQUEST) if any(p.path == path for p in s.pieces))
    assert (span.role, span.kind) == (role, kind)
    assert span.escaped == (path[-1] == "arguments")


def test_responses_tells_who_says_what() -> None:
    said = {
        (span.text, span.role, span.kind)
        for span in request_spans("responses", docs.RESPONSES_REQUEST) + request_spans("responses", {"input": "hello"})
    }
    assert said >= {
        ("be kind", "system", "content"),
        ("be wise", "system", "content"),
        ("be brief", "developer", "content"),
        ("first part, second part", "user", "content"),
        ("an answer", "assistant", "content"),
        ("no way", "assistant", "refusal"),
        ("I think", "assistant", "reasoning"),
        ("in short", "assistant", "reasoning"),
        ("print(1 + 1)", "assistant", "arguments"),
        ('{"town":"Bonn"}', "assistant", "arguments"),
        ("what to seek", "assistant", "arguments"),
        ("22 degrees", "tool", "result"),
        ("23 degrees", "tool", "result"),
        ("found", "tool", "result"),
        ("it is 4", "tool", "result"),
        ("was bought", "tool", "result"),
        ("out of it", "tool", "result"),
        ("finds it", "", "definition"),
        ("buys it", "", "definition"),
        ("hello", "user", "content"),
    }


def test_texts_that_follow_each_other_in_a_message_are_one_span_and_can_be_taken_apart() -> None:
    """GRD-07. What stands between them ends the run."""
    spans = [span for span in request_spans("chat", docs.CHAT_REQUEST) if " part" in span.text]
    assert [span.text for span in spans] == ["first part, second part", "third part"]
    assert [spans[0].text[piece.start : piece.end] for piece in spans[0].pieces] == ["first part, ", "second part"]
    assert [(start, single.text) for start, single in apart(spans[0])] == [(0, "first part, "), (12, "second part")]
    assert apart(spans[1]) == []


def test_inputs_of_their_own_are_not_joined() -> None:
    for name in ("embeddings", "moderations"):
        assert [span.text for span in request_spans(name, {"input": ["a b", "c d"]})] == ["a b", "c d"]


@pytest.mark.parametrize(("name", "field"), [("completions", "prompt"), ("embeddings", "input")])
@pytest.mark.parametrize("tokens", [[1, 2], [[1, 2], [3]]])
def test_tokens_are_reported_as_not_read(name: str, field: str, tokens: list[Any]) -> None:
    spans = request_spans(name, {"model": "m", field: tokens})
    assert spans
    assert {(span.kind, span.text) for span in spans} == {("media", "")}


def _file(data: str) -> list[Span]:
    part = {"type": "file", "file": {"file_data": data}}
    return request_spans("chat", {"messages": [{"role": "user", "content": [part]}]})


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("data:text/plain;base64,", "Grüße an alle"),
        ("data:application/json;base64,", '{"a": "b"}'),
        ("data:application/ld+json;base64,", '{"a": "b"}'),
        ("DATA:Text/CSV;charset=utf-8;BASE64,", "a,b\n" * 4000),
        ("data:;base64,", "no type, which is text"),
    ],
)
def test_a_data_uri_of_text_is_text_that_cannot_be_rewritten(head: str, body: str) -> None:
    """GRD-08."""
    assert _file(head + base64.b64encode(body.encode()).decode()) == [Span(body, "user", "content", ())]


def test_a_data_uri_can_be_percent_encoded_and_of_another_charset() -> None:
    assert [span.text for span in _file("data:text/plain,a%20b")] == ["a b"]
    body = base64.b64encode("Grüße".encode("latin-1")).decode()
    assert [span.text for span in _file(f"data:text/plain;charset=iso-8859-1;base64,{body}")] == ["Grüße"]


@pytest.mark.parametrize("head", ["data:image/png;base64,", "data:text/plain;base64,", ""])
def test_what_is_no_text_is_media_whatever_it_says_to_be(head: str) -> None:
    path = ("messages", 0, "content", 0, "file", "file_data")
    spans = _file(head + docs.SOUND)
    assert [(span.kind, span.text, span.pieces[0].path) for span in spans] == [("media", "", path)]


def test_text_that_says_to_be_an_image_is_judged_and_still_not_passed_as_read() -> None:
    body = base64.b64encode(TEXT.encode()).decode()
    assert [(span.kind, span.text) for span in _file(f"data:image/png;base64,{body}")] == [
        ("media", ""),
        ("content", TEXT),
    ]
    assert {(span.kind, span.text) for span in _file(body)} >= {("media", ""), ("content", TEXT)}


@pytest.mark.parametrize("part", [{"image_url": {"url": "https://a.example/x.png"}}, {"file": {"file_id": "file-1"}}])
def test_what_is_fetched_from_elsewhere_is_not_read(part: dict[str, Any]) -> None:
    spans = request_spans("chat", {"messages": [{"role": "user", "content": [part]}]})
    assert "media" in {span.kind for span in spans}


def test_an_image_of_megabytes_costs_next_to_nothing() -> None:
    image = "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 40_000).decode()
    started = time.process_time()
    _file(image)
    assert time.process_time() - started < 0.2


def _refused(name: str, document: Any) -> str | None:
    with pytest.raises(Refusal) as caught:
        refuse_unreadable(name, document)
    assert caught.value.code == "invalid_value"
    return caught.value.param


@pytest.mark.parametrize(
    ("name", "document", "param"),
    [
        ("chat", {"messages": [{"role": "critic", "content": "a"}]}, "messages[0].role"),
        ("chat", {"messages": [{"role": "User", "content": "a"}]}, "messages[0].role"),
        ("chat", {"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, "messages[0].content[0].type"),
        ("chat", {"messages": [{"role": "user", "content": [{"text": "a"}]}]}, "messages[0].content[0].type"),
        (
            "chat",
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{"type": "x"}]}]}]},
            "messages[0].content[0].content[0].type",
        ),
        ("responses", {"input": [{"role": "critic", "content": "a"}]}, "input[0].role"),
        ("responses", {"input": [{"content": "a"}]}, "input[0].role"),
        ("responses", {"input": [{"role": ["user"], "content": "a"}]}, "input[0].role"),
        ("responses", {"input": [{"role": "user", "content": [{"type": "x"}]}]}, "input[0].content[0].type"),
        ("responses", {"instructions": [{"role": "critic", "content": "a"}]}, "instructions[0].role"),
        (
            "responses",
            {"input": [{"type": "function_call_output", "output": [{"type": "x"}]}]},
            "input[0].output[0].type",
        ),
        ("moderations", {"input": [{"type": "x"}]}, "input[0].type"),
    ],
)
def test_unknown_roles_and_parts_are_refused_by_name(name: str, document: Any, param: str) -> None:
    """GRD-06, GRD-07."""
    assert _refused(name, document) == param


@pytest.mark.parametrize(
    ("name", "document"), [(name, d) for name, examples in docs.REQUESTS.items() for d in examples]
)
def test_known_documents_are_not_refused(name: str, document: Any) -> None:
    refuse_unreadable(name, document)


@pytest.mark.parametrize(
    ("name", "document", "paths"),
    [
        ("chat", docs.CHAT_ANSWER, [("choices", 0, "logprobs")]),
        ("completions", docs.COMPLETIONS_ANSWER, [("choices", 0, "logprobs")]),
        ("responses", docs.RESPONSES_ANSWER, [("output", 0, "content", 0, "logprobs")]),
    ],
)
def test_log_probabilities_are_found_and_can_be_removed(name: str, document: Any, paths: list[Path]) -> None:
    """GRD-05."""
    assert logprob_paths(name, document) == paths
    removed = orjson.loads(remove_members(orjson.dumps(document), paths))
    assert logprob_paths(name, removed) == []
    assert answer_spans(name, removed) == answer_spans(name, document)


def test_log_probabilities_of_events_are_found() -> None:
    nested = docs.event("response.completed", response=docs.RESPONSES_ANSWER)
    assert logprob_paths("responses", nested, event=True) == [("response", "output", 0, "content", 0, "logprobs")]
    grown = docs.event("response.output_text.delta", delta="a", logprobs=[{"token": "a"}])
    assert logprob_paths("responses", grown, event=True) == [("logprobs",)]
    chunk = docs.chunk({"content": "a"})
    chunk["choices"][0]["logprobs"] = {"content": [{"token": "a"}]}
    assert logprob_paths("chat", chunk, event=True) == [("choices", 0, "logprobs")]


def lanes(name: str, events: list[Any]) -> dict[Any, str]:
    grown: dict[Any, str] = {}
    for event in events:
        for delta in stream_deltas(name, event):
            if not delta.whole:
                grown[delta.lane] = grown.get(delta.lane, "") + delta.text
    return grown


def test_choices_and_tools_of_a_stream_never_mix() -> None:
    """GRD-03, GRD-04: interleaved, in any order, at any position in the list."""

    def tool(index: int, text: str) -> dict[str, Any]:
        return {"index": index, "function": {"arguments": text}}

    events = [docs.chunk({"content": f"{n}{c}"}, c) for n in range(3) for c in (2, 0, 1)]
    events += [docs.chunk({"tool_calls": [tool(1, f"b{n}"), tool(0, f"a{n}")]}) for n in range(2)]
    events += [docs.chunk({"tool_calls": [tool(0, "a2")]}), docs.chunk({"tool_calls": [tool(0, "c")]}, 1)]
    assert sorted(lanes("chat", events).values()) == sorted(["001020", "011121", "021222", "a0a1a2", "b0b1", "c"])


def test_several_choices_of_one_event_do_not_mix() -> None:
    two = {"choices": [{"index": 1, "text": "b"}, {"index": 0, "text": "a"}]}
    other = {"choices": [{"index": 0, "text": "a"}, {"index": 1, "text": "b"}]}
    assert sorted(lanes("completions", [two, other]).values()) == ["aa", "bb"]


def test_kinds_of_a_choice_do_not_mix_and_parts_of_a_content_are_one_text() -> None:
    events = [docs.chunk({"content": "a", "refusal": "r", "reasoning_content": "t", "tomorrow": "x"}) for _ in "12"]
    assert sorted(lanes("chat", events).values()) == ["aa", "rr", "tt", "xx"]
    parts = [docs.chunk({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}) for _ in "12"]
    assert list(lanes("chat", parts).values()) == ["abab"]


@pytest.mark.parametrize(("kind", "said"), docs.GROWING.items())
def test_events_grow_a_text_by_its_place_in_the_output(kind: str, said: str) -> None:
    places = [(0, 0), (1, 0), (0, 1)]
    events = [docs.event(kind, output_index=o, content_index=c, delta=f"{o}{c}") for _ in "12" for o, c in places]
    for index, event in enumerate(events):
        event["item_id"] = f"item_{index}"  # as providers do that draw new ids
    assert sorted(lanes("responses", events).values()) == ["0000", "0101", "1010"]
    delta = stream_deltas("responses", events[0])[0]
    assert (delta.kind, delta.path, delta.escaped) == (said, ("delta",), "_arguments" in kind)


def test_items_without_a_place_are_told_apart_by_their_ids() -> None:
    events = [{"type": "response.output_text.delta", "item_id": i, "delta": i} for i in "abab"]
    assert sorted(lanes("responses", events).values()) == ["aa", "bb"]


def test_standard_output_and_error_are_two_texts() -> None:
    event = docs.event("response.shell_call_output_content.delta", delta={"stdout": "a", "stderr": "b"})
    assert sorted(lanes("responses", [event, event]).values()) == ["aa", "bb"]


def test_what_an_event_repeats_is_whole_and_a_lane_of_its_own() -> None:
    for event in docs.RESPONSES_EVENTS:
        deltas = stream_deltas("responses", event)
        if not event["type"].endswith(".delta"):
            assert deltas
            assert all(delta.whole for delta in deltas)
            assert len({delta.lane for delta in deltas}) == len(deltas)
    first, second = (
        {**docs.event("response.output_text.done", text="an answer"), "sequence_number": n} for n in (1, 2)
    )
    assert stream_deltas("responses", first)[0].lane != stream_deltas("responses", second)[0].lane


def test_the_context_holds_what_an_answer_is_compared_with() -> None:
    context = context_of("chat", docs.CHAT_REQUEST)
    assert context.system == ("be kind", "be brief")
    assert context.user == ("first part, second part", "third part", "a document", "its own words", "and now?")
    assert context.schema == docs.SCHEMA
    assert not context.json_object
    responses = context_of("responses", docs.RESPONSES_REQUEST)
    assert responses.system == ("be kind", "be wise", "be brief")
    assert responses.schema == docs.SCHEMA
    assert context_of("chat", {"messages": [], "response_format": {"type": "json_object"}}).json_object
    assert context_of("responses", {"text": {"format": {"type": "json_object"}}}).json_object
    assert context_of("completions", docs.COMPLETIONS_REQUEST).user == ("once upon", "a time", "the end")


@pytest.mark.parametrize(
    ("direction", "name", "document"), [case for case in ALL if case[:2] != ("event", "responses")]
)
@pytest.mark.parametrize("odd", [[], ["a b"], {"type": ["a b"], "text": {"index": "a b"}}])
def test_odd_values_at_odd_places_are_walked_all_the_same(direction: str, name: str, document: Any, odd: Any) -> None:
    containers = {path[:depth] for path in leaves(document) for depth in range(1, len(path) + 1)}
    for path in containers:
        changed = planted(document, path, odd)
        seen = any("a b" in text for text in texts_of(direction, name, changed))
        assert seen or "a b" not in str(odd) or "logprobs" in path
        context_of(name, changed)


def test_a_deep_document_costs_no_recursion() -> None:
    deep: Any = TEXT
    for _ in range(1000):
        deep = {"a": [deep]}
    assert [span.text for span in answer_spans("chat", {"tomorrow": deep})][-1] == TEXT


def test_the_published_table_has_no_gap() -> None:
    """GRD-01: the table is made from the code, and every cell of it is covered."""
    table = coverage.rows()
    cells = [cell for _, _, row in table for cell in row if cell]
    assert len(table) >= 60
    assert "MISSED" not in cells
    assert {cell for cell in cells if cell != "rewritten"} == {"judged", "removed"}
    assert coverage.markdown().count("\n") == len(table) + 2
