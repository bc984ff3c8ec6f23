"""The tree of one call, and its times."""

from __future__ import annotations

import pytest

from gateway.core.accounts import Balance, Limit
from gateway.core.rules import Verdict
from gateway.core.trace import CLIENT, INTERNAL, SERVER, Step
from gateway.sinks.spans import spans_of
from tests.sinks.calls import (
    CALLER,
    CALLS,
    STARTED,
    STARTED_AT,
    attempt,
    call,
    chat,
    guarded,
    joined,
    linked,
    retried,
    unanswered,
)

START_NS = int(STARTED_AT * 10**9)


def spans(record, *, thin=False):
    return spans_of(record, profiles=frozenset(), thin=thin, providers={})


def millis(span):
    return (span.start_ns - START_NS) / 10**6, (span.end_ns - START_NS) / 10**6


def test_a_guarded_call_is_four_spans():
    assert [(span.kind, span.name) for span in spans(guarded("allow"))] == [
        (SERVER, "POST /v1/chat/completions"),
        (INTERNAL, "reserve"),
        (INTERNAL, "guard pii"),
        (CLIENT, "chat gpt-real"),
    ]


def test_spans_have_the_times_at_which_things_were():
    found = spans(guarded("allow"))
    assert [millis(span) for span in found] == [
        (0, 500),
        (pytest.approx(1, abs=1e-3), pytest.approx(2, abs=1e-3)),
        (pytest.approx(2, abs=1e-3), pytest.approx(5, abs=1e-3)),
        (pytest.approx(10, abs=1e-3), pytest.approx(410, abs=1e-3)),
    ]


def test_every_attempt_has_a_span_of_its_own():
    failed, sound = spans(retried())[1:]
    assert (failed.error, failed.attributes["gw.attempt.number"]) == ("429", 1)
    assert (sound.error, sound.attributes["gw.attempt.number"]) == (None, 2)
    assert [span.attributes.get("gw.attempt.reason") for span in (failed, sound)] == [None, "regenerate"]
    assert (failed.span_id, sound.span_id) == (0x11, 0x22)


def test_what_was_refused_before_it_was_sent_is_no_attempt():
    assert [span.kind for span in spans(CALLS["blocked"]())] == [SERVER, INTERNAL, INTERNAL]
    assert [span.kind for span in spans(CALLS["over budget"]())] == [SERVER]
    assert [span.kind for span in spans(CALLS["models"]())] == [SERVER]


def test_a_provider_that_was_not_reached_is_an_attempt():
    server, client = spans(CALLS["unreachable"]())
    assert server.error == client.error == "upstream_unreachable"


def test_ids_that_nobody_drew_are_the_same_at_each_time_and_differ():
    record = guarded("allow", attempts=[attempt(span_id=0), unanswered(number=2, span_id=0, status=500)])
    ids = [span.span_id for span in spans(record)]
    assert ids == [span.span_id for span in spans(record)]
    assert len(set(ids)) == 5
    assert all(ids)


@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("chat", "POST /v1/chat/completions"),
        ("models", "GET /v1/models/{model}"),
        ("fetch", "GET /v1/responses/{response_id}"),
        ("fetch items", "GET /v1/responses/{response_id}/input_items"),
        ("cancel", "POST /v1/responses/{response_id}/cancel"),
        ("passthrough", "POST /v1/{path}"),
        ("no path", "POST"),
        ("no key", "POST /v1/chat/completions"),
    ],
)
def test_a_server_span_is_named_by_its_route_and_never_by_an_id(name, template):
    assert spans(CALLS[name]())[0].name == template


def test_an_odd_method_is_none_of_a_name():
    server = spans(call(method="BREW\x1b", endpoint="", path="/x", status=405))[0]
    assert (server.name, server.attributes["http.request.method"]) == ("HTTP", "_OTHER")


def test_the_server_span_says_who_asked_and_what_came_of_it():
    limit = Limit("monthly", "c", "usd", 10, "month")
    record = chat()
    record.balances, record.warnings = ((limit, Balance("k", 10, 9, 0)),), (("monthly", 80),)
    found = spans(record)[0].attributes
    assert {name: value for name, value in found.items() if name.startswith(("gw.", "user."))} == {
        "gw.request.id": "req_1",
        "gw.outcome": "ok",
        "gw.caller": "app",
        "gw.team": "research",
        "gw.endpoint": "chat",
        "gw.policy.version": "v1",
        "gw.model.alias": "fast",
        "gw.overhead.ms": 100.0,
        "gw.budget.ids": ["monthly"],
        "gw.budget.warnings": ["monthly=80%"],
        "gw.cost.usd_nano": 600_000,
        "gw.cost.status": "final",
        "user.id": "u-1",
    }


