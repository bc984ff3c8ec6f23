"""The exporter against a collector that is well, slow, broken, or not there (OPS-18)."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count

import pytest

from gateway.core.clock import SystemClock
from gateway.core.model import Pool, Timeouts, Tls
from gateway.core.trace import SERVER, TraceSpan
from gateway.sinks import otlp_export
from gateway.sinks.otlp_delivery import Retry, _retry_after_s
from gateway.sinks.otlp_encode import Series
from gateway.sinks.otlp_export import Exporter
from gateway.sinks.otlp_settings import read_otlp
from gateway.transport.http import Http
from tests.support.otlp import collecting
from tests.support.patience import patience

AT_ONCE = Retry(first_s=0.001, longest_s=0.001)
NUMBERS = count(1)


class Log:
    """Keeps what it is told."""

    def __init__(self):
        self.lines = []

    def warning(self, event, **fields):
        self.lines.append((event, fields))

    info = warning

    def events(self):
        return [event for event, _ in self.lines]


def call(spans=1):
    """The spans of one call."""
    trace_id = next(NUMBERS)
    return [TraceSpan("POST /v1/x", SERVER, trace_id, at + 1, 0, 1, 2, {"at": at}) for at in range(spans)]


def settings_of(url, **variables):
    quick = {"EXPORTER_OTLP_ENDPOINT": url, "BSP_SCHEDULE_DELAY": "10", "METRICS_EXPORTER": "none", **variables}
    return read_otlp({f"OTEL_{name}": value for name, value in quick.items()})


def never():
    raise AssertionError("metrics are off")


@asynccontextmanager
async def exporting(collector, *, retry=AT_ONCE, collect=never, settings=None, **variables):
    settings = settings or settings_of(collector.url, **variables)
    http = Http(collector.url, Timeouts(), Pool(), Tls())

    async def post(url, headers, body):
        reply = await http.send("POST", url.removeprefix(collector.url), headers, body, None)
        reply.close()
        return reply.status, reply.headers

    log = Log()
    exporter = Exporter(settings, {"service.name": "gw"}, ("gw", "1"), post, collect, log, retry)
    exporter.log = log
    running = asyncio.create_task(exporter.run())
    await asyncio.sleep(0)  # it runs
    try:
        yield exporter
    finally:
        await exporter.stop(0.0)
        await asyncio.gather(running, return_exceptions=True)
        await http.close()


async def until(true):
    async with patience():
        while not true():
            await asyncio.sleep(0)


async def settled(exporter):
    """Until nothing waits."""
    await until(lambda: not exporter.stats.waiting)


async def test_spans_arrive_once_and_in_order():
    async with collecting(200) as collector, exporting(collector) as exporter:
        calls = [call(4) for _ in range(5)]
        for spans in calls:
            exporter.put(spans)
        await settled(exporter)
        arrived = [(span["trace_id"], span["attributes"]["at"]) for span in collector.spans()]
    assert arrived == [(span.trace_id.to_bytes(16, "big"), span.attributes["at"]) for spans in calls for span in spans]
    assert (exporter.stats.exported, exporter.stats.dropped) == (20, {"stopped": 0})
    assert exporter.log.lines == []


async def test_what_is_posted_is_protobuf_to_the_path_of_its_signal():
    async with collecting(200) as collector, exporting(collector) as exporter:
        exporter.put(call())
        await settled(exporter)
    (posted,) = collector.taken
    assert (posted.path, posted.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
    assert "content-encoding" not in posted.headers


async def test_a_full_batch_leaves_before_the_delay_is_over():
    slow = {"BSP_SCHEDULE_DELAY": "3600000", "BSP_MAX_EXPORT_BATCH_SIZE": "8"}
    async with collecting(200) as collector, exporting(collector, **slow) as exporter:
        for _ in range(4):
            exporter.put(call(4))
        await settled(exporter)
    assert [len(posted.decoded()["resource_spans"][0]["scope_spans"][0]["spans"]) for posted in collector.taken] == [
        8,
        8,
    ]


async def test_a_body_is_compressed_where_that_is_wanted():
    async with collecting(200) as collector, exporting(collector, EXPORTER_OTLP_COMPRESSION="gzip") as exporter:
        exporter.put(call(100))
        await settled(exporter)
    (posted,) = collector.taken
    assert posted.headers["content-encoding"] == "gzip"
    assert posted.body.startswith(b"\x1f\x8b")
    assert len(collector.spans()) == 100


async def test_headers_are_sent_and_never_told():
    """LOG-01: neither the log nor what an exporter shows of itself holds a header's value."""
    headers = {"EXPORTER_OTLP_HEADERS": "authorization=Bearer%20canary-key,x-team=canary-team"}
    async with collecting(401) as collector, exporting(collector, **headers) as exporter:
        exporter.put(call())
        await settled(exporter)
    assert collector.posted[0].headers["authorization"] == "Bearer canary-key"
    assert collector.posted[0].headers["x-team"] == "canary-team"
    assert exporter.log.lines == [("export_failing", {"signal": "traces", "problem": "status 401"})]
    assert "canary" not in repr((exporter.log.lines, exporter.stats))


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_collector_that_cannot_now_is_asked_again(status):
    """OPS-18"""
    async with collecting(status, status, status, 200) as collector, exporting(collector) as exporter:
        exporter.put(call(3))
        await settled(exporter)
    assert len(collector.posted) == 4
    assert (exporter.stats.exported, len(collector.spans())) == (3, 3)
    assert exporter.log.events() == ["export_failing", "export_recovered"]


