"""What is written, read by somebody else."""

import enum
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.trace import CLIENT, INTERNAL, SERVER, SpanEvent, TraceContext, TraceSpan
from gateway.sinks.otlp_encode import Series, encode_metrics, encode_spans, metrics_in_steps, spans_in_steps
from tests.support.otlp import decode

SCOPE = ("gw", "1")


def span(**facts):
    plain = {
        "name": "chat m", "kind": CLIENT, "trace_id": 0x0102 << 112 | 3, "span_id": 0x0A << 56 | 5, "parent_id": 0,
        "start_ns": 1, "end_ns": 2, "attributes": {},
    }  # fmt: skip
    return TraceSpan(**{**plain, **facts})


def spans_of(data):
    (resource,) = decode("TraceRequest", data)["resource_spans"]
    (scope,) = resource["scope_spans"]
    return scope.get("spans", [])


def one(**facts):
    (found,) = spans_of(encode_spans({}, SCOPE, [span(**facts)]))
    return found


def metric(series):
    (resource,) = decode("MetricsRequest", encode_metrics({"service.name": "s"}, SCOPE, [series], 5, 9))[
        "resource_metrics"
    ]
    (scope,) = resource["scope_metrics"]
    (found,) = scope["metrics"]
    return found


def test_a_span_is_exactly_these_bytes():
    """Put together by hand from trace.proto."""
    written = encode_spans({"a": "b"}, ("g", "1"), [span(name="n", attributes={"k": "v", "i": 300, "t": True})])
    attributes = "4a08 0a016b 12030a0176" + "4a08 0a0169 120318ac02" + "4a07 0a0174 12021001"
    ids = "0a10 01020000000000000000000000000003 1208 0a00000000000005"
    rest = "2a016e 3003 39 0100000000000000 41 0200000000000000 8501 01010000"
    body = bytes.fromhex(ids + rest + attributes)
    scope = bytes.fromhex("0a06 0a0167 120131 12") + bytes([len(body)]) + body
    resource = bytes.fromhex("0a0a 0a08 0a0161 1203 0a0162 12") + bytes([len(scope)]) + scope
    assert written == b"\x0a" + bytes([len(resource)]) + resource


def test_every_part_of_a_span_arrives():
    caller = TraceContext(7, 8, sampled=True, state="a=b")
    found = one(
        name="POST /v1/chat/completions", kind=SERVER, parent_id=9, state="x=y", error="upstream", start_ns=2**60, end_ns=2**60 + 1,
        attributes={"s": "text", "i": 7, "f": 0.1, "b": False, "l": ["a", ""], "e": ""},
        events=[SpanEvent("guard pii", 11, {"n": 1})], links=[caller, TraceContext(1, 2, sampled=False)],
    )  # fmt: skip
    assert found == {
        "trace_id": (0x0102 << 112 | 3).to_bytes(16, "big"),
        "span_id": (0x0A << 56 | 5).to_bytes(8, "big"),
        "parent_span_id": (9).to_bytes(8, "big"),
        "trace_state": "x=y",
        "name": "POST /v1/chat/completions",
        "kind": 2,
        "start": 2**60,
        "end": 2**60 + 1,
        "attributes": {"s": "text", "i": 7, "f": 0.1, "b": False, "l": ["a", ""], "e": ""},
        "events": [{"time": 11, "name": "guard pii", "attributes": {"n": 1}}],
        "links": [
            {
                "trace_id": (7).to_bytes(16, "big"),
                "span_id": (8).to_bytes(8, "big"),
                "trace_state": "a=b",
                "flags": 0x301,
            },
            {"trace_id": (1).to_bytes(16, "big"), "span_id": (2).to_bytes(8, "big"), "flags": 0x300},
        ],
        "status": {"message": "upstream", "code": 2},
        "flags": 0x301,
    }


def test_a_span_without_parent_and_error_says_nothing_of_them():
    assert not {"parent_span_id", "status", "trace_state"} & one().keys()


def test_an_error_without_a_description_is_still_an_error():
    assert one(error="")["status"] == {"code": 2}


@pytest.mark.parametrize(("kind", "flags"), [(INTERNAL, 0x101), (CLIENT, 0x101), (SERVER, 0x301)])
def test_only_the_parent_of_a_server_span_is_elsewhere(kind, flags):
    assert one(kind=kind, parent_id=4)["flags"] == flags


def test_resource_and_scope_stand_once_around_all_spans():
    (resource,) = decode("TraceRequest", encode_spans({"service.name": "s", "n": 1}, SCOPE, [span()] * 3))[
        "resource_spans"
    ]
    assert resource["resource"] == {"attributes": {"service.name": "s", "n": 1}}
    (scope,) = resource["scope_spans"]
    assert scope["scope"] == {"name": "gw", "version": "1"}
    assert len(scope["spans"]) == 3


