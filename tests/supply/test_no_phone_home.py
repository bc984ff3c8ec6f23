"""SUP-04: the gateway starts and serves without a word to anyone who is not a listed provider.

Three views, because none is whole: a network namespace proves that it works without a network; strace sees each system
call, whoever makes it (libuv resolves and connects without Python's knowledge); an audit hook sees what Python itself
does, also where strace may not be used.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.supply.served import ROOT, environment, served, write_policies
from tests.support.patience import PATIENCE_S

AWAY = """
providers:
  away: {{shape: openai, base_url: "{url}", api_key: "env:OPENAI_API_KEY", timeouts: {{connect_s: 0.3, total_s: 2}}}}
models:
  away: {{targets: [{{provider: away}}]}}
prices:
  away: {{model: away, input: 0, output: 0}}
"""
# 192.0.2.0/24 is kept for documentation, and no name ends in .invalid.
ELSEWHERE = ["https://192.0.2.1/v1", "https://nowhere.invalid/v1"]

HOOK = """
import os, sys
_file = os.open(os.environ["SUPPLY_AUDIT"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
_LOOPBACK = ("127.", "::1", "localhost")
def _hook(event, args):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"):
        target = args[0][0] if isinstance(args[0], tuple) else args[0]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg") and isinstance(args[1], tuple):
        target = args[1][0]
    else:
        return
    target = target.decode() if isinstance(target, bytes) else str(target)
    if not target.startswith(_LOOPBACK):
        os.write(_file, f"{event} {target}\\n".encode())
os.write(_file, b"hooked\\n")
sys.addaudithook(_hook)
"""

_TRACED = "connect,sendto,sendmsg,sendmmsg,openat"
_ADDRESS = re.compile(r'sin6?_port=htons\((\d+)\).*?(?:inet_addr\("|inet_pton\(AF_INET6, ")([^"]+)"')
_RESOLVER = re.compile(r'"(/etc/resolv\.conf|/run/nscd/socket|/var/run/nscd/socket|/run/systemd/resolve/[^"]*)"')


def outward(trace: str) -> list[str]:
    """Addresses beyond loopback, ports of name servers, and files that are only opened to resolve a name."""
    found = []
    for line in trace.splitlines():
        address, resolver = _ADDRESS.search(line), _RESOLVER.search(line)
        if address and (address[1] == "53" or not address[2].startswith(("127.", "::1"))):
            found.append(f"{address[2]}:{address[1]}")
        elif resolver:
            found.append(resolver[1])
    return found


@functools.cache
def can_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0


@functools.cache
def can_cut_the_network() -> bool:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    attempt = ["unshare", "--net", "ip", "link", "set", "lo", "up"]
    return subprocess.run(attempt, capture_output=True, check=False).returncode == 0


tracing = pytest.mark.skipif(not can_trace(), reason="needs strace")


def calls_out(tmp_path: Path, model: str = "demo", extra: str = "") -> tuple[int, list[str]]:
    """Status of one chat, and what strace saw go out from the start to the end."""
    trace = tmp_path / "trace"
    # HOME, because Python looks for it in the user database without, and that may ask the name service daemon.
    env = environment(write_policies(tmp_path, extra), tmp_path / "data", HOME=str(tmp_path))
    prefix = ("strace", "-f", "--seccomp-bpf", "-qq", "-s", "200", "-e", f"trace={_TRACED}", "-o", str(trace), "--")
    with served(env, prefix) as gateway:
        status, _ = gateway.chat(model)
        assert gateway.stop() == 0, gateway.output.decode()
    text = trace.read_text()
    assert str(tmp_path / "data") in text, "the trace is empty: it would show nothing"
    return status, outward(text)


def hooked(tmp_path: Path) -> tuple[dict[str, str], Path]:
    audit = tmp_path / "audit"
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
    return {"PYTHONPATH": str(tmp_path / "hook"), "SUPPLY_AUDIT": str(audit)}, audit


@tracing
def test_start_serve_and_stop_reach_nobody(tmp_path):
    """SUP-04"""
    assert calls_out(tmp_path) == (200, [])


@tracing
@pytest.mark.parametrize("url", ELSEWHERE)
def test_the_trace_shows_a_provider_that_lies_elsewhere(tmp_path, url):
    """SUP-04: the test above can fail."""
    status, seen = calls_out(tmp_path, "away", AWAY.format(url=url))
    assert status >= 500
    assert seen
    if "192.0.2.1" in url:
        assert set(seen) == {"192.0.2.1:443"}


def test_the_reader_of_traces_tells_outward_from_loopback():
    """SUP-04"""
    loopback = [
        'connect(7, {sa_family=AF_INET, sin_port=htons(8081), sin_addr=inet_addr("127.0.0.1")}, 16) = 0',
        'connect(7, {sa_family=AF_INET6, sin6_port=htons(80), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::1", &sin6_addr), sin6_scope_id=0}, 28) = 0',
        'openat(AT_FDCWD, "/etc/localtime", O_RDONLY|O_CLOEXEC) = 3',
    ]
    outside = [
        'connect(7, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("192.0.2.1")}, 16) = -1',
        'connect(7, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.53")}, 16) = 0',
        'sendto(7, "x", 1, 0, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = 1',
        'openat(AT_FDCWD, "/etc/resolv.conf", O_RDONLY|O_CLOEXEC) = 3',
        'connect(7, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT',
    ]
    assert outward("\n".join(loopback)) == []
    assert outward("\n".join(outside)) == [
        "192.0.2.1:443",
        "127.0.0.53:53",
        "2001:db8::1:443",
        "/etc/resolv.conf",
        "/var/run/nscd/socket",
    ]


def test_python_itself_connects_and_resolves_nothing(tmp_path):
    """SUP-04"""
    env, audit = hooked(tmp_path)
    with served(environment(write_policies(tmp_path), tmp_path / "data", **env)) as gateway:
        assert gateway.chat()[0] == 200
        assert gateway.stop() == 0
    assert set(audit.read_text().splitlines()) == {"hooked"}


def test_the_audit_hook_sees_connections_and_names(tmp_path):
    """SUP-04: the test above can fail."""
    env, audit = hooked(tmp_path)
    program = (
        "import contextlib, socket\n"
        "with contextlib.suppress(OSError): socket.create_connection(('192.0.2.1', 443), timeout=0.01)\n"
        "with contextlib.suppress(OSError): socket.getaddrinfo('nowhere.invalid', 443)\n"
    )
    subprocess.run(
        [sys.executable, "-c", program], env={"PATH": os.environ["PATH"], **env}, check=True, timeout=PATIENCE_S
    )
    seen = audit.read_text()
    assert "socket.connect 192.0.2.1\n" in seen
    assert "socket.getaddrinfo nowhere.invalid\n" in seen


@pytest.mark.skipif(not can_cut_the_network(), reason="needs root and network namespaces")
def test_it_starts_and_serves_without_any_network(tmp_path):
    """SUP-04"""
    inside = [
        "sh",
        "-ec",
        'ip link set lo up; exec "$@"',
        "sh",
        sys.executable,
        "-m",
        "tests.supply.served",
        str(tmp_path),
    ]
    done = subprocess.run(
        ["unshare", "--net", *inside],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    answer = json.loads(done.stdout)
    assert (answer["status"], answer["exit"], bool(answer["text"])) == (200, 0, True)
