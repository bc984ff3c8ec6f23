"""`gateway explain`: what the policy decides for one caller and one model."""

from __future__ import annotations

import argparse

from gateway.cli.common import Commands, add_directory, load_policy
from gateway.cli.errors import Failure
from gateway.policy.explain import explain


def add_to(commands: Commands) -> None:
    command = commands.add_parser(
        "explain",
        help="print what happens to a call",
        description="Prints the compiled plan for one caller and one model, in the order in which it runs.",
    )
    add_directory(command)
    command.add_argument("--key", metavar="NAME", required=True, help="name of the caller (or of the JWT issuer)")
    command.add_argument("--model", metavar="MODEL", required=True, help="model name as the app sends it")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    policy = load_policy(options.directory)
    try:
        print(explain(policy, options.key, options.model))
    except ValueError as error:
        raise Failure(str(error), exit_code=1) from None
    return 0
