"""The gateway as a container runs it, for a moment: start, one call, SIGTERM.

Also a program (`python -m tests.supply.served FOLDER`), for where the client must live in the gateway's own network.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
KEY = "gw-" + "s" * 43


def write_policies(folder: Path, extra: str = "") -> Path:
    """The starter policies, and one caller who may use all of it."""
    policies = folder / "policies"
    policies.mkdir(parents=True)
    for file in (ROOT / "policies").glob("*.yaml"):
        if not file.name.endswith(".local.yaml"):
            shutil.copy(file, policies)
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    row = f'callers:\n  app:\n    key_sha256: ["{digest}"]\n    team: supply\n    models: ["*"]\n'
    (policies / "app.yaml").write_text(row + extra)
    return policies


def environment(policies: Path, data: Path, **settings: str) -> dict[str, str]:
    """Nothing of the surroundings: no HOME, no user; a provider key, so that nothing is left out."""
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENAI_API_KEY": "sk-provider-canary-0123456789",
        "GATEWAY_POLICIES": str(policies),
        "GATEWAY_DATA_DIR": str(data),
        "GATEWAY_PORT": "0",
        "GATEWAY_ADMIN_PORT": "0",
        "GATEWAY_LOG_FORMAT": "json",
        "GATEWAY_DRAIN_DELAY_S": "0.1",
        "GATEWAY_GRACE_S": "2",
        "GATEWAY_READY_FILE": str(data / "ready.json"),
        **settings,
    }


def port_of(url: str) -> int:
    return int(url.removesuffix("/v1").rsplit(":", 1)[1])


@dataclass
class Served:
    process: subprocess.Popen[bytes]
    facts: dict[str, str]
    output: bytes = b""
    status: int | None = field(default=None)

    @property
    def pid(self) -> int:
        """Of the gateway itself, which is not `process` when a tracer runs it."""
        return int(self.facts["pid"])

    def chat(self, model: str = "demo") -> tuple[int, str]:
        """Status and the answer's text (or the whole body where there is none)."""
        connection = http.client.HTTPConnection("127.0.0.1", port_of(self.facts["base_url"]), timeout=PATIENCE_S)
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        try:
            connection.request("POST", "/v1/chat/completions", body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        return answer.status, json.loads(text)["choices"][0]["message"]["content"] if answer.status == 200 else text

    def stop(self) -> int:
        """SIGTERM, and the exit status of what was started."""
        os.kill(self.pid, signal.SIGTERM)
        _, self.output = self.process.communicate(timeout=PATIENCE_S)
        self.status = self.process.returncode
        return self.status


@contextlib.contextmanager
def served(env: dict[str, str], prefix: tuple[str, ...] = ()) -> Iterator[Served]:
    """`prefix`: what the command is run by (a tracer, a jail). The working directory is the root folder."""
    command = [*prefix, sys.executable, "-m", "gateway", "serve"]
    process = subprocess.Popen(
        command, env=env, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    ready = Path(env["GATEWAY_READY_FILE"])
    gateway: Served | None = None
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not ready.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if not ready.exists():
            process.kill()
            raise AssertionError(f"the gateway did not start: {process.communicate()[1].decode()}")
        gateway = Served(process, json.loads(ready.read_text()))
        yield gateway
    finally:
        if process.poll() is None:
            if gateway is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(gateway.pid, signal.SIGKILL)
            process.kill()
        if process.stdout and not process.stdout.closed:
            process.communicate()


def main(folder: Path) -> int:
    data = folder / "data"
    with served(environment(write_policies(folder), data)) as gateway:
        status, text = gateway.chat()
        sys.stdout.write(json.dumps({"status": status, "text": text, "exit": gateway.stop()}))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
