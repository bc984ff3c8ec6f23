"""A collector that is really there, and a reader of protobuf that shares nothing with the writer it checks."""

from __future__ import annotations

import asyncio
import gzip
import struct
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.patience import patience

# Message -> field number -> (name, type). opentelemetry-proto: trace, metrics, common, resource v1; collector v1.
# A type in brackets is repeated; one that begins with a capital is a message; packed ones are runs of eight bytes.
SCHEMA = {
    "TraceRequest": {1: ("resource_spans", "[ResourceSpans]")},
    "ResourceSpans": {1: ("resource", "Resource"), 2: ("scope_spans", "[ScopeSpans]")},
    "ScopeSpans": {1: ("scope", "Scope"), 2: ("spans", "[Span]")},
    "MetricsRequest": {1: ("resource_metrics", "[ResourceMetrics]")},
    "ResourceMetrics": {1: ("resource", "Resource"), 2: ("scope_metrics", "[ScopeMetrics]")},
    "ScopeMetrics": {1: ("scope", "Scope"), 2: ("metrics", "[Metric]")},
    "Resource": {1: ("attributes", "[KeyValue]")},
    "Scope": {1: ("name", "string"), 2: ("version", "string")},
    "KeyValue": {1: ("key", "string"), 2: ("value", "AnyValue")},
    "AnyValue": {1: ("string", "string"), 2: ("bool", "bool"), 3: ("int", "int64"), 4: ("double", "double"), 5: ("array", "ArrayValue")},
    "ArrayValue": {1: ("values", "[AnyValue]")},
    "Span": {
        1: ("trace_id", "bytes"), 2: ("span_id", "bytes"), 3: ("trace_state", "string"), 4: ("parent_span_id", "bytes"),
        5: ("name", "string"), 6: ("kind", "uint"), 7: ("start", "fixed64"), 8: ("end", "fixed64"), 9: ("attributes", "[KeyValue]"),
        11: ("events", "[Event]"), 13: ("links", "[Link]"), 15: ("status", "Status"), 16: ("flags", "fixed32"),
    },
    "Event": {1: ("time", "fixed64"), 2: ("name", "string"), 3: ("attributes", "[KeyValue]")},
    "Link": {1: ("trace_id", "bytes"), 2: ("span_id", "bytes"), 3: ("trace_state", "string"), 6: ("flags", "fixed32")},
    "Status": {2: ("message", "string"), 3: ("code", "uint")},
    "Metric": {1: ("name", "string"), 2: ("description", "string"), 3: ("unit", "string"), 5: ("gauge", "Gauge"), 7: ("sum", "Sum"), 9: ("histogram", "Histogram")},
    "Gauge": {1: ("points", "[NumberPoint]")},
    "Sum": {1: ("points", "[NumberPoint]"), 2: ("temporality", "uint"), 3: ("monotonic", "bool")},
    "Histogram": {1: ("points", "[HistogramPoint]"), 2: ("temporality", "uint")},
    "NumberPoint": {2: ("start", "fixed64"), 3: ("time", "fixed64"), 4: ("double", "double"), 6: ("int", "sfixed64"), 7: ("attributes", "[KeyValue]")},
    "HistogramPoint": {
        2: ("start", "fixed64"), 3: ("time", "fixed64"), 4: ("count", "fixed64"), 5: ("sum", "double"),
        6: ("bucket_counts", "packed Q"), 7: ("bounds", "packed d"), 9: ("attributes", "[KeyValue]"),
    },
}  # fmt: skip
_WIRE = {"uint": 0, "int64": 0, "bool": 0, "fixed64": 1, "sfixed64": 1, "double": 1, "fixed32": 5}
_FORMATS = {"fixed64": "<Q", "sfixed64": "<q", "double": "<d", "fixed32": "<I"}


