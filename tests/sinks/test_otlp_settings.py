"""The variables that every OpenTelemetry user knows."""

import pytest

from gateway.sinks.otlp_settings import read_otlp

HERE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


def read(**variables):
    return read_otlp(HERE | {f"OTEL_{name}": value for name, value in variables.items()})


def test_nothing_is_exported_unless_an_endpoint_is_named():
    assert read_otlp({}) is None
    assert read_otlp({"OTEL_SERVICE_NAME": "s", "OTEL_EXPORTER_OTLP_ENDPOINT": " "}) is None


def test_one_endpoint_serves_both_signals():
    settings = read()
    assert settings.traces.url == "http://collector:4318/v1/traces"
    assert settings.metrics.url == "http://collector:4318/v1/metrics"


def test_a_base_path_is_kept():
    assert read(EXPORTER_OTLP_ENDPOINT="https://host/api/otel/").traces.url == "https://host/api/otel/v1/traces"


@pytest.mark.parametrize(
    ("stated", "used"), [("http://t:1/own/path", "http://t:1/own/path"), ("http://t:1", "http://t:1/")]
)
def test_the_endpoint_of_a_signal_is_used_as_it_stands(stated, used):
    settings = read_otlp({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": stated})
    assert (settings.traces.url, settings.metrics) == (used, None)


def test_the_defaults_are_those_of_the_specification():
    settings = read()
    assert (settings.delay_s, settings.queue_size, settings.batch_size, settings.metric_interval_s) == (
        5.0,
        2048,
        512,
        60.0,
    )
    assert (settings.traces.timeout_s, settings.traces.gzip, settings.traces.headers) == (10.0, False, ())


def test_times_are_milliseconds():
    settings = read(EXPORTER_OTLP_TIMEOUT="2500", EXPORTER_OTLP_METRICS_TIMEOUT="500", BSP_SCHEDULE_DELAY="200")
    assert (settings.traces.timeout_s, settings.metrics.timeout_s, settings.delay_s) == (2.5, 0.5, 0.2)


def test_headers_are_decoded_and_kept_secret():
    settings = read(EXPORTER_OTLP_HEADERS="Authorization=Basic%20canary==, x-team = a%2Cb")
    assert [(name, value.reveal()) for name, value in settings.traces.headers] == [
        ("authorization", "Basic canary=="),
        ("x-team", "a,b"),
    ]
    assert "canary" not in repr(settings)


def test_a_signals_own_headers_replace_the_general_ones():
    settings = read(EXPORTER_OTLP_HEADERS="a=1", EXPORTER_OTLP_TRACES_HEADERS="b=2")
    assert [name for name, _ in settings.traces.headers] == ["b"]
    assert [name for name, _ in settings.metrics.headers] == ["a"]


def test_the_resource_is_named_and_described():
    assert read().resource == {"service.name": "llm-gateway"}
    described = read(RESOURCE_ATTRIBUTES="service.name=a,deployment.environment.name=prod%20eu", SERVICE_NAME="b")
    assert described.resource == {"service.name": "b", "deployment.environment.name": "prod eu"}
    assert read(RESOURCE_ATTRIBUTES="service.name=a").resource == {"service.name": "a"}


def test_trust_is_read_with_the_same_precedence():
    settings = read(
        EXPORTER_OTLP_CERTIFICATE="/ca", EXPORTER_OTLP_TRACES_CERTIFICATE="/own", EXPORTER_OTLP_CLIENT_KEY="/key"
    )
    assert (settings.traces.tls.ca_file, settings.metrics.tls.ca_file, settings.traces.tls.client_key_file) == (
        "/own",
        "/ca",
        "/key",
    )


@pytest.mark.parametrize("off", ["true", "TRUE"])
def test_everything_can_be_switched_off(off):
    assert read(SDK_DISABLED=off) is None
    assert read(TRACES_EXPORTER="none", METRICS_EXPORTER="none") is None


@pytest.mark.parametrize("others", ["none", "prometheus"])
def test_a_signal_can_be_switched_off(others):
    settings = read(METRICS_EXPORTER=others)
    assert (settings.traces is not None, settings.metrics) == (True, None)
    assert read(METRICS_EXPORTER="otlp,prometheus").metrics is not None


def test_a_batch_is_no_larger_than_the_queue():
    assert read(BSP_MAX_QUEUE_SIZE="100").batch_size == 100


def test_compression_is_gzip_or_none():
    settings = read(EXPORTER_OTLP_COMPRESSION="gzip", EXPORTER_OTLP_METRICS_COMPRESSION="none")
    assert (settings.traces.gzip, settings.metrics.gzip) == (True, False)


WRONG = [
    ("EXPORTER_OTLP_ENDPOINT", "canary:4317", "http://HOST:PORT"),
    ("EXPORTER_OTLP_ENDPOINT", "http://[canary", "http://HOST:PORT"),
    ("EXPORTER_OTLP_ENDPOINT", "http://host:canary", "http://HOST:PORT"),
    ("EXPORTER_OTLP_ENDPOINT", "http://ho st/canary", "http://HOST:PORT"),
    ("EXPORTER_OTLP_ENDPOINT", "http://user:" + "canary@host", "OTEL_EXPORTER_OTLP_HEADERS"),
    ("EXPORTER_OTLP_TRACES_ENDPOINT", "http://host/?key=canary", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"),
    ("EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf; name the collector's HTTP port"),
    ("EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "http/protobuf"),
    ("EXPORTER_OTLP_COMPRESSION", "zstd", "none or gzip"),
    ("EXPORTER_OTLP_TIMEOUT", "10", "milliseconds"),
    ("EXPORTER_OTLP_HEADERS", "canary", "key=value"),
    ("EXPORTER_OTLP_HEADERS", "a=1,x y=canary", "header 2"),
    ("EXPORTER_OTLP_HEADERS", "a=canary%0d%0ab:c", "header 1"),
    ("EXPORTER_OTLP_HEADERS", "a=", "header 1"),
    ("EXPORTER_OTLP_HEADERS", "Content-Length=5", "header 1"),
    ("RESOURCE_ATTRIBUTES", "canary", "key=value"),
    ("TRACES_EXPORTER", "console", "otlp or none"),
    ("TRACES_EXPORTER", "prometheus", "otlp or none"),
    ("SDK_DISABLED", "yes", "true or false"),
    ("BSP_MAX_QUEUE_SIZE", "0", "from 1 to"),
    ("BSP_SCHEDULE_DELAY", "5s", "milliseconds"),
    ("METRIC_EXPORT_INTERVAL", "1_000", "milliseconds"),
]


@pytest.mark.parametrize(("name", "value", "fix"), WRONG)
def test_a_wrong_value_names_the_variable_and_the_fix_and_is_not_quoted(name, value, fix):
    with pytest.raises(ValueError, match=f"^OTEL_{name}: ") as caught:
        read(**{name: value})
    assert fix in str(caught.value)
    assert "canary" not in str(caught.value)
