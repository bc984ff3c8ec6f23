"""Where the gateway's time goes, from its own metrics: one call at a time, so that time is nearly CPU time."""

from __future__ import annotations

import re
import urllib.request
from dataclasses import dataclass

from bench.load import Load
from bench.subjects import Subject

_ROW = re.compile(
    r'^gateway_(phase|call_duration|overhead)_seconds_(sum|count)\{(?:phase="(\w+)")?[^}]*\} (\S+)$', re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Phase:
    name: str
    us: float


def _scrape(subject: Subject) -> dict[tuple[str, str], float]:
    token = (subject.folder / "data" / "admin.token").read_text().strip()
    asked = urllib.request.Request(f"{subject.admin_url}/metrics", headers={"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(asked) as answer:
        text = answer.read().decode()
    rows: dict[tuple[str, str], float] = {}
    for kind, part, phase, value in _ROW.findall(text):
        key = (phase or kind, part)
        rows[key] = rows.get(key, 0.0) + float(value)
    return rows


class Profile:
    """Between `__init__` and `phases` the subject serves nothing but the run that is measured."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._before = _scrape(subject)

    def phases(self, load: Load) -> list[Phase]:
        """Microseconds a call; the last row is what the phases do not see: HTTP in and out, the log line,
        metrics."""
        after = _scrape(self._subject)
        names = [name for name, part in after if part == "sum"]
        found = {name: self._mean_us(after, name) for name in names}
        waited = found.pop("call_duration") - found.pop("overhead")  # for the provider
        found["forward"] = max(0.0, found.get("forward", 0.0) - waited)
        rest = load.cpu_us - sum(found.values())
        return [Phase(name, us) for name, us in found.items()] + [
            Phase("server, transport, log, metrics", max(0.0, rest))
        ]

    def _mean_us(self, after: dict[tuple[str, str], float], name: str) -> float:
        calls = after[name, "count"] - self._before.get((name, "count"), 0.0)
        spent = after[name, "sum"] - self._before.get((name, "sum"), 0.0)
        return spent / calls * 1e6 if calls else 0.0
