"""`make bench`: what the gateway costs with everything on, beside plain proxies that do nothing, in one run.

Under load the subjects take turns of a second, so that what else runs on the machine meets all of them alike. CPU is
the least of all turns, its ratio to Envoy's the median over the turns; the rest are medians. Absolute figures are this
machine's at this hour; compare the ratios. Exit status 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench import accounts, guards, procfs, subjects, traces
from bench.load import Load, Wrk
from bench.phases import Phase, Profile
from bench.streams import FirstFrame, SlowStreams, first_frames, slow_streams
from bench.subjects import NotInstalled, StartFailed, Subject

CONNECTIONS = 32
STREAMS = 2000
INTERVAL_MS = 1000
MAX_CPU_RATIO = 5.0
MAX_ACCOUNTS_US = 60.0
MAX_ACCOUNTS_MS = 1.5
MAX_TRACE_US = 90.0
MAX_SKIPPED_TRACE_US = 6.0
MAX_SDK_RATIO = 0.43  # 90 us where the SDK takes 211
MAX_FIRST_FRAME_MS = 2.0  # 1.0 for the way, and a row on disk before the provider is asked
MAX_FRAME_DELAY_MS = 20.0
MAX_KB_PER_STREAM = 40.0


@dataclass
class Findings:
    """All that was measured of one subject, over all rounds."""

    loads: list[Load] = field(default_factory=list)
    firsts: list[FirstFrame] = field(default_factory=list)
    slow: SlowStreams | None = None

    def median(self, of: Callable[[Load], float]) -> float:
        return statistics.median(map(of, self.loads))

    def cpu_ratio(self, other: Findings | None) -> float | None:
        """To the other's CPU a call, of the same turns."""
        if other is None:
            return None
        pairs = zip(self.loads, other.loads, strict=True)
        return statistics.median([one.cpu_us / another.cpu_us for one, another in pairs])

    def first_ms(self, of: Callable[[FirstFrame], float]) -> float:
        return statistics.median(map(of, self.firsts))


class Bench:
    def __init__(self, seconds: int, rounds: int, folder: Path) -> None:
        self._seconds = seconds
        self._rounds = rounds
        self._folder = folder
        self._wrk = Wrk(folder)
        self._absent: set[str] = set()
        self.found: dict[str, Findings] = {}
        self.phases: list[Phase] = []

    def run(self, upstream: Subject) -> None:
        for turn in range(self._rounds):
            self._first(upstream)
            with ExitStack() as alive:
                started = [self._started(alive, name, upstream, f"load{turn}") for name in subjects.PROXIES]
                self._by_turns([subject for subject in started if subject is not None])
        self._slow(upstream)
        for name in subjects.PROXIES:
            self._with(name, upstream, "slow", self._slow)
        self._with("gateway", upstream, "phases", self._profile)

    def _with(self, name: str, upstream: Subject, run: str, measure: Callable[[Subject], None]) -> None:
        with ExitStack() as alive:
            subject = self._started(alive, name, upstream, run)
            if subject is not None:
                measure(subject)

    def _started(self, alive: ExitStack, name: str, upstream: Subject, run: str) -> Subject | None:
        """Each measurement has a fresh process, so that no subject profits from what it kept."""
        if name in self._absent:
            return None
        try:
            return alive.enter_context(subjects.proxy(name, upstream.port, self._folder / f"{name}-{run}"))
        except NotInstalled as how:
            self._absent.add(name)
            say(f"{name}: not installed, so not measured ({how})")
            return None

    def _of(self, subject: Subject) -> Findings:
        return self.found.setdefault(subject.name, Findings())

    def _by_turns(self, started: Sequence[Subject]) -> None:
        for subject in started:
            self._wrk.run(subject, CONNECTIONS, 1)  # warm-up
        for _ in range(self._seconds):
            for subject in started:
                load = self._wrk.run(subject, CONNECTIONS, 1)
                if load.failed:
                    raise StartFailed(f"{subject.name} failed {load.failed} requests; see {subject.said}")
                self._of(subject).loads.append(load)
        for subject in started:
            self._first(subject)

    def _first(self, subject: Subject) -> None:
        first_frames(subject, 50)
        self._of(subject).firsts.append(first_frames(subject, 100 * self._seconds))

    def _slow(self, subject: Subject) -> None:
        frames = self._seconds * 1000 // INTERVAL_MS + 4
        self._of(subject).slow = slow_streams(subject, STREAMS, frames, INTERVAL_MS)

    def _profile(self, subject: Subject) -> None:
        self._wrk.run(subject, 1, 1)
        profile = Profile(subject)
        self.phases = profile.phases(self._wrk.run(subject, 1, self._seconds))


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        say("  ".join([row[0].ljust(widths[0]), *cells]).rstrip())


