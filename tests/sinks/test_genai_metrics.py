"""The metrics of the GenAI conventions: names, buckets, what is recorded when, and that they stay few."""

from __future__ import annotations

import pytest

from gateway.core.model import Attempt, Record
from gateway.core.pace import Pace
from gateway.core.usage import Reported, Usage
from gateway.sinks.families import MAX_SERIES
from gateway.sinks.genai_metrics import MAX_SERVED, Names
from gateway.sinks.metrics import Metrics, merged

TOK = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
DUR = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TPOT = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
TTFT = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
CONVENTIONS = {  # tracing.md, A4: the name, its unit, its buckets
    "gen_ai.client.token.usage": ("{token}", TOK),
    "gen_ai.client.operation.duration": ("s", DUR),
    "gen_ai.client.operation.time_to_first_chunk": ("s", DUR),
    "gen_ai.client.operation.time_per_output_chunk": ("s", DUR),
    "gen_ai.client.inference.duration": ("s", DUR),
    "gen_ai.client.inference.time_to_first_chunk": ("s", DUR),
    "gen_ai.client.inference.time_per_output_chunk": ("s", DUR),
    "gen_ai.client.inference.usage.input_tokens": ("{token}", ()),
    "gen_ai.client.inference.usage.output_tokens": ("{token}", ()),
    "gen_ai.client.inference.usage.cache_read.input_tokens": ("{token}", ()),
    "gen_ai.client.inference.usage.cache_write.input_tokens": ("{token}", ()),
    "gen_ai.client.inference.usage.reasoning.output_tokens": ("{token}", ()),
    "gen_ai.client.inference.operation.input_tokens": ("{token}", TOK),
    "gen_ai.client.inference.operation.output_tokens": ("{token}", TOK),
    "gen_ai.server.time_to_first_token": ("s", TTFT),
    "gen_ai.server.time_per_output_token": ("s", TPOT),
}
ATTRIBUTES = {
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "gen_ai.token.type",
    "gen_ai.token.modality",
    "error.type",
}
C = "gen_ai.client.inference"
PLACE = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-*",
    "gen_ai.response.model": "gpt-4o-2024-08-06",
}


def attempt(**facts) -> Attempt:
    made = Attempt("req_1.1", 1, "p", "m", started_at=0.0, started=0.0, sent=True, status=200, complete=True)
    made.duration_s = 2.0
    for name, value in facts.items():
        setattr(made, name, value)
    return made


def counted(usage: Usage | None = None, **facts) -> Attempt:
    usage = usage or Usage(input=10, output=21)
    said = Reported(usage.input_tokens, usage.output_tokens, model="gpt-4o-2024-08-06")
    return attempt(**{"usage": usage, "reported": said, **facts})


def told(*attempts: Attempt, generation: str = "c", server: bool = True, **facts) -> Metrics:
    rules = {"gpt-4o": "gpt-*"}
    metrics = Metrics()
    metrics.adopt("v1", Names(rules.get, {"p": "openai"}, generation, server))
    record = Record("req_1", 0.0, 0.0, endpoint="chat", provider="p", model="gpt-4o", status=200, outcome="ok")
    record.attempts = list(attempts)
    for name, value in facts.items():
        setattr(record, name, value)
    metrics.record(record)
    return metrics


def points(metrics: Metrics) -> dict[str, list[tuple[dict[str, str], object]]]:
    return {one.name: list(one.points) for one in metrics.series() if one.name.startswith("gen_ai.")}


def sums(metrics: Metrics) -> dict[str, float]:
    """By metric: of a histogram the sum of its values."""
    return {
        name: sum(value[1] if isinstance(value, tuple) else value for _, value in found)
        for name, found in points(metrics).items()
    }


def test_names_units_and_buckets_are_those_of_the_conventions():
    found = {
        family.metric: (family.unit, getattr(family, "bounds", ()))
        for family in Metrics().families()
        if family.metric.startswith("gen_ai.")
    }
    assert found == CONVENTIONS


def test_attributes_are_closed_and_name_nobody():
    used = {name for family in Metrics().gen_ai.families() for name in family.attributes}
    assert used == ATTRIBUTES


def test_prometheus_names_follow_the_mapping_of_opentelemetry():
    text = told(counted()).render()
    labels = ",".join(f'{name.replace(".", "_")}="{value}"' for name, value in PLACE.items())
    assert f'gen_ai_client_inference_usage_input_tokens_total{{{labels},gen_ai_token_modality="unknown"}} 10' in text
    assert f'gen_ai_client_inference_duration_seconds_sum{{{labels},error_type=""}} 2' in text
    assert f'gen_ai_client_inference_operation_output_tokens_bucket{{{labels},error_type="",le="64"}} 1' in text


