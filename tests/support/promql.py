"""Reads PromQL as far as names go: which metrics an expression asks for, and by which labels. Raises ValueError for what
does not read as an expression. No evaluation, no types."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<text>"(?:[^"\\]|\\.)*")
    |(?P<range>\[(?:\d+[smhdwy]|\$__rate_interval|\$__range)\])
    |(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    |(?P<name>\$?[a-zA-Z_:][a-zA-Z0-9_:]*)
    |(?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^<>=(){},])""",
    re.VERBOSE,
)
_AGGREGATIONS = frozenset({"sum", "max", "min", "avg", "count", "topk", "bottomk"})
_FUNCTIONS = frozenset({"rate", "increase", "histogram_quantile", "clamp_min", "absent", "label_values"})
_GROUPINGS = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_WORDS = frozenset({"and", "or", "unless", "bool", "offset"})
_PAIRS = {")": "(", "}": "{"}
TARGET_LABELS = frozenset({"job", "instance"})
"""What Prometheus adds to every series."""


@dataclass(slots=True)
class Asked:
    """`selectors`: a metric with the labels that it is narrowed by. `grouped`: labels of by, on and the like."""

    selectors: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    grouped: list[str] = field(default_factory=list)


def read(expression: str) -> Asked:
    tokens = _tokens(expression)
    asked, at, open_ = Asked(), 0, []
    while at < len(tokens):
        kind, text = tokens[at]
        at += 1
        if kind == "name" and text in _GROUPINGS:
            names, at = _names(tokens, at)
            asked.grouped += names
        elif kind == "name" and text in _AGGREGATIONS | _FUNCTIONS:
            if tokens[at : at + 1] != [("sign", "(")] and tokens[at : at + 1] not in (
                [("name", "by")],
                [("name", "without")],
            ):
                raise ValueError(f"{text} has nothing to work on")
        elif kind == "name" and text not in _WORDS:
            labels, at = _labels(tokens, at)
            asked.selectors.append((text, labels))
        elif text in {"(", "{"}:
            open_.append(text)
        elif text in _PAIRS and (not open_ or open_.pop() != _PAIRS[text]):
            raise ValueError(f"{text} closes nothing")
    if open_:
        raise ValueError(f"{open_[-1]} is not closed")
    return asked


def _tokens(expression: str) -> list[tuple[str, str]]:
    tokens, at = [], 0
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        if match is None:
            raise ValueError(f"unreadable at: {expression[at : at + 20]}")
        at = match.end()
        if match.lastgroup != "space":
            tokens.append((match.lastgroup or "", match.group()))
    return tokens


def _names(tokens: Sequence[tuple[str, str]], at: int) -> tuple[list[str], int]:
    """(a, b)"""
    end = tokens.index(("sign", ")"), at)
    if tokens[at] != ("sign", "("):
        raise ValueError("labels are listed in parentheses")
    return [text for kind, text in tokens[at:end] if kind == "name"], end + 1


def _labels(tokens: Sequence[tuple[str, str]], at: int) -> tuple[tuple[str, ...], int]:
    """{a="x", b=~"y"}, or nothing."""
    if tokens[at : at + 1] != [("sign", "{")]:
        return (), at
    end = tokens.index(("sign", "}"), at)
    matchers = [tokens[place : place + 3] for place in range(at + 1, end, 4)]
    for matcher in matchers:
        if [kind for kind, _ in matcher] != ["name", "sign", "text"] or matcher[1][1] not in {"=", "!=", "=~", "!~"}:
            raise ValueError("a matcher is a label, a sign and a quoted value")
    return tuple(matcher[0][1] for matcher in matchers), end + 1


def problems(expression: str, known: Mapping[str, frozenset[str]]) -> list[str]:
    """What the expression names and nobody has. `known`: the labels of every sample's name."""
    try:
        asked = read(expression)
    except ValueError as error:
        return [str(error)]
    found = [f"no metric {metric}" for metric, _ in asked.selectors if metric not in known]
    if not asked.selectors:
        found.append("asks for no metric")
    for metric, labels in asked.selectors:
        allowed = known.get(metric, frozenset(labels)) | TARGET_LABELS
        found += [f"{metric} has no label {label}" for label in labels if label not in allowed]
    # Grouping must make sense for every metric of the expression, or it would silently sum to nothing.
    for metric, _ in asked.selectors:
        allowed = known.get(metric, frozenset(asked.grouped)) | TARGET_LABELS
        found += [f"{metric} has no label {label}" for label in asked.grouped if label not in allowed]
    return list(dict.fromkeys(found))