def report(bench: Bench) -> bool:
    """Prints the tables; True when every target that could be measured is met."""
    found = bench.found
    envoy = found.get("envoy")
    measured = {name: one for name, one in found.items() if one.loads}
    say(f"\nChat calls, {CONNECTIONS} connections; gateway with budgets, ledger, log, metrics; guarded: and guards")
    cpu = {name: min(load.cpu_us for load in one.loads) for name, one in measured.items()}
    rows = [
        [name, f"{cpu[name]:.0f}", _shown(one.cpu_ratio(envoy)), f"{one.median(lambda load: load.per_s):.0f}"]
        + [f"{one.median(of):.2f}" for of in (lambda load: load.p50_ms, lambda load: load.p99_ms)]
        for name, one in measured.items()
    ]
    table(["", "CPU us/call", "x Envoy", "calls/s", "p50 ms", "p99 ms"], rows)
    direct = found["direct"]
    base = direct.first_ms(lambda first: first.p50_ms)
    added = {name: one.first_ms(lambda first: first.p50_ms) - base for name, one in measured.items()}
    say("\nFirst frame of a stream, one stream at a time; added = less what the upstream takes by itself")
    rows = [
        [name, f"{one.first_ms(lambda first: first.p50_ms):.3f}", f"{one.first_ms(lambda first: first.p99_ms):.3f}"]
        + ([f"{added[name]:.3f}", _ratio(added[name], added.get("envoy"))] if name in added else ["", ""])
        for name, one in found.items()
    ]
    table(["", "p50 ms", "p99 ms", "added p50 ms", "x Envoy"], rows)
    say(f"\n{STREAMS} open streams, a frame each {INTERVAL_MS} ms on every one; delay of a frame from write to read")
    slow = {name: one.slow for name, one in found.items() if one.slow is not None}
    held = envoy.slow.kb_per_stream if envoy is not None and envoy.slow is not None else None
    rows = [
        [name, f"{one.p50_ms:.2f}", f"{one.p99_ms:.2f}", f"{one.p99_ms - slow['direct'].p99_ms:.2f}"]
        + ([f"{one.kb_per_stream:.1f}", _ratio(one.kb_per_stream, held)] if name != "direct" else ["", ""])
        + [str(one.frames), str(one.broken)]
        for name, one in slow.items()
    ]
    table(["", "p50 ms", "p99 ms", "added p99 ms", "kB/stream", "x Envoy", "frames", "broken"], rows)
    say("\nWhere the gateway's time goes, one call at a time, us/call")
    table(["", "us"], [[phase.name, f"{phase.us:.1f}"] for phase in bench.phases])
    figures = guards.measure()
    say("\nGuards of the starter policy on a stream of words, in one process")
    rows = [
        ["characters held after a word, mean", f"{figures.held_mean:.1f}"],
        ["characters held after a word, p95", str(figures.held_p95)],
        ["CPU of a frame, us", f"{figures.frame_us:.0f}"],
        [f"of {figures.streams} streams with an address in any cut, leaked", str(figures.leaks)],
    ]
    table(["", ""], rows)
    say(f"\nAccounting alone: CPU with {accounts.AT_ONCE} calls at once, and {accounts.PER_S} calls a second")
    added_by = accounts.measure(5.0)
    rows = [
        [one.name, f"{one.cpu_us:.0f}", f"{one.steady_cpu_us:.0f}", f"{one.p50_ms:.2f}", f"{one.p99_ms:.2f}"]
        for one in added_by
    ]
    table(["ledger, store", "CPU us/call", "at 500/s", "p50 ms", "p99 ms"], rows)
    traced = traces.measure()
    say(f"\nTracing alone: a call of {traced.spans} spans, {traced.attributes} attributes, all profiles")
    rows = [
        ["kept", f"{traced.kept_us:.1f}"],
        ["  making the spans", f"{traced.making_us:.1f}"],
        ["  encoding", f"{traced.encoding_us:.1f}"],
        ["  packing, in a thread", f"{traced.packing_us:.1f}"],
        ["not kept", f"{traced.skipped_us:.1f}"],
        ["OpenTelemetry's SDK, kept", f"{traced.sdk_us:.1f}" if traced.sdk_us else "not installed: make backends"],
        ["the loop is held by a batch for at most", f"{traced.held_us:.0f}"],
    ]
    table(["", "CPU us/call"], rows)
    say()
    own = slow["gateway"]
    checks = [
        ("added time to the first frame, p50", added["gateway"], MAX_FIRST_FRAME_MS, "ms"),
        ("added delay of a frame, p99", own.p99_ms - slow["direct"].p99_ms, MAX_FRAME_DELAY_MS, "ms"),
        ("memory of an open stream", own.kb_per_stream, MAX_KB_PER_STREAM, "kB"),
        ("streams broken", float(own.broken), 0.0, ""),
        ("streams that leaked", float(figures.leaks), 0.0, ""),
        ("CPU that accounting adds, embedded", added_by[0].cpu_us, MAX_ACCOUNTS_US, "us"),
        ("time that accounting adds at 500 calls/s, p50, embedded", added_by[0].p50_ms, MAX_ACCOUNTS_MS, "ms"),
        ("CPU of a trace that is exported", traced.kept_us, MAX_TRACE_US, "us"),
        ("CPU of a trace that is not kept", traced.skipped_us, MAX_SKIPPED_TRACE_US, "us"),
    ]
    if traced.sdk_us:
        checks.append(
            ("CPU of a trace that is exported to the SDK's", traced.kept_us / traced.sdk_us, MAX_SDK_RATIO, "x")
        )
    if (ratio := found["gateway"].cpu_ratio(envoy)) is not None:
        checks.insert(0, ("CPU of a call to Envoy's", ratio, MAX_CPU_RATIO, "x"))
    for what, value, limit, unit in checks:
        say(f"{'met   ' if value <= limit else 'MISSED'}  {what}: {value:.2f} {unit} (at most {limit:g})")
    return all(value <= limit for _, value, limit, _ in checks)


def _ratio(value: float, to: float | None) -> str:
    return _shown(value / to if to else None)


def _shown(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    options.add_argument("--seconds", type=int, default=5, help="length of each measurement (default: 5)")
    options.add_argument("--rounds", type=int, default=3, help="turns of all subjects; medians are shown (default: 3)")
    asked = options.parse_args()
    for name, value in procfs.machine().items():
        say(f"{name}: {value}")
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        try:
            bench = Bench(asked.seconds, asked.rounds, Path(folder))
            with subjects.upstream(Path(folder) / "upstream") as upstream:
                bench.run(upstream)
        except (NotInstalled, StartFailed) as problem:
            say(f"bench: {problem}")
            return 2
    return 0 if report(bench) else 1


if __name__ == "__main__":
    sys.exit(main())