def test_generation_c_tells_an_inference_by_its_own_names():
    found = points(told(counted()))
    assert set(found) == {
        f"{C}.duration",
        f"{C}.usage.input_tokens",
        f"{C}.usage.output_tokens",
        f"{C}.operation.input_tokens",
        f"{C}.operation.output_tokens",
    }
    assert found[f"{C}.duration"][0][0] == PLACE
    assert found[f"{C}.usage.output_tokens"] == [({**PLACE, "gen_ai.token.modality": "unknown"}, 21)]


def test_generation_b_tells_operations_and_token_types():
    metrics = told(counted(), generation="b")
    found = points(metrics)
    assert set(found) == {"gen_ai.client.operation.duration", "gen_ai.client.token.usage"}
    types = {labels["gen_ai.token.type"]: value[1] for labels, value in found["gen_ai.client.token.usage"]}
    assert types == {"input": 10, "output": 21}


def test_both_generations_are_told_side_by_side():
    both = set(points(told(counted(), generation="both")))
    assert both == set(points(told(counted()))) | set(points(told(counted(), generation="b")))


@pytest.mark.parametrize(
    "silent",
    [
        attempt(status=500, state="failed"),
        attempt(failed=True, status=0, error="upstream_timeout"),
        attempt(usage=Usage(input=7, output=9), reported=Reported(7, 9), flags=("estimated",)),
    ],
    ids=["an error", "no answer", "an estimate"],
)
def test_without_usage_generation_b_records_nothing_and_generation_c_zero_of_unknown_modality(silent):
    assert "gen_ai.client.token.usage" not in points(told(silent, generation="b"))
    found = points(told(silent))
    for direction in ("input", "output"):
        ((labels, value),) = found[f"{C}.usage.{direction}_tokens"]
        assert (labels["gen_ai.token.modality"], value) == ("unknown", 0)
        ((labels, value),) = found[f"{C}.operation.{direction}_tokens"]
        assert value[1:] == (0, 1)


def test_the_totals_include_their_parts_and_the_parts_are_told_apart():
    usage = Usage(input=10, cached_input=5, cache_write=3, output=4, reasoning=6)
    found = sums(told(counted(usage)))
    assert found[f"{C}.usage.input_tokens"] == 18
    assert found[f"{C}.usage.output_tokens"] == 10
    assert found[f"{C}.usage.cache_read.input_tokens"] == 5
    assert found[f"{C}.usage.cache_write.input_tokens"] == 3
    assert found[f"{C}.usage.reasoning.output_tokens"] == 6


@pytest.mark.parametrize(
    ("audio", "image", "expected"),
    [
        (None, None, {"unknown": 20}),
        (0, None, {"unknown": 20}),
        (5, None, {"audio": 5, "unknown": 15}),
        (5, 7, {"audio": 5, "image": 7, "text": 8}),
        (0, 0, {"text": 20}),
        (12, 12, {"audio": 12, "image": 8}),
    ],
)
def test_tokens_are_split_by_modality_as_far_as_the_provider_told(audio, image, expected):
    said = Reported(20, 0, audio_input_tokens=audio, image_input_tokens=image)
    found = points(told(attempt(usage=Usage(input=20), reported=said)))[f"{C}.usage.input_tokens"]
    assert {labels["gen_ai.token.modality"]: value for labels, value in found} == expected


def test_a_stream_tells_of_each_chunk_after_its_first_one():
    pace = Pace(100.0)
    for now in (100.005, 100.02, 100.02, 103.02):
        pace.chunk(now)
    for generation, metric in (
        ("c", f"{C}.time_per_output_chunk"),
        ("b", "gen_ai.client.operation.time_per_output_chunk"),
    ):
        metrics = told(*[counted(first_chunk_s=0.5, pace=pace)] * 2, stream=True, generation=generation)
        ((place, (counts, total, count)),) = points(metrics)[metric]
        assert place == PLACE
        assert (count, round(total, 6)) == (8, 6.04)
        assert (counts[0], counts[1], counts[9]) == (4, 2, 2)
    assert f"{C}.time_per_output_chunk" not in points(told(counted(pace=pace)))


def test_streams_tell_their_first_chunk_and_their_pace():
    metrics = told(counted(first_chunk_s=0.5), stream=True)
    found = sums(metrics)
    assert found[f"{C}.time_to_first_chunk"] == 0.5
    assert found["gen_ai.server.time_to_first_token"] == 0.5
    assert found["gen_ai.server.time_per_output_token"] == 1.5 / 20
    b = points(told(counted(first_chunk_s=0.5), stream=True, generation="b"))
    assert "gen_ai.client.operation.time_to_first_chunk" in b
    assert f"{C}.time_to_first_chunk" not in b


@pytest.mark.parametrize(
    ("one", "stream", "server"),
    [
        (counted(first_chunk_s=0.5), False, True),
        (counted(first_chunk_s=None), True, True),
        (counted(first_chunk_s=0.5), True, False),
        (attempt(first_chunk_s=0.5, error="upstream_closed"), True, True),
    ],
    ids=["no stream", "no chunk came", "switched off", "cut"],
)
def test_the_servers_metrics_are_of_sound_streams_only(one, stream, server):
    assert not any(name.startswith("gen_ai.server") for name in points(told(one, stream=stream, server=server)))


