from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from gateway.__main__ import main
from gateway.cli import books
from tests.cli.fakes import NOON, FakeLedger


@dataclass
class Result:
    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command in this process, at noon of the fifth of November, on the ledger that is given."""

    def run(ledger: FakeLedger, *arguments: object, **environ: str) -> Result:
        async def open_ledger(*_: object, **__: object) -> FakeLedger:
            return ledger

        monkeypatch.setattr(books, "open_ledger", open_ledger)
        monkeypatch.setattr(books.time, "time", lambda: NOON + 60)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as usage:
            code = usage.code
        sys.stdout.flush()
        return Result(code, *capsys.readouterr())

    return run
