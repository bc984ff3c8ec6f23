"""What can be wrong with policy files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """Prints as ``file:line: message``."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class PolicyError(Exception):
    """The files cannot be read at all."""


class PolicyErrors(Exception):
    """The files can be read and are wrong. `problems` are all of them, in the order of files and lines."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(set(problems), key=lambda problem: (problem.file, problem.line, problem.message))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def dotted(path: tuple[str | int, ...]) -> str:
    """``("models", "a", "targets", 0)`` as ``models.a.targets[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
