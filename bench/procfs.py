"""CPU time and memory of a process with all its descendants, from /proc."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. `pss` shares pages with other processes fairly; neither holds the kernel's socket buffers."""

    pss: int
    rss: int

    def __sub__(self, other: Memory) -> Memory:
        return Memory(self.pss - other.pss, self.rss - other.rss)


def tree(pid: int) -> Iterator[int]:
    """The process and its descendants that run now."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from tree(int(child))


def cpu_s(pid: int) -> float:
    """User and system seconds of the tree so far, descendants that have ended included."""
    return sum(_own_cpu_s(member) for member in tree(pid))


def _own_cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / _TICKS_PER_S  # utime, stime, cutime, cstime (proc(5))


def memory(pid: int) -> Memory:
    totals = {"Pss": 0, "Rss": 0}
    for member in tree(pid):
        for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in totals:
                totals[name] += int(value.split()[0]) * 1024
    return Memory(totals["Pss"], totals["Rss"])


def machine() -> dict[str, object]:
    """What the figures were taken on; the load average tells whether anybody else was busy."""
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
