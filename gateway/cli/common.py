"""What several commands share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TypeAlias

from gateway.cli.errors import Failure
from gateway.policy.compile import PolicySet
from gateway.policy.load import PolicyError, PolicyErrors, load, read_source

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # argparse has no public name for it


def add_directory(command: argparse.ArgumentParser) -> None:
    default = os.environ.get("GATEWAY_POLICIES", "policies")
    command.add_argument("directory", metavar="DIR", nargs="?", type=Path, default=Path(default), help="policy folder")


def load_policy(directory: Path) -> PolicySet:
    """The compiled policy of a folder; a Failure that lists every problem."""
    try:
        return load(read_source(directory), directory, os.environ)
    except (PolicyError, PolicyErrors) as problems:
        raise Failure(str(problems), exit_code=1) from None
