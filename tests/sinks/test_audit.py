"""The audit's lines, in the log and in its file (LOG-08)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.sinks.audit import Audit
from gateway.sinks.log import make_log
from gateway.sinks.repeats import FEW, Repeats

DIGEST = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


class Audited:
    """An audit with its log and, where asked for, its file."""

    def __init__(self, file: Path | None = None) -> None:
        self._out = io.BytesIO()
        self._file = file
        self.repeats = Repeats()
        self.audit = Audit(make_log("json", "info", lines=self._out), self.repeats, file)

    @property
    def logged(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self._out.getvalue().splitlines()]

    @property
    def kept(self) -> list[dict[str, Any]]:
        assert self._file is not None
        return [orjson.loads(line) for line in self._file.read_bytes().splitlines()]


def told(line: dict[str, Any]) -> dict[str, Any]:
    """Without what every line has."""
    return {name: value for name, value in line.items() if name not in {"time", "event", "level"}}


def test_who_asked_the_admin_listener_to_change_what_and_what_came_of_it() -> None:
    said = Audited()
    said.audit.request("192.0.2.1", "POST", "/reload", 200, "aaa", "bbb", has_token=True)
    (line,) = said.logged
    assert (line["event"], line["level"]) == ("audit", "info")
    assert told(line) == {
        "action": "admin_request", "who": "admin", "remote": "192.0.2.1", "method": "POST", "path": "/reload",
        "status": 200, "before": "aaa", "after": "bbb",
    }  # fmt: skip


def test_a_loaded_and_a_refused_policy_say_what_led_to_them() -> None:
    said = Audited()
    said.audit.policy_loaded("start", "", "aaa")
    said.audit.policy_refused("signal", "aaa", "policy.yaml:3: no such key")
    assert [told(line) for line in said.logged] == [
        {"action": "policy_load", "trigger": "start", "result": "loaded", "before": "", "after": "aaa"},
        {
            "action": "policy_load", "trigger": "signal", "result": "refused", "before": "aaa", "after": "aaa",
            "problems": "policy.yaml:3: no such key",
        },
    ]  # fmt: skip


def test_an_administrators_changes_are_never_left_out() -> None:
    said = Audited()
    for number in range(100):
        said.audit.request("192.0.2.1", "POST", "/reload", 200, str(number), str(number + 1), has_token=True)
        said.audit.policy_loaded("admin", str(number), str(number + 1))
    assert len(said.logged) == 200


def test_strangers_and_revoked_keys_fill_neither_the_log_nor_the_file(tmp_path: Path) -> None:
    said = Audited(tmp_path / "audit.jsonl")
    for _ in range(1000):
        said.audit.request("192.0.2.1", "POST", "/reload", 401, "aaa", "aaa", has_token=False)
        said.audit.revoked_key("app", DIGEST)
    said.repeats.close()
    for lines in (said.logged, said.kept):
        assert len(lines) == 2 * (FEW + 1)
        assert sum(1 + line.get("repeated", 0) for line in lines) == 2000
        assert {line.get("who") for line in lines} == {"unknown", None}


def test_a_revoked_key_is_named_by_eight_digits_of_its_digest() -> None:
    said = Audited()
    said.audit.revoked_key("app", DIGEST)
    assert told(said.logged[0]) == {"action": "revoked_key", "caller": "app", "key": "ba7816bf"}


def test_the_file_has_the_same_facts_and_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "audit.jsonl"
    said = Audited(file)
    said.audit.policy_loaded("start", "", "aaa")
    said.audit.revoked_key("app", DIGEST)
    assert [told(line) for line in said.kept] == [told(line) for line in said.logged]
    assert all(line["event"] == "audit" and line["time"].endswith("Z") for line in said.kept)
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_file_is_only_ever_appended_to_also_by_several_and_after_a_rotation(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_bytes(b'{"from":"before"}\n')
    one, other = Audited(file), Audited(file)
    for number in range(10):
        (one if number % 2 else other).audit.policy_loaded("files", str(number), str(number + 1))
    assert [line.get("before") for line in one.kept] == [None, *map(str, range(10))]
    file.rename(tmp_path / "audit.jsonl.1")
    one.audit.policy_loaded("files", "10", "11")
    assert [line["before"] for line in one.kept] == ["10"]


def test_a_start_that_fails_is_in_the_file_and_leaves_the_log_to_its_one_line(tmp_path: Path) -> None:
    said = Audited(tmp_path / "audit.jsonl")
    said.audit.start_refused("policy.yaml:3: no such key")
    assert said.logged == []
    (line,) = said.kept
    assert (line["trigger"], line["result"], line["problems"]) == ("start", "refused", "policy.yaml:3: no such key")


def test_what_a_stranger_sent_is_short_printable_and_one_line() -> None:
    said = Audited()
    path = "/\x1b[31m\r\n{}\u2028\udc80" + "x" * 100_000
    said.audit.request("192.0.2.1", "POST" * 1000, path, 401, "aaa", "aaa", has_token=False)
    (line,) = said.logged
    assert line["path"].isprintable() and line["path"].isascii()
    assert len(orjson.dumps(line)) < 10_000


def test_a_file_that_cannot_be_written_to_is_found_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        Audited(tmp_path)


def test_a_file_that_fails_later_is_told_and_harms_nothing(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    said = Audited(file)
    file.unlink()
    file.symlink_to(tmp_path / "away" / "audit.jsonl")
    said.audit.policy_loaded("files", "aaa", "bbb")
    assert [line["event"] for line in said.logged] == ["audit", "audit_file_failed"]
