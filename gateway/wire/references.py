"""Which stored objects a request names by their ids, in its path and in its document, and which ones an answer makes.

A provider resolves these ids with the gateway's credential, so it cannot tell whose they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard
from urllib.parse import unquote

_MAX_ID = 256

_RESPONSE: Final = "previous_response_id"
_MEMBERS: Final = frozenset(
    {_RESPONSE, "conversation", "container", "container_id", "file_id", "file_ids", "input_file_id", "training_file"}
    | {"validation_file", "vector_store_id", "vector_store_ids", "assistant_id", "thread_id", "skill_id"}
)
"""Members that hold an id, a list of ids, or an object with an id."""

_LITERAL: Final = frozenset({"metadata", "parameters", "schema", "annotations", "results"})
"""Members below which nothing is resolved: free data, JSON schemas, and what an earlier answer quoted."""

_BY_ID: Final = frozenset({"item_reference", "file_id"})
"""Types of objects that are nothing but an id."""
_CONTENT_OF: Final = {"reasoning": "encrypted_content", "image_generation_call": "result"}
"""Items that the provider looks up by id where this member of theirs was left out."""
_KINDS: Final = _BY_ID | _CONTENT_OF.keys()
_ITEMS: Final = frozenset({"input", "items"})

_PLAIN: Final = frozenset({"text", "image_url", "input_audio", "refusal"})
"""Types of parts of a chat's message that name no file."""

_RUNNING: Final = frozenset({"code_interpreter", "shell"})

_WORDS: Final = frozenset(
    {"alpha", "calls", "checkpoints", "client_secrets", "completions", "edits", "generations", "graders", "jobs", "run"}
    | {"runs", "sessions", "speech", "threads", "transcription_sessions", "transcriptions", "translations", "validate"}
    | {"variations", "voice_consents", "voices"}
)
"""Segments of paths that name a part of the API where others have an id."""

_ACTIONS: Final = frozenset({"cancel", "complete"})
"""Below an object, and answered with the object."""


@dataclass(frozen=True, slots=True)
class Reference:
    """`thing` is an id. `param` is the member that names it, None: the path. `is_response`: of a stored response."""

    thing: str
    param: str | None = None
    is_response: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """What a path leads to. `thing` "": a collection, or a part of the API that keeps nothing. `whole`: the answer is
    the object itself, not something below it."""

    thing: str
    whole: bool


def may_name_file(document: Mapping[str, Any]) -> bool:
    """Whether a chat's document can name a file, which only a part of a message can; quick."""
    messages = document.get("messages")
    for message in messages if type(messages) is list else ():
        if type(message) is dict and type(content := message.get("content")) is list:
            for part in content:
                if type(part) is not dict or part.get("type") not in _PLAIN:
                    return True
    return False


def references(document: Mapping[str, Any]) -> list[Reference]:
    """Of a parsed request, in no order."""
    found: list[Reference] = []
    below: list[Any] = [document]
    while below:
        value = below.pop()
        if type(value) is list:
            below += [entry for entry in value if type(entry) is dict or type(entry) is list]
            continue
        if not _MEMBERS.isdisjoint(value):
            for name in _MEMBERS & value.keys():
                found += _named(name, value[name])
        kind = value.get("type")
        if type(kind) is str and kind in _KINDS and _is_by_id(value, kind):
            found.append(Reference(value["id"], "id"))
        for name, entry in value.items():
            if (type(entry) is dict or type(entry) is list) and name not in _LITERAL:
                below.append(entry)
                if name in _ITEMS and type(entry) is list:
                    found += [Reference(item["id"], "id") for item in entry if _is_bare(item)]
    return found


def _named(name: str, entry: Any) -> Iterator[Reference]:
    for each in entry if type(entry) is list else (entry,):
        thing = each.get("id") if type(each) is dict else each
        if type(thing) is str:
            yield Reference(thing, name, name == _RESPONSE)


def _is_by_id(value: dict[str, Any], kind: str) -> bool:
    return type(value.get("id")) is str and (kind in _BY_ID or not value.get(_CONTENT_OF[kind]))


def _is_bare(item: Any) -> bool:
    """An item without a type is a message, which has a role, or else a reference."""
    return type(item) is dict and item.get("type") is None and "role" not in item and type(item.get("id")) is str


def place_of(path: str, row: str) -> Place:
    """Of a raw path without its query, which the policy's `row` serves. What the row writes out, and words of the API,
    are no ids; the first other segment is one, and what is below it belongs to it."""
    literal = row.removesuffix("/*").count("/") + 1
    segments = path.split("/")
    for at, segment in enumerate(segments[literal:], literal):
        if segment not in _WORDS:
            return Place(unquote(segment), whole=_ACTIONS.issuperset(segments[at + 1 :]))
    return Place("", whole=True)


def is_sound(thing: object) -> TypeGuard[str]:
    """Whether this can be an id at all."""
    return type(thing) is str and 0 < len(thing) <= _MAX_ID and thing.isprintable()


def made_by_post(document: Mapping[str, Any]) -> list[str]:
    """Ids of what a POST to a collection made: the object, and the thread of a run that began with one."""
    return [thing for name in ("id", "thread_id") if is_sound(thing := document.get(name))] + made_for(document)


def made_for(document: Mapping[str, Any]) -> list[str]:
    """Ids of the files that the provider made for an object: a batch, a fine-tuning job, a completed upload."""
    file, results = document.get("file"), document.get("result_files")
    found = [document.get("output_file_id"), document.get("error_file_id")]
    found += results if type(results) is list else ()
    found.append(file.get("id") if type(file) is dict else None)
    return [thing for thing in found if is_sound(thing)]


def may_run(document: Mapping[str, Any]) -> bool:
    """Whether a request for a response has a tool that runs in a container, which stays where the response does not."""
    tools = document.get("tools")
    return type(tools) is list and any(type(tool) is dict and tool.get("type") in _RUNNING for tool in tools)


def made_in(items: Any, *, stored: bool) -> list[str]:
    """Ids of the output items of a response, where it is stored, and of the containers that they ran in."""
    found: list[Any] = []
    for item in items if type(items) is list else ():
        if type(item) is dict:
            place = item.get("environment")
            found += [item.get("id") if stored else None, item.get("container_id")]
            found.append(place.get("container_id") if type(place) is dict else None)
    return [thing for thing in found if is_sound(thing)]
