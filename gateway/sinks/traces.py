"""The sink that makes spans: of calls that are kept, for the exporter; of the last ones, when somebody looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.model import Record
from gateway.core.trace import TraceSpan
from gateway.sinks.otlp_export import Exporter
from gateway.sinks.provider_facts import ProviderFacts
from gateway.sinks.ring import Ring
from gateway.sinks.sampling import Keep, Sampler
from gateway.sinks.spans import spans_of


@dataclass(frozen=True, slots=True)
class Look:
    """What a policy set says about spans. `providers`: by the name of their row."""

    sampler: Sampler = field(default_factory=lambda: Sampler(1.0, Keep()))
    profiles: frozenset[str] = frozenset()
    thin: bool = False
    providers: Mapping[str, ProviderFacts] = field(default_factory=dict)


class Traces:
    """Implements Sink. Records are kept and not their spans: most are never looked at."""

    def __init__(self, exporter: Exporter | None) -> None:
        self._exporter = exporter
        self._ring = Ring()
        self._look = Look()

    def adopt(self, look: Look) -> None:
        self._look = look

    def record(self, record: Record) -> None:
        self._ring.put(record)
        if self._exporter is not None and self._look.sampler.decide(record):
            self._exporter.put(self._spans(record))

    def flush(self) -> None:
        """Nothing waits here."""

    def last(self, count: int) -> list[list[TraceSpan]]:
        return [self._spans(record) for record in self._ring.last(count)]

    def find(self, name: str) -> list[TraceSpan] | None:
        """By the id of a call, or of a trace in hexadecimal: then of all its calls, the oldest first."""
        return [span for record in self._ring.find(name) for span in self._spans(record)] or None

    def _spans(self, record: Record) -> list[TraceSpan]:
        look = self._look
        return spans_of(record, profiles=look.profiles, thin=look.thin, providers=look.providers)
