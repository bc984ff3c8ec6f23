"""`gateway check`: is the policy folder sound, and do its tests hold? For people and for CI."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

from gateway.cli.common import Commands, add_directory, load_policy
from gateway.cli.errors import Failure
from gateway.core.clock import SystemClock
from gateway.engine.trial import Trial, Trials
from gateway.policy.compile import PolicySet
from gateway.policy.load import PolicyErrors
from gateway.policy.trials import PolicyTest, read_tests

_KEY = b"policy tests"  # a fixed key, so that hashes in expectations hold


def add_to(commands: Commands) -> None:
    command = commands.add_parser(
        "check",
        help="check the policy files and run their tests",
        description="Loads the policy files, prints every problem with file, line and fix, and runs DIR/tests/*.yaml.",
        epilog="Exit codes: 0 sound, 1 problems found or a test failed, 2 could not run.",
    )
    add_directory(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    policy = load_policy(options.directory)
    failed = _run_tests(policy, options.directory)
    left_out = f", left out: {', '.join(policy.left_out)}" if policy.left_out else ""
    print(
        f"{options.directory}: sound, version {policy.version} "
        f"({len(policy.providers)} providers, {len(policy.models.names())} models, {len(policy.keys)} keys{left_out})"
    )
    return 1 if failed else 0


def _run_tests(policy: PolicySet, directory: Path) -> int:
    """How many failed; each is printed with what was expected and what came."""
    try:
        tests = read_tests(directory)
    except PolicyErrors as problems:
        raise Failure(str(problems), exit_code=1) from None
    failed = 0
    for file, test in tests:
        lines = list(_differences(test, policy))
        failed += bool(lines)
        for line in [f"{file}: {test.name}", *(f"  {line}" for line in lines)] if lines else []:
            print(line)
    if tests:
        print(f"{len(tests) - failed} of {len(tests)} policy tests passed")
    return failed


def _differences(test: PolicyTest, policy: PolicySet) -> Iterator[str]:
    guards = policy.guard_sets.get(test.guards)
    if guards is None:
        yield f'there is no guard set "{test.guards}"'
        return
    rules = guards.input if test.direction == "input" else guards.output
    trial = asyncio.run(_tried(test, Trials(guards, rules, test.direction, _KEY, SystemClock())))
    expected = test.expect
    if expected.verdict is not None and expected.verdict != trial.outcome:
        yield f"verdict   expected {expected.verdict}, got {trial.outcome}"
    if expected.text is not None and expected.text != trial.text:
        yield f"text      expected {expected.text!r}"
        yield f"          got      {trial.text!r}" if trial.text is not None else "          got      nothing: blocked"
    if expected.findings is not None and expected.findings != dict(trial.kinds):
        yield f"findings  expected {_counts(expected.findings)}, got {_counts(trial.kinds)}"


async def _tried(test: PolicyTest, trials: Trials) -> Trial:
    if test.text is not None:
        return await trials.text(test.text, "user" if test.direction == "input" else "assistant")
    if test.messages is not None:
        return await trials.messages(test.messages)
    return await trials.stream(test.stream or [])


def _counts(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "none"
