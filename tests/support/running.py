"""The real gateway, in this process, on a real socket."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.assembly import Gateway
from gateway.core.clock import Clock, SystemClock
from gateway.core.secret import Secret
from gateway.policy.load import read_source
from gateway.server.errors import render
from gateway.server.process import bound_socket
from gateway.server.worker import Worker
from gateway.settings import Settings
from gateway.sinks.audit import Audit
from gateway.sinks.log import make_log
from gateway.sinks.metrics import Metrics
from gateway.sinks.repeats import Repeats
from tests.support.raw import Raw

KEY = "gw-" + "k" * 43
PROVIDER_KEY = "sk-provider-canary-0123456789"


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def policy_for(base_url: str, **extra: str) -> str:
    """One provider, every model, one caller with every right. `extra` replaces parts by name."""
    parts = {
        "provider": "",
        "models": '  "*": {targets: [{provider: fake}]}\n  alias: {targets: [{provider: fake, model: real-name}]}\n',
        "callers": f'  app:\n    key_sha256: ["{digest(KEY)}"]\n    team: team-a\n    models: ["*"]\n',
        "rest": "",
        **extra,
    }
    return (
        f"providers:\n  fake:\n    shape: openai\n    base_url: {base_url}\n    api_key: env:FAKE_KEY\n{parts['provider']}"
        f"models:\n{parts['models']}callers:\n{parts['callers']}{parts['rest']}"
    )


@dataclass
class Running:
    """A gateway that serves."""

    host: str
    port: int
    worker: Worker
    gateway: Gateway
    policies: Path
    output: io.BytesIO
    stream: io.TextIOWrapper  # kept: it would close `output` when collected

    @property
    def base_url(self) -> str:
        return f"http://{self.host}:{self.port}/v1"

    @property
    def lines(self) -> list[dict[str, object]]:
        """The settled calls, from the log."""
        events = [json.loads(line) for line in self.output.getvalue().splitlines()]
        return [event for event in events if event["event"] == "call"]

    async def connect(self) -> Raw:
        return await Raw.open(self.host, self.port)

    async def ask(self, *args: object, **kwargs: object):
        """One request on its own connection."""
        raw = await self.connect()
        try:
            return await raw.ask(*args, **kwargs)
        finally:
            raw.close()


@contextlib.asynccontextmanager
async def running(
    policy: str,
    tmp_path: Path,
    clock: Clock | None = None,
    environ: Mapping[str, str] | None = None,
    **settings: object,
) -> AsyncIterator[Running]:
    policies = tmp_path / "policies"
    policies.mkdir(exist_ok=True)
    (policies / "policy.yaml").write_text(policy)
    made = Settings(policies=policies, data_dir=tmp_path, **{"drain_delay_s": 0.0, "grace_s": 2.0, **settings})
    output = io.BytesIO()
    stream = io.TextIOWrapper(output, write_through=True)
    log = make_log("json", "debug", stream)
    gateway = Gateway(
        made,
        {"FAKE_KEY": PROVIDER_KEY, **(environ or {})},
        log,
        clock or SystemClock(),
        Metrics(),
        render,
        Secret("mask-canary-key-0123456789"),
        Audit(log, Repeats(), made.audit_file),
    )
    worker = Worker(gateway, made, log)
    sock = bound_socket("127.0.0.1", 0)
    host, port = sock.getsockname()
    await worker.start(read_source(policies), sock)
    try:
        yield Running(host, port, worker, gateway, policies, output, stream)
    finally:
        await worker.drain(0.0, 1.0)
