"""Breaks things one after the other, at random moments, and waits after each until calls are served again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable

from chaos.clock import offsets
from chaos.history import Fault
from chaos.rig import Rig
from chaos.swarm import Swarm

_SERVED_AGAIN_S = 30.0
_PAUSE_S = 0.01
_CALM_S = 1.2
"""After a fault that was no kill: what was held up is over when the next one comes (`checker.SLACK_S`)."""

Verb = Callable[[], Awaitable[None]]
Checkpoint = Callable[[float], Awaitable[None]]


class NotServedAgain(Exception):
    """After a fault no call had a whole answer any more."""


class Nemesis:
    """`faults` is the history. `checkpoint` is asked after each restart of the whole gateway, with the time before
    which every attempt must have ended."""

    def __init__(self, rig: Rig, swarm: Swarm, seed: int, checkpoint: Checkpoint) -> None:
        self._rig = rig
        self._swarm = swarm
        self._random = random.Random(seed)
        self._checkpoint = checkpoint
        self.faults: list[Fault] = []
        self.restart_s: list[float] = []

    @property
    def kills(self) -> int:
        return sum(fault.kills for fault in self.faults)

    async def run(self, end: float, kills: int | None) -> None:
        """Until the monotonic time `end`, or until so many kills are done. Each kind comes once before any comes again,
        but kills, which are most."""
        while True:
            for verb in self._round():
                if time.monotonic() >= end if kills is None else self.kills >= kills:
                    return
                await asyncio.sleep(self._random.uniform(0.05, 1.5))
                await self._do(verb)

    def _round(self) -> list[Verb]:
        kinds: list[Verb] = [self.kill, self.kill, self.kill, self.stall, self.step_clock, self.step_clock]
        if self._rig.postgres is None:
            kinds.append(self.fill_disk)
        else:
            kinds += [self.restart_ledger, self.kill_ledger, self.freeze_ledger]
        if self._rig.valkey is not None:
            kinds += [self.lose_counters, self.restart_store, self.freeze_store]
        if self._rig.gateway.workers():
            kinds.append(self.kill_worker)
        self._random.shuffle(kinds)
        return kinds

    async def _do(self, verb: Verb) -> None:
        at = time.time()
        await verb()
        await self._served_again(verb.__name__)
        kills = verb in {self.kill, self.kill_worker}
        self.faults.append(Fault(verb.__name__, at, time.time(), kills))
        if verb == self.kill and self._rig.postgres is None:
            await self._checkpoint(at)
        if not kills:
            await asyncio.sleep(_CALM_S)

    async def _served_again(self, kind: str) -> None:
        before, end = self._swarm.whole, time.monotonic() + _SERVED_AGAIN_S
        while self._swarm.whole == before:
            if time.monotonic() > end:
                raise NotServedAgain(kind)
            await asyncio.sleep(_PAUSE_S)

    # -- the verbs; their names are the kinds of the faults

    async def kill(self) -> None:
        """SIGKILL for all processes of the gateway, and a new start."""
        await self._rig.gateway.kill()
        began = time.monotonic()
        await self._rig.gateway.start()
        self.restart_s.append(time.monotonic() - began)

    async def kill_worker(self) -> None:
        workers = self._rig.gateway.workers()
        if workers:
            os.kill(self._random.choice(workers), signal.SIGKILL)

    async def stall(self) -> None:
        self._rig.gateway.signal(signal.SIGSTOP)
        await asyncio.sleep(self._random.uniform(1.0, 3.0))
        self._rig.gateway.signal(signal.SIGCONT)

    async def step_clock(self) -> None:
        self._rig.clock.step(self._random.choice(offsets(time.time())))

    async def fill_disk(self) -> None:
        self._rig.gateway.fill_disk(True)
        await asyncio.sleep(self._random.uniform(0.3, 1.0))
        self._rig.gateway.fill_disk(False)

    async def lose_counters(self) -> None:
        assert self._rig.valkey is not None
        await self._rig.valkey.command(b"FLUSHALL")

    async def restart_store(self) -> None:
        assert self._rig.valkey is not None
        await self._rig.valkey.kill()
        await asyncio.sleep(self._random.uniform(0.0, 1.0))
        await self._rig.valkey.start()

    async def freeze_store(self) -> None:
        assert self._rig.valkey is not None
        self._rig.valkey.signal(signal.SIGSTOP)
        await asyncio.sleep(self._random.uniform(0.5, 1.5))
        self._rig.valkey.signal(signal.SIGCONT)

    async def restart_ledger(self) -> None:
        assert self._rig.postgres is not None
        await asyncio.to_thread(self._rig.postgres.stop)
        await asyncio.to_thread(self._rig.postgres.start)

    async def kill_ledger(self) -> None:
        """SIGKILL for all processes of the database, which replays its log when it starts."""
        assert self._rig.postgres is not None
        await asyncio.to_thread(self._rig.postgres.kill)
        await asyncio.sleep(self._random.uniform(0.0, 1.0))
        await asyncio.to_thread(self._rig.postgres.start)

    async def freeze_ledger(self) -> None:
        """For about as long as the gateway waits for a commit: some are taken, some are given up and in doubt."""
        assert self._rig.postgres is not None
        self._rig.postgres.freeze()
        await asyncio.sleep(self._random.uniform(1.0, 3.0))
        self._rig.postgres.thaw()
