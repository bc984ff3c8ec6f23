"""One trace for a terminal of 100 columns: a line for each span, below it what is most worth knowing of it.

POST /v1/chat/completions                ======================       0.0      812.4 ms  200
    req_1, caller app, team payments, 0.00012 USD, overhead 1.2 ms
  guard personal-data input              =                            0.6        1.9 ms  mask
      EMAIL_ADDRESS=2
  chat gpt-4o-mini                       =====================        3.1      780.0 ms  200
      model gpt-4o-mini-2024-07-18, 812 in, 90 out, 0.00012 USD, first chunk after 210.0 ms, stop
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from textwrap import wrap

from gateway.cli.conversation import conversation
from gateway.cli.table import shown
from gateway.core.money import dollars
from gateway.core.trace import SpanEvent, TraceSpan, Value

WIDTH = 100
_NAME, _BAR = 40, 22
_NS_PER_MS = 1_000_000
_RED, _DIM, _BOLD = "31", "2", "1"
_UNBROKEN = "\N{NO-BREAK SPACE}"

Paint = Callable[[str, str], str]

# What is told of a span, in this order: attribute -> words around its value.
_TOLD = {
    "gw.request.id": "{}",
    "gw.caller": "caller {}",
    "gw.team": "team {}",
    "gw.model.alias": "asked for {}",
    "gw.provider": "from {}",
    "gen_ai.response.model": "model {}",
    "gen_ai.usage.input_tokens": "{} in",
    "gw.usage.input_tokens": "{} in",
    "gen_ai.usage.cache_read.input_tokens": "{} of it cached",
    "gen_ai.usage.output_tokens": "{} out",
    "gw.usage.output_tokens": "{} out",
    "gen_ai.usage.reasoning.output_tokens": "{} of it reasoning",
    "gw.usage.flags": "{}",
    "gw.budget.reserved_usd_nano": "reserved {} USD",
    "gw.cost.usd_nano": "{} USD",
    "gen_ai.response.time_to_first_chunk": "first chunk after {} ms",
    "gen_ai.response.finish_reasons": "{}",
    "gw.guardrail.kinds": "{}",
    "gw.overhead.ms": "overhead {} ms",
    "error.type": "error {}",
}
_RESULTS = ("gw.guardrail.verdict", "http.response.status_code")


@dataclass(frozen=True, slots=True)
class _Line:
    """A span, or an event, which is a moment. Nanoseconds since 1970."""

    depth: int
    name: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value]
    failed: bool
    moment: bool = False


def tree(spans: Sequence[TraceSpan], *, colours: bool = False, content: bool = False) -> str:
    """`spans` are at least one, all of one trace; a span whose parent is elsewhere is a root. `content`: with what was
    said, where it was captured."""
    began, ended = min(span.start_ns for span in spans), max(span.end_ns for span in spans)
    moment = datetime.fromtimestamp(began / 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    paint = _paint if colours else _plain
    told = [paint(f"trace {spans[0].trace_id:032x}  {moment} UTC", _DIM)]
    for line in _lines(spans):
        told += _shown(line, began, max(ended - began, 1), paint)
        if content:
            indent = "  " * line.depth + "    "
            told += [indent + text for text in conversation(line.attributes, WIDTH - len(indent))]
    return "\n".join(told)


def _lines(spans: Sequence[TraceSpan]) -> Iterator[_Line]:
    """Parents before their children, these in the order in which they began."""
    known = {span.span_id for span in spans}
    below: dict[int, list[TraceSpan]] = {}
    for span in sorted(spans, key=lambda span: span.start_ns):
        below.setdefault(span.parent_id if span.parent_id in known else 0, []).append(span)

    def walk(parent_id: int, depth: int) -> Iterator[_Line]:
        for span in below.get(parent_id, ()):
            failed = span.error is not None
            yield _Line(depth, span.name, span.start_ns, span.end_ns, span.attributes, failed)
            yield from (_event(event, depth + 1) for event in span.events)
            yield from walk(span.span_id, depth + 1)

    return walk(0, 0)


def _event(event: SpanEvent, depth: int) -> _Line:
    failed = "error.type" in event.attributes
    return _Line(depth, event.name, event.at_ns, event.at_ns, event.attributes, failed, moment=True)


def _shown(line: _Line, began: int, length: int, paint: Paint) -> Iterator[str]:
    name = _fitting(_title(line), _NAME).ljust(_NAME)
    offset = f"{(line.start_ns - began) / _NS_PER_MS:9.1f}"
    lasted = " " * 13 if line.moment else f"{(line.end_ns - line.start_ns) / _NS_PER_MS:10.1f} ms"
    result = next((str(line.attributes[name]) for name in _RESULTS if name in line.attributes), "")
    head = paint(name, _BOLD if line.depth == 0 else "")
    ended = paint(shown(result), _RED if line.failed else "")
    yield f"{head} {_bar(line, began, length)} {offset} {lasted}  {ended}".rstrip()
    indent = "  " * line.depth + "    "
    for text in _wrapped(_facts(line.attributes), WIDTH - len(indent)):
        yield paint(indent + text, _RED if line.failed else _DIM)


def _title(line: _Line) -> str:
    """A guard that looks both ways has two spans of one name."""
    direction = line.attributes.get("gw.guardrail.direction")
    return "  " * line.depth + shown(line.name if direction is None else f"{line.name} {direction}")


def _bar(line: _Line, began: int, length: int) -> str:
    """Where in the trace's time; at least one place wide."""
    first = min((line.start_ns - began) * _BAR // length, _BAR - 1)
    wide = max(1, round((line.end_ns - line.start_ns) * _BAR / length))
    mark = "*" if line.moment else "=" * min(wide, _BAR - first)
    return (" " * first + mark).ljust(_BAR)


def _facts(attributes: Mapping[str, Value]) -> Iterator[str]:
    for name, words in _TOLD.items():
        if name in attributes:
            yield words.format(shown(_text(name, attributes[name])))


def _wrapped(facts: Iterator[str], width: int) -> list[str]:
    """Lines that break between facts, where these fit."""
    kept = ", ".join(fact.replace(" ", _UNBROKEN) for fact in facts)
    return [text.replace(_UNBROKEN, " ") for text in wrap(kept, width, break_on_hyphens=False)]


def _text(name: str, value: Value) -> str:
    if isinstance(value, int) and name.endswith("usd_nano"):
        return dollars(value)
    if isinstance(value, float):
        return f"{value * 1000 if name.endswith('first_chunk') else value:.1f}"
    return " ".join(value) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)


def _fitting(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _paint(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if code and text else text


def _plain(text: str, _: str) -> str:
    return text
