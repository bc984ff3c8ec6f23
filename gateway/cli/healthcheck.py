"""`gateway healthcheck`: for container health checks; asks the admin listener's /healthz."""

from __future__ import annotations

import argparse
import http.client
import os

from gateway.cli.common import Commands
from gateway.cli.errors import Failure
from gateway.settings import SettingsError, read_settings


def add_to(commands: Commands) -> None:
    command = commands.add_parser(
        "healthcheck",
        help="is a running gateway healthy?",
        description="Asks /healthz of the gateway that runs with the same settings. Exit codes: 0 healthy, 1 not.",
    )
    command.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        raise Failure(str(error)) from None
    host = "127.0.0.1" if settings.admin_host in {"0.0.0.0", "::"} else settings.admin_host  # noqa: S104  # compared
    connection = http.client.HTTPConnection(host, settings.admin_port, timeout=3)
    try:
        connection.request("GET", "/healthz")
        healthy = connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise Failure(f"no answer from {host}:{settings.admin_port}: {reason}", exit_code=1) from None
    finally:
        connection.close()
    return 0 if healthy else 1
