"""What Phoenix and MLflow show of the gateway's traces: each call, its cost and whose it was, and every token once."""

from __future__ import annotations

import httpx
import pytest

from tests.backends.conftest import calls_in, fact, stored
from tests.backends.servers import BIN
from tests.backends.traffic import ANSWER, CANARY, KEYS, SERVED, SPANS_OF_A_CALL, Script, policy_of
from tests.support.otlp import collecting
from tests.support.provider import Provider
from tests.support.raw import chat
from tests.support.running import running

if not (BIN.parent / ".installed").exists():
    pytest.skip(
        "needs Phoenix and MLflow in .venv-backends: `make backends` installs them and runs these tests",
        allow_module_level=True,
    )

CHATS = ("chat", "stream", "cut", "error", "house", "captured", "captured-stream", "long")


def test_no_span_is_missing_and_none_is_there_twice(seen):
    ids = [span.span_id for trace in seen.traces for span in trace.spans]
    assert len(ids) == len(set(ids)) == seen.traffic.spans


@pytest.mark.parametrize("name", CHATS)
def test_a_call_is_a_trace_of_its_own_with_the_request_to_the_provider_inside(seen, name):
    trace = seen.of(name)
    assert trace.root.name == "POST /v1/chat/completions"
    assert sorted(span.name.split(" ")[0] for span in trace.children(trace.root)) == ["chat", "reserve"]
    assert len(trace.spans) == SPANS_OF_A_CALL


@pytest.mark.parametrize("name", ["chat", "stream"])
def test_a_chat_is_shown_with_its_model_tokens_cost_session_and_user(seen, name):
    trace = seen.of(name)
    (call,) = trace.named("chat ")
    assert call.kind in seen.back_end.chat_kinds
    assert call.model == SERVED
    assert (call.input_tokens, call.output_tokens, call.cached_tokens) == (1000, 500, 200)
    assert call.usd == pytest.approx(seen.traffic.usd(seen.traffic.calls[name].call))
    assert (trace.session, trace.user) == (f"s-{name}", f"u-{name}")
    assert not any(span.failed for span in trace.spans)


@pytest.mark.parametrize("name", CHATS)
def test_the_tokens_of_a_trace_are_those_of_the_ledger_once(seen, name):
    assert seen.of(name).tokens == seen.traffic.tokens(seen.traffic.calls[name].call)


@pytest.mark.parametrize("name", [name for name in CHATS if name != "house"])
def test_the_cost_of_a_trace_is_that_of_the_ledger_once(seen, name):
    """Phoenix comes to it by its own list: the two catalogues agree on this model."""
    assert seen.of(name).usd == pytest.approx(seen.traffic.usd(seen.traffic.calls[name].call))


def test_a_price_of_ones_own_is_shown_but_where_the_back_end_knows_only_its_list(seen):
    charged = seen.traffic.usd(seen.traffic.calls["house"].call)
    assert charged == 0.018
    if seen.back_end.makes_own_price:
        (call,) = seen.of("house").named("chat ")
        assert call.usd is None
        assert fact(call.attributes, "llm.cost.total") == charged
    else:
        assert seen.of("house").usd == charged


def test_a_call_that_failed_is_shown_as_failed_and_costs_nothing(seen):
    assert seen.traffic.calls["error"].status == 503
    trace = seen.of("error")
    (call,) = trace.named("chat ")
    assert trace.root.failed
    assert call.failed
    assert not call.input_tokens
    assert not call.usd


def test_a_stream_that_was_cut_is_shown_as_failed_with_what_it_came_to(seen):
    trace = seen.of("cut")
    (call,) = trace.named("chat ")
    assert trace.root.failed
    assert call.failed
    assert call.input_tokens + call.output_tokens == seen.traffic.tokens(seen.traffic.calls["cut"].call) > 0


def test_embeddings_are_shown_as_such(seen):
    """Phoenix adds up the tokens of language models only."""
    trace = seen.of("embeddings")
    (call,) = trace.named("embeddings ")
    assert call.kind.upper() == "EMBEDDING"
    assert call.model == "text-embedding-3-small"
    assert trace.user == "u-embeddings"
    assert trace.tokens == (8 if seen.back_end.adds_embeddings else 0)


def test_a_session_of_any_length_costs_no_other_call_its_spans(seen):
    """MLflow takes all of a batch or nothing of it."""
    assert seen.of("long").session.startswith("s-longxxx")


