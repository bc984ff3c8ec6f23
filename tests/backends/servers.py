"""Phoenix and MLflow as an operator runs them: from their packages, on loopback, each in its own folder and ended by its
pid. They are told to ask nobody outside."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv-backends" / "bin"
START_S = 240  # 10 s when it is quiet; the first start after an install compiles a thousand modules


@contextlib.contextmanager
def phoenix_server(folder: Path) -> Iterator[str]:
    """Its address."""
    port, unused = _free_ports(2)
    settings = {
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(unused),
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        "PHOENIX_DISABLE_AGENT_ASSISTANT": "true",
        "PHOENIX_ENABLE_MCP_SERVER": "false",
    }
    with _serving(["python", "-m", "phoenix.server.main", "serve"], settings, folder, port, "/healthz") as url:
        yield url


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Its address."""
    (port,) = _free_ports(1)
    settings = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    with _serving(command, settings, folder, port, "/health") as url:
        yield url


def clean_environment(folder: Path, **settings: str) -> dict[str, str]:
    """Without what would tell a back end, or an SDK, of another collector. Compiled modules are kept, which is most of
    the time that a start takes."""
    dropped = ("OTEL_", "PHOENIX_", "MLFLOW_", "GATEWAY_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "HOME": str(folder), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **settings}


@contextlib.contextmanager
def _serving(command: list[str], settings: dict[str, str], folder: Path, port: int, health: str) -> Iterator[str]:
    url, log = f"http://127.0.0.1:{port}", folder / "log.txt"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            cwd=folder,
            env=clean_environment(folder, **settings),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,  # MLflow's server is a child of its command: they are ended as one group
        )
    try:
        _wait_until_ready(process, url + health, log)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """By asking: neither says on a pipe that it is ready."""
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url).is_success:
                return
        time.sleep(0.1)
    raise RuntimeError(f"no answer from {url}:\n{log.read_text()[-4000:]}")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
