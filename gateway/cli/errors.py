"""How a command fails: one clear message and an exit code."""

from __future__ import annotations


class Failure(Exception):
    """Exit codes: 1 the answer is no, 2 it could not be done."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code