@pytest.mark.parametrize("value", [0, 1, 127, 128, 2047, 2048, 1 << 31, (1 << 63) - 1, -1, -(1 << 63)])
def test_whole_numbers_are_exact(value):
    assert one(attributes={"n": value})["attributes"] == {"n": value}


@pytest.mark.parametrize("value", [1 << 63, -(1 << 63) - 1, 10**30])
def test_a_number_beyond_int64_is_kept_as_text(value):
    assert one(attributes={"n": value})["attributes"] == {"n": str(value)}


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-320, 1 / 3, math.inf, -math.inf, 1.7976931348623157e308])
def test_fractions_are_exact(value):
    found = one(attributes={"n": value})["attributes"]["n"]
    assert (found, math.copysign(1, found)) == (value, math.copysign(1, value))
    assert isinstance(found, float)


def test_truth_is_no_number():
    assert [type(value) for value in one(attributes={"t": True, "o": 1})["attributes"].values()] == [bool, int]


def test_a_kind_of_text_is_a_text():
    class Outcome(enum.StrEnum):
        OK = "ok"

    assert one(attributes={"o": Outcome.OK})["attributes"] == {"o": "ok"}


def test_a_lone_surrogate_is_replaced_wherever_it_stands():
    """HTTP-15"""
    bad = "a\ud800b"
    found = one(
        name=bad, state=bad, error=bad, attributes={bad: bad, "l": [bad]}, events=[SpanEvent(bad, 1, {bad: bad})]
    )
    assert found["attributes"] == {"a?b": "a?b", "l": ["a?b"]}
    assert (found["name"], found["trace_state"], found["status"]["message"]) == ("a?b", "a?b", "a?b")
    assert found["events"][0] == {"time": 1, "name": "a?b", "attributes": {"a?b": "a?b"}}


@pytest.mark.parametrize("size", [0, 1, 61, 62, 63, 121, 122, 123, 124, 125, 126, 127, 128, 16_383, 16_384, 100_000])
def test_lengths_are_right_around_every_limit(size):
    text = "é" * (size // 2) + "x" * (size % 2)
    found = one(name=text, attributes={text: text, "k" + text: text, "list": [text]})
    assert found["attributes"] == {text: text, "k" + text: text, "list": [text]}
    assert found.get("name", "") == text


VALUES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]))),
)
ATTRIBUTES = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES, max_size=8)


@given(st.lists(ATTRIBUTES, max_size=4), ATTRIBUTES)
def test_any_attributes_come_back_as_they_were(rows, described):
    written = encode_spans(described, SCOPE, [span(attributes=row) for row in rows])
    assert [found.get("attributes", {}) for found in spans_of(written)] == rows
    assert decode("TraceRequest", written)["resource_spans"][0]["resource"].get("attributes", {}) == described


def test_a_large_batch_pauses_on_its_way():
    assert sum(1 for _ in spans_in_steps({}, SCOPE, [span()] * 512)) >= 5
    many = Series("n", "", "", "gauge", (), [({}, 1)] * 5000)
    assert sum(1 for _ in metrics_in_steps({}, SCOPE, [many], 1, 2)) >= 20


def test_a_counter_is_a_cumulative_sum_that_only_grows():
    found = metric(Series("gw.calls", "{call}", "Calls.", "counter", (), [({"a": "x"}, 7.0), ({"a": "y"}, 8)]))
    assert found == {
        "name": "gw.calls",
        "description": "Calls.",
        "unit": "{call}",
        "sum": {
            "points": [
                {"start": 5, "time": 9, "double": 7.0, "attributes": {"a": "x"}},
                {"start": 5, "time": 9, "int": 8, "attributes": {"a": "y"}},
            ],
            "temporality": 2,
            "monotonic": True,
        },
    }


def test_a_gauge_has_no_start():
    found = metric(Series("gw.open", "", "", "gauge", (), [({}, -3)]))
    assert found == {"name": "gw.open", "gauge": {"points": [{"time": 9, "int": -3}]}}


def test_a_histogram_has_one_count_more_than_bounds():
    found = metric(Series("gw.time", "s", "Time.", "histogram", (0.1, 2.5), [({"p": "x"}, ([1.0, 0, 2], 7.25, 3))]))
    point = {
        "start": 5,
        "time": 9,
        "count": 3,
        "sum": 7.25,
        "bucket_counts": [1, 0, 2],
        "bounds": [0.1, 2.5],
        "attributes": {"p": "x"},
    }
    assert found["histogram"] == {"points": [point], "temporality": 2}


def test_a_metric_without_points_is_left_out():
    written = encode_metrics({}, SCOPE, [Series("n", "", "", "counter", (), [])], 1, 2)
    (resource,) = decode("MetricsRequest", written)["resource_metrics"]
    assert "metrics" not in resource["scope_metrics"][0]
