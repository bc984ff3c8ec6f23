"""W3C Trace Context, levels 1 and 2: the `traceparent` and `tracestate` headers.

Level 2 allows more in the keys of `tracestate` and gives one more flag a meaning; what level 1 allows, it allows
too. https://www.w3.org/TR/trace-context-2/
"""

from __future__ import annotations

import re

from gateway.core.model import Headers
from gateway.core.trace import TraceContext

MAX_MEMBERS = 32
MAX_STATE = 512
_LONG_MEMBER = 128  # characters from which on a member is left out first

_SAMPLED, _RANDOM = 0x01, 0x02
_OWS = " \t"
_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_MEMBER = re.compile(r"([a-z0-9][a-z0-9_*/@-]{0,255})=[ -+\--<>-~]{0,255}[!-+\--<>-~]")


def parse(headers: Headers) -> TraceContext | None:
    """None: there is no traceparent, or none that counts. A tracestate alone means nothing, and one that is not sound
    is dropped without its traceparent."""
    parents = [value for name, value in headers if name == b"traceparent"]
    context = _parent(parents[0]) if len(parents) == 1 else None
    if context is None:
        return None
    trace_id, span_id, flags = context
    states = [value for name, value in headers if name == b"tracestate"]
    state = _state(b",".join(states).decode("latin-1")) if states else ""
    return TraceContext(trace_id, span_id, bool(flags & _SAMPLED), state, bool(flags & _RANDOM))


def traceparent(trace_id: int, span_id: int, sampled: bool, random: bool = False) -> bytes:
    """The header of a call that `span_id` makes. `random`: the low 56 bits of the trace id were drawn at random."""
    return b"00-%032x-%016x-%02x" % (trace_id, span_id, sampled * _SAMPLED | random * _RANDOM)


def _parent(value: bytes) -> tuple[int, int, int] | None:
    """(trace id, span id, flags). Versions to come may append fields, which is all that is known of them."""
    found = _PARENT.fullmatch(value.strip(_OWS.encode()))
    if found is None:
        return None
    version, *fields, more = found.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    trace_id, span_id, flags = (int(field, 16) for field in fields)
    return (trace_id, span_id, flags) if trace_id and span_id else None


def _state(text: str) -> str:
    """The members in their order, the first of each key; "" where one of them is not sound or there are too many."""
    members: dict[str, str] = {}
    written = [member for part in text.split(",") if (member := part.strip(_OWS))]
    if len(written) > MAX_MEMBERS:
        return ""
    for member in written:
        found = _MEMBER.fullmatch(member)
        if found is None:
            return ""
        members.setdefault(found[1], member)
    return ",".join(_trimmed(list(members.values())))


def _trimmed(members: list[str]) -> list[str]:
    """Whole members go until the rest fits: the long ones first, then the last, which is the oldest."""
    excess = sum(map(len, members)) + len(members) - 1 - MAX_STATE
    for least in (_LONG_MEMBER + 1, 0):
        for at in reversed(range(len(members))):
            if excess <= 0:
                return members
            if len(members[at]) >= least:
                excess -= len(members.pop(at)) + 1
    return members
