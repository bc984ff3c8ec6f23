"""Server-sent events (WHATWG HTML §9.2), split into frames without changing a byte.

Only LF, CR and CRLF end a line. A frame is everything up to and including its blank line.
"""

from __future__ import annotations

import re

MAX_FRAME_BYTES = 16 * 1024 * 1024

# The end of a frame: an ended line, then an empty line. A lone CR counts only once the byte after it is known.
_END = re.compile(rb"(?:\r\n|\n|\r(?=[^\n]))(?:\r\n|\n|\r(?=[^\n]))")
_LINE = re.compile(rb"\r\n|\n|\r")


class FrameTooLarge(ValueError):
    """One frame is larger than allowed."""


class Frames:
    """Takes chunks cut anywhere, gives whole frames. The concatenation of what it gives is what it was fed."""

    __slots__ = ("_max", "_pending", "_scanned")

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max = max_frame_bytes
        self._pending = bytearray()
        self._scanned = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The frames that `chunk` completes. FrameTooLarge when an unfinished one outgrows the limit."""
        if not self._pending and chunk.endswith(b"\n\n") and b"\r" not in chunk:
            return [part + b"\n\n" for part in chunk[:-2].split(b"\n\n")]  # what nearly every provider sends
        self._pending += chunk
        frames: list[bytes] = []
        start = 0
        # Three bytes back: an end of four bytes may have begun before this chunk.
        for match in _END.finditer(self._pending, max(0, self._scanned - 3)):
            frames.append(bytes(self._pending[start : match.end()]))
            start = match.end()
        del self._pending[:start]
        self._scanned = len(self._pending)
        if self._scanned > self._max:
            raise FrameTooLarge
        return frames

    def rest(self) -> bytes:
        """What is left at the end of the stream: a last frame without its blank line, or nothing."""
        return bytes(self._pending)


def lines_of(frame: bytes) -> list[bytes]:
    return _LINE.split(frame)


def data_of(frame: bytes) -> bytes | None:
    """The joined data lines, each without one leading blank; None when the frame has none (a comment, say)."""
    if frame.startswith(b"data: ") and frame.endswith(b"\n\n") and frame.count(b"\n") == 2 and b"\r" not in frame:
        return frame[6:-2]
    data = [_value(line) for line in lines_of(frame) if line.startswith(b"data:") or line == b"data"]
    return b"\n".join(data) if data else None


def event_of(frame: bytes) -> bytes:
    """The value of the last ``event`` line, b"" without one."""
    names = [_value(line) for line in lines_of(frame) if line.startswith(b"event:") or line == b"event"]
    return names[-1] if names else b""


def _value(line: bytes) -> bytes:
    return line.partition(b":")[2].removeprefix(b" ")


def frame(data: bytes, event: str | None = None) -> bytes:
    """One frame of one data line. ValueError for control characters that would end a line (CVE-2026-33128 class)."""
    name = (event or "").encode()
    if any(byte in data or byte in name for byte in b"\r\n\0"):
        raise ValueError("CR, LF and NUL cannot stand in an event")
    return (b"event: %b\n" % name if name else b"") + b"data: %b\n\n" % data
