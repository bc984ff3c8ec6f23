from __future__ import annotations

from typing import Any

import pytest

from gateway.wire import references
from gateway.wire.references import Place, Reference, place_of

MESSAGE = {"type": "message", "role": "user", "content": "hi"}


def named(**document: Any) -> set[tuple[str, str | None]]:
    found = references.references(document)
    assert references.may_name_file(document) or "messages" not in document or not found
    return {(each.thing, each.param) for each in found}


@pytest.mark.parametrize(
    ("document", "thing", "param"),
    [
        ({"previous_response_id": "r"}, "r", "previous_response_id"),
        ({"conversation": "c"}, "c", "conversation"),
        ({"conversation": {"id": "c"}}, "c", "conversation"),
        ({"input": [MESSAGE, {"type": "item_reference", "id": "m"}]}, "m", "id"),
        ({"input": [MESSAGE, {"type": None, "id": "m"}]}, "m", "id"),
        ({"input": [MESSAGE, {"id": "m"}]}, "m", "id"),
        ({"items": [{"id": "m"}]}, "m", "id"),
        ({"input": [{"type": "reasoning", "id": "rs", "summary": []}]}, "rs", "id"),
        ({"input": [{"type": "reasoning", "id": "rs", "encrypted_content": None}]}, "rs", "id"),
        ({"input": [{"type": "image_generation_call", "id": "ig"}]}, "ig", "id"),
        ({"input": [{"type": "code_interpreter_call", "id": "ci", "container_id": "k"}]}, "k", "container_id"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "f", "file_id"),
        ({"messages": [{"content": [{"type": "file", "file": {"file_id": "f"}}]}]}, "f", "file_id"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}, "v", "vector_store_ids"),
        ({"tools": [{"type": "code_interpreter", "container": "k"}]}, "k", "container"),
        ({"tools": [{"container": {"type": "auto", "file_ids": ["f"]}}]}, "f", "file_ids"),
        ({"input_file_id": "f", "endpoint": "/v1/responses"}, "f", "input_file_id"),
        ({"training_file": "f"}, "f", "training_file"),
        ({"validation_file": "f"}, "f", "validation_file"),
        ({"thread": {"messages": [{"attachments": [{"file_id": "f"}]}]}}, "f", "file_id"),
        ({"tool_resources": {"file_search": {"vector_store_ids": ["v"]}}}, "v", "vector_store_ids"),
        ({"assistant_id": "a"}, "a", "assistant_id"),
        ({"data_source": {"source": {"type": "file_id", "id": "f"}}}, "f", "id"),
        ({"a": [[{"b": {"file_id": "f"}}]]}, "f", "file_id"),
    ],
)
def test_what_a_document_names(document: dict[str, Any], thing: str, param: str) -> None:
    assert named(**document) == {(thing, param)}


@pytest.mark.parametrize(
    "document",
    [
        {"input": "file_id", "model": "m"},
        {"input": [MESSAGE | {"id": "msg"}]},
        {"input": [{"role": "user", "id": "msg", "content": "hi"}]},
        {"input": [{"type": "function_call", "id": "fc", "call_id": "c", "name": "n", "arguments": "{}"}]},
        {"input": [{"type": "reasoning", "id": "rs", "encrypted_content": "gAAA"}]},
        {"input": [{"type": "image_generation_call", "id": "ig", "result": "aGk="}]},
        {"input": [{"content": [{"type": "output_text", "text": "", "annotations": [{"file_id": "f"}]}]}]},
        {"input": [{"type": "file_search_call", "id": "fs", "results": [{"file_id": "f"}]}]},
        {"tools": [{"type": "function", "parameters": {"default": {"file_id": "f"}, "required": ["file_id"]}}]},
        {"text": {"format": {"schema": {"examples": [{"file_id": "f"}]}}}},
        {"metadata": {"file_id": "f", "conversation": "c"}},
        {"prompt": {"id": "pmpt"}},
        {"container": None, "file_ids": None, "file_id": 1, "conversation": {"id": 1}},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "call", "type": "function"}]}]},
    ],
)
def test_what_names_nothing_that_the_provider_resolves(document: dict[str, Any]) -> None:
    assert named(**document) == set()


