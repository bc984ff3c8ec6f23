"""From a URL to a store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from gateway.core.clock import Clock
from gateway.stores.memory import MemoryStore
from gateway.stores.redis import AT_ONCE, Client, RedisStore

FORMS = (
    "memory, redis://HOST:PORT/DB, redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB or "
    "redis+cluster://HOST:PORT,HOST:PORT; rediss for TLS, with ?ca=FILE for a private authority; "
    "USER:PASSWORD@ before the hosts"
)
PORTS = {"": 6379, "sentinel": 26379, "cluster": 6379}

Opened = tuple[Client, Callable[[], Awaitable[None]]]


def open_store(
    url: str,
    clock: Clock,
    *,
    deadline_s: float = 0.1,
    namespace: str = "gw",
    on_state: Callable[[bool], None] = lambda _opened: None,
) -> MemoryStore | RedisStore:
    """Connects at first use. ValueError, which never shows the URL, for one that cannot be read."""
    if url == "memory":
        return MemoryStore(clock)
    try:
        client, renew_connections = _open(urlsplit(url))
    except ValueError:
        raise ValueError(f"the store's URL cannot be read; it is one of: {FORMS}") from None
    return RedisStore(client, renew_connections, clock, deadline_s=deadline_s, namespace=namespace, on_state=on_state)


def _open(url: SplitResult) -> Opened:
    scheme, _, kind = url.scheme.partition("+")
    if scheme not in {"redis", "rediss"} or kind not in PORTS:
        raise ValueError(url.scheme)
    where, options, service_db = _hosts(url, PORTS[kind]), _options(url, scheme == "rediss"), url.path.strip("/")
    if kind == "cluster" and not service_db:
        return _cluster(where, options)
    if kind == "sentinel" and service_db:
        service, _, db = service_db.partition("/")
        return _sentinel(where, service, int(db or 0), options)
    if kind or len(where) > 1:
        raise ValueError(kind)
    return _single(where[0], int(service_db or 0), options)


def _hosts(url: SplitResult, port: int) -> list[tuple[str, int]]:
    hosts = [urlsplit(f"//{host}") for host in url.netloc.rpartition("@")[2].split(",")]
    return [(_required(host.hostname), host.port or port) for host in hosts]


def _required(host: str | None) -> str:
    if not host:
        raise ValueError("host")
    return host


def _options(url: SplitResult, tls: bool) -> dict[str, Any]:
    """No retries of redis-py's own, and none of its time-outs: the store has one deadline for all of it."""
    user, _, password = url.netloc.rpartition("@")[0].partition(":")
    query = parse_qs(url.query, strict_parsing=True) if url.query else {}
    if query.keys() - {"ca"} or ("ca" in query and not tls):
        raise ValueError("query")
    options: dict[str, Any] = {
        "username": unquote(user) or None,
        "password": unquote(password) or None,
        "max_connections": AT_ONCE,
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "protocol": 2,
    }
    if tls:
        options |= {"ssl": True, "ssl_ca_certs": query["ca"][0] if "ca" in query else None}
    return options


def _single(where: tuple[str, int], db: int, options: dict[str, Any]) -> Opened:
    client = Redis(host=where[0], port=where[1], db=db, retry=_never(), **options)
    return client, lambda: client.connection_pool.disconnect(inuse_connections=False)


def _cluster(where: list[tuple[str, int]], options: dict[str, Any]) -> Opened:
    """It finds the nodes anew by itself."""
    nodes = [ClusterNode(host, port) for host, port in where]
    return RedisCluster(startup_nodes=nodes, retry=_never(), **options), _nothing


def _sentinel(where: list[tuple[str, int]], service: str, db: int, options: dict[str, Any]) -> Opened:
    """The user and the password are the server's; Sentinels are asked without."""
    open_options = {name: value for name, value in options.items() if name not in {"username", "password"}}
    sentinel = Sentinel(where, sentinel_kwargs=open_options | {"retry": _never()})  # type: ignore[no-untyped-call]
    primary = sentinel.master_for(service, db=db, retry=_never(), **options)
    return _Primary(primary, sentinel), lambda: primary.connection_pool.disconnect(inuse_connections=False)


class _Primary:
    """The client of a primary, which closes those of its Sentinels too."""

    def __init__(self, primary: Redis, sentinel: Sentinel) -> None:
        self._primary = primary
        self._sentinel = sentinel

    async def execute_command(self, *args: Any) -> Any:
        return await self._primary.execute_command(*args)  # type: ignore[no-untyped-call]

    async def aclose(self) -> None:
        await self._primary.aclose()
        for each in self._sentinel.sentinels:
            await each.aclose()


def _never() -> Retry:
    return Retry(NoBackoff(), 0)


async def _nothing() -> None: ...
