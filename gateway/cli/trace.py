"""`gateway trace`: the spans of the calls that ended last, as trees."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from gateway.cli.admin import ask
from gateway.cli.books import settings
from gateway.cli.common import Commands
from gateway.cli.conversation import CONTENT
from gateway.cli.errors import Failure
from gateway.cli.span_tree import tree
from gateway.server.traces import span_of


def add_to(commands: Commands) -> None:
    command = commands.add_parser(
        "trace",
        help="print the spans of the calls that ended last",
        description="Asks the gateway that runs with the same settings; it remembers the last calls, sampled or not; "
        "of more than 200 a second, those that are remarkable and some of the others. "
        "Each span is shown with its place in the time of its trace, its start and its duration.",
        epilog="Exit codes: 0 done, 1 there is no such call or trace, 2 could not run.",
    )
    which = command.add_mutually_exclusive_group()
    which.add_argument("--last", metavar="N", type=int, default=1, help="the last N calls, the newest at the end (1)")
    which.add_argument("--id", metavar="ID", help="the call (x-request-id) or the trace with this id")
    command.add_argument("--content", action="store_true", help="with what was said, where policy captures it")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    target = f"/traces?last={options.last}" if options.id is None else f"/traces/{quote(options.id, safe='')}"
    document = ask(settings(), target)
    if document is None:
        raise Failure("no gateway runs with these settings; calls are remembered by it alone")
    traces = [[span_of(row) for row in rows] for rows in document["traces"] if rows]
    if options.json:
        print(orjson.dumps(document if options.content else _without_content(document)).decode())
    elif traces:
        print("\n\n".join(tree(spans, colours=_colours(), content=options.content) for spans in traces))
    else:
        print("no call has left a trace yet")
    return 0


def _without_content(document: dict[str, Any]) -> dict[str, Any]:
    return {"traces": [[_plain(row) for row in rows] for rows in document["traces"]]}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "attributes": {name: value for name, value in row["attributes"].items() if name not in CONTENT}}


def _colours() -> bool:
    """https://no-color.org"""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