def test_the_cost_of_a_call_is_the_sum_of_what_is_known():
    found = spans(call(attempt(), attempt(number=2, span_id=2, cost_nano=None, rates=None)))[0].attributes
    assert (found["gw.cost.usd_nano"], found["gw.cost.status"]) == (600_000, "unknown")
    assert "gw.cost.status" not in spans(CALLS["over budget"]())[0].attributes


def test_a_caller_that_left_is_told_and_is_no_error():
    server = spans(CALLS["left"]())[0]
    assert server.attributes["gw.stream.client_disconnected"] is True
    assert server.error is None


def test_an_answer_that_broke_after_its_head_is_an_error():
    assert spans(CALLS["cut"]())[0].error == "upstream_closed"


def test_a_joined_trace_is_continued_with_its_state_and_a_linked_one_is_not():
    for span in spans(joined()):
        assert (span.trace_id, span.state) == (CALLER.trace_id, "vendor=1")
    assert spans(joined())[0].parent_id == CALLER.span_id
    server = spans(linked())[0]
    assert (server.parent_id, server.state, list(server.links)) == (0, "", [CALLER])
    assert server.trace_id != CALLER.trace_id


def test_a_guard_tells_its_verdict_and_how_much_it_found():
    found = spans(guarded("mask"))[2].attributes
    assert found["openinference.span.kind"] == "GUARDRAIL"
    assert (found["gw.guardrail.verdict"], found["gw.guardrail.kinds"]) == ("mask", ["email=2"])


def test_a_guard_that_did_not_run_is_an_error_and_one_that_blocks_is_not():
    assert spans(guarded("block"))[2].error is None
    down = guarded("not_run")
    down.verdicts[0].reason = "late"
    assert spans(down)[2].error == "late"


def test_a_guard_of_both_directions_tells_each_of_its_verdicts_once():
    record = guarded("mask")
    record.verdicts.append(Verdict("pii", "output", enforced=True, outcome="flag", looked=True, duration_s=0.002))
    server, _, guard, _ = spans(record)
    assert guard.attributes["gw.guardrail.direction"] == "input"
    (event,) = server.events
    assert (event.name, event.at_ns) == ("guard pii", server.end_ns)
    assert (event.attributes["gw.guardrail.direction"], event.attributes["gw.ms"]) == ("output", 2.0)


def test_a_guard_that_was_shown_nothing_says_nothing():
    """GRD-11"""
    record = call(attempt(), verdicts=[Verdict("pii", "output", enforced=True)])
    assert not spans(record)[0].events


def test_thin_traces_have_events_instead_of_inner_spans():
    server, client = spans(guarded("mask"), thin=True)
    assert client.kind == CLIENT
    assert [(event.name, event.attributes["gw.ms"]) for event in server.events] == [
        ("reserve", 1.0),
        ("guard pii", 3.0),
    ]
    assert server.events[1].attributes["gw.guardrail.verdict"] == "mask"
    assert server.events[1].at_ns == pytest.approx(START_NS + 5_000_000, abs=1000)


def test_what_the_engine_says_of_a_step_is_told():
    step = Step("reserve", STARTED, STARTED, {"gw.budget.reserved_usd_nano": 5})
    assert spans(call(steps=[step]))[1].attributes == {"gw.budget.reserved_usd_nano": 5}


def test_a_call_without_a_trace_has_no_spans():
    assert spans(call(attempt(), trace=None)) == []


def test_nothing_that_was_asked_or_made_up_can_draw_on_a_terminal():
    """HTTP-15, LOG-03"""
    odd = "\x1b[2J\ud800\r\n" * 100
    record = call(attempt(target=odd), model=odd, path="/v1/" + odd, caller=odd, team=odd, endpoint="")
    record.verdicts = [Verdict("g", "input", enforced=True, outcome="flag", kinds={odd: 1})]
    for span in spans(record):
        assert len(span.name) < 300
        told = [
            span.name,
            *span.attributes.values(),
            *(value for event in span.events for value in event.attributes.values()),
        ]
        for value in told:
            for text in value if isinstance(value, list | tuple) else [value]:
                assert type(text) is not str or (text.isprintable() and len(text) <= 300)