async def test_a_single_failure_is_not_worth_a_line():
    async with collecting(503, 200) as collector, exporting(collector) as exporter:
        exporter.put(call())
        await settled(exporter)
    assert (exporter.stats.exported, exporter.log.lines) == (1, [])


@pytest.mark.parametrize("status", [301, 400, 401, 404, 413, 500])
async def test_a_final_answer_is_not_argued_with(status):
    """OPS-18: 500 is final in OTLP/HTTP."""
    async with collecting(status) as collector, exporting(collector) as exporter:
        exporter.put(call(3))
        await settled(exporter)
    assert len(collector.posted) == 1
    assert exporter.stats.dropped["refused"] == 3
    assert exporter.stats.failing == ("traces",)


async def test_tries_are_bounded_and_an_outage_is_told_once_each_way():
    """OPS-18"""
    async with collecting(503) as collector, exporting(collector) as exporter:
        for _ in range(3):
            exporter.put(call())
            await settled(exporter)
        assert len(collector.posted) == 3 * AT_ONCE.tries
        assert exporter.stats.dropped["unavailable"] == 3
        collector.script = [200]
        exporter.put(call())
        await settled(exporter)
    assert exporter.stats.exported == 1
    assert exporter.log.events() == ["export_failing", "export_recovered"]


async def test_a_collector_that_refuses_connections_and_comes_back_gets_what_waited():
    """OPS-18"""
    patient = replace(AT_ONCE, tries=100_000)
    async with collecting(200) as collector, exporting(collector, retry=patient) as exporter:
        await collector.stop()
        exporter.put(call(4))
        await until(lambda: exporter.stats.failing)
        await collector.start()
        await settled(exporter)
        assert len(collector.spans()) == 4
    assert exporter.log.lines[0] == ("export_failing", {"signal": "traces", "problem": "upstream_unreachable"})
    assert exporter.log.events() == ["export_failing", "export_recovered"]


async def test_a_collector_that_hangs_holds_a_batch_for_the_deadline_only():
    """OPS-18"""
    clock, times = SystemClock(), {"EXPORTER_OTLP_TIMEOUT": "100"}
    async with collecting("hang", 200) as collector, exporting(collector, **times) as exporter:
        begin = clock.monotonic()
        exporter.put(call())
        await settled(exporter)
        assert 0.1 <= clock.monotonic() - begin < 5
    assert (exporter.stats.exported, len(collector.posted)) == (1, 2)


