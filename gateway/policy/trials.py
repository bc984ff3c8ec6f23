"""Tests of a policy, beside it in `tests/*.yaml`: an input and what is expected of the guards. Data only; the command
`gateway check` runs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from gateway.policy import nodes
from gateway.policy.problems import PolicyErrors, Problem

FOLDER = "tests"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Expected(_Strict):
    """Only what is named is compared."""

    verdict: Literal["allow", "flag", "mask", "block", "replace", "regenerate", "not_run"] | None = None
    text: str | None = Field(None, description="What is left of the text (of the last message).")
    findings: dict[str, int] | None = Field(None, description="How many findings of each kind; {} for none.")


class PolicyTest(_Strict):
    """One of `text`, `messages` and `stream` (the chunks of an answer)."""

    name: str
    guards: str = "default"
    direction: Literal["input", "output"] = "input"
    text: str | None = None
    messages: list[dict[str, Any]] | None = None
    stream: list[str] | None = None
    expect: Expected

    @model_validator(mode="after")
    def _one_input(self) -> PolicyTest:
        if sum(given is not None for given in (self.text, self.messages, self.stream)) != 1:
            raise ValueError("give exactly one of text, messages and stream")
        if self.stream is not None and self.direction != "output":
            raise ValueError("a stream is an answer: set direction: output")
        return self


_TESTS = TypeAdapter(list[PolicyTest])


def read_tests(directory: Path) -> list[tuple[Path, PolicyTest]]:
    """PolicyErrors for files that are not lists of tests."""
    found: list[tuple[Path, PolicyTest]] = []
    problems: list[Problem] = []
    for file in sorted((directory / FOLDER).glob("*.yaml")):
        parsed = nodes.parse(file.read_bytes())
        problems += [Problem(str(file), line, message) for line, message in parsed.problems]
        if parsed.problems:
            continue
        try:
            found += [(file, test) for test in _TESTS.validate_python(parsed.value or [])]
        except ValidationError as error:
            problems += _problems(file, parsed, error)
    if problems:
        raise PolicyErrors(problems)
    return found


def _problems(file: Path, parsed: nodes.Parsed, error: ValidationError) -> Iterator[Problem]:
    for detail in error.errors(include_url=False, include_input=False):
        path = tuple(detail["loc"])
        while path and path not in parsed.lines:
            path = path[:-1]
        where = ".".join(map(str, detail["loc"]))
        yield Problem(str(file), parsed.lines.get(path, 1), f"{where}: {detail['msg']}")
