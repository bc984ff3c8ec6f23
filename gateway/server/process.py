"""The gateway as an operating-system process: sockets, signals, start and stop."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import orjson
import uvloop
from structlog.typing import FilteringBoundLogger

from gateway.assembly import Gateway
from gateway.core.clock import SystemClock
from gateway.core.ports import LedgerUnusable
from gateway.core.secret import Secret
from gateway.policy.load import PolicyError, PolicyErrors, read_source
from gateway.server import accounts, traces
from gateway.server.admin import Admin
from gateway.server.connection import Listener
from gateway.server.errors import render
from gateway.server.supervisor import Supervisor, WorkerFailed
from gateway.server.worker import Worker, connection_limits, drain, settle_memory
from gateway.settings import Settings
from gateway.sinks.audit import Audit
from gateway.sinks.log import Lines, StandardLog, make_log
from gateway.sinks.metrics import Metrics
from gateway.sinks.otlp_settings import read_otlp
from gateway.sinks.repeats import Repeats
from gateway.stores.redis import StoreUnusable

Announce = Callable[[str], None] | None


class StartError(Exception):
    """The gateway cannot start; the message is one clear line (or one a problem)."""


def run_gateway(settings: Settings, environ: Mapping[str, str], announce: Announce) -> int:
    """Serves until it is told to stop; the exit status."""
    token = admin_token(settings)
    _raise_descriptor_limit()
    sock = bound_socket(settings.host, settings.port)
    admin_sock = bound_socket(settings.admin_host, settings.admin_port)
    lines, repeats = Lines(sys.stderr.buffer), Repeats()
    log = make_log(settings.log_format, settings.log_level, lines=lines, repeats=repeats)
    audit = opened_audit(settings, audit_log(settings, lines), repeats)
    logging.basicConfig(handlers=[StandardLog(log)], level=logging.WARNING, force=True)
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    with runner, lines.gathered(runner.get_loop()), closing(repeats):
        return runner.run(_serve(settings, environ, token, sock, admin_sock, log, audit, announce))


def _raise_descriptor_limit() -> None:
    """To what the system allows; the soft limit is often the 1,024 of programs that use select(2)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(
    settings: Settings,
    environ: Mapping[str, str],
    token: Secret,
    sock: socket.socket,
    admin_sock: socket.socket,
    log: FilteringBoundLogger,
    audit: Audit,
    announce: Announce,
) -> int:
    fleet = await _started(settings, environ, sock, log, audit)
    fleet.watch()
    more = {**accounts.routes(fleet.ledger, fleet.budgets), **traces.routes(fleet.traces, fleet.trace)}
    admin = Admin(fleet, token, log, audit, more)
    admin_server = await _serve_admin(admin, settings, admin_sock)
    _tell_ready(settings, sock, admin_sock, log, announce)
    stop = _Signals(fleet)
    hurried = await stop.wait()
    await drain(fleet, 0.0 if hurried else settings.drain_delay_s, settings.grace_s, stop.wait())
    admin_server.close()
    return 0


async def _started(
    settings: Settings, environ: Mapping[str, str], sock: socket.socket, log: FilteringBoundLogger, audit: Audit
) -> Worker | Supervisor:
    """The one worker in this process, or the supervisor of several."""
    fleet: Worker | Supervisor
    try:
        read_otlp(environ)
        source = read_source(settings.policies)
        key = mask_key(settings)  # made here, so that workers find it
        if settings.workers == 1:
            gateway = Gateway(settings, environ, log, SystemClock(), Metrics(), render, key, audit)
            worker = Worker(gateway, settings, log)
            await worker.start(source, sock)
            settle_memory()
            return worker
        fleet = Supervisor(settings, environ, sock, log, audit)
        await fleet.start(source)
    except (PolicyError, PolicyErrors, WorkerFailed, LedgerUnusable, StoreUnusable, ValueError) as problems:
        if isinstance(problems, PolicyError | PolicyErrors):
            audit.start_refused(str(problems))
        raise StartError(str(problems)) from None
    return fleet


class _Signals:
    """SIGTERM and SIGINT as an awaitable, SIGHUP as a call. SIGINT (Ctrl-C) stops without the accept delay."""

    def __init__(self, fleet: Worker | Supervisor) -> None:
        self._seen: asyncio.Queue[bool] = asyncio.Queue()
        self._fleet = fleet
        self._reloads: set[asyncio.Task[bool]] = set()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._seen.put_nowait, False)
        loop.add_signal_handler(signal.SIGINT, self._seen.put_nowait, True)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _reload(self) -> None:
        task = asyncio.create_task(self._fleet.reload(trigger="signal"))
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def wait(self) -> bool:
        """True when the stop was asked for with SIGINT."""
        return await self._seen.get()


async def _serve_admin(admin: Admin, settings: Settings, sock: socket.socket) -> asyncio.Server:
    listener = Listener(admin.handle, connection_limits(settings))
    return await asyncio.get_running_loop().create_server(listener, sock=sock)


def _tell_ready(
    settings: Settings, sock: socket.socket, admin_sock: socket.socket, log: FilteringBoundLogger, announce: Announce
) -> None:
    base_url, admin_url = f"{_url(sock)}/v1", _url(admin_sock)
    log.info("ready", base_url=base_url, admin_url=admin_url, workers=settings.workers)
    if settings.ready_file is not None:
        facts = {"base_url": base_url, "admin_url": admin_url, "pid": os.getpid()}
        partial = settings.ready_file.with_suffix(".partial")
        partial.write_bytes(orjson.dumps(facts))
        partial.replace(settings.ready_file)
    if announce is not None:
        announce(base_url)


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def bound_socket(host: str, port: int) -> socket.socket:
    """A bound socket, not yet listening, so that a taken port is known before anything else starts."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise StartError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another with GATEWAY_HOST and GATEWAY_PORT "
            "(or GATEWAY_ADMIN_HOST and GATEWAY_ADMIN_PORT)"
        ) from None
    sock.setblocking(False)
    return sock


def admin_token(settings: Settings) -> Secret:
    """From the setting, from its file, or made once and kept in the data folder."""
    if settings.admin_token is not None:
        return settings.admin_token
    if settings.admin_token_file is not None:
        return _read_secret("admin token", settings.admin_token_file)
    return kept_secret("admin token", settings.data_dir / "admin.token")


def audit_log(settings: Settings, lines: Lines) -> FilteringBoundLogger:
    """Writes whatever the level of the log, and leaves nothing out."""
    return make_log(settings.log_format, "info", lines=lines)


def opened_audit(settings: Settings, log: FilteringBoundLogger, repeats: Repeats) -> Audit:
    try:
        return Audit(log, repeats, settings.audit_file)
    except OSError as error:
        raise StartError(f"audit file: {settings.audit_file}: {error.strerror}") from None


def mask_key(settings: Settings) -> Secret:
    """From the setting, or made once and kept in the data folder."""
    return settings.mask_key or kept_secret("mask key", settings.data_dir / "mask.key")


def kept_secret(what: str, file: Path) -> Secret:
    """The secret in the file (mode 0600), which is made when it is not there."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_urlsafe(32) + "\n")
    except FileExistsError:
        pass
    except OSError as error:
        raise StartError(f"{what}: {file}: {error.strerror}") from None
    return _read_secret(what, file)


def _read_secret(what: str, file: Path) -> Secret:
    try:
        text = file.read_text().strip()
    except OSError as error:
        raise StartError(f"{what}: {file}: {error.strerror}") from None
    if len(text) < 16:
        raise StartError(f"{what}: {file} holds fewer than 16 characters: write a longer secret into it")
    return Secret(text)
