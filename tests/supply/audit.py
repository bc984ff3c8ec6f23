"""The audit gate: `python -m tests.supply.audit` (exit code 1 when a lock names a version that is known vulnerable).

pip-audit needs the network and trusts what it is told on the day. This reads a list that was reviewed and committed, so
the same commit has the same result; see advisories.yaml.
"""

from __future__ import annotations

import datetime
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from packaging.specifiers import SpecifierSet

from tests.supply.requirements import LOCKS, read_lock

ADVISORIES = Path(__file__).with_name("advisories.yaml")
MAX_IGNORE_DAYS = 90
_ADVISORY = {"id", "package", "vulnerable", "source", "date"}
_IGNORE = {"id", "package", "reason", "expires"}


def _name(text: object) -> str:
    return re.sub(r"[-_.]+", "-", str(text)).lower()


def _malformed(kind: str, entry: dict[str, Any], fields: set[str]) -> list[str]:
    missing = [field for field in sorted(fields) if not entry.get(field)]
    unknown = sorted(entry.keys() - fields)
    problems = [f"{kind} {entry.get('id')}: {field} is missing" for field in missing]
    problems += [f"{kind} {entry.get('id')}: there is no field {field}" for field in unknown]
    dated = "expires" if kind == "ignore" else "date"
    if entry.get(dated) and not isinstance(entry[dated], datetime.date):
        problems.append(f"{kind} {entry.get('id')}: {dated} is no date (write 2027-01-31)")
    return problems


def _stale(ignore: dict[str, Any], hits: set[tuple[str, str]], today: datetime.date) -> list[str]:
    label = f"ignore {ignore['id']}"
    if ignore["expires"] < today:
        return [f"{label}: expired on {ignore['expires']}; look at it anew"]
    if (ignore["expires"] - today).days > MAX_IGNORE_DAYS:
        return [f"{label}: expires more than {MAX_IGNORE_DAYS} days from now"]
    if (ignore["id"], _name(ignore["package"])) not in hits:
        return [f"{label}: hides nothing any more; remove it"]
    return []


def audit(locks: Iterable[Path], listed: dict[str, Any], today: datetime.date) -> list[str]:
    """Every problem, one line each."""
    advisories, ignores = listed.get("advisories") or [], listed.get("ignores") or []
    problems = [p for entry in advisories for p in _malformed("advisory", entry, _ADVISORY)]
    problems += [p for entry in ignores for p in _malformed("ignore", entry, _IGNORE)]
    if problems:
        return problems
    ignored = {(entry["id"], _name(entry["package"])) for entry in ignores}
    hits: set[tuple[str, str]] = set()
    for lock in locks:
        for locked in read_lock(lock.read_text()):
            for advisory in advisories:
                if _name(advisory["package"]) != locked.name:
                    continue
                vulnerable = SpecifierSet(advisory["vulnerable"], prereleases=True)
                if locked.version is None or locked.version in vulnerable:
                    hits.add((advisory["id"], locked.name))
                    if (advisory["id"], locked.name) not in ignored:
                        problems.append(f"{lock.name}: {locked.requirement}: {advisory['id']}")
    for ignore in ignores:
        problems += _stale(ignore, hits, today)
    return problems


def main() -> int:
    today = datetime.datetime.now(datetime.UTC).date()
    problems = audit(LOCKS, yaml.safe_load(ADVISORIES.read_text()), today)
    for problem in problems:
        sys.stdout.write(f"{problem}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
