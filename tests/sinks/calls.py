"""Settled Records of every class of request that leaves spans."""

from __future__ import annotations

from dataclasses import replace

from gateway.core.model import Attempt, Content, Record
from gateway.core.rates import Rates
from gateway.core.rules import Verdict
from gateway.core.trace import Step, Trace, TraceContext
from gateway.core.usage import Reported, Usage
from gateway.sinks.provider_facts import ProviderFacts
from gateway.wire.asked import asked

STARTED_AT, STARTED = 1_700_000_000.0, 50.0
PROVIDERS = {"main": ProviderFacts.of("https://api.openai.com/v1")}
CALLER = TraceContext(trace_id=0xABC << 64, span_id=0xDEF, sampled=True, state="vendor=1")

RATES = Rates(
    source="genai-prices 0.1",
    provider="openai",
    model="gpt",
    per_million={
        "input": 2_000_000_000,
        "cached_input": 500_000_000,
        "cache_write": 4_000_000_000,
        "audio_input": 6_000_000_000,
        "output": 8_000_000_000,
        "audio_output": 16_000_000_000,
    },
)
PARTS = Usage(input=50, cached_input=20, cache_write=10, audio_input=20, output=30, reasoning=15, audio_output=5)
PARTS_NANO = 100_000 + 10_000 + 40_000 + 120_000 + 240_000 + 120_000 + 80_000  # a cached token costs a quarter


def attempt(**facts) -> Attempt:
    """A sound answer, unless `facts` say otherwise."""
    sound = Attempt(
        id="req_1.1",
        number=1,
        provider="main",
        target="gpt-real",
        started_at=STARTED_AT + 0.010,
        started=STARTED + 0.010,
        sent=True,
        status=200,
        complete=True,
        reported=Reported(model="gpt-real-2026"),
        state="settled",
        usage=Usage(input=100, output=50),
        cost_nano=600_000,
        rates=RATES,
        duration_s=0.4,
        span_id=0x11,
        response_id="chatcmpl-1",
        finish_reasons=("stop",),
    )
    return replace(sound, **facts)


def unanswered(**facts) -> Attempt:
    none = {"complete": False, "reported": Reported(), "usage": Usage(), "cost_nano": 0, "rates": None}
    return attempt(**{**none, "state": "failed", "response_id": "", "finish_reasons": (), **facts})


def call(*attempts: Attempt, document=None, **facts) -> Record:
    record = Record(
        call_id="req_1",
        started_at=STARTED_AT,
        started=STARTED,
        method="POST",
        path="/v1/chat/completions",
        endpoint="chat",
        caller="app",
        team="research",
        model="fast",
        provider="main",
        policy_version="v1",
        status=200,
        outcome="ok",
        attempts=list(attempts),
        trace=Trace(trace_id=0x1234 << 64, span_id=0x99),
        duration_s=0.5,
        upstream_s=0.4,
    )
    for name, value in facts.items():
        setattr(record, name, value)
    record.asked = asked(record.endpoint, document or {})
    return record


def _stored(method: str, tail: str = "") -> Record:
    path = "/v1/responses/resp_secret" + tail
    one = attempt(target="", usage=Usage(), cost_nano=0, rates=None, reported=Reported(), finish_reasons=())
    return call(one, endpoint="responses.object", method=method, path=path, model="")


def _free(endpoint: str, path: str, **facts) -> Record:
    nothing = {"usage": Usage(), "cost_nano": 0, "rates": None, "finish_reasons": (), "response_id": ""}
    return call(attempt(**{**nothing, "reported": Reported(), **facts}), endpoint=endpoint, path=path)


def guarded(verdict_: str, **facts) -> Record:
    verdict = Verdict("pii", "input", enforced=True, outcome=verdict_, kinds={"email": 2}, looked=True)
    steps = [
        Step("reserve", STARTED + 0.001, STARTED + 0.002),
        Step("guard pii", STARTED + 0.002, STARTED + 0.005, {"gw.guardrail.direction": "input"}),
    ]
    return call(*facts.pop("attempts", [attempt()]), verdicts=[verdict], steps=steps, **facts)


FULL = {
    "temperature": 0.2,
    "top_p": 1,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "max_tokens": 64,
    "seed": 7,
    "n": 2,
    "stop": ["END"],
    "response_format": {"type": "json_object"},
    "reasoning_effort": "low",
    "service_tier": "flex",
    "user": "u-1",
    "metadata": {"session_id": "s-1"},
}


