"""`gateway serve`: runs the gateway."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from gateway.cli import quickstart
from gateway.cli.common import Commands
from gateway.cli.errors import Failure
from gateway.server.process import StartError, run_gateway
from gateway.settings import Settings, SettingsError, read_settings, variable


def add_to(commands: Commands) -> None:
    command = commands.add_parser(
        "serve",
        help="run the gateway",
        description="Serves calls until SIGTERM or SIGINT. SIGHUP reloads the policy files.",
        epilog=_settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--policies", metavar="DIR", type=Path, help="policy folder (GATEWAY_POLICIES)")
    command.add_argument("--host", help="address to serve on (GATEWAY_HOST)")
    command.add_argument("--port", help="port to serve on (GATEWAY_PORT)")
    command.add_argument("--workers", help="worker processes (GATEWAY_WORKERS)")
    command.add_argument("--quickstart", action="store_true", help="make a caller key and print how to try it")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    environ = {**os.environ, **_overrides(options)}
    settings = _settings(environ)
    announce = _announcement(settings) if options.quickstart else None
    try:
        return run_gateway(settings, environ, announce)
    except StartError as error:
        raise Failure(str(error)) from None


def _announcement(settings: Settings) -> Callable[[str], None]:
    key = quickstart.prepare(settings.policies, settings.data_dir)
    return lambda base_url: print(quickstart.banner(base_url, key, "demo"), flush=True)


def _overrides(options: argparse.Namespace) -> dict[str, str]:
    """The command line's options, as the settings that they stand for."""
    given = {name: getattr(options, name) for name in ("policies", "host", "port", "workers")}
    return {variable(name): str(value) for name, value in given.items() if value is not None}


def _settings(environ: dict[str, str]) -> Settings:
    try:
        return read_settings(environ)
    except SettingsError as error:
        raise Failure(str(error)) from None


def _settings_help() -> str:
    rows = [
        (variable(entry.name), "" if entry.default is None else str(entry.default), entry.metadata["help"])
        for entry in dataclasses.fields(Settings)
    ]
    return "settings:\n" + "\n".join(
        f"  {name:28} {text}{f' [{value}]' if value else ''}" for name, value, text in rows
    )
