"""Guard rows -> built guards and guard sets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from gateway.core.ports import Guard, RemoteGuard
from gateway.core.rules import GuardSet, Rule
from gateway.core.span import Direction
from gateway.guards import json_schema, leak, shape, webhook
from gateway.guards.base import GuardRow
from gateway.guards.table import BUILD
from gateway.policy import schema
from gateway.policy.suggest import suggestion

Post = Callable[[bytes], Awaitable[bytes]]
PostFor = Callable[[webhook.Row, str], Post]
"""(row, secret) -> how to send to the row's URL; the secret is "" where there is none."""

Report = Callable[[tuple[str | int, ...], str], None]

_OUTPUT_ONLY = (json_schema.Row, leak.Row)
_NEEDS_WHOLE_ANSWERS = (json_schema.Row, shape.Row, webhook.Row)


class Workshop:
    """Builds guards, and keeps what it built: a reload builds anew only what changed. Rows that name files are always
    built, as their files may have changed."""

    def __init__(self, post_for: PostFor) -> None:
        self._post_for = post_for
        self._kept: dict[tuple[str, str], Guard | RemoteGuard] = {}

    def guard(self, row: GuardRow, folder: Path, secret: str) -> Guard | RemoteGuard:
        """Raises ValueError with what is wrong in the row, OSError for its files."""
        if isinstance(row, webhook.Row):
            return webhook.Webhook(row, self._post_for(row, secret))
        if any("file" in name for name in row.model_fields_set):
            return BUILD[type(row)](row, folder)
        key = (type(row).__module__, row.model_dump_json())
        if key not in self._kept:
            self._kept[key] = BUILD[type(row)](row, folder)
        return self._kept[key]


def no_network(_: webhook.Row, __: str) -> Post:
    """For commands that only look at a policy."""

    async def post(_: bytes) -> bytes:
        raise OSError("this command asks nobody")

    return post


class GuardBuilder:
    """`report(path, message)` takes every problem."""

    def __init__(
        self,
        document: schema.PolicyDocument,
        folder: Path,
        workshop: Workshop,
        secret_of: Callable[[str], str],
        report: Report,
        is_wrong: Callable[[str, str | None], bool],
    ) -> None:
        self._is_wrong = is_wrong
        self._document = document
        self._folder = folder
        self._workshop = workshop
        self._secret_of = secret_of
        self._report = report
        self._used: set[str] = set()

    def sets(self) -> dict[str, GuardSet]:
        rules = {name: rule for name, row in self._document.guards.items() if (rule := self._rule(name, row))}
        found = {name: self._set(name, row, rules) for name, row in self._document.guard_sets.items()}
        for name in () if self._is_wrong("guard_sets", None) else self._document.guards.keys() - self._used:
            self._report(("guards", name), "no guard set uses this guard: remove it")
        return found

    def known(self, path: tuple[str | int, ...], name: str | None) -> None:
        """Reports a reference to a guard set that does not exist."""
        if name is not None and name not in self._document.guard_sets and not self._is_wrong("guard_sets", name):
            self._report(path, f'there is no guard set "{name}"{suggestion(name, self._document.guard_sets)}')

    def _rule(self, name: str, row: GuardRow) -> Rule | None:
        try:
            secret = self._secret_of(row.secret) if isinstance(row, webhook.Row) and row.secret else ""
            guard = self._workshop.guard(row, self._folder, secret)
        except (ValueError, OSError) as problem:
            self._report(("guards", name), str(problem))
            return None
        return Rule(
            name=name,
            guard=guard,
            action=row.action,
            fails_open=row.on_error == "allow",
            enforced=row.mode == "enforce",
            budget_s=row.budget_ms / 1000,
            operator=row.operator,
            text=row.text,
            attempts=row.attempts,
            roles=frozenset(row.roles) if row.roles is not None else None,
            definitions=row.definitions,
            remote=isinstance(row, webhook.Row),
        )

    def _set(self, name: str, row: schema.GuardSetRow, rules: Mapping[str, Rule]) -> GuardSet:
        entry = GuardSet(
            name=name,
            input=self._rules(("guard_sets", name, "input"), row.input, rules, "input"),
            output=self._rules(("guard_sets", name, "output"), row.output, rules, "output"),
            alongside=row.screen == "alongside",
            hold=self._hold(row),
            budget_s=row.budget_ms / 1000,
            unreadable_blocks=row.unreadable == "block",
            stable=row.placeholders == "stable",
        )
        if entry.alongside and entry.masks_input:
            self._report(
                ("guard_sets", name, "screen"), "a guard that masks must run before: the provider must not see"
            )
        return entry

    def _rules(
        self, path: tuple[str | int, ...], names: list[str], rules: Mapping[str, Rule], direction: Direction
    ) -> tuple[Rule, ...]:
        found: list[Rule] = []
        for index, name in enumerate(names):
            self._used.add(name)
            row = self._document.guards.get(name)
            if self._is_wrong("guards", name):
                continue
            if row is None:
                self._report((*path, index), f'there is no guard "{name}"{suggestion(name, self._document.guards)}')
            elif direction == "input" and (isinstance(row, _OUTPUT_ONLY) or row.action in {"replace", "regenerate"}):
                self._report((*path, index), "this guard is for answers only: list it under output")
            elif name in rules:
                found.append(rules[name])
        return tuple(found)

    def _hold(self, row: schema.GuardSetRow) -> schema.Hold:
        """Guards that need the whole answer make streams wait for it, unless they only observe."""
        listed = [self._document.guards[name] for name in row.output if name in self._document.guards]
        whole = any(isinstance(one, _NEEDS_WHOLE_ANSWERS) or one.action in {"replace", "regenerate"} for one in listed)
        return "all" if whole and row.hold == "window" else row.hold
