"""`gateway schema`: the JSON Schema of the policy format, so that editors complete and check."""

from __future__ import annotations

import argparse
import json

from gateway.cli.common import Commands
from gateway.policy.schema import json_schema


def add_to(commands: Commands) -> None:
    command = commands.add_parser(
        "schema",
        help="print the JSON Schema of the policy files",
        description="Prints the JSON Schema of the policy format. Editors with a YAML language server read it from a "
        "first line '# yaml-language-server: $schema=policy.schema.json'.",
    )
    command.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    print(json.dumps(json_schema(), indent=2))
    return 0
