"""Closed-loop load with wrk, and what it cost the subject."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench import procfs
from bench.payload import KEY, PATH, chat_body
from bench.subjects import HERE, NotInstalled, Subject


@dataclass(frozen=True, slots=True)
class Load:
    """One run of wrk. CPU is user and system of the subject's whole process tree."""

    cpu_us: float
    per_s: float
    p50_ms: float
    p99_ms: float
    requests: int
    failed: int


class Wrk:
    """wrk with one thread and the fixed chat body."""

    def __init__(self, folder: Path) -> None:
        binary = shutil.which("wrk")
        if binary is None:
            raise NotInstalled("apt-get install wrk")
        self._binary = binary
        self._body = folder / "body.json"
        self._body.write_bytes(chat_body())

    def run(self, subject: Subject, connections: int, seconds: int) -> Load:
        before = procfs.cpu_s(subject.pid)
        said = self._wrk(f"{subject.url}{PATH}", connections, seconds)
        spent_us = (procfs.cpu_s(subject.pid) - before) * 1e6
        requests = said["requests"]
        return Load(
            cpu_us=spent_us / max(requests, 1),
            per_s=requests / said["duration_us"] * 1e6,
            p50_ms=said["p50_us"] / 1000,
            p99_ms=said["p99_us"] / 1000,
            requests=requests,
            failed=said["failed"],
        )

    def _wrk(self, url: str, connections: int, seconds: int) -> dict[str, int]:
        options = ["-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(HERE / "chat.lua")]
        ended = subprocess.run(  # a fixed command, no shell
            [self._binary, *options, url, "--", KEY, str(self._body)], check=True, capture_output=True, text=True
        )
        totals: dict[str, int] = json.loads(ended.stdout.splitlines()[-1])
        return totals
