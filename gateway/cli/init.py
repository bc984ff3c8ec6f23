"""`gateway init DIR`: writes the starter policy folder."""

from __future__ import annotations

import argparse
from importlib import resources
from pathlib import Path

from gateway.cli.common import Commands
from gateway.cli.errors import Failure
from gateway.policy.trials import FOLDER


def add_to(commands: Commands) -> None:
    command = commands.add_parser(
        "init",
        help="write the starter policy files",
        description="Writes the commented starter policy into a folder. Never overwrites a file.",
    )
    command.add_argument("directory", metavar="DIR", type=Path, help="folder to write to; made when it is not there")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    directory: Path = options.directory
    starter = resources.files("gateway.policy").joinpath("starter")
    files = {entry.name: entry for entry in starter.iterdir() if _is_policy(entry.name)}
    files |= {f"{FOLDER}/{entry.name}": entry for entry in starter.joinpath(FOLDER).iterdir() if _is_policy(entry.name)}
    taken = [name for name in files if (directory / name).exists()]
    if taken:
        raise Failure(f"{directory} already holds {', '.join(sorted(taken))}: choose another folder, or remove them")
    try:
        (directory / FOLDER).mkdir(parents=True, exist_ok=True)
        for name, entry in files.items():
            (directory / name).write_bytes(entry.read_bytes())
    except OSError as error:
        raise Failure(f"{directory}: {error.strerror}") from None
    print(f"{directory}: wrote {', '.join(sorted(files))}")
    print(f"next: gateway check {directory}; gateway keys new --name my-app --team my-team")
    return 0


def _is_policy(name: str) -> bool:
    return name.endswith(".yaml")
