from __future__ import annotations

import pytest

from gateway.core.clock import SystemClock
from gateway.stores.memory import MemoryStore
from gateway.stores.table import open_store

WRONG = [
    "",
    "Memory",
    "postgres://127.0.0.1/0",
    "redis://",
    "redis://127.0.0.1:port/0",
    "redis://127.0.0.1/zero",
    "redis://127.0.0.1:1,127.0.0.1:2/0",
    "redis://127.0.0.1/0?ca=/ca.pem",
    "rediss://127.0.0.1/0?verify=no",
    "redis+sentinel://127.0.0.1",
    "redis+cluster://127.0.0.1/1",
    "redis+other://127.0.0.1",
]


def test_memory_is_the_store_of_one_process() -> None:
    assert isinstance(open_store("memory", SystemClock()), MemoryStore)


@pytest.mark.parametrize("url", WRONG)
def test_a_wrong_url_names_the_right_ones(url: str) -> None:
    with pytest.raises(ValueError, match="redis://HOST:PORT/DB"):
        open_store(url, SystemClock())


def test_a_wrong_url_does_not_show_its_password() -> None:
    with pytest.raises(ValueError, match="cannot be read") as caught:
        open_store("redis://" + "user:canary-word" + "@127.0.0.1:port/0", SystemClock())
    assert "canary" not in str(caught.value)
    assert caught.value.__suppress_context__
