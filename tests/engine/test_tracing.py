"""The trace of a call: what a caller's context becomes in each mode, and who decides what is sampled."""

from __future__ import annotations

from random import Random

import pytest

from gateway.core.model import Headers
from gateway.core.trace import Mode, Trace, TraceContext
from gateway.engine.tracing import outbound, trace_of
from gateway.wire.tracecontext import parse

TRACE, SPAN = 0xABC, 0xDEF
MODES: tuple[Mode, ...] = ("continue", "link", "continue-plain")


def sent(flags: str = "01", state: bytes = b"vendor=1") -> Headers:
    return [(b"traceparent", f"00-{TRACE:032x}-{SPAN:016x}-{flags}".encode()), (b"tracestate", state)]


def drawn(headers: Headers, mode: Mode = "link", *, trusted: bool = False, seed: int = 1) -> Trace:
    return trace_of(headers, mode, trusted, Random(seed))


def test_a_continued_trace_is_the_callers() -> None:
    trace = drawn(sent(), "continue")
    assert trace.parent == TraceContext(TRACE, SPAN, True, "vendor=1")
    assert (trace.trace_id, trace.link, trace.plain) == (TRACE, None, False)
    assert trace.span_id not in {0, SPAN}


def test_a_plainly_continued_trace_says_so() -> None:
    trace = drawn(sent(), "continue-plain")
    assert (trace.trace_id, trace.parent is not None, trace.plain) == (TRACE, True, True)


def test_a_linked_trace_is_its_own() -> None:
    trace = drawn(sent(), "link")
    assert trace.link == TraceContext(TRACE, SPAN, True, "vendor=1")
    assert trace.trace_id not in {0, TRACE}
    assert (trace.parent, trace.plain) == (None, False)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("flags", ["00", "01"])
def test_only_a_trusted_callers_sampled_flag_decides(mode: Mode, flags: str) -> None:
    assert drawn(sent(flags), mode).sampled is None
    assert drawn(sent(flags), mode, trusted=True).sampled is (flags == "01")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("headers", [[], sent()[1:], [*sent(), *sent()], [(b"traceparent", b"00-xyz-01")]], ids=repr)
def test_without_a_sound_context_the_trace_is_new(mode: Mode, headers: Headers) -> None:
    """HTTP-15: also for trusted callers."""
    trace = drawn(headers, mode, trusted=True)
    assert trace == Trace(trace.trace_id, trace.span_id)
    assert trace.trace_id not in {0, TRACE}
    assert trace.span_id


def test_no_two_calls_share_their_ids() -> None:
    random = Random(1)
    traces = [trace_of(sent(), "link", False, random) for _ in range(1000)]
    assert len({trace.trace_id for trace in traces} | {trace.span_id for trace in traces}) == 2000
    assert max(trace.trace_id for trace in traces) >> 120


class Zeros(Random):
    def getrandbits(self, k: int, /) -> int:
        return 0


def test_an_id_is_never_zero() -> None:
    assert trace_of([], "link", False, Zeros()) == Trace(1, 1)


@pytest.mark.parametrize(
    ("mode", "flags", "told"),
    [("continue", "01", "01"), ("continue", "03", "03"), ("link", "01", "03"), ("continue-plain", "02", "03")],
)
def test_a_provider_is_told_of_the_attempt_and_whether_the_id_is_random(mode: Mode, flags: str, told: str) -> None:
    trace = drawn(sent(flags), mode)
    header = outbound(trace, 0x77)
    assert header == f"00-{trace.trace_id:032x}-0000000000000077-{told}".encode()


def test_what_a_provider_is_told_holds_no_state() -> None:
    context = parse([(b"traceparent", outbound(drawn(sent(), "continue"), 0x77))])
    assert context == TraceContext(TRACE, 0x77, sampled=True)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("flags", ["00", "01"])
def test_a_provider_is_told_of_no_sampling_only_where_that_is_decided(mode: Mode, flags: str) -> None:
    for trusted, told in ((True, flags == "01"), (False, True)):
        context = parse([(b"traceparent", outbound(drawn(sent(flags), mode, trusted=trusted), 0x77))])
        assert context is not None
        assert context.sampled is told
