"""The audit: who changed what, which policy came into force and why, and keys used after they were taken away.

Lines of the log with the event `audit`, whatever the log's level, and, where the settings name one, lines of a file
that is only ever appended to. What nobody but an operator can cause is told line by line; what a stranger can cause is
counted like any other repeated line.
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

import orjson
from structlog.typing import FilteringBoundLogger

from gateway.sinks.log import clean
from gateway.sinks.repeats import Repeats

Trigger = Literal["start", "files", "signal", "admin"]
_MAX_PROBLEMS = 4096
_KEY_DIGITS = 8


class Audit:
    """`file` gets one JSON object a line, in one write: several processes may share it."""

    def __init__(self, log: FilteringBoundLogger, repeats: Repeats, file: Path | None = None) -> None:
        """OSError when the file cannot be written to."""
        self._log = log
        self._repeats = repeats
        self._file = file
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            os.close(_opened(file))

    def request(
        self,
        remote: str,
        method: str,
        path: str,
        status: int | None,
        before: str,
        after: str,
        *,
        has_token: bool,
    ) -> None:
        """An admin request that is no mere question. `status` None: whoever asked left before the answer; `before` and
        `after` are versions of the policy."""
        asked = {"remote": remote, "method": clean(method), "path": clean(path), "status": status}
        if has_token:
            self._tell({"action": "admin_request", "who": "admin", **asked, "before": before, "after": after})
        else:
            self._tell_few("admin_request", {"action": "admin_request", "who": "unknown", **asked})

    def policy_loaded(self, trigger: Trigger, before: str, after: str) -> None:
        """Versions; `before` is "" at the start."""
        self._tell({"action": "policy_load", "trigger": trigger, "result": "loaded", "before": before, "after": after})

    def policy_refused(self, trigger: Trigger, kept: str, problems: str) -> None:
        """`problems` name files, lines and keys, and no values of secrets."""
        told = {"before": kept, "after": kept, "problems": problems[:_MAX_PROBLEMS]}
        self._tell({"action": "policy_load", "trigger": trigger, "result": "refused", **told})

    def start_refused(self, problems: str) -> None:
        """To the file alone: a start that fails says why on standard error by itself."""
        told = {"result": "refused", "problems": problems[:_MAX_PROBLEMS]}
        self._write({"action": "policy_load", "trigger": "start", **told})

    def revoked_key(self, caller: str, key_digest: str) -> None:
        """A key that this process once let in, and that the policy has no more, was shown."""
        key = key_digest[:_KEY_DIGITS]
        self._tell_few(("revoked_key", key), {"action": "revoked_key", "caller": caller, "key": key})

    def _tell_few(self, kind: Hashable, fields: dict[str, object]) -> None:
        if not self._repeats.hold(kind, partial(self._tell, fields)):
            self._tell(fields)

    def _tell(self, fields: dict[str, object], others: int = 0) -> None:
        """`others` are lines like this one that were left out."""
        if others:
            fields = {**fields, "repeated": others}
        self._log.info("audit", **fields)
        self._write(fields)

    def _write(self, fields: dict[str, object]) -> None:
        if self._file is None:
            return
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = orjson.dumps({"time": moment, "event": "audit", **fields}) + b"\n"
        try:
            descriptor = _opened(self._file)  # for each line: the file may have been rotated away
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            self._log.error("audit_file_failed", error=type(error).__name__)


def _opened(file: Path) -> int:
    return os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
