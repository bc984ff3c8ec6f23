"""Workers that die, do not come back or are slow, and what the admin listener says meanwhile."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.core.ports import LedgerDown
from gateway.server import supervisor as module
from gateway.server.control import Asker, Channel, Message, answering
from gateway.server.supervisor import Child, Supervisor
from gateway.settings import read_settings
from gateway.sinks.audit import Audit
from gateway.sinks.log import make_log
from gateway.sinks.repeats import Repeats
from tests.support.patience import patience
from tests.support.process import GatewayProcess, serving, until
from tests.support.running import PROVIDER_KEY, policy_for

POLICY = policy_for("http://127.0.0.1:9/v1")
QUESTIONS = ("/budgets", "/metrics", "/traces", "/usage", "/policy")


def workers(gateway: GatewayProcess) -> list[int]:
    pid = gateway.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_while_workers_are_away_the_admin_listener_answers_200_or_asks_for_patience(tmp_path: Path) -> None:
    """No 500 for what is over in a moment, and no line of the log for each question."""
    async with serving(POLICY, tmp_path, GATEWAY_WORKERS="2") as gateway:
        for pid in workers(gateway):
            os.kill(pid, signal.SIGKILL)
        answers = [await gateway.admin("GET", question) for _ in range(9) for question in QUESTIONS]
        assert {answer.status for answer in answers} == {200, 503}
        assert all(answer.header("retry-after") == "1" for answer in answers if answer.status == 503)
        async with patience():
            while (await gateway.admin("GET", "/budgets")).status == 503:
                await asyncio.sleep(0.1)  # nothing but the answer tells that they are back
        assert {(await gateway.admin("GET", question)).status for question in QUESTIONS} == {200}
        assert "bug" not in {event["event"] for event in gateway.events}
        assert "worker_silent" not in gateway.output


async def test_a_replacement_that_does_not_start_is_not_left_running(tmp_path: Path) -> None:
    async with serving(POLICY, tmp_path, GATEWAY_WORKERS="2") as gateway:
        with sqlite3.connect(tmp_path / "data" / "ledger.db") as ledger:
            ledger.execute("UPDATE meta SET value = 999 WHERE key = 'version'")
        ledger.close()
        killed, kept = workers(gateway)
        os.kill(killed, signal.SIGKILL)
        await until(lambda: "worker_not_restarted" in gateway.output)
        told = next(event for event in gateway.events if event["event"] == "worker_not_restarted")
        assert "schema version 999" in str(told["error"])
        await until(lambda: workers(gateway) == [kept])


class Scripted:
    """The worker processes are `sleep`; their answers come from here. `silent` is not answered, `failing` has a bug."""

    def __init__(self) -> None:
        self.silent: set[str] = set()
        self.failing: set[str] = set()
        self.children: list[Child] = []
        self._channels: list[Channel] = []
        self._serving: list[asyncio.Task[None]] = []

    async def spawn(self, *_: object) -> Child:
        ours, theirs = socket.socketpair()
        process = await asyncio.create_subprocess_exec("sleep", "60", stdin=asyncio.subprocess.DEVNULL)
        mine, other = await Channel.over(ours), await Channel.over(theirs)
        log = make_log("json", "info", lines=io.BytesIO())
        self._serving.append(asyncio.create_task(answering(other, self.answer, log)))
        self._channels += (mine, other)
        self.children.append(Child(process, Asker(mine)))
        return self.children[-1]

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()
        await asyncio.gather(*self._serving, *(child.process.wait() for child in self.children))

    async def answer(self, message: Message) -> Message:
        if message["do"] in self.silent:
            await asyncio.Event().wait()
        if message["do"] in self.failing:
            raise KeyError
        return {"ok": True, "budgets": [{"name": "month"}]}


@asynccontextmanager
async def supervising(tmp_path: Path, scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Supervisor]:
    """Two workers; what takes seconds takes tenths of them."""
    for name in ("_ANSWER_S", "_BUDGETS_S", "_RESTART_PAUSE_S", "_PULSE_S", "_STOP_MARGIN_S"):
        monkeypatch.setattr(module, name, 0.1)
    monkeypatch.setattr(Child, "spawn", scripted.spawn)
    (tmp_path / "policies").mkdir()
    policy = tmp_path / "policies" / "policy.yaml"
    policy.write_text(POLICY)
    environ = {
        "GATEWAY_POLICIES": str(tmp_path / "policies"),
        "GATEWAY_DATA_DIR": str(tmp_path),
        "GATEWAY_WORKERS": "2",
        "FAKE_KEY": PROVIDER_KEY,
    }
    log = make_log("json", "info", lines=io.BytesIO())
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        supervisor = Supervisor(read_settings(environ), environ, listening, log, Audit(log, Repeats()))
        await supervisor.start(((str(policy), policy.read_bytes()),))
        try:
            yield supervisor
        finally:
            await supervisor.drain(0.0, 0.0)
            await scripted.close()


async def test_a_slow_answer_about_the_budgets_ends_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger may take its time for a month of rows, and calls run meanwhile."""
    scripted = Scripted()
    async with supervising(tmp_path, scripted, monkeypatch) as supervisor:
        assert await supervisor.budgets() == [{"name": "month"}]
        scripted.silent = {"budgets"}
        with pytest.raises(LedgerDown):
            await supervisor.budgets()
        assert [child.alive for child in scripted.children] == [True, True]


@pytest.mark.parametrize("how", ["silent", "failing"])
async def test_a_worker_without_a_pulse_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """OPS-05"""
    scripted = Scripted()
    async with supervising(tmp_path, scripted, monkeypatch) as supervisor:
        setattr(scripted, how, {"pulse"})
        await until(lambda: not any(child.alive for child in scripted.children[:2]))
        setattr(scripted, how, set())
        await until(lambda: sum(child.alive for child in scripted.children) == 2)
        assert supervisor.ready()
