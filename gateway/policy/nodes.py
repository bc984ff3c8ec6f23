"""YAML text -> plain values with the line of each; the only place that reads YAML.

A safe subset: no anchors, aliases, merge keys, tags or second documents, no repeated keys, bounded depth and size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_DEPTH = 20
MAX_NODES = 200_000
Path = tuple[str | int, ...]


@dataclass(slots=True)
class Parsed:
    """`lines` maps the path of every value (and of every key) to its line, from 1. `problems` are (line, message)."""

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)


def parse(data: bytes) -> Parsed:
    parsed = Parsed()
    try:
        text = data.decode("utf-8")
        _refuse_references(text)
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
    except UnicodeDecodeError:
        parsed.problems.append((1, "the file is not UTF-8 text"))
        return parsed
    except _Refused as refused:
        parsed.problems.append((refused.line, refused.message))
        return parsed
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        parsed.problems.append((line, f"not valid YAML: {error.problem or error.context}"))
        return parsed
    except yaml.YAMLError:
        parsed.problems.append((1, "not valid YAML: it holds characters that YAML does not allow"))
        return parsed
    if node is not None:
        parsed.value = _value(node, (), parsed)
    return parsed


class _Refused(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def _refuse_references(text: str) -> None:
    """Looks at events only, so that nothing is expanded before it is refused."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.CSafeLoader)):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _Refused(line, "anchors and aliases (& and *) are not allowed; quote the text if you mean a star")
        tag = getattr(event, "tag", None)
        if tag and not getattr(event, "implicit", True):
            raise _Refused(line, "tags (!) are not allowed")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH or count > MAX_NODES:
            raise _Refused(line, "nested too deeply or too large")


def _value(node: yaml.Node, path: Path, parsed: Parsed) -> Any:
    parsed.lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, parsed)
    if isinstance(node, yaml.SequenceNode):
        return [_value(entry, (*path, index), parsed) for index, entry in enumerate(node.value)]
    return _scalar(node, parsed)


def _mapping(node: yaml.MappingNode, path: Path, parsed: Parsed) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        if key is None or key == "<<":
            parsed.problems.append((line, "keys must be plain text"))
            continue
        if key in found:
            parsed.problems.append((line, f"{_shown(path, key)} stands twice"))
            continue
        found[key] = _value(value_node, (*path, key), parsed)
        parsed.lines[(*path, key)] = line
    return found


def _scalar(node: yaml.Node, parsed: Parsed) -> Any:
    loader = yaml.SafeLoader("")
    try:
        value = loader.construct_object(node)
    except (ValueError, yaml.YAMLError):
        parsed.problems.append((node.start_mark.line + 1, "this value cannot be read; quote it if it is text"))
        return None
    # Dates are written as text: what YAML makes of them loses the zone that was meant.
    return node.value if node.tag == "tag:yaml.org,2002:timestamp" else value


def _shown(path: Path, key: str) -> str:
    return ".".join(str(part) for part in (*path, key))
