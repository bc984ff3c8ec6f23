"""`gateway check`: is the policy folder sound? For people and for CI."""

from __future__ import annotations

import argparse

from gateway.cli.common import Commands, add_directory, load_policy


def add_to(commands: Commands) -> None:
    command = commands.add_parser(
        "check",
        help="check the policy files",
        description="Loads the policy files and prints every problem with file, line and fix.",
        epilog="Exit codes: 0 sound, 1 problems found, 2 could not run.",
    )
    add_directory(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    policy = load_policy(options.directory)
    left_out = f", left out: {', '.join(policy.left_out)}" if policy.left_out else ""
    print(
        f"{options.directory}: sound, version {policy.version} "
        f"({len(policy.providers)} providers, {len(policy.models.names())} models, {len(policy.keys)} keys{left_out})"
    )
    return 0
