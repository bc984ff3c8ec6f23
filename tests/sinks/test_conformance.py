"""Every class of request leaves spans that the conventions know; and the checker sees what they do not."""

from __future__ import annotations

import pytest

from gateway.sinks.profiles import PROFILES
from gateway.sinks.spans import spans_of
from tests.sinks.calls import CALLS, PROVIDERS, chat, retried, stream
from tests.sinks.conformance import findings

ALL = frozenset(PROFILES)


def spans(record, profiles=ALL, *, thin=False):
    return spans_of(record, profiles=profiles, thin=thin, providers=PROVIDERS)


@pytest.mark.parametrize("thin", [False, True], ids=["full", "thin"])
@pytest.mark.parametrize("profiles", [frozenset(), *map(frozenset, ([name] for name in PROFILES)), ALL], ids=",".join)
@pytest.mark.parametrize("name", CALLS)
def test_the_spans_of_a_call_are_as_the_conventions_say(name, profiles, thin):
    record = CALLS[name]()
    assert findings(record, spans(record, profiles, thin=thin), profiles) == []


def _on_client(attribute, value):
    def spoil(found):
        found[-1].attributes[attribute] = value

    return spoil


def _without(attribute):
    return lambda found: found[-1].attributes.pop(attribute)


def _set(which, name, value):
    return lambda found: setattr(found[which], name, value)


@pytest.mark.parametrize(
    "spoil",
    [
        _without("gen_ai.operation.name"),
        _without("gen_ai.provider.name"),
        _without("gen_ai.usage.input_tokens"),
        _without("server.port"),
        _on_client("gen_ai.system", "openai"),
        _on_client("gen_ai.usage.cost.amount", 1.0),
        _on_client("gen_ai.usage.input_tokens", 100.0),
        _on_client("gen_ai.usage.cache_read.input_tokens", 10_000),
        _on_client("gen_ai.request.temperature", 1),
        _on_client("gen_ai.provider.name", "_other"),
        _on_client("gen_ai.output.type", "poem"),
        _on_client("gen_ai.request.choice.count", 1),
        _on_client("gen_ai.response.finish_reasons", "stop"),
        _on_client("gen_ai.response.id", "\x1b[31m"),
        _on_client("gen_ai.response.id", "x" * 257),
        _on_client("gen_ai.response.id", None),
        _on_client("error.type", "429"),
        _set(-1, "error", "429"),
        _set(-1, "name", "chat"),
        _set(-1, "kind", 1),
        _set(-1, "parent_id", 0),
        _set(-1, "span_id", 0),
        _set(-1, "trace_id", 1),
        _set(-1, "end_ns", 0),
        _set(0, "name", "POST"),
        _set(0, "kind", 1),
        _set(0, "parent_id", 5),
        lambda found: found[0].attributes.update({"gen_ai.usage.input_tokens": 5}),
        lambda found: found[0].attributes.pop("url.scheme"),
        lambda found: found[0].attributes.pop("http.response.status_code"),
        lambda found: found.pop(),
        lambda found: found.clear(),
        lambda found: found[-1].attributes.update({f"gw.{number}": 1 for number in range(128)}),
    ],
)
def test_the_checker_sees_what_is_wrong(spoil):
    record = stream()
    found = spans(record)
    assert findings(record, found, ALL) == []
    spoil(found)
    assert findings(record, found, ALL)


def test_the_checker_wants_no_profile_that_was_not_asked_for():
    assert findings(chat(), spans(chat(), ALL), frozenset())


def test_the_checker_wants_each_attempt_to_fail_by_itself():
    record = retried()
    found = spans(record)
    found[1].error = None
    assert findings(record, found, ALL)
