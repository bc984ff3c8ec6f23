"""Counters and histograms of this process, in Prometheus' text format (version 0.0.4).

Own code because it is on the hot path: one dictionary look-up and one bisection a sample. Label sets are closed (they
come from the policy and from tables in the code, never from what a caller sent) and a snapshot is plain data, so that a
supervisor can add up its workers.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gateway.core.model import Attempt, Record
from gateway.core.money import NANO
from gateway.core.rules import Verdict
from gateway.core.usage import BUCKETS

Labels = tuple[str, ...]
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
MAX_SERIES = 5_000


@dataclass(slots=True)
class Counter:
    """A sum per label set; a gauge when `kind` says so. `values` is the snapshot."""

    name: str
    help: str
    labels: Labels
    kind: str = "counter"
    values: dict[Labels, float] = field(default_factory=dict)

    def add(self, labels: Labels, amount: float = 1.0) -> None:
        values = self.values
        if labels in values:
            values[labels] += amount
        elif len(values) < MAX_SERIES:
            values[labels] = amount

    def set(self, labels: Labels, value: float) -> None:
        self.values[labels] = value

    def lines(self) -> Iterable[str]:
        for labels, value in sorted(self.values.items()):
            yield f"{self.name}{_label_text(self.labels, labels)} {_number(value)}"

    def merge(self, values: Mapping[Labels, float]) -> None:
        for labels, value in values.items():
            self.values[labels] = self.values.get(labels, 0.0) + value


@dataclass(slots=True)
class Histogram:
    """Seconds per label set: one count a bucket, then the overflow, the sum at the end."""

    name: str
    help: str
    labels: Labels
    kind: str = "histogram"
    values: dict[Labels, list[float]] = field(default_factory=dict)

    def observe(self, labels: Labels, value: float) -> None:
        row = self.values.get(labels)
        if row is None:
            if len(self.values) >= MAX_SERIES:
                return
            row = self.values[labels] = [0.0] * (len(SECONDS) + 2)
        row[bisect_left(SECONDS, value)] += 1
        row[-1] += value

    def lines(self) -> Iterable[str]:
        for labels, row in sorted(self.values.items()):
            total = 0.0
            for bound, count in zip((*SECONDS, float("inf")), row[:-1], strict=True):
                total += count
                bucket = _label_text((*self.labels, "le"), (*labels, _bound(bound)))
                yield f"{self.name}_bucket{bucket} {_number(total)}"
            text = _label_text(self.labels, labels)
            yield f"{self.name}_sum{text} {_number(row[-1])}"
            yield f"{self.name}_count{text} {_number(total)}"

    def merge(self, values: Mapping[Labels, list[float]]) -> None:
        for labels, row in values.items():
            mine = self.values.setdefault(labels, [0.0] * len(row))
            self.values[labels] = [a + b for a, b in zip(mine, row, strict=True)]


Snapshot = dict[str, dict[Labels, float] | dict[Labels, list[float]]]


class Metrics:
    """The gateway's own metrics; a Sink for Records, and the counters that have no Record."""

    def __init__(self) -> None:
        call = ("endpoint", "provider", "status")
        self.calls = Counter("gateway_calls_total", "Calls settled, by outcome.", (*call, "outcome"))
        self.refusals = Counter("gateway_refusals_total", "Calls refused, by error code.", ("code",))
        self.duration = Histogram("gateway_call_duration_seconds", "From the first byte in to the end.", call[:2])
        self.first_byte = Histogram("gateway_first_byte_seconds", "Until the first byte of the answer.", call[:2])
        self.overhead = Histogram("gateway_overhead_seconds", "Time not spent waiting for the provider.", call[:2])
        self.phases = Histogram("gateway_phase_seconds", "Time by phase.", ("phase",))
        guard = ("guard", "direction")
        self.verdicts = Counter(
            "gateway_guard_verdicts_total",
            "Verdicts of guards, once a call and direction.",
            (*guard, "verdict", "mode"),
        )
        self.findings = Counter("gateway_guard_findings_total", "Findings of guards, by kind.", (*guard, "kind"))
        self.guard_time = Histogram("gateway_guard_seconds", "Time of a guard over one direction of a call.", guard)
        self.tokens = Counter("gateway_tokens_total", "Tokens by bucket; no token is in two.", ("provider", "bucket"))
        self.cost = Counter("gateway_cost_usd_total", "Dollars, of attempts whose price is known.", ("provider",))
        self.attempts = Counter("gateway_attempts_total", "Requests to providers, by end.", ("provider", "state"))
        self.flags = Counter(
            "gateway_usage_flags_total", "Attempts whose usage or cost is not as it should be.", ("provider", "flag")
        )
        self.warnings = Counter(
            "gateway_limit_warnings_total", "Calls above a threshold of a limit.", ("limit", "percent")
        )
        self.open_calls = Counter("gateway_open_calls", "Calls running now.", (), kind="gauge")
        self.connections = Counter("gateway_connections", "Caller connections open now.", (), kind="gauge")
        self.reloads = Counter("gateway_policy_reloads_total", "Attempts to load the policy files.", ("result",))
        self.loop_delay = Histogram("gateway_loop_delay_seconds", "How late the event loop runs.", ())

    def families(self) -> list[Counter | Histogram]:
        return [value for value in vars(self).values() if isinstance(value, Counter | Histogram)]

    def record(self, record: Record) -> None:
        where = (record.endpoint or "none", record.provider or "none")
        self.calls.add((*where, str(record.status), record.outcome))
        if record.error:
            self.refusals.add((record.error,))
        self.duration.observe(where, record.duration_s)
        self.overhead.observe(where, max(0.0, record.duration_s - record.upstream_s))
        if record.first_byte_s is not None:
            self.first_byte.observe(where, record.first_byte_s)
        for phase, seconds in record.phase_s.items():
            self.phases.observe((phase,), seconds)
        for verdict in record.verdicts:
            if verdict.is_told:
                self._verdict(verdict)
        for attempt in record.attempts:
            self._attempt(attempt)
        for name, percent in record.warnings:
            self.warnings.add((name, str(percent)))

    def _attempt(self, attempt: Attempt) -> None:
        self.attempts.add((attempt.provider, attempt.state))
        for bucket, count in zip(BUCKETS, attempt.usage.counts(), strict=True):
            if count:
                self.tokens.add((attempt.provider, bucket), count)
        if attempt.cost_nano:
            self.cost.add((attempt.provider,), attempt.cost_nano / NANO)
        for flag in attempt.flags:
            self.flags.add((attempt.provider, flag))

    def _verdict(self, verdict: Verdict) -> None:
        where = (verdict.guard, verdict.direction)
        self.verdicts.add((*where, verdict.outcome, "enforce" if verdict.enforced else "monitor"))
        self.guard_time.observe(where, verdict.duration_s)
        for kind, count in verdict.kinds.items():
            self.findings.add((*where, kind), count)

    def snapshot(self) -> Snapshot:
        return {family.name: dict(family.values) for family in self.families()}  # type: ignore[misc]

    def render(self) -> str:
        parts: list[str] = []
        for family in self.families():
            parts += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}", *family.lines()]
        return "\n".join(parts) + "\n"


def merged(snapshots: Iterable[Snapshot]) -> Metrics:
    """The sum over processes."""
    total = Metrics()
    families = {family.name: family for family in total.families()}
    for snapshot in snapshots:
        for name, values in snapshot.items():
            families[name].merge(values)  # type: ignore[arg-type]  # a snapshot keeps each family's own shape
    return total


def _label_text(names: Labels, values: Labels) -> str:
    if not names:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _bound(value: float) -> str:
    return "+Inf" if value == float("inf") else _number(value)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
