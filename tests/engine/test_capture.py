"""Capture with guards of every kind, at every place of every shape: what they find does not become content."""

import copy
import json
from pathlib import Path

import pytest

from gateway.core.clock import SystemClock
from gateway.core.model import Plan, Record
from gateway.core.span import Context
from gateway.engine.capture import Capture, Noting, Watched
from gateway.engine.reading import Reading
from gateway.masks.vault import Vault
from gateway.policy.load import load
from gateway.wire.texts import context_of, request_spans
from tests.engine.fakes import call_for
from tests.sinks.calls import attempt
from tests.wire import documents as docs
from tests.wire.test_spans import leaves, planted

SECRET = "the falcon, seven of them"
SHAPES = ("chat", "responses", "completions", "embeddings")
CAPTURE = load(
    (
        (
            "p.yaml",
            b"providers: {demo: {shape: demo}}\nmodels: {m: {targets: [{provider: demo}]}}\n"
            b"tracing: {content: {capture: true, max_bytes: 262144}}\n",
        ),
    ),
    Path(),
    {},
).tracing.content


def guards(mode="monitor", action="mask", where="input: [names], output: [names]"):
    text = f"""
providers: {{demo: {{shape: demo}}}}
models: {{m: {{targets: [{{provider: demo}}]}}}}
guards:
  names: {{type: patterns, patterns: {{NAME: 'falcon, seven'}}, mode: {mode}, definitions: true, on_error: block, action: {action}}}
guard_sets: {{default: {{{where}, unreadable: allow}}}}
"""  # fmt: skip
    return load((("p.yaml", text.encode()),), Path(), {}).guard_sets["default"]


async def captured(shape, document, *, guard_set=None, reply=None, frames=(), **facts):
    """The Content of a call whose guards have looked at its request."""
    body = json.dumps(document).encode()
    call = call_for(shape, document=document, body=body, model="m")
    capture = Capture.of(CAPTURE, call, Plan("v", (), guard_set))
    assert capture is not None
    if guard_set is not None:
        spans = request_spans(shape, document)
        context, clock = context_of(shape, document, spans), SystemClock()
        judges = (Noting.of(guard_set, "input", Context(), clock), Noting.of(guard_set, "output", context, clock))
        capture.watch(Watched(guard_set, spans, context, Vault(b"key"), *judges, False, clock))
        await judges[0].whole(Reading(spans).texts)
    answer = capture.answer()
    if answer is not None:
        if reply is not None:
            answer.whole(reply)
        for frame in frames:
            answer.frame(b"data: " + json.dumps(frame).encode() + b"\n\n")
    record = Record("req_1", 0.0, 0.0, attempts=[attempt(finish_reasons=())])
    for name, value in facts.items():
        setattr(record, name, value)
    return await capture.content(record)


def every(documents):
    return [
        pytest.param(shape, document, id=f"{shape}-{number}")
        for shape in SHAPES
        for number, document in enumerate(documents[shape])
    ]


@pytest.mark.parametrize(("shape", "document"), every(docs.REQUESTS))
async def test_a_finding_at_no_place_of_a_request_becomes_content(shape, document):
    for path in leaves(document):
        content = await captured(shape, planted(document, path, SECRET), guard_set=guards())
        assert "falcon" not in repr_of(content), path


@pytest.mark.parametrize(("shape", "document"), every({**docs.ANSWERS, "embeddings": []}))
async def test_a_finding_at_no_place_of_an_answer_becomes_content(shape, document):
    for path in leaves(document):
        content = await captured(
            shape, docs.REQUESTS[shape][0], guard_set=guards(), reply=planted(document, path, SECRET)
        )
        assert "falcon" not in repr_of(content), path


@pytest.mark.parametrize(("shape", "events"), [("chat", docs.CHAT_EVENTS), ("responses", docs.RESPONSES_EVENTS)])
async def test_a_finding_at_no_place_of_a_stream_becomes_content(shape, events):
    for number, event in enumerate(events):
        for path in leaves(event):
            frames = [*events[:number], planted(event, path, SECRET), *events[number + 1 :]]
            content = await captured(shape, docs.REQUESTS[shape][0], guard_set=guards(), frames=frames)
            assert "falcon" not in repr_of(content), (number, path)