async def test_while_a_collector_hangs_the_queue_is_bounded_and_calls_do_not_notice():
    """OPS-18: the batch that is being sent counts too. Whole calls are dropped, and counted."""
    clock = SystemClock()
    async with collecting("hang") as collector, exporting(collector) as exporter:
        exporter.put(call(4))
        await collector.until(lambda one: one.posted)
        begin = clock.monotonic()
        for _ in range(10_000):
            exporter.put(call(4))
        assert clock.monotonic() - begin < 10
        assert exporter.stats.waiting == exporter.stats.capacity == 2048
        assert exporter.stats.dropped == {"queue_full": 4 * 10_001 - 2048}


async def test_a_slow_collector_loses_nothing_that_fits():
    """OPS-18"""
    async with collecting(200) as collector, exporting(collector) as exporter:
        collector.gate.clear()
        exporter.put(call(4))
        await collector.until(lambda one: one.posted)
        for _ in range(100):
            exporter.put(call(4))
        collector.gate.set()
        await settled(exporter)
        assert len(collector.spans()) == exporter.stats.exported == 404


async def test_a_stop_sends_what_waits():
    async with collecting(200) as collector, exporting(collector, BSP_SCHEDULE_DELAY="3600000") as exporter:
        exporter.put(call(4))
        await exporter.stop(10)
        assert len(collector.spans()) == 4
        exporter.put(call(2))
    assert (exporter.stats.exported, exporter.stats.dropped) == (4, {"stopped": 2})


@pytest.mark.parametrize("said", ["hang", (503, "retry-after: 3600\r\n"), 429])
async def test_a_stop_is_bounded_and_counts_what_it_gives_up(said):
    """OPS-18"""
    clock = SystemClock()
    async with collecting(said) as collector, exporting(collector, retry=Retry(tries=3)) as exporter:
        exporter.put(call(4))
        await collector.until(lambda one: one.posted)
        exporter.put(call(4))
        begin = clock.monotonic()
        await exporter.stop(0.2)
        assert clock.monotonic() - begin < 5
    assert (exporter.stats.waiting, sum(exporter.stats.dropped.values())) == (0, 8)


async def test_a_stop_needs_no_run():
    settings = settings_of("http://127.0.0.1:9")
    exporter = Exporter(settings, {}, ("gw", "1"), never, never, Log())
    exporter.put(call(4))
    await exporter.stop(0.1)
    assert exporter.stats.dropped == {"stopped": 4}


async def test_a_span_that_cannot_be_written_costs_its_batch_only():
    async with collecting(200) as collector, exporting(collector) as exporter:
        (bad,) = call()
        bad.start_ns = -1
        exporter.put([bad])
        await settled(exporter)
        exporter.put(call())
        await settled(exporter)
        assert len(collector.spans()) == 1
    assert exporter.stats.dropped["invalid"] == 1


async def test_metrics_are_sent_every_interval_and_once_more_at_the_stop():
    values = count(1)

    def collect():
        return [Series("gw.calls", "{call}", "Calls.", "counter", (), [({}, next(values))])]

    def last(collector):
        (resource,) = collector.taken[-1].decoded()["resource_metrics"]
        return resource["scope_metrics"][0]["metrics"][0]["sum"]["points"][0]

    often = {"METRICS_EXPORTER": "otlp", "METRIC_EXPORT_INTERVAL": "100"}
    async with collecting(200) as collector, exporting(collector, collect=collect, **often) as exporter:
        await collector.until(lambda one: len(one.taken) == 2)
        assert collector.taken[-1].path == "/v1/metrics"
        assert last(collector)["int"] == 2
        await exporter.stop(10)
        assert last(collector)["int"] == 3
        assert last(collector)["start"] < last(collector)["time"]


