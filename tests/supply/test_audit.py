"""SUP-05: a version that is known vulnerable does not get in, and an ignore does not outlive its reason."""

from __future__ import annotations

import datetime

import pytest
import yaml

from tests.supply.audit import ADVISORIES, audit, main
from tests.supply.requirements import LOCKS

TODAY = datetime.date(2027, 1, 10)
LISTED = yaml.safe_load(ADVISORIES.read_text())
VULNERABLE = "aiohttp==3.14.2 --hash=sha256:" + "0" * 64
AIOHTTP = {"CVE-2026-69243", "CVE-2026-69244", "CVE-2026-59881"}


@pytest.fixture
def lock(tmp_path):
    lock = tmp_path / "run.txt"
    lock.write_text(VULNERABLE)
    return lock


def ignores(**changes: object) -> dict[str, object]:
    """All of aiohttp's advisories ignored, the first with changes; None takes a field away."""
    sound = {"package": "aiohttp", "reason": "no caller reaches it", "expires": datetime.date(2027, 1, 31)}
    entries = [{"id": id_, **sound} for id_ in sorted(AIOHTTP)]
    entries[0] = {name: value for name, value in {**entries[0], **changes}.items() if value is not None}
    return {**LISTED, "ignores": entries}


def test_nothing_that_is_locked_is_known_vulnerable():
    """SUP-05"""
    assert audit(LOCKS, LISTED, datetime.datetime.now(datetime.UTC).date()) == []
    assert main() == 0


def test_the_list_holds_the_advisories_that_set_the_floor():
    """SUP-05"""
    assert {entry["id"] for entry in LISTED["advisories"]} >= AIOHTTP


def test_a_planted_vulnerable_pin_fails(lock):
    """SUP-05"""
    problems = audit([lock], LISTED, TODAY)
    assert {problem.rsplit(" ", 1)[1] for problem in problems} == AIOHTTP
    assert problems[0].startswith("run.txt: aiohttp==3.14.2: CVE-")


@pytest.mark.parametrize(
    ("pin", "fails"),
    [
        ("aiohttp==3.14.3", False),
        ("AIOHTTP==3.14.0", True),
        ("aiohttp==3.14.3rc1", False),  # "<" does not mean candidates of that very version
        ("aiohttp>=3.9", True),  # may be anything
        ("aiohttp-retry==3.0", False),
    ],
)
def test_versions_and_names_are_compared_as_pip_does(lock, pin, fails):
    """SUP-05"""
    lock.write_text(pin)
    assert bool(audit([lock], LISTED, TODAY)) is fails


def test_an_ignore_with_reason_and_date_holds_until_then(lock):
    """SUP-05"""
    assert audit([lock], ignores(), TODAY) == []
    assert audit([lock], ignores(), datetime.date(2027, 1, 31)) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"expires": datetime.date(2027, 1, 9)}, "expired on 2027-01-09"),
        ({"expires": datetime.date(2037, 1, 9)}, "more than 90 days"),
        ({"expires": None}, "expires is missing"),
        ({"expires": "soon"}, "expires is no date"),
        ({"reason": None}, "reason is missing"),
        ({"reason": ""}, "reason is missing"),
        ({"until": 1}, "there is no field until"),
    ],
)
def test_an_ignore_that_is_expired_or_says_too_little_fails(lock, changes, said):
    """SUP-05"""
    (problem,) = audit([lock], ignores(**changes), TODAY)
    assert said in problem


def test_an_ignore_that_hides_nothing_fails(lock):
    """SUP-05"""
    lock.write_text("aiohttp==3.14.3")
    assert len(audit([lock], ignores(), TODAY)) == 3


def test_an_ignore_is_for_one_advisory_and_package(lock):
    """SUP-05"""
    assert any(problem.startswith("run.txt: aiohttp") for problem in audit([lock], ignores(package="other"), TODAY))