def test_a_single_token_has_no_pace():
    found = points(told(counted(Usage(input=1, output=1), first_chunk_s=0.5), stream=True))
    assert "gen_ai.server.time_per_output_token" not in found


@pytest.mark.parametrize(
    ("one", "kind"),
    [
        (attempt(status=429), "429"),
        (attempt(status=999), "_OTHER"),
        (attempt(error="upstream_timeout"), "upstream_timeout"),
        (attempt(error="what the provider says"), "_OTHER"),
        (attempt(complete=False), "_OTHER"),
    ],
)
def test_failures_are_told_by_a_closed_kind(one, kind):
    found = points(told(one))
    assert found[f"{C}.duration"][0][0]["error.type"] == kind
    assert found[f"{C}.operation.input_tokens"][0][0]["error.type"] == kind


def test_embeddings_have_no_output_and_are_operations_in_both_generations():
    for generation in ("b", "c"):
        found = points(told(counted(Usage(input=8)), endpoint="embeddings", generation=generation))
        assert found["gen_ai.client.operation.duration"][0][0]["gen_ai.operation.name"] == "embeddings"
        assert f"{C}.duration" not in found
        assert not any("output" in name for name in found)


def test_a_stored_response_that_is_fetched_has_no_usage():
    for generation in ("b", "c"):
        found = points(
            told(
                attempt(),
                endpoint="responses.object",
                method="GET",
                path="/v1/responses/r",
                model="",
                generation=generation,
            )
        )
        assert set(found) == {"gen_ai.client.operation.duration"}
        assert "gen_ai.request.model" not in found["gen_ai.client.operation.duration"][0][0]


def test_what_was_not_sent_or_is_no_operation_is_not_told():
    assert points(told(attempt(sent=False))) == {}
    assert points(told(attempt(), endpoint="passthrough")) == {}
    assert points(told()) == {}


def test_snapshots_of_workers_add_up():
    found = sums(merged([told(counted()).snapshot(), told(counted()).snapshot()]))
    assert found[f"{C}.usage.output_tokens"] == 42
    assert found[f"{C}.duration"] == 4.0


def test_another_policy_names_the_calls_after_it():
    metrics = told(counted())
    metrics.adopt("v2", Names({"gpt-4o": "gpt-4o"}.get))
    record = Record("req_2", 0.0, 0.0, endpoint="chat", provider="p", model="gpt-4o", attempts=[counted()])
    metrics.record(record)
    asked = [labels["gen_ai.request.model"] for labels, _ in points(metrics)[f"{C}.duration"]]
    assert asked == ["gpt-*", "gpt-4o"]
    assert 'gateway_policy_info{version="v2"} 1' in metrics.render()
    assert 'version="v1"' not in metrics.render()


@pytest.mark.parametrize("served", ["x" * 129, "gpt\n4", "gpt-\ud800"])
def test_a_served_model_with_an_unsound_name_is_other(served):
    """HTTP-15: what a provider sends cannot break the metrics page."""
    metrics = told(counted(reported=Reported(1, 1, model=served)))
    assert points(metrics)[f"{C}.duration"][0][0]["gen_ai.response.model"] == "other"
    assert metrics.render().encode()


def test_a_caller_who_leaves_is_told_as_that():
    found = points(told(attempt(complete=False), outcome="client_closed"))
    assert found[f"{C}.duration"][0][0]["error.type"] == "cancelled"


def test_models_paths_and_users_without_number_make_few_series():
    """LOG-06: 100 000 distinct names of models, paths and callers; what policy does not name is "other"."""
    metrics = Metrics()
    metrics.adopt("v1", Names({"gpt-4o": "gpt-*"}.get, {"p": "openai"}, "both"))
    one = counted(first_chunk_s=0.1)
    record = Record("req_1", 0.0, 0.0, endpoint="chat", provider="p", status=200, outcome="ok", stream=True)
    record.attempts = [one]
    for number in range(100_000):
        record.model = f"model-{number}"
        record.path = f"/v1/{number}"
        record.caller = record.team = f"user-{number}"
        one.reported.model = f"served-{number}" if number % 2 else "x" * 1_000 + str(number)
        metrics.record(record)
    metrics.flush()
    families = metrics.families()
    assert max(len(family.values) for family in families) <= 2 * (MAX_SERVED + 1) < MAX_SERIES
    asked = {labels[2] for labels in metrics.gen_ai.duration.values}
    assert asked == {"other"}
    assert "user-1" not in metrics.render()
    assert "/v1/" not in metrics.render()
    assert metrics.gen_ai._place.cache_info().currsize <= 4096