async def test_metrics_go_on_after_a_snapshot_that_failed_and_beside_traces_that_hang():
    answers = iter([ZeroDivisionError, None])

    def collect():
        if failure := next(answers, None):
            raise failure
        return [Series("n", "", "", "gauge", (), [({}, 1)])]

    both = {"METRICS_EXPORTER": "otlp", "METRIC_EXPORT_INTERVAL": "100"}
    async with collecting("hang", 200) as collector, exporting(collector, collect=collect, **both) as exporter:
        exporter.put(call())
        await until(lambda: collector.taken and not exporter.stats.failing)
        assert [posted.path for posted in collector.posted] == ["/v1/traces", "/v1/metrics"]
    assert exporter.log.lines[0] == ("export_failing", {"signal": "metrics", "problem": "ZeroDivisionError"})


def test_pauses_grow_and_a_collectors_own_wish_is_honoured_within_patience():
    retry = Retry(first_s=1.0, longest_s=8.0, patience_s=60.0)
    for tries, most in enumerate([1, 2, 4, 8, 8], 1):
        assert 0.8 * most <= retry.pause_s(tries, 0.0) <= most
    assert retry.pause_s(1, 30.0) == 30.0
    assert retry.pause_s(1, 1e9) == 60.0


async def test_retry_after_is_waited_for():
    clock = SystemClock()
    async with collecting((429, "retry-after: 1\r\n"), 200) as collector, exporting(collector) as exporter:
        begin = clock.monotonic()
        exporter.put(call())
        await settled(exporter)
        assert clock.monotonic() - begin >= 1
    assert exporter.stats.exported == 1


@pytest.mark.parametrize(
    ("text", "seconds"), [(b"120", 120), (b"9" * 400, float("inf")), (b"soon", 0), (b"", 0), (b"-5", 0), (b"Sun, 06 Nov 1994 08:49:37 GMT", 0)]
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(text, seconds):
    assert _retry_after_s([(b"retry-after", text)]) == seconds


def test_a_date_in_the_future_is_a_wait():
    assert _retry_after_s([(b"retry-after", b"Fri, 31 Dec 2999 23:59:59 GMT")]) > 1e9


def talk(characters):
    """A call with so much content."""
    spans = call()
    spans[0].attributes["gen_ai.input.messages"] = "x" * characters
    return spans


async def test_a_batch_has_only_so_much_content(monkeypatch):
    monkeypatch.setattr(otlp_export, "MAX_CONTENT_SENT", 1000)
    async with collecting() as collector, exporting(collector, BSP_SCHEDULE_DELAY="100000") as exporter:
        for _ in range(5):
            exporter.put(talk(400))
        await collector.until(lambda seen: len(seen.spans()) == 5)
        sizes = [len(posted.decoded()["resource_spans"][0]["scope_spans"][0]["spans"]) for posted in collector.taken]
    assert max(sizes) == 2


async def test_what_waits_has_only_so_much_content(monkeypatch):
    monkeypatch.setattr(otlp_export, "MAX_CONTENT_WAITING", 1000)
    async with collecting("hang") as collector, exporting(collector) as exporter:
        for _ in range(5):
            exporter.put(talk(400))
        exporter.put(call())
        assert dict(exporter.stats.dropped) == {"queue_full": 3}
        assert exporter.stats.waiting == 3


async def test_content_that_was_sent_makes_room(monkeypatch):
    monkeypatch.setattr(otlp_export, "MAX_CONTENT_WAITING", 1000)
    async with collecting() as collector, exporting(collector) as exporter:
        for count_ in range(1, 5):
            exporter.put(talk(900))
            await collector.until(lambda seen, wanted=count_: len(seen.spans()) == wanted)
            await asyncio.sleep(0)
            while exporter.stats.waiting:
                await asyncio.sleep(0)
        assert dict(exporter.stats.dropped) == {}
