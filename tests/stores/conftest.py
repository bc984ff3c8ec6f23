from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.stores.contract import Place
from tests.stores.servers import REDIS, VALKEY, cluster, server


@pytest.fixture(scope="session")
def valkey_port() -> Iterator[int]:
    with server(VALKEY) as port:
        yield port


@pytest.fixture(scope="session")
def redis_port() -> Iterator[int]:
    with server(REDIS) as port:
        yield port


@pytest.fixture(scope="session")
def cluster_ports() -> Iterator[list[int]]:
    with cluster(VALKEY) as ports:
        yield ports


@pytest.fixture(params=["memory", "valkey", "redis", "cluster"])
def place(request: pytest.FixtureRequest) -> Place:
    """Each of the stores, with nothing in it."""
    kind = request.param
    if kind == "memory":
        return Place("memory")
    if kind == "cluster":
        hosts = ",".join(f"127.0.0.1:{port}" for port in request.getfixturevalue("cluster_ports"))
        return Place(f"redis+cluster://{hosts}", uuid.uuid4().hex)
    return Place(f"redis://127.0.0.1:{request.getfixturevalue(f'{kind}_port')}", uuid.uuid4().hex)
