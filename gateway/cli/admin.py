"""Asking the gateway that runs with the same settings, by its admin listener."""

from __future__ import annotations

import http.client
from typing import Any

import orjson

from gateway.cli.errors import Failure
from gateway.server.process import StartError, admin_token
from gateway.settings import Settings

_TIMEOUT_S = 10


def ask(found: Settings, target: str) -> dict[str, Any] | None:
    """The document that GET `target` gives; None: no gateway runs. A Failure of exit code 1: it has no such thing."""
    host = "127.0.0.1" if found.admin_host in {"0.0.0.0", "::"} else found.admin_host  # noqa: S104  # compared
    connection = http.client.HTTPConnection(host, found.admin_port, timeout=_TIMEOUT_S)
    try:
        connection.connect()
        connection.request("GET", target, headers={"authorization": f"Bearer {_token(found)}"})
        answer = connection.getresponse()
        body = answer.read()
    except ConnectionRefusedError:
        return None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise Failure(f"no answer from {host}:{found.admin_port}: {reason}") from None
    finally:
        connection.close()
    if answer.status != http.client.OK:
        exit_code = 1 if answer.status == http.client.NOT_FOUND else 2
        raise Failure(f"{host}:{found.admin_port} answers {answer.status}: {_message(body)}", exit_code)
    return dict(orjson.loads(body))


def _token(found: Settings) -> str:
    try:
        return admin_token(found).reveal()
    except StartError as error:
        raise Failure(str(error)) from None


def _message(body: bytes) -> str:
    try:
        return str(orjson.loads(body)["error"]["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "this is not the admin listener of a gateway"
