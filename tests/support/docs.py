"""Writes docs/reference.md from the code: `python -m tests.support.docs`. A test compares, so that it cannot drift."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable
from pathlib import Path

from gateway.__main__ import parser
from gateway.core.errors import CODES
from gateway.policy.schema import json_schema
from gateway.settings import Settings, variable
from gateway.sinks.metrics import Metrics

FILE = Path(__file__).parents[2] / "docs" / "reference.md"


def reference() -> str:
    sections = [
        ("Commands", _table(("command", "what it does"), _commands())),
        ("Settings", _table(("variable", "default", "meaning"), _settings())),
        ("Policy sections", _policy()),
        ("Error codes", _table(("code", "status", "type"), _errors())),
        ("Metrics", _table(("name", "kind", "labels", "meaning"), _metrics())),
    ]
    head = "# Reference\n\nGenerated from the code by `make docs`; a test compares. Edit the code, not this page.\n"
    return head + "".join(f"\n## {title}\n\n{body}" for title, body in sections)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _commands() -> Iterable[tuple[str, str]]:
    actions = [action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    for choice in actions[0]._choices_actions:
        yield f"`gateway {choice.dest}`", choice.help or ""


def _settings() -> Iterable[tuple[str, str, str]]:
    for entry in dataclasses.fields(Settings):
        default = "" if entry.default is None else f"`{entry.default}`"
        yield f"`{variable(entry.name)}`", default, entry.metadata["help"]


def _errors() -> Iterable[tuple[str, str, str]]:
    return ((f"`{code}`", str(status), kind) for code, (status, kind) in CODES.items())


def _metrics() -> Iterable[tuple[str, str, str, str]]:
    for family in Metrics().families():
        yield f"`{family.name}`", family.kind, ", ".join(family.labels), family.help


def _policy() -> str:
    schema = json_schema()
    rows = schema["$defs"]
    parts = []
    for name, row in rows.items():
        if "properties" not in row:
            continue
        required = set(row.get("required", ()))
        fields = [
            (f"`{key}`", "required" if key in required else _default(entry), entry.get("description", ""))
            for key, entry in row["properties"].items()
        ]
        parts.append(f"### {name.removesuffix('Row')}\n\n{row.get('description', '')}\n\n")
        parts.append(_table(("key", "default", "meaning"), fields) + "\n")
    return "".join(parts).rstrip("\n") + "\n"


def _default(entry: dict) -> str:
    value = entry.get("default")
    return "" if value in (None, {}, []) else f"`{value}`"


if __name__ == "__main__":
    FILE.write_text(reference())