# -- content


def test_without_capture_no_word_of_prompt_and_answer_is_shown(seen):
    for name in ("chat", "stream", "cut"):
        shown = repr(seen.of(name))
        assert CANARY not in shown
        assert ANSWER not in shown


@pytest.mark.parametrize("name", ["captured", "captured-stream"])
def test_captured_content_is_shown_as_what_the_call_was_asked_and_answered(seen, name):
    trace = seen.of(name)
    (call,) = trace.named("chat ")
    for span in (call, trace.root):  # lists of traces show the root
        assert CANARY in span.input
        assert ANSWER in span.output


# -- callers that trace themselves


def test_a_call_that_joins_is_a_part_of_the_applications_trace(seen):
    trace = seen.of_application("joined")
    assert trace.root.name == "GET /answer"
    (server,) = trace.children(trace.root)
    assert server.name == "POST /v1/chat/completions"
    assert "chat gpt-4o-mini" in [span.name for span in trace.children(server)]
    assert trace.tokens == seen.traffic.tokens(*calls_in(trace)) == 1500
    assert (trace.session, trace.user) == ("s-joined", "u-joined")


def test_a_call_that_the_application_tried_again_is_counted_once(seen):
    trace = seen.of_application("retried")
    first, second = sorted(trace.named("POST "), key=lambda span: not span.failed)
    assert (first.failed, second.failed) == (True, False)
    assert {first.parent_id, second.parent_id} == {trace.root.span_id}
    assert trace.tokens == seen.traffic.tokens(*calls_in(trace)) == 1500
    assert trace.usd == pytest.approx(seen.traffic.usd(*calls_in(trace)))


def test_an_application_that_tells_of_its_calls_itself_has_them_once_where_we_link(seen):
    own = seen.of_application("linked")
    assert calls_in(own) == []
    (ours,) = [trace for trace in seen.traces if trace.session == "s-linked"]
    assert own.tokens == ours.tokens == seen.traffic.tokens(*calls_in(ours)) == 1500


@pytest.mark.parametrize("name", ["plain", "plain-stream"])
def test_an_application_that_tells_of_its_calls_itself_has_them_once_where_we_are_plain(seen, name):
    trace = seen.of_application(name)
    (told,) = trace.named("ChatCompletion")
    (server,) = trace.children(told)
    (ours,) = [span for span in trace.children(server) if span.name.startswith("chat ")]
    assert told.kind in seen.back_end.chat_kinds
    assert ours.kind not in seen.back_end.chat_kinds
    assert trace.tokens == seen.traffic.tokens(*calls_in(trace)) == 1500
    assert trace.usd == pytest.approx(seen.traffic.usd(*calls_in(trace)))


def test_to_join_an_application_that_tells_of_its_calls_itself_is_what_the_other_modes_are_for(seen):
    trace = seen.of_application("twice")
    times = 2 if seen.back_end.adds_calls_inside_calls else 1
    assert trace.tokens == times * seen.traffic.tokens(*calls_in(trace))


# -- deliveries


async def test_spans_that_come_twice_count_once(seen, tmp_path):
    """As when the answer to an export is lost and the exporter sends it again."""
    async with Provider() as provider, collecting(200) as collector:
        provider.script = Script()
        environ = seen.back_end.environment | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": str(SPANS_OF_A_CALL),
        }
        policy = policy_of(provider.base_url, seen.back_end.profile)
        async with running(policy, tmp_path, environ=environ) as gateway:
            for _ in range(2):
                await gateway.ask(body=chat(model="gpt-4o-mini"), key=KEYS["link"])
    first, last = collector.taken
    for posted in (first, first, last):
        kept = {
            name: value for name, value in posted.headers.items() if name in {"content-type", "x-mlflow-experiment-id"}
        }
        httpx.post(f"{seen.back_end.url}/v1/traces", content=posted.body, headers=kept).raise_for_status()
    known = {trace.trace_id for trace in seen.traces}

    def new(traces):
        return [(len(trace.spans), trace.tokens) for trace in traces if trace.trace_id not in known]

    expected = [(SPANS_OF_A_CALL, 1500)] * 2
    assert new(stored(seen.back_end, lambda traces: len(new(traces)) == 2 and min(new(traces))[0] == 3)) == expected
