"""Where spans and metrics are exported to, read from OpenTelemetry's own environment variables.

Names, defaults and units are those of the specification (OTLP exporter, SDK environment variables): times are in
milliseconds. An empty variable counts as unset. Nothing is exported unless an endpoint is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from gateway.core.model import Tls
from gateway.core.secret import Secret

_TRACES, _METRICS = "TRACES", "METRICS"
_SERVICE = "llm-gateway"
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
_OURS = frozenset({"connection", "content-encoding", "content-length", "content-type", "host", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Of one signal. `timeout_s` is how long one request may take. Header names are in lower case."""

    url: str
    headers: tuple[tuple[str, Secret], ...]
    timeout_s: float
    gzip: bool
    tls: Tls


@dataclass(frozen=True, slots=True)
class OtlpSettings:
    """None: that signal is not exported. `queue_size` and `batch_size` count spans."""

    resource: Mapping[str, str]
    traces: Endpoint | None
    metrics: Endpoint | None
    delay_s: float
    queue_size: int
    batch_size: int
    metric_interval_s: float


def read_otlp(environ: Mapping[str, str]) -> OtlpSettings | None:
    """None: nothing is exported. ValueError names the variable and the fix, and quotes no value."""
    variables = _Variables(environ)
    if variables.flag("OTEL_SDK_DISABLED"):
        return None
    traces = _endpoint(variables, _TRACES, frozenset())
    # Prometheus' text is served in any case, so asking for it asks for nothing more.
    metrics = _endpoint(variables, _METRICS, frozenset({"prometheus"}))
    if traces is None and metrics is None:
        return None
    queue_size = variables.integer("OTEL_BSP_MAX_QUEUE_SIZE", 2048, 1, 1_000_000)
    batch_size = variables.integer("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512, 1, 100_000)
    return OtlpSettings(
        resource=_resource(variables),
        traces=traces,
        metrics=metrics,
        delay_s=variables.integer("OTEL_BSP_SCHEDULE_DELAY", 5_000, 10, 3_600_000) / 1000,
        queue_size=queue_size,
        batch_size=min(batch_size, queue_size),
        metric_interval_s=variables.integer("OTEL_METRIC_EXPORT_INTERVAL", 60_000, 100, 86_400_000) / 1000,
    )


class _Variables:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def get(self, name: str) -> str:
        return self._environ.get(name, "").strip()

    def of(self, signal: str, name: str) -> tuple[str, str]:
        """The variable that counts, a signal's own before the general one, and its value."""
        own, general = f"OTEL_EXPORTER_OTLP_{signal}_{name}", f"OTEL_EXPORTER_OTLP_{name}"
        return (own, self.get(own)) if self.get(own) else (general, self.get(general))

    def flag(self, name: str) -> bool:
        value = self.get(name).lower()
        if value not in {"", "true", "false"}:
            raise ValueError(f"{name}: expected true or false")
        return value == "true"

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        return _integer(name, self.get(name), default, low, high)


def _integer(name: str, text: str, default: int, low: int, high: int) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and low <= int(text[:19]) <= high):
        raise ValueError(f"{name}: expected a whole number from {low} to {high}{_unit(name)}")
    return int(text)


def _unit(name: str) -> str:
    return "" if name.endswith("_SIZE") else " (milliseconds)"


def _endpoint(variables: _Variables, signal: str, served: frozenset[str]) -> Endpoint | None:
    exporter = f"OTEL_{signal}_EXPORTER"
    chosen = {part.strip() for part in (variables.get(exporter) or "otlp").split(",")}
    if not chosen <= {"otlp", "none", *served}:
        raise ValueError(f"{exporter}: expected otlp or none; no other exporter is built in")
    name, value = variables.of(signal, "ENDPOINT")
    if "otlp" not in chosen or not value:
        return None
    url = _url(name, value)
    if signal not in name:
        url = f"{url.rstrip('/')}/v1/{signal.lower()}"
    _choice(variables.of(signal, "PROTOCOL"), ("http/protobuf",), "; name the collector's HTTP port, usually 4318")
    timeout_ms = _integer(*variables.of(signal, "TIMEOUT"), 10_000, 100, 600_000)
    return Endpoint(
        url=url,
        headers=tuple(_headers(*variables.of(signal, "HEADERS"))),
        timeout_s=timeout_ms / 1000,
        gzip=_choice(variables.of(signal, "COMPRESSION"), ("none", "gzip")) == "gzip",
        tls=Tls(
            ca_file=variables.of(signal, "CERTIFICATE")[1] or None,
            client_cert_file=variables.of(signal, "CLIENT_CERTIFICATE")[1] or None,
            client_key_file=variables.of(signal, "CLIENT_KEY")[1] or None,
        ),
    )


def _choice(variable: tuple[str, str], choices: tuple[str, ...], fix: str = "") -> str:
    name, value = variable
    if value and value not in choices:
        raise ValueError(f"{name}: expected {' or '.join(choices)}{fix}")
    return value or choices[0]


def _url(name: str, text: str) -> str:
    try:
        parts = urlsplit(text)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        sound = False
    if not sound or not text.isascii() or any(character <= " " for character in text):
        raise ValueError(f"{name}: expected http://HOST:PORT or https://HOST")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        headers = name.replace("ENDPOINT", "HEADERS")
        raise ValueError(f"{name}: remove the user, the query or the fragment; credentials go into {headers}")
    return text if parts.path else f"{text}/"


def _pairs(name: str, text: str) -> list[tuple[str, str]]:
    """`key=value,key=value`, percent-encoded as in W3C Baggage."""
    pairs = []
    for item in filter(str.strip, text.split(",")):
        key, found, value = item.partition("=")
        if not found or not key.strip():
            raise ValueError(f"{name}: expected key=value pairs with commas between; encode a comma in a value as %2C")
        pairs.append((unquote(key.strip()), unquote(value.strip())))
    return pairs


def _headers(name: str, text: str) -> list[tuple[str, Secret]]:
    headers = []
    for number, (key, value) in enumerate(_pairs(name, text), 1):
        lower = key.lower()
        if not _TOKEN.issuperset(lower) or lower in _OURS:
            raise ValueError(f"{name}: the name of header {number} is not one that may be set: remove it")
        if not value or not all(" " <= character <= "~" for character in value):
            raise ValueError(f"{name}: the value of header {number} is empty or not printable ASCII: correct it")
        headers.append((lower, Secret(value)))
    return headers


def _resource(variables: _Variables) -> Mapping[str, str]:
    stated = dict(_pairs("OTEL_RESOURCE_ATTRIBUTES", variables.get("OTEL_RESOURCE_ATTRIBUTES")))
    service = variables.get("OTEL_SERVICE_NAME") or stated.get("service.name") or _SERVICE
    return {**stated, "service.name": service}
