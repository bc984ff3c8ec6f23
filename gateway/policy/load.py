"""Policy files -> PolicySet, or every problem at once, each with file, line and fix."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from gateway.guards.table import ROWS
from gateway.policy import nodes
from gateway.policy.build import Builder
from gateway.policy.compile import PolicySet
from gateway.policy.guards import Workshop
from gateway.policy.problems import PolicyError, PolicyErrors, Problem, dotted
from gateway.policy.schema import PolicyDocument
from gateway.policy.suggest import suggestion

Source = tuple[tuple[str, bytes], ...]
Entry = tuple[str, str]
GUARD_TYPES: dict[str, type[BaseModel]] = {get_args(row.model_fields["type"].annotation)[0]: row for row in ROWS}
MAX_FILE_BYTES = 4 * 2**20
_SECTIONS = tuple(PolicyDocument.model_fields)
_UNDIVIDED = frozenset({"limits", "accounting", "tracing"})  # sections without names in them; each stands in one file
__all__ = ["PolicyError", "PolicyErrors", "Source", "load", "read_source", "referenced", "version_of"]


def read_source(directory: Path) -> Source:
    """The policy files of a folder, sorted by name. PolicyError when the folder or a file cannot be read."""
    try:
        names = sorted(entry.name for entry in directory.iterdir() if _is_policy(entry))
        source = tuple((name, _read(directory / name)) for name in names)
    except FileNotFoundError:
        raise PolicyError(f"{directory}: there is no such folder; 'gateway init {directory}' writes one") from None
    except NotADirectoryError:
        raise PolicyError(f"{directory}: this is not a folder; name the folder of the policy files") from None
    except OSError as error:
        raise PolicyError(f"{error.filename or directory}: cannot be read: {error.strerror}") from None
    if not source:
        raise PolicyError(f"{directory}: holds no policy file (*.yaml); 'gateway init' writes some to start from")
    return source


def _is_policy(entry: Path) -> bool:
    return entry.suffix in {".yaml", ".yml"} and not entry.name.startswith(".")


def _read(file: Path) -> bytes:
    with file.open("rb") as stream:
        data = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise PolicyError(f"{file}: larger than {MAX_FILE_BYTES} bytes")
    return data


def referenced(source: Source, directory: Path) -> tuple[Path, ...]:
    """The files that the policy files lead to: secrets by `file:PATH` and local key sets."""
    found: set[Path] = set()
    for _, data in source:
        _collect(nodes.parse(data).value, directory, found)
    return tuple(sorted(found))


def _collect(value: Any, directory: Path, found: set[Path]) -> None:
    if isinstance(value, dict):
        if isinstance(value.get("jwks_file"), str):
            found.add(directory / value["jwks_file"])
        for entry in value.values():
            _collect(entry, directory, found)
    elif isinstance(value, list):
        for entry in value:
            _collect(entry, directory, found)
    elif isinstance(value, str) and value.startswith("file:"):
        found.add(directory / value.removeprefix("file:"))


def version_of(source: Source) -> str:
    """Twelve hexadecimal digits over names and bytes."""
    digest = hashlib.sha256()
    for name, data in source:
        digest.update(f"{len(name)}:{name}:{len(data)}:".encode())
        digest.update(data)
    return digest.hexdigest()[:12]


def load(source: Source, directory: Path, environ: Mapping[str, str], workshop: Workshop | None = None) -> PolicySet:
    """The compiled policy set. PolicyErrors holds all problems. `workshop` keeps built guards over reloads."""
    files = [_File(name, nodes.parse(data)) for name, data in source]
    problems = [
        Problem(str(directory / file.name), line, message) for file in files for line, message in file.parsed.problems
    ]
    merged = _Merged(directory)
    for file in files:
        merged.add(file)
    problems += merged.problems
    if problems:  # what could not be read may be what others refer to
        merged.validated(problems)
        raise PolicyErrors(problems)
    document, left_out = merged.validated(problems)
    builder = Builder(document, merged.where, directory, environ, left_out, workshop)
    policy = builder.build(version_of(source))
    problems += builder.problems
    if problems:
        raise PolicyErrors(problems)
    return policy


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    parsed: nodes.Parsed


class _Merged:
    """All files as one document; each entry of a section belongs to one file."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._value: dict[str, Any] = {}
        self._lines: dict[nodes.Path, tuple[str, int]] = {}
        self.problems: list[Problem] = []

    def add(self, file: _File) -> None:
        value = file.parsed.value
        if value is None:
            return
        if not isinstance(value, dict):
            self._problem(file, (), "a policy file is a mapping of sections")
            return
        for section, entries in value.items():
            if section in _SECTIONS and entries is None:
                continue  # a section whose entries are all commented out
            if section in _UNDIVIDED or not isinstance(entries, dict) or section not in _SECTIONS:
                self._whole(file, section, entries)
            else:
                for name, entry in entries.items():
                    self._entry(file, section, name, entry)

    def _whole(self, file: _File, section: str, entries: Any) -> None:
        if section in self._value:
            self._twice(file, (section,), section)
            return
        self._value[section] = entries
        self._note(file, (section,))

    def _entry(self, file: _File, section: str, name: str, entry: Any) -> None:
        into = self._value.setdefault(section, {})
        self._lines.setdefault((section,), (file.name, file.parsed.lines[(section,)]))
        if not isinstance(into, dict) or name in into:
            self._twice(file, (section, name), f"{section}.{name}")
            return
        into[name] = entry
        self._note(file, (section, name))

    def _twice(self, file: _File, path: nodes.Path, shown: str) -> None:
        first_file, first_line = self._lines[path] if path in self._lines else self._lines[path[:1]]
        self._problem(file, path, f"{shown} is already defined in {self._directory / first_file}:{first_line}")

    def _note(self, file: _File, path: nodes.Path) -> None:
        for where, line in file.parsed.lines.items():
            if where[: len(path)] == path:
                self._lines[where] = (file.name, line)

    def _problem(self, file: _File, path: nodes.Path, message: str) -> None:
        line = file.parsed.lines.get(path, 1)
        self.problems.append(Problem(str(self._directory / file.name), line, message))

    def where(self, *path: str | int) -> tuple[str, int]:
        """File and line of a path, or of the nearest part of it that is written."""
        while path and path not in self._lines:
            path = path[:-1]
        name, line = self._lines.get(path, ("", 1))
        return str(self._directory / name), line

    def validated(self, problems: list[Problem]) -> tuple[PolicyDocument, frozenset[Entry]]:
        """The document without the entries that are wrong by the schema, and those: so that references can be checked
        in the same round."""
        left_out: set[Entry] = set()
        value = self._value
        while True:
            try:
                return PolicyDocument.model_validate(value), frozenset(left_out)
            except ValidationError as error:
                details = error.errors(include_url=False, include_context=True, include_input=False)
                problems.extend(self._schema_problem(detail) for detail in details)
                wrong = {_entry_of(detail["loc"]) for detail in details}
                if wrong <= left_out:  # leaving the entries out was not enough
                    wrong = {(section, "") for section, _ in wrong}
                left_out |= wrong
                value = _without(value, wrong)

    def _schema_problem(self, detail: Any) -> Problem:
        path = _written_path(detail["loc"])
        file, line = self.where(*path)
        shown = dotted(path)
        return Problem(file, line, f"{shown}: {_reworded(detail, path)}")