def repr_of(content):
    """All of it."""
    return " ".join(str(getattr(content, name)) for name in type(content).__slots__)


async def test_texts_and_arguments_are_there_with_the_rest_of_their_words():
    """The tests above would pass if nothing were captured."""
    document = copy.deepcopy(docs.CHAT_REQUEST)
    document["messages"][1]["content"] = "so " + SECRET
    content = await captured("chat", document, guard_set=guards(), reply=docs.CHAT_ANSWER)
    assert content.left_out == ()
    assert "so the [NAME_1] of them" in content.input
    assert {"town": "Bonn"} in [
        part.get("arguments") for message in json.loads(content.input) for part in message["parts"]
    ]
    assert json.loads(content.output)[1]["parts"] == [{"type": "text", "content": "another answer"}]


async def test_without_guards_all_is_told_but_media_and_what_no_reader_knows():
    content = await captured("chat", docs.CHAT_REQUEST, reply=docs.CHAT_ANSWER)
    told = repr_of(content)
    assert "third part" in told
    assert "an answer" in told
    for hidden in (docs.SOUND[:40], docs.PNG[30:70], "an unknown text", "top_logprobs"):
        assert hidden not in told


async def test_what_was_refused_before_a_guard_could_look_is_not_told():
    document = {"model": "m", "messages": [{"role": "user", "content": SECRET}]}
    capture = Capture.of(CAPTURE, call_for("chat", document=document, model="m"), Plan("v", (), guards()))
    content = await capture.content(Record("req_1", 0.0, 0.0, attempts=[attempt()]))
    assert "input=not_checked" in content.left_out
    assert "falcon" not in repr_of(content)


async def test_a_caller_that_leaves_before_a_blocking_guard_has_ruled_leaves_no_content():
    frames = [docs.chunk({"content": "well, " + SECRET})]
    facts = {"outcome": "client_closed", "attempts": [attempt(complete=False)]}
    blocking = guards("enforce", "block", where="output: [names]")
    content = await captured("chat", docs.CHAT_REQUEST, guard_set=blocking, frames=frames, **facts)
    assert content.left_out == ("output=blocked",)
    assert content.output == ""


async def test_an_answer_that_was_replaced_is_told_as_the_caller_got_it():
    reply = {"choices": [{"index": 0, "message": {"role": "assistant", "content": SECRET}, "finish_reason": "stop"}]}
    replacing = guards("enforce", "replace, text: 'not that'", where="output: [names]")
    content = await captured("chat", docs.CHAT_REQUEST, guard_set=replacing, reply=reply)
    assert json.loads(content.output)[0]["parts"] == [{"type": "text", "content": "not that"}]


async def test_what_fails_is_left_out_and_says_no_word_of_it():
    deep = [{"type": "text", "text": SECRET}]
    for _ in range(5000):
        deep = [{"type": "tool_result", "content": deep}]
    content = await captured("chat", docs.CHAT_REQUEST, reply={"choices": [{"message": {"content": deep}}]})
    assert content.left_out == ("output=RecursionError",)
    assert content.input


async def test_a_call_that_was_never_sent_has_no_content():
    content = await captured("chat", docs.CHAT_REQUEST, attempts=[attempt(sent=False)])
    assert content is None


async def test_an_answer_too_large_to_be_held_is_said_to_be_left_out():
    content = await captured("chat", docs.CHAT_REQUEST)
    assert content.left_out == ("output=too_large",)


@pytest.mark.parametrize(("endpoint", "document"), [("moderations", {"input": "x"}), ("passthrough", {"x": "y"})])
def test_calls_that_are_no_model_calls_are_not_captured(endpoint, document):
    assert Capture.of(CAPTURE, call_for(endpoint, document=document), Plan("v", ())) is None
    assert Capture.of(None, call_for("chat", document={}), Plan("v", ())) is None


async def test_a_request_that_is_blocked_while_the_provider_works_is_not_told():
    document = {"model": "m", "messages": [{"role": "user", "content": SECRET}]}
    content = await captured("chat", document, guard_set=guards("enforce", "block"), error="guard_blocked")
    assert content.left_out == ("input=blocked", "output=blocked")
    assert "falcon" not in repr_of(content)
