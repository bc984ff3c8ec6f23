"""What a policy says about guards, compiled; and what came of it, as the Record keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gateway.core.ports import Guard, RemoteGuard
from gateway.core.span import Direction, Text

Action = Literal["allow", "flag", "mask", "block", "replace", "regenerate"]
Outcome = Literal["allow", "flag", "mask", "block", "replace", "regenerate", "not_run"]
Hold = Literal["window", "all", "observe"]

# From harmless to grave: the outcome of a guard over a whole stream is the gravest of its parts.
GRAVITY: tuple[Outcome, ...] = ("allow", "flag", "not_run", "mask", "replace", "regenerate", "block")


@dataclass(frozen=True, slots=True)
class Rule:
    """One guard as one policy set uses it. `roles` None: texts of every role."""

    name: str
    guard: Guard | RemoteGuard
    action: Action
    fails_open: bool
    enforced: bool
    budget_s: float
    operator: str
    text: str
    attempts: int
    roles: frozenset[str] | None
    definitions: bool
    remote: bool = False  # the guard is a RemoteGuard

    def reads(self, text: Text) -> bool:
        if text.kind == "definition":
            return self.definitions
        if text.kind == "part" and not getattr(self.guard, "reads_parts", False):
            return False
        return self.roles is None or text.role in self.roles


@dataclass(frozen=True, slots=True)
class GuardSet:
    """The rules for one call, in order. `stable`: a value keeps its placeholder over the turns of a conversation."""

    name: str
    input: tuple[Rule, ...]
    output: tuple[Rule, ...]
    alongside: bool
    hold: Hold
    budget_s: float
    unreadable_blocks: bool
    stable: bool

    @property
    def masks_input(self) -> bool:
        return any(rule.action == "mask" and rule.enforced for rule in self.input)


@dataclass(slots=True)
class Verdict:
    """What one guard came to over one direction of one call. No text, no offsets. `began` is a reading of the monotonic
    clock, None until it looks; `duration_s` the time it took, in however many pieces."""

    guard: str
    direction: Direction
    enforced: bool
    outcome: Outcome = "allow"
    kinds: dict[str, int] = field(default_factory=dict)
    score: float = 0.0
    duration_s: float = 0.0
    began: float | None = None
    reason: str = ""
    looked: bool = False

    @property
    def is_told(self) -> bool:
        """Whether there is anything to tell: nobody says that a guard allowed what it was never shown (GRD-11)."""
        return self.looked or self.outcome != "allow"

    def worsen(self, outcome: Outcome) -> None:
        if GRAVITY.index(outcome) > GRAVITY.index(self.outcome):
            self.outcome = outcome
