"""The texts of an upload: form fields, text and JSON files, and batch files (JSON lines, a request a line). What is
none of these, or too large to be held, cannot be read: the verdict is *not run*, and policy decides."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace

from gateway.core.span import Path, Piece, Span
from gateway.wire import multipart, rewrite, strictjson, texts
from gateway.wire.dialects import route

MAX_HELD_BYTES = 64 * 1024 * 1024
_LINES = frozenset({"application/jsonl", "application/x-ndjson", "application/jsonlines"})


@dataclass(frozen=True, slots=True)
class Document:
    """`body[start:end]`: JSON, or else plain text."""

    start: int
    end: int
    is_json: bool
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Upload:
    """`spans` have the number of their document before their path. `unread`: some of it could not be read."""

    documents: tuple[Document, ...]
    unread: bool

    @property
    def spans(self) -> list[Span]:
        return [_numbered(span, number) for number, one in enumerate(self.documents) for span in one.spans]

    def rewritten(self, body: bytes, changed: Mapping[Path, str]) -> bytes:
        """The body with these strings, by numbered path."""
        by_document: dict[int, dict[Path, str]] = {}
        for path, text in changed.items():
            by_document.setdefault(int(path[0]), {})[path[1:]] = text
        parts, at = [], 0
        for number, one in enumerate(self.documents):
            if number in by_document:
                parts += [body[at : one.start], _changed(body[one.start : one.end], one, by_document[number])]
                at = one.end
        return b"".join([*parts, body[at:]])


Held = tuple[bytes | None, AsyncIterator[bytes] | None]


async def held(body: AsyncIterator[bytes], limit: int = MAX_HELD_BYTES) -> Held:
    """(the whole body, None), or (None, the same bytes as a stream) when it is larger than may be held."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in body:
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            return None, _chained(chunks, body)
    return b"".join(chunks), None


async def _chained(first: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for chunk in first:
        yield chunk
    async for chunk in rest:
        yield chunk


def read(body: bytes, content_type: str, *, coded: bool = False) -> Upload:
    """`coded`: the body is compressed. Refusal for JSON that could be read in two ways."""
    if not body:
        return Upload((), unread=False)
    if coded:
        return Upload((), unread=True)
    boundary = multipart.boundary_of(content_type)
    if boundary is None:
        kind = content_type.partition(";")[0].strip().lower()
        documents = _documents(body, 0, len(body), kind, "")
        return Upload(tuple(documents or ()), documents is None)
    found = multipart.parts(body, boundary)
    if found is None:
        return Upload((), unread=True)
    documents, unread = [], False
    for part in found:
        inner = None if part.coded else _documents(body, part.start, part.end, part.kind, part.filename)
        unread = unread or inner is None
        documents += inner or []
    return Upload(tuple(documents), unread)


def _documents(body: bytes, start: int, end: int, kind: str, filename: str | None) -> list[Document] | None:
    """None: it cannot be read."""
    name = (filename or "").lower()
    if kind in _LINES or name.endswith((".jsonl", ".ndjson")):
        return list(_lines(body, start, end))
    if kind == "application/json" or name.endswith(".json"):
        return [_json(body, start, end)]
    if filename is None or kind.startswith("text/") or name.endswith((".txt", ".md", ".csv")):
        return _text(body, start, end)
    return None


def _lines(body: bytes, start: int, end: int) -> Iterator[Document]:
    at = start
    while at < end:
        until = body.find(b"\n", at, end)
        until = end if until < 0 else until
        if body[at:until].strip():
            yield _json(body, at, until)
        at = until + 1


def _json(body: bytes, start: int, end: int) -> Document:
    document = strictjson.parse(body[start:end])
    asked = document.get("body") if isinstance(document, dict) else None
    known = route(str(document.get("url", ""))) if isinstance(asked, dict) else None
    spans = texts.request_spans("", document)
    if known is not None and known.dialect is not None and isinstance(asked, dict):
        spans = [span for span in spans if not (span.pieces and span.pieces[0].path[:1] == ("body",))]
        spans += [_below(span, "body") for span in texts.request_spans(known.name, asked)]
    return Document(start, end, is_json=True, spans=tuple(spans))


def _text(body: bytes, start: int, end: int) -> list[Document] | None:
    try:
        text = body[start:end].decode("utf-8")
    except UnicodeDecodeError:
        return None
    span = Span(text, "user", "content", (Piece((), 0, len(text)),))
    return [Document(start, end, is_json=False, spans=(span,))] if text else []


def _changed(raw: bytes, document: Document, changed: Mapping[Path, str]) -> bytes:
    if document.is_json:
        return rewrite.replace_strings(raw, changed)
    return changed[()].encode("utf-8", "replace")


def _below(span: Span, name: str) -> Span:
    return replace(span, pieces=tuple(replace(piece, path=(name, *piece.path)) for piece in span.pieces))


def _numbered(span: Span, number: int) -> Span:
    return replace(span, pieces=tuple(replace(piece, path=(number, *piece.path)) for piece in span.pieces))
