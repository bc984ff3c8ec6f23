"""The metrics of this process: the gateway's own here, those of the GenAI conventions in `genai_metrics.py`.

Own code because it is on the hot path: calls of one kind wait together and are counted as one, sample by sample only
where there is a histogram. Label sets are closed (they come from the policy and from tables in the code, never from
what a caller sent) and a snapshot is plain data, so that a supervisor can add up its workers. `Metrics` is the one
table of all families: Prometheus' text, OTLP series, the reference page and the dashboards are made or checked from it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from gateway.core.model import Attempt, Record
from gateway.core.money import NANO
from gateway.core.rules import Verdict
from gateway.core.usage import BUCKETS, Usage
from gateway.sinks.families import Counter, Gauge, Histogram, Labels
from gateway.sinks.genai_metrics import GenAiMetrics, Names
from gateway.sinks.otlp_encode import Series

Snapshot = dict[str, dict[Labels, float] | dict[Labels, list[float]]]
_MAX_KINDS = 4096


@dataclass(slots=True)
class _Calls:
    """Of one kind, and not counted yet. Seconds."""

    labels: Labels
    where: Labels
    durations: list[float] = field(default_factory=list)
    overheads: list[float] = field(default_factory=list)
    first_bytes: list[float] = field(default_factory=list)


@dataclass(slots=True)
class _Attempts:
    """Of one kind, and not counted yet. `tokens` are the label sets in the order of `BUCKETS`."""

    labels: Labels
    provider: Labels
    tokens: tuple[Labels, ...]
    usages: list[Usage] = field(default_factory=list)
    cost_nano: int = 0


class Metrics:
    """A Sink for Records, and the counters that have no Record. What was recorded waits for `flush`, or until somebody
    looks."""

    def __init__(self) -> None:
        self._of_calls()
        self._of_guards()
        self._of_accounting()
        self._of_the_process()
        self.gen_ai = GenAiMetrics()
        self._calls_of = lru_cache(_MAX_KINDS)(_calls)  # most calls are like one before
        self._attempts_of = lru_cache(_MAX_KINDS)(_attempts)
        self._calls_waiting: list[_Calls] = []  # those that have any
        self._attempts_waiting: list[_Attempts] = []
        self._phases_waiting: defaultdict[str, list[float]] = defaultdict(list)

    def _of_calls(self) -> None:
        where = ("endpoint", "provider")
        self.calls = Counter("gateway.calls", "Calls settled, by outcome.", (*where, "status", "outcome"))
        self.refusals = Counter("gateway.refusals", "Calls refused, by error code.", ("code",))
        self.duration = Histogram("gateway.call.duration", "From the first byte in to the end.", where)
        self.first_byte = Histogram("gateway.first_byte", "Until the first byte of the answer.", where)
        self.overhead = Histogram("gateway.overhead", "Time not spent waiting for the provider.", where)
        self.phases = Histogram("gateway.phase", "Time by phase.", ("phase",))

    def _of_guards(self) -> None:
        guard = ("guard", "direction")
        self.verdicts = Counter(
            "gateway.guard.verdicts", "Verdicts of guards, once a call and direction.", (*guard, "verdict", "mode")
        )
        self.findings = Counter("gateway.guard.findings", "Findings of guards, by kind.", (*guard, "kind"))
        self.guard_time = Histogram("gateway.guard", "Time of a guard over one direction of a call.", guard)

    def _of_accounting(self) -> None:
        self.tokens = Counter("gateway.tokens", "Tokens by bucket; no token is in two.", ("provider", "bucket"))
        self.cost = Counter("gateway.cost.usd", "Dollars, of attempts whose price is known.", ("provider",))
        self.attempts = Counter("gateway.attempts", "Requests to providers, by end.", ("provider", "state"))
        self.flags = Counter(
            "gateway.usage.flags", "Attempts whose usage or cost is not as it should be.", ("provider", "flag")
        )
        self.warnings = Counter("gateway.limit.warnings", "Calls above a threshold of a limit.", ("limit", "percent"))
        self.ledger_up = Gauge("gateway.ledger.up", "1: the ledger takes rows.", combine=min)
        self.ledger_waiting = Gauge("gateway.ledger.waiting", "Rows that are not durable yet.")
        self.store_up = Gauge("gateway.store.up", "1: the shared counters can be asked.", combine=min)
        self.leases = Gauge("gateway.leases", "Reservations held by attempts that run now.")
        self.settlements_waiting = Gauge("gateway.settlements.waiting", "Reservations not given back yet.")

    def _of_the_process(self) -> None:
        self.open_calls = Gauge("gateway.open_calls", "Calls running now.")
        self.connections = Gauge("gateway.connections", "Caller connections open now.")
        self.reloads = Counter("gateway.policy.reloads", "Attempts to load the policy files.", ("result",))
        self.policy_info = Gauge("gateway.policy.info", "1: the policy in force.", ("version",), combine=max)
        self.loop_delay = Histogram("gateway.loop_delay", "How late the event loop runs.")
        self.export_waiting = Gauge("gateway.export.waiting", "Spans that wait to be exported.")
        self.exported = Counter("gateway.export.spans", "Spans that a collector took.")
        self.export_drops = Counter("gateway.export.dropped_spans", "Spans that were given up.", ("reason",))

    def families(self) -> list[Counter | Histogram]:
        own = [value for value in vars(self).values() if isinstance(value, Counter | Histogram)]
        return [*own, *self.gen_ai.families()]

    def adopt(self, version: str, names: Names) -> None:
        """What a policy set says, once it is in force."""
        self.policy_info.values = {(version,): 1.0}
        self.gen_ai.adopt(names)

    def record(self, record: Record) -> None:
        calls = self._calls_of(record.endpoint, record.provider, record.status, record.outcome)
        if not calls.durations:
            self._calls_waiting.append(calls)
        calls.durations.append(record.duration_s)
        calls.overheads.append(max(0.0, record.duration_s - record.upstream_s))
        if record.first_byte_s is not None:
            calls.first_bytes.append(record.first_byte_s)
        if record.error:
            self.refusals.add((record.error,))
        for phase, seconds in record.phase_s.items():
            self._phases_waiting[phase].append(seconds)
        for verdict in record.verdicts:
            if verdict.is_told:
                self._verdict(verdict)
        for attempt in record.attempts:
            self._attempt(attempt)
            self.gen_ai.record(record, attempt)
        for name, percent in record.warnings:
            self.warnings.add((name, str(percent)))

    def _attempt(self, attempt: Attempt) -> None:
        attempts = self._attempts_of(attempt.provider, attempt.state)
        if not attempts.usages:
            self._attempts_waiting.append(attempts)
        attempts.usages.append(attempt.usage)
        attempts.cost_nano += attempt.cost_nano or 0
        for flag in attempt.flags:
            self.flags.add((attempt.provider, flag))

    def _verdict(self, verdict: Verdict) -> None:
        where = (verdict.guard, verdict.direction)
        self.verdicts.add((*where, verdict.outcome, "enforce" if verdict.enforced else "monitor"))
        self.guard_time.observe(where, verdict.duration_s)
        for kind, count in verdict.kinds.items():
            self.findings.add((*where, kind), count)

    def flush(self) -> None:
        for calls in self._calls_waiting:
            self._count_calls(calls)
        for attempts in self._attempts_waiting:
            self._count_attempts(attempts)
        for phase, seconds in self._phases_waiting.items():
            self.phases.observe_all((phase,), seconds)
        self._calls_waiting.clear()
        self._attempts_waiting.clear()
        self._phases_waiting.clear()
        self.gen_ai.flush()

    def _count_calls(self, calls: _Calls) -> None:
        self.calls.add(calls.labels, len(calls.durations))
        for family, samples in (
            (self.duration, calls.durations),
            (self.overhead, calls.overheads),
            (self.first_byte, calls.first_bytes),
        ):
            if samples:
                family.observe_all(calls.where, samples)
                samples.clear()

    def _count_attempts(self, attempts: _Attempts) -> None:
        self.attempts.add(attempts.labels, len(attempts.usages))
        counts = zip(*(usage.counts() for usage in attempts.usages), strict=True)
        for labels, count in zip(attempts.tokens, map(sum, counts), strict=True):
            if count:
                self.tokens.add(labels, count)
        if attempts.cost_nano:
            self.cost.add(attempts.provider, attempts.cost_nano / NANO)
        attempts.usages.clear()
        attempts.cost_nano = 0

    def snapshot(self) -> Snapshot:
        self.flush()
        return {family.name: dict(family.values) for family in self.families()}  # type: ignore[misc]

    def render(self) -> str:
        """Prometheus' text format."""
        self.flush()
        parts: list[str] = []
        for family in self.families():
            parts += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}", *family.lines()]
        return "\n".join(parts) + "\n"

    def series(self) -> list[Series]:
        """For OTLP: the families that have samples."""
        self.flush()
        return [family.series() for family in self.families() if family.values]


def _calls(endpoint: str, provider: str, status: int, outcome: str) -> _Calls:
    where = (endpoint or "none", provider or "none")
    return _Calls((*where, str(status), outcome), where)


def _attempts(provider: str, state: str) -> _Attempts:
    return _Attempts((provider, state), (provider,), tuple((provider, bucket) for bucket in BUCKETS))


def merged(snapshots: Iterable[Snapshot]) -> Metrics:
    """The sum over processes."""
    total = Metrics()
    families = {family.name: family for family in total.families()}
    for snapshot in snapshots:
        for name, values in snapshot.items():
            families[name].merge(values)  # type: ignore[arg-type]  # a snapshot keeps each family's own shape
    return total