def chat() -> Record:
    return call(attempt(), document={"user": "u-1", "metadata": {"session_id": "s-1"}})


def stream() -> Record:
    served = Reported(model="gpt-real-2026", service_tier="flex")
    full = attempt(first_chunk_s=0.1, usage=PARTS, cost_nano=PARTS_NANO, reported=served, finish_reasons=("stop",) * 2)
    return call(full, stream=True, document=FULL)


def retried() -> Record:
    second = attempt(id="req_1.2", number=2, started=STARTED + 0.06, span_id=0x22, duration_s=0.3, reason="regenerate")
    return call(unanswered(status=429, duration_s=0.04), second)


def cut() -> Record:
    broken = attempt(complete=False, finish_reasons=("stop",), flags=("partial", "estimated"), first_chunk_s=0.1)
    return call(broken, stream=True, outcome="cut", error="upstream_closed", document={"n": 2})


def plain() -> Record:
    record = stream()
    record.trace = Trace(CALLER.trace_id, 0x99, parent=CALLER, plain=True)
    return record


def joined() -> Record:
    record = stream()
    record.trace = Trace(CALLER.trace_id, 0x99, parent=CALLER)
    return record


def linked() -> Record:
    record = stream()
    record.trace = Trace(0x77 << 64, 0x99, link=CALLER)
    return record


SAID = Content(
    system='[{"type":"text","content":"be kind"}]',
    input='[{"role":"user","parts":[{"type":"text","content":"%s"}]}]' % ("hello " * 99),
    tools='[{"type":"function","name":"find"}]',
    output='[{"role":"assistant","parts":[],"finish_reason":"stop"}]',
    asked='{"messages":[]}',
    answered='{"choices":[]}',
    cut=("input",),
    left_out=(),
)


def captured() -> Record:
    record = retried()
    record.content = SAID
    return record


def captured_plainly() -> Record:
    record = plain()
    record.content = SAID
    return record


CALLS = {
    "captured": captured,
    "captured plainly": captured_plainly,
    "chat": chat,
    "stream": stream,
    "completions": lambda: call(attempt(), endpoint="completions", path="/v1/completions", document={"max_tokens": 5}),
    "responses": lambda: call(
        attempt(), endpoint="responses", path="/v1/responses", document={"conversation": "conv_1"}
    ),
    "embeddings": lambda: call(
        attempt(usage=Usage(input=9), cost_nano=18_000, finish_reasons=(), response_id=""),
        endpoint="embeddings",
        path="/v1/embeddings",
        document={"encoding_format": "float", "dimensions": 256},
    ),
    "fetch": lambda: _stored("GET"),
    "fetch items": lambda: _stored("GET", "/input_items"),
    "delete": lambda: _stored("DELETE"),
    "cancel": lambda: _stored("POST", "/cancel"),
    "moderations": lambda: _free("moderations", "/v1/moderations"),
    "passthrough": lambda: _free("passthrough", "/v1/files/file-secret", target="", cost_nano=5_000, flags=("flat",)),
    "models": lambda: call(endpoint="models", path="/v1/models/secret", method="GET", model=""),
    "no key": lambda: call(endpoint="", caller="", team="", model="", status=401, outcome="refused", error="x"),
    "no path": lambda: call(endpoint="", path="/v1/secret/x", status=404, outcome="refused", error="unknown_path"),
    "over budget": lambda: call(status=402, outcome="refused", error="budget_exceeded"),
    "blocked": lambda: guarded(
        "block",
        attempts=[unanswered(sent=False, status=0, state="voided")],
        status=400,
        outcome="refused",
        error="guard_blocked",
    ),
    "masked": lambda: guarded("mask"),
    "guard down": lambda: guarded("not_run"),
    "rate limited": lambda: call(
        unanswered(status=429, error="rate_limit_exceeded"), status=429, outcome="upstream_error"
    ),
    "unreachable": lambda: call(
        unanswered(sent=False, failed=True, status=0), status=502, outcome="failed", error="upstream_unreachable"
    ),
    "cut": cut,
    "left": lambda: call(
        attempt(complete=False, finish_reasons=(), flags=("partial",)), stream=True, outcome="client_closed", status=0
    ),
    "retried": retried,
    "unpriced": lambda: call(attempt(cost_nano=None, rates=None, flags=("unpriced",))),
    "flat": lambda: call(attempt(cost_nano=7_000, rates=None, flags=("flat",))),
    "bug": lambda: call(status=500, outcome="failed", error="internal"),
    "plain": plain,
    "joined": joined,
    "linked": linked,
}