def test_a_chat_without_files_is_quickly_told() -> None:
    plain = [{"type": "text", "text": "file_id"}, {"type": "image_url", "image_url": {"url": "x"}}]
    for messages in ([], [{"role": "user", "content": "file_id"}, {"role": "user", "content": plain}, "odd"], None):
        assert not references.may_name_file({"messages": messages, "file_id": "x"})
    for part in ({"type": "file", "file": {}}, {"type": "unheard"}, {"file_id": "f"}, "odd"):
        assert references.may_name_file({"messages": [{"content": "x"}, {"content": [*plain, part]}]})


def test_only_previous_responses_are_responses() -> None:
    document = {"previous_response_id": "r", "conversation": "c"}
    assert {each for each in references.references(document) if each.is_response} == {
        Reference("r", "previous_response_id", is_response=True)
    }


@pytest.mark.parametrize(
    ("path", "row", "place"),
    [
        ("/v1/files", "/v1/files", Place("", whole=True)),
        ("/v1/files/f", "/v1/files/*", Place("f", whole=True)),
        ("/v1/files/f%2D1", "/v1/files/*", Place("f-1", whole=True)),
        ("/v1/files/f/content", "/v1/files/*", Place("f", whole=False)),
        ("/v1/batches/b/cancel", "/v1/batches/*", Place("b", whole=True)),
        ("/v1/uploads/u/complete", "/v1/uploads/*", Place("u", whole=True)),
        ("/v1/vector_stores/v/files/f", "/v1/vector_stores/*", Place("v", whole=False)),
        ("/v1/fine_tuning/jobs", "/v1/fine_tuning/*", Place("", whole=True)),
        ("/v1/fine_tuning/jobs/j/events", "/v1/fine_tuning/*", Place("j", whole=False)),
        ("/v1/fine_tuning/jobs/j", "/v1/fine_tuning/jobs/*", Place("j", whole=True)),
        ("/v1/audio/speech", "/v1/audio/*", Place("", whole=True)),
        ("/v1/audio/unheard", "/v1/audio/*", Place("unheard", whole=True)),
        ("/v1/audio/unheard", "/v1/audio/unheard", Place("", whole=True)),
        ("/v1/threads/runs", "/v1/threads/*", Place("", whole=True)),
        ("/v1/threads/t/runs/r", "/v1/threads/*", Place("t", whole=False)),
        ("/v1/chat/completions/c", "/v1/chat/completions/*", Place("c", whole=True)),
        ("/v1/files/%73peech", "/v1/files/*", Place("speech", whole=True)),
    ],
)
def test_the_object_of_a_path_is_the_first_part_that_is_no_name_of_the_api(path: str, row: str, place: Place) -> None:
    assert place_of(path, row) == place


def test_what_an_answer_makes() -> None:
    run = {"id": "run_1", "thread_id": "thread_1"}
    assert references.made_by_post(run) == ["run_1", "thread_1"]
    assert references.made_by_post({"data": [], "id": None}) == []
    assert references.made_for({"id": "u", "file": {"id": "f"}, "result_files": ["r", 1]}) == ["r", "f"]
    assert references.made_for({"id": "f", "file": "f", "output_file_id": "", "error_file_id": "a\nb"}) == []
    items = [{"id": "m"}, "x", {"id": "c", "container_id": "k"}, {"id": "x" * 300}]
    items.append({"id": "sh", "environment": {"type": "container_reference", "container_id": "k2"}})
    assert references.made_in(items, stored=True) == ["m", "c", "k", "sh", "k2"]
    assert references.made_in(items, stored=False) == ["k", "k2"]
    assert references.made_in(None, stored=True) == []
