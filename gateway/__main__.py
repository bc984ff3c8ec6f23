"""The command line: `gateway --help`."""

from __future__ import annotations

import argparse
import sys

from gateway.cli import (
    budgets,
    check,
    explain,
    healthcheck,
    init,
    keys,
    ledger,
    reconcile,
    scan,
    schema,
    serve,
    trace,
    usage,
)
from gateway.cli.errors import Failure

COMMANDS = (serve, check, explain, scan, usage, budgets, trace, reconcile, ledger, schema, init, keys, healthcheck)


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(
        prog="gateway",
        description="A reverse-proxy gateway between apps and model providers, ruled by policy files.",
        epilog="Settings of the process come from GATEWAY_ variables; 'gateway serve --help' lists them.",
    )
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_to(commands)
    return root


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except Failure as failure:
        print(failure, file=sys.stderr)
        return failure.exit_code
    except BrokenPipeError:
        return 141


if __name__ == "__main__":
    sys.exit(main())
