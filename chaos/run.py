"""One run: swarm and nemesis side by side, then quiet, then the check; and its figures for people."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError

from chaos import checker
from chaos.checker import Difference
from chaos.history import History
from chaos.nemesis import Nemesis, NotServedAgain
from chaos.oracle import read_log
from chaos.rig import CALLERS, Mode, Rig, running
from chaos.servers import NotReady
from chaos.swarm import Swarm

_QUIET_S = 90.0
_ASK_S = 0.25


@dataclass(frozen=True, slots=True)
class Plan:
    """`kills`: the run goes on until so many are done, instead of for `seconds`. `workers`: processes that serve.
    `clients`: calls at a time."""

    mode: Mode
    seconds: float
    seed: int
    workers: int
    kills: int | None = None
    disconnect: str = "close"
    clients: int = 32


@dataclass
class Result:
    plan: Plan
    history: History = History()
    differences: list[Difference] = field(default_factory=list)
    restart_s: list[float] = field(default_factory=list)
    checks: int = 0
    quiet_s: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)

    def lines(self) -> Iterator[str]:
        history = self.history
        states = Counter(row.state or "open" for row in history.rows)
        faults = Counter(fault.kind for fault in history.faults)
        yield f"mode {self.plan.mode}, seed {self.plan.seed}, {self.plan.workers} worker(s), {self.checks} checks"
        yield f"faults: {_counted(faults)}"
        yield f"answers: {_counted(self.statuses)}; left: {sum(seen.left for seen in history.seen)}"
        yield f"provider calls: {len(history.served)}; rows: {_counted(states)}"
        yield f"unknown share: {checker.unknown_share(history):.2%}; overshoot: {checker.overshoot_nano(history)} nano"
        if self.restart_s:
            p50, p99 = statistics.median(self.restart_s), max(self.restart_s)
            if len(self.restart_s) > 1:
                p99 = statistics.quantiles(self.restart_s, n=100, method="inclusive")[98]
            yield f"restart to ready: p50 {p50:.2f} s, p99 {p99:.2f} s"
        yield f"quiet after {self.quiet_s:.1f} s; differences: {len(self.differences)}"
        yield from map(str, self.differences)


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"


async def run(plan: Plan, folder: Path) -> Result:
    result = Result(plan)
    try:
        async with running(plan.mode, folder, plan.seconds, plan.workers, plan.disconnect) as rig:
            await _Run(plan, rig, result).go()
    except (NotReady, NotServedAgain, HTTPError) as stuck:
        result.differences.append(Difference("stuck", type(stuck).__name__, str(stuck)))
    return result


class _Run:
    def __init__(self, plan: Plan, rig: Rig, result: Result) -> None:
        self._plan = plan
        self._rig = rig
        self._result = result
        self._swarm = Swarm(rig.gateway.url, CALLERS, plan.seed)
        self._nemesis = Nemesis(rig, self._swarm, plan.seed, self._checkpoint)

    async def go(self) -> None:
        swarm = asyncio.create_task(self._swarm.run(self._plan.clients))
        try:
            await self._nemesis.run(time.monotonic() + self._plan.seconds, self._plan.kills)
        finally:
            self._swarm.stop()
            await swarm
            self._result.restart_s = self._nemesis.restart_s
            self._result.history = await self._history(float("inf"))
            self._result.statuses = self._swarm.statuses()
        self._rig.clock.step(0.0)
        await self._swarm.touch()
        await self._quiet()
        self._result.history = await self._history(float("inf"), counted=True)
        self._result.statuses = self._swarm.statuses()
        self._found(checker.check(self._result.history))

    async def _checkpoint(self, closed_before: float) -> None:
        """Counters move while calls run, so only the rest is checked here."""
        history = await self._history(closed_before)
        self._found([one for one in checker.check(history) if one.rule != "counter"])

    def _found(self, differences: list[Difference]) -> None:
        self._result.checks += 1
        self._result.differences += [one for one in differences if one not in self._result.differences]

    async def _quiet(self) -> None:
        """Until no attempt is open and nothing is reserved: leases of the dead have to expire first."""
        began = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_QUIET_S):
                while not await self._is_quiet():  # noqa: ASYNC110  # another process does it
                    await asyncio.sleep(_ASK_S)
        self._result.quiet_s = time.monotonic() - began

    async def _is_quiet(self) -> bool:
        counters = await self._rig.counters()
        return not any(counter.reserved_nano for counter in counters.values()) and all(
            row.state for row in await self._rig.rows()
        )

    async def _history(self, closed_before: float, *, counted: bool = False) -> History:
        """The callers' answers first, for their rows are written by then but for their ends; the provider's log last,
        for what the ledger knows as answered is in it. Calls that began after the ledger was read are left out."""
        seen, at = list(self._swarm.seen), time.time()
        rows = await self._rig.rows()
        known = {row.attempt for row in rows}
        log = read_log(self._rig.oracle.log)
        return History(
            served=[served for served in log if served.at < at or served.attempt in known],
            rows=rows,
            seen=seen,
            faults=list(self._nemesis.faults),
            budgets=self._rig.budgets,
            counters=await self._rig.counters() if counted else {},
            closed_before=closed_before,
        )
