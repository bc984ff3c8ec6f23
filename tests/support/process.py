"""The gateway as an operator runs it: `python -m gateway serve` in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from tests.support.patience import patience
from tests.support.raw import Answer, Raw
from tests.support.running import PROVIDER_KEY

ADMIN_TOKEN = "admin-canary-0123456789"


class GatewayProcess:
    def __init__(self, process: asyncio.subprocess.Process, facts: dict[str, object], log: Path) -> None:
        self.process = process
        self.port = int(str(facts["base_url"]).removesuffix("/v1").rsplit(":", 1)[1])
        self.admin_port = int(str(facts["admin_url"]).rsplit(":", 1)[1])
        self._log = log

    @property
    def output(self) -> str:
        return self._log.read_text()

    @property
    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]

    async def connect(self) -> Raw:
        return await Raw.open("127.0.0.1", self.port)

    async def ask(self, *args: object, **kwargs: object) -> Answer:
        raw = await self.connect()
        try:
            return await raw.ask(*args, **kwargs)
        finally:
            raw.close()

    async def admin(self, method: str, target: str, token: str | None = ADMIN_TOKEN) -> Answer:
        raw = await Raw.open("127.0.0.1", self.admin_port)
        try:
            return await raw.ask(method, target, key=token)
        finally:
            raw.close()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        async with patience():
            return await self.process.wait()


def environment(tmp_path: Path, **settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return {
        **kept,
        "FAKE_KEY": PROVIDER_KEY,
        "GATEWAY_POLICIES": str(tmp_path / "policies"),
        "GATEWAY_DATA_DIR": str(tmp_path / "data"),
        "GATEWAY_PORT": "0",
        "GATEWAY_ADMIN_PORT": "0",
        "GATEWAY_ADMIN_TOKEN": ADMIN_TOKEN,
        "GATEWAY_LOG_FORMAT": "json",
        "GATEWAY_RELOAD_INTERVAL_S": "0.1",
        "GATEWAY_DRAIN_DELAY_S": "0.3",
        "GATEWAY_GRACE_S": "3",
        **settings,
    }


async def until(condition) -> None:
    """Waits for something that another process does."""
    async with patience():
        while not condition():
            await asyncio.sleep(0.02)


async def run_gateway(*arguments: str, env: dict[str, str]) -> tuple[int, str, str]:
    """A command to its end: status, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", *arguments, env=env, stdout=-1, stderr=-1, stdin=asyncio.subprocess.DEVNULL
    )
    async with patience():
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


def _limit_descriptors(count: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


@contextlib.asynccontextmanager
async def serving(
    policy: str, tmp_path: Path, descriptors: int | None = None, **settings: str
) -> AsyncIterator[GatewayProcess]:
    """`descriptors`: how many files the process may have open."""
    policies, ready, log = tmp_path / "policies", tmp_path / "ready.json", tmp_path / "log.txt"
    policies.mkdir(exist_ok=True)
    (policies / "policy.yaml").write_text(policy)
    env = environment(tmp_path, GATEWAY_READY_FILE=str(ready), **settings)
    with log.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway",
            "serve",
            env=env,
            stderr=stream,
            stdin=asyncio.subprocess.DEVNULL,
            preexec_fn=None if descriptors is None else partial(_limit_descriptors, descriptors),
        )
    try:
        await until(lambda: ready.exists() or process.returncode is not None)
        yield GatewayProcess(process, json.loads(ready.read_text()), log)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
