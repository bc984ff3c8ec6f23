"""`gateway keys new`: makes a caller key."""

from __future__ import annotations

import argparse
import json

from gateway.callers.keys import digest, new_key
from gateway.cli.common import Commands


def add_to(commands: Commands) -> None:
    command = commands.add_parser("keys", help="make caller keys", description="Makes caller keys.")
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = actions.add_parser(
        "new",
        help="make a key",
        description="Prints a new key, once, and the policy row that admits it. Only the row's digest is ever stored.",
    )
    new.add_argument("--name", default="my-app", help="the caller's name (default: %(default)s)")
    new.add_argument("--team", default="my-team", help="the team that pays (default: %(default)s)")
    new.add_argument("--model", action="append", dest="models", metavar="MODEL", help="a model or pattern; repeatable")
    new.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    key = new_key()
    print(f"key (shown once, keep it safe):\n\n  {key}\n\nrow to paste into a policy file:\n")
    print(caller_row(options.name, options.team, digest(key), options.models or ["*"]))
    return 0


def caller_row(name: str, team: str, key_digest: str, models: list[str]) -> str:
    """One `callers` entry as YAML; JSON strings are YAML strings, so any name is quoted safely."""
    return (
        "callers:\n"
        f"  {json.dumps(name)}:\n"
        f'    key_sha256: ["{key_digest}"]\n'
        f"    team: {json.dumps(team)}\n"
        f"    models: {json.dumps(models)}\n"
    )
