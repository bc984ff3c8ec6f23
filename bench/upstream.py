"""The fixed upstream: cheap, steady, and the same for every subject. `python -m bench.upstream` prints its port.

It reads requests that carry a content-length, and answers with one fixed JSON document or with a stream of frames,
each of which says when it was written.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from typing import cast

import orjson
import uvloop

from bench.payload import DONE_FRAME, USAGE_FRAME, answer, stamped_frame

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_BODY = answer()
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_BODY) + _BODY
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Upstream(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        while (body := self._next_body()) is not None:
            if b'"stream":true' in body:
                self._stream(body)
            else:
                self._transport.write(_ANSWER)

    def _next_body(self) -> bytes | None:
        """Cuts the next whole request off the buffer; None when there is none yet."""
        head, blank, rest = self._buffer.partition(b"\r\n\r\n")
        if not blank:
            return None
        match = _LENGTH.search(head)
        length = int(match[1]) if match else 0
        if len(rest) < length:
            return None
        self._buffer = rest[length:]
        return rest[:length]

    def _stream(self, body: bytes) -> None:
        asked = orjson.loads(body)
        interval_s = int(asked["metadata"]["interval_ms"]) / 1000
        end = (_chunk(USAGE_FRAME) if b'"include_usage":true' in body else b"") + _chunk(DONE_FRAME) + _LAST_CHUNK
        self._transport.write(_STREAM_HEAD)
        self._frames(asked["max_tokens"], interval_s, end)

    def _frames(self, left: int, interval_s: float, end: bytes) -> None:
        """Writes the frames that are due and comes back for the others."""
        while left:
            if self._transport.is_closing():
                return
            self._transport.write(_chunk(stamped_frame(time.monotonic_ns())))
            left -= 1
            if interval_s and left:
                self._loop.call_later(interval_s, self._frames, left, interval_s, end)
                return
        self._transport.write(end)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
