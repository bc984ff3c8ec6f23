"""Connections to a server that takes writes, whichever of the addresses in the URL that is.

asyncpg goes through the addresses too, but within one time limit: one that swallows what is sent to it, as a machine
does that is gone, would take all of it. Here each has its share.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

import asyncpg
from asyncpg.exceptions import TargetServerAttributeNotMatched

CONNECT_S = 2.0
"""For all addresses together."""
_HOSTS = re.compile(r"([^/]*//(?:[^/?#]*@)?)([^/?#]*)(.*)", re.DOTALL)
_ELSEWHERE = (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError)


class ReadOnlyServer(ConnectionError):
    """The server takes no writes: it is a standby, or set so."""


def addresses(dsn: str) -> list[str]:
    """The URL once for each host that it names, in their order."""
    match = _HOSTS.fullmatch(dsn)
    if match is None:
        return [dsn]
    before, hosts, after = match.groups()
    return [f"{before}{host}{after}" for host in hosts.split(",")]


async def connect(dsn: str, *, read_only: bool, **options: Any) -> asyncpg.Connection:
    """To the first that takes writes; for `read_only`, to the first that answers. OSError, PostgresError or
    InterfaceError when there is none: what the last one said. A server that refuses the user is not passed over."""
    *others, last = addresses(dsn)
    share_s = CONNECT_S / (len(others) + 1)
    for place in others:
        with contextlib.suppress(*_ELSEWHERE):
            return await _connect(place, share_s, read_only=read_only, **options)
    return await _connect(last, share_s, read_only=read_only, **options)


async def _connect(place: str, within_s: float, *, read_only: bool, **options: Any) -> asyncpg.Connection:
    wanted = "any" if read_only else "read-write"
    try:
        return await asyncpg.connect(place, timeout=within_s, target_session_attrs=wanted, **options)
    except TargetServerAttributeNotMatched as error:
        raise ReadOnlyServer from error
