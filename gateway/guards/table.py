"""Every guard by the name that policies use. A new guard is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.core.ports import Guard
from gateway.guards import json_schema, leak, patterns, pii, secrets, shape, unicode, webhook, words
from gateway.guards.base import GuardRow

Build = Callable[[Any, Path], Guard]

# `webhook` has no entry below: it needs a connection, which the assembly gives it.
ROWS: tuple[type[GuardRow], ...] = (
    json_schema.Row,
    leak.Row,
    patterns.Row,
    pii.Row,
    secrets.Row,
    shape.Row,
    unicode.Row,
    webhook.Row,
    words.Row,
)
BUILD: dict[type[GuardRow], Build] = {
    json_schema.Row: json_schema.build,
    leak.Row: leak.build,
    patterns.Row: patterns.build,
    pii.Row: pii.build,
    secrets.Row: secrets.build,
    shape.Row: shape.build,
    unicode.Row: unicode.build,
    words.Row: words.build,
}
