"""`gateway scan`: guards over many texts, JSON lines in and out."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from gateway.cli.common import Commands, load_policy
from gateway.cli.errors import Failure
from gateway.core.clock import SystemClock
from gateway.core.rules import GuardSet, Rule
from gateway.core.span import Direction, Finding
from gateway.engine.trial import GuardTrial, Trial, Trials
from gateway.policy.suggest import suggestion

_PROGRESS_S = 0.5


def add_to(commands: Commands) -> None:
    command = commands.add_parser(
        "scan",
        help="run guards over texts on standard input",
        description='Reads JSON lines {"id", "text"} and writes one JSON line for each: {"id", "verdict", "text", '
        '"guards": [{"guard", "verdict", "score", "ms", "findings": [{"type", "start", "end", "score"}]}]}. "text" is '
        "the masked text, null when it is blocked.",
        epilog="Exit codes: 0 all lines were read, 1 a line was not valid (its number is told), 2 could not run.",
    )
    command.add_argument("--policy", metavar="DIR", type=Path, default=Path("policies"), help="policy folder")
    command.add_argument("--guards", metavar="NAME", default="default", help="guard set (default: default)")
    command.add_argument("--guard", metavar="NAME", action="append", help="only this guard of the set; repeat for more")
    command.add_argument("--direction", choices=("input", "output"), default="input", help="which guards of the set")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    policy = load_policy(options.policy)
    guards = policy.guard_sets.get(options.guards)
    if guards is None:
        close = suggestion(options.guards, policy.guard_sets)
        raise Failure(f'{options.policy}: there is no guard set "{options.guards}"{close}')
    direction: Direction = options.direction
    rules = _chosen(guards, direction, options.guard)
    trials = Trials(guards, rules, direction, b"scan", SystemClock())
    role = "user" if direction == "input" else "assistant"
    return asyncio.run(_scan(trials, role, sys.stdin.buffer, sys.stdout.buffer))


def _chosen(guards: GuardSet, direction: Direction, names: list[str] | None) -> tuple[Rule, ...]:
    rules = guards.input if direction == "input" else guards.output
    known = {rule.name: rule for rule in rules}
    for name in names or ():
        if name not in known:
            raise Failure(f'there is no {direction} guard "{name}" in this set{suggestion(name, known)}')
    return tuple(known[name] for name in names) if names else rules


async def _scan(trials: Trials, role: str, lines: BinaryIO, out: BinaryIO) -> int:
    progress = _Progress()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        row = _row(line, number)
        out.write(orjson.dumps(_told(row["id"], await trials.text(row["text"], role))) + b"\n")
        progress.tell(number)
    out.flush()
    progress.end()
    return 0


def _row(line: bytes, number: int) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise Failure(f"line {number}: not valid JSON", exit_code=1) from None
    if not isinstance(row, dict) or "id" not in row or not isinstance(row.get("text"), str):
        raise Failure(f'line {number}: expected {{"id": ..., "text": "..."}}', exit_code=1)
    return row


def _told(id_: object, trial: Trial) -> dict[str, Any]:
    return {
        "id": id_,
        "verdict": trial.outcome,
        "text": trial.text,
        "guards": [_guard(guard) for guard in trial.guards],
    }


def _guard(guard: GuardTrial) -> dict[str, Any]:
    return {
        "guard": guard.guard,
        "verdict": guard.outcome,
        "score": guard.score,
        "ms": round(guard.duration_s * 1000, 3),
        "findings": list(_findings(guard.findings)),
    }


def _findings(findings: tuple[Finding, ...]) -> Iterator[dict[str, Any]]:
    for finding in findings:
        yield {"type": finding.kind, "start": finding.start, "end": finding.end, "score": finding.score}


class _Progress:
    """On a terminal, how far it is; elsewhere nothing."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._began = self._told = time.monotonic()
        self._number = 0

    def tell(self, number: int) -> None:
        self._number = number
        if self._shown and time.monotonic() - self._told >= _PROGRESS_S:
            self._told = time.monotonic()
            print(f"\r{number} lines, {self._rate():.0f} a second", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._shown and self._number:
            print(f"\r{self._number} lines, {self._rate():.0f} a second", file=sys.stderr)

    def _rate(self) -> float:
        return self._number / max(time.monotonic() - self._began, 1e-9)
