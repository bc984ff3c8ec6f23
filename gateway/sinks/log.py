"""The process log: one JSON object a line (readable text on a terminal), and one line per settled call.

No body, no header, no key reaches this file: it sees Records, which hold none. JSON escapes control characters, and
what a caller chose (path, model) is cut to a bounded length.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from select import PIPE_BUF
from typing import Any, BinaryIO, TextIO

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from gateway.core.model import Attempt, Record
from gateway.core.money import dollars
from gateway.core.rules import GRAVITY, Verdict
from gateway.sinks.repeats import RepeatedLines, Repeats

MAX_TEXT = 256
_MAX_NAMES = 32  # of guards and kinds, before the line of a call tells the gravest only
_MAX_VERDICTS = 8
_MAX_KINDS = 4
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class _Timestamp:
    """RFC 3339 in UTC with milliseconds. Most lines share their second with the line before."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def __call__(self, _: object, __: str, event: EventDict) -> EventDict:
        event["time"] = self.now()
        return event

    def now(self) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._text}.{int((now - second) * 1000):03d}Z"


class Lines:
    """A binary stream whose lines of one turn of the event loop leave together, in as many system calls as it takes
    for each to be of whole lines and no longer than what a pipe takes at once (POSIX, PIPE_BUF): workers share one.

    Outside of `gathered` and in other threads each line leaves at once. Nothing waits longer than its turn.
    """

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._pending: list[bytes] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._due = False

    def write(self, line: bytes) -> None:
        self._pending.append(line)

    @contextmanager
    def gathered(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """While `loop` runs; entered and left in its thread."""
        self._loop, self._thread = loop, threading.get_ident()
        try:
            yield
        finally:
            self._loop = None
            self._flush()

    def flush(self) -> None:
        if self._loop is None or threading.get_ident() != self._thread:
            self._flush()
        elif not self._due:
            self._due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._due = False
        pending, self._pending = self._pending, []
        for part in _parts(b"".join(pending)):
            data = memoryview(part)
            while data:  # standard error may be unbuffered, and then writes less than it was given
                data = data[self._out.write(data) :]
            self._out.flush()


def _parts(data: bytes) -> Iterator[bytes]:
    """Whole lines of at most PIPE_BUF bytes together; a longer line is a part by itself."""
    begin = 0
    while len(data) - begin > PIPE_BUF:
        end = data.rfind(b"\n", begin, begin + PIPE_BUF) + 1 or data.find(b"\n", begin) + 1
        yield data[begin:end]
        begin = end
    yield data[begin:]


def _json_line(_: object, __: str, event: EventDict) -> bytes:
    return orjson.dumps(event, default=repr)


def make_log(
    format_: str,
    level: str,
    stream: TextIO | None = None,
    lines: Lines | None = None,
    repeats: Repeats | None = None,
) -> FilteringBoundLogger:
    """A logger that writes to `stream` (default: standard error), JSON through `lines` where given. `format_` is auto,
    json or console. `repeats` counts what is written too often, None: all is written."""
    out = stream or sys.stderr
    console = format_ == "console" or (format_ == "auto" and out.isatty())
    processors: list[Processor] = [structlog.processors.add_log_level, _Timestamp()]
    factory: Any
    if console:
        processors.append(structlog.dev.ConsoleRenderer(colors=out.isatty(), timestamp_key="time"))
        factory = structlog.WriteLogger(out)
    else:
        processors.append(_json_line)
        factory = structlog.BytesLogger(lines or out.buffer)  # type: ignore[arg-type]  # it needs write and flush only
    bound = structlog.make_filtering_bound_logger(_LEVELS[level])
    make = partial(structlog.wrap_logger, factory, wrapper_class=bound, cache_logger_on_first_use=True)
    log: FilteringBoundLogger = make(processors=processors)
    return log if repeats is None else make(processors=[RepeatedLines(repeats, log), *processors])


class StandardLog(logging.Handler):
    """Sends what libraries log (warnings and errors) to our log, without tracebacks' locals or request bytes."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._log.warning("library", logger=record.name, error=type(error).__name__ if error else "", at=record.lineno)


class CallLog:
    """The Sink that writes one line per call, at level info.

    A line in JSON is the one that structlog would write, made without its chain of processors: every call has one.
    Those of a batch have the time of its first and leave together, when it is flushed.
    """

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log.bind()
        self._is_told = log.is_enabled_for(logging.INFO)
        self._bound = structlog.get_context(self._log)
        self._timestamp = _Timestamp()
        self._lines: list[bytes] = []
        self._time = ""
        out = self._log._logger  # type: ignore[attr-defined]  # what every bound logger of structlog wraps
        self._write_json: Callable[[bytes], None] | None = out.info if isinstance(out, structlog.BytesLogger) else None

    def record(self, record: Record) -> None:
        if not self._is_told:
            return
        fields = call_fields(record)
        if self._write_json is None:
            self._log.info("call", **fields)
            return
        if not self._lines:
            self._time = self._timestamp.now()
        if self._bound:
            fields = {**self._bound, **fields}
        fields["event"] = "call"
        fields["level"] = "info"
        fields["time"] = self._time
        self._lines.append(orjson.dumps(fields, default=repr))

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        if lines and self._write_json is not None:
            self._write_json(b"\n".join(lines))


def call_fields(record: Record) -> dict[str, Any]:
    """The line of one call; absent facts are left out. Durations in milliseconds, as people read logs."""
    fields: dict[str, Any] = {
        "call": record.call_id,
        "method": record.method[:16],
        "path": clean(record.path),
        "endpoint": record.endpoint,
        "status": record.status,
        "outcome": record.outcome,
        "caller": record.caller,
        "team": record.team,
        "model": clean(record.model),
        "provider": record.provider,
        "upstream_model": clean(record.upstream_model),
        "policy": record.policy_version,
        "stream": record.stream,
        "bytes_in": record.request_bytes,
        "bytes_out": record.response_bytes,
        "ms": _ms(record.duration_s),
        "upstream_ms": _ms(record.upstream_s),
    }
    if record.first_byte_s is not None:
        fields["first_byte_ms"] = _ms(record.first_byte_s)
    if record.verdicts and (told := [verdict for verdict in record.verdicts if verdict.is_told]):
        _add_guards(fields, told)
    if record.unknown_fields:
        fields["unknown_fields"] = _names(record.unknown_fields)
    if record.error:
        fields["error"] = record.error
    if record.detail:
        fields["detail"] = record.detail[:MAX_TEXT]
    if record.trace is not None:
        fields["trace_id"], fields["span_id"] = f"{record.trace.trace_id:032x}", f"{record.trace.span_id:016x}"
    if record.attempts:
        _add_spent(fields, record.attempts)
    return fields


def _add_spent(fields: dict[str, Any], attempts: Sequence[Attempt]) -> None:
    """Sums over the attempts; the cost is left out where one of them has no known price."""
    taken = given = 0
    cost: int | None = 0
    flags: set[str] = set()
    for attempt in attempts:
        taken += attempt.usage.input_tokens
        given += attempt.usage.output_tokens
        cost = None if cost is None or attempt.cost_nano is None else cost + attempt.cost_nano
        flags.update(attempt.flags)
    fields["input_tokens"], fields["output_tokens"] = taken, given
    if cost is not None:
        fields["usd"] = dollars(cost)
    if len(attempts) > 1:
        fields["attempts"] = len(attempts)
    if flags:
        fields["flags"] = sorted(flags)


def _add_guards(fields: dict[str, Any], told: list[Verdict]) -> None:
    """All, or where they would make the line long the gravest: a detector may find any number of kinds."""
    if len(told) + sum(len(verdict.kinds) for verdict in told) <= _MAX_NAMES:
        fields["guards"] = [_verdict(verdict, verdict.kinds) for verdict in told]
        return
    gravest = sorted(told, key=lambda verdict: GRAVITY.index(verdict.outcome), reverse=True)[:_MAX_VERDICTS]
    fields["guards"] = [_verdict(verdict, _few(verdict.kinds)) for verdict in gravest]
    fields["guards_left_out"] = len(told) - len(gravest)


def _few(kinds: dict[str, int]) -> dict[str, int]:
    counts = list(kinds.items())
    others = sum(count for _, count in counts[_MAX_KINDS:])
    return dict(counts[:_MAX_KINDS]) | ({"others": others} if others else {})


def _verdict(verdict: Verdict, kinds: dict[str, int]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "guard": verdict.guard,
        "direction": verdict.direction,
        "verdict": verdict.outcome,
        "ms": _ms(verdict.duration_s),
    }
    if kinds:
        fields["kinds"] = kinds
    if not verdict.enforced:
        fields["mode"] = "monitor"
    if verdict.reason:
        fields["reason"] = verdict.reason
    return fields


def _names(unknown: tuple[str, ...]) -> str:
    """Those that look like the name of a field: anything may stand in a key, and content is not logged."""
    shown = [name for name in unknown if len(name) <= 40 and name.isascii() and name.replace("_", "").isalnum()]
    return ",".join(shown[:8]) or "(odd names)"


def clean(text: str) -> str:
    """Printable and short: what a caller sent must not draw on an operator's terminal."""
    text = text[:MAX_TEXT]
    if text.isascii() and text.isprintable():
        return text
    return text.encode("unicode_escape", "replace").decode("ascii")[:MAX_TEXT]


def _ms(seconds: float) -> float:
    """To three decimals. Rounding to a whole number costs half of what rounding to decimals does."""
    return round(seconds * 1e6) / 1e3
