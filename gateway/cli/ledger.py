"""`gateway ledger`: is the ledger's file sound, and what can be saved of one that is not."""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.cli.books import settings
from gateway.cli.common import Commands
from gateway.cli.errors import Failure
from gateway.core.ports import LedgerUnusable
from gateway.ledgers.sqlite_files import check, salvage

_CODES = "Exit codes: 0 sound, 1 damaged or of another version, 2 there is no such file."
_SQLITE = "sqlite:"


def add_to(commands: Commands) -> None:
    command = commands.add_parser("ledger", help="check or rebuild the ledger's file", description=__doc__)
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    checking = actions.add_parser(
        "check",
        help="read all of it",
        description="Reads the whole SQLite file; a gateway may run on it.",
        epilog=_CODES,
    )
    checking.add_argument("file", metavar="FILE", type=Path, nargs="?", help="default: the one of the settings")
    checking.set_defaults(run=run_check)
    rebuild = actions.add_parser(
        "rebuild",
        help="copy what can be read into a new file",
        description="Copies what can be read of a damaged SQLite file into a new one; the old file stays as it is.",
        epilog="Exit codes: 0 done, 2 could not run.",
    )
    rebuild.add_argument("file", metavar="FILE", type=Path)
    rebuild.add_argument("into", metavar="NEW", type=Path, nargs="?", help="default: FILE with .rebuilt in its name")
    rebuild.set_defaults(run=run_rebuild)


def run_check(options: argparse.Namespace) -> int:
    file = options.file or _file_of_settings()
    try:
        problems = check(file)
    except LedgerUnusable as error:
        raise Failure(str(error), exit_code=1 if file.is_file() else 2) from None
    for problem in problems:
        print(f"{file}: {problem}")
    if problems:
        print(f"restore a backup, or save what can be read: gateway ledger rebuild {file}")
    else:
        print(f"{file}: sound")
    return 1 if problems else 0


def run_rebuild(options: argparse.Namespace) -> int:
    file: Path = options.file
    into: Path = options.into or file.with_suffix(f".rebuilt{file.suffix}")
    if not file.is_file():
        raise Failure(f"there is no ledger at {file}")
    try:
        copied = salvage(file, into)
    except (LedgerUnusable, OSError) as error:
        raise Failure(str(error)) from None
    print(f"{into}: " + ", ".join(f"{count} {table}" for table, count in copied.items()))
    print("stop the gateway, put the new file in the old one's place (without its -wal and -shm), and start it again")
    return 0


def _file_of_settings() -> Path:
    found = settings()
    address = found.ledger.reveal() if found.ledger is not None else ""
    if address and not address.startswith(_SQLITE):
        raise Failure("the ledger is on PostgreSQL, which has tools of its own")
    return found.data_dir / (address.removeprefix(_SQLITE) or "ledger.db")