def _written_path(loc: tuple[Any, ...]) -> tuple[Any, ...]:
    """As it stands in the file: pydantic puts the type of a guard behind its name."""
    path = tuple(part for part in loc if part != "[key]")
    return path[:2] + path[3:] if path[:1] == ("guards",) and len(path) > 2 and path[2] in GUARD_TYPES else path


def _entry_of(loc: tuple[Any, ...]) -> Entry:
    """(section, name); the name is "" where the section as a whole is wrong."""
    return str(loc[0]), str(loc[1]) if len(loc) > 1 else ""


def _without(value: dict[str, Any], wrong: set[Entry]) -> dict[str, Any]:
    return {
        section: {name: entry for name, entry in entries.items() if (section, name) not in wrong}
        if isinstance(entries, dict)
        else entries
        for section, entries in value.items()
        if (section, "") not in wrong
    }


def _reworded(detail: Any, path: tuple[str | int, ...]) -> str:
    kind = detail["type"]
    if kind == "extra_forbidden":
        return f"there is no such key{suggestion(str(path[-1]), _keys_beside(detail['loc'], path))}"
    if kind == "union_tag_invalid":
        asked = str(detail["ctx"]["tag"])
        close = suggestion(asked, GUARD_TYPES)
        return f'there is no guard type "{asked[:40]}"{close or "; there are " + ", ".join(sorted(GUARD_TYPES))}'
    if kind == "union_tag_not_found":
        return f"type is missing: one of {', '.join(sorted(GUARD_TYPES))}"
    if kind == "missing":
        return "is missing"
    if kind == "string_type":
        return "must be text; quote it if it is a word such as yes, no, on or a number"
    if kind == "string_pattern_mismatch" and path[-1] == "api_key":
        return "write env:NAME or file:PATH, never the key itself"
    if kind == "string_pattern_mismatch" and "key_sha256" in path:
        return "must be the SHA-256 of a key as 64 lower-case hexadecimal digits; 'gateway keys new' prints one"
    return str(detail["msg"]).replace("Input should", "must").replace("must be a valid", "must be a")


def _keys_beside(loc: tuple[Any, ...], path: tuple[str | int, ...]) -> list[str]:
    """The keys that the schema allows where an unknown one stands."""
    if path != loc and len(path) == 3 and loc[2] in GUARD_TYPES:
        return list(GUARD_TYPES[loc[2]].model_fields)
    model: Any = PolicyDocument
    for part in path[:-1]:
        model = _below(model, part)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _below(model: Any, part: str | int) -> Any:
    if isinstance(model, type) and issubclass(model, BaseModel):
        field = model.model_fields.get(str(part))
        return field.annotation if field is not None else None
    arguments = get_args(model)
    return arguments[-1] if arguments else None