def decode(message: str, data: bytes) -> dict:
    """Strict: what SCHEMA does not name, and a field of another wire type than it says, is an AssertionError."""
    found: dict = {}
    for number, wire, raw in _fields(data):
        name, kind = SCHEMA[message][number]
        one = kind.strip("[]")
        assert wire == _WIRE.get(one, 2), (message, name)
        decoded = _any(raw) if one == "AnyValue" else _value(one, raw)
        if kind.startswith("["):
            found.setdefault(name, []).append(decoded)
        else:
            assert name not in found, (message, name)
            found[name] = decoded
    if "attributes" in found:
        pairs = [(pair["key"], pair["value"]) for pair in found["attributes"]]
        found["attributes"] = dict(pairs)
        assert len(found["attributes"]) == len(pairs), "a key twice"
    return found


def _any(raw: bytes) -> object:
    """The one value, as Python has it."""
    ((kind, value),) = decode("AnyValue", raw).items()
    return value.get("values", []) if kind == "array" else value


def _value(kind: str, raw) -> object:
    if kind in SCHEMA:
        return decode(kind, raw)
    if kind == "string":
        return raw.decode()
    if kind == "int64":
        return raw - (1 << 64) if raw >> 63 else raw
    if kind == "bool":
        return bool(raw)
    if kind in _FORMATS:
        return struct.unpack(_FORMATS[kind], raw)[0]
    if kind.startswith("packed"):
        return list(struct.unpack(f"<{len(raw) // 8}{kind[-1]}", raw))
    return raw


def _fields(data: bytes) -> Iterator[tuple[int, int, bytes | int]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield tag >> 3, wire, value
            continue
        size = {1: 8, 5: 4}.get(wire)
        if size is None:
            assert wire == 2, wire
            size, at = _varint(data, at)
        assert at + size <= len(data), "cut short"
        yield tag >> 3, wire, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            assert shift <= 70, "longer than 64 bits"
            return value, at


@dataclass
class Posted:
    path: str
    headers: dict[str, str]
    body: bytes

    def decoded(self) -> dict:
        plain = gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body
        return decode("TraceRequest" if self.path.endswith("/traces") else "MetricsRequest", plain)


@dataclass
class Collector:
    """Answers each request by the next line of `script`, then by its last: a status, with headers, or "hang": never.
    While `gate` is not set every answer waits for it. What was answered with 200 is `taken`."""

    script: list = field(default_factory=lambda: [200])
    posted: list[Posted] = field(default_factory=list)
    taken: list[Posted] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    _server: asyncio.Server | None = None
    _open: dict = field(default_factory=dict)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def spans(self) -> list[dict]:
        return [
            span
            for posted in self.taken
            if posted.path.endswith("/traces")
            for resource in posted.decoded()["resource_spans"]
            for scope in resource["scope_spans"]
            for span in scope["spans"]
        ]

    async def start(self) -> None:
        """On the port that it had before, if it had one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """From now on connections are refused, and those that are open are cut."""
        if self._server is not None:
            self._server.close()
            serving = list(self._open)
            for task in serving:
                self._open[task].transport.abort()
            await asyncio.gather(*serving)
            await self._server.wait_closed()

    async def until(self, true) -> None:
        """Returns once `true(collector)` holds; looked at after every request."""
        async with patience(), self._news:
            await self._news.wait_for(lambda: true(self))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._open[task] = writer
        try:
            while True:
                await self._answer(await _read(reader), reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            del self._open[task]
            writer.close()

    async def _answer(self, posted: Posted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        status, headers = said if isinstance(said, tuple) else (said, "")
        self.posted.append(posted)
        await self._tell()
        if status == "hang":
            await reader.readexactly(1)  # until the other side gives up
        await self.gate.wait()
        if status == 200:
            self.taken.append(posted)
        writer.write(f"HTTP/1.1 {status} X\r\n{headers}content-length: 0\r\n\r\n".encode())
        await writer.drain()
        await self._tell()

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()


async def _read(reader: asyncio.StreamReader) -> Posted:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")[:-4].split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers["content-length"]))
    return Posted(first.split(" ")[1], headers, body)


@asynccontextmanager
async def collecting(*script):
    """A running Collector whose gate is open."""
    collector = Collector(list(script) or [200])
    collector.gate.set()
    await collector.start()
    try:
        yield collector
    finally:
        collector.gate.set()
        await collector.stop()
