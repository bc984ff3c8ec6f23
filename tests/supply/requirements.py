"""Reads hash-locked requirements files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
LOCKS = tuple(sorted((ROOT / "requirements").glob("*.txt")))


@dataclass(frozen=True)
class Locked:
    requirement: Requirement
    hashes: tuple[str, ...]

    @property
    def name(self) -> str:
        return re.sub(r"[-_.]+", "-", self.requirement.name).lower()

    @property
    def version(self) -> str | None:
        """The pinned version; None when it is not pinned to exactly one."""
        pins = list(self.requirement.specifier)
        exact = len(pins) == 1 and pins[0].operator == "==" and "*" not in pins[0].version
        return pins[0].version if exact else None


def read_lock(text: str) -> list[Locked]:
    """One entry a requirement. Options other than --hash stay in the text and make it invalid, which is wanted."""
    joined = re.sub(r"\\\n", " ", text)
    lines = [line.split(" #")[0].strip() for line in joined.splitlines() if not line.lstrip().startswith("#")]
    found = []
    for line in filter(None, lines):
        hashes = tuple(re.findall(r"--hash=(\S+)", line))
        found.append(Locked(Requirement(re.sub(r"--hash=\S+", "", line).strip()), hashes))
    return found
