"""Guards over texts -> what policy makes of it. Used for requests, answers and the windows of streams alike.

A guard that raises, is late or cannot run gives the verdict *not run*: its row says whether that blocks or lets pass,
and it is visible either way. What a guard raised is never told: it may quote the text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import cast

from gateway.core.clock import Clock
from gateway.core.errors import Refusal
from gateway.core.ports import Guard, RemoteGuard
from gateway.core.rules import GuardSet, Outcome, Rule, Verdict
from gateway.core.span import Context, Direction, Finding, Text, View
from gateway.engine.gate import Window
from gateway.masks.edits import Edit, JsonState, border, merge

# A guard's answer counts for this many texts or findings; more is a flood, and the guard has not run.
MAX_FINDINGS = 100_000
# Longer texts are read beside the event loop, in a pool of their own: a guard that hangs there delays no other work.
INLINE_CHARACTERS = 16_384
_POOL = ThreadPoolExecutor(4, thread_name_prefix="guard")


@dataclass(frozen=True, slots=True)
class Judged:
    """One rule over one view. `findings` are those of texts that the rule reads; empty when it has not run."""

    rule: Rule
    outcome: Outcome
    findings: tuple[Finding, ...] = ()


@dataclass(slots=True)
class Judgement:
    """All rules over one view."""

    rules: list[Judged] = field(default_factory=list)

    def of(self, outcome: Outcome) -> Judged | None:
        """The first rule that came to this, in force."""
        return next((judged for judged in self.rules if judged.outcome == outcome and judged.rule.enforced), None)

    def masks(self) -> list[tuple[Rule, Finding]]:
        return [
            (judged.rule, finding)
            for judged in self.rules
            if judged.outcome == "mask" and judged.rule.enforced
            for finding in judged.findings
        ]

    def refuse(self) -> None:
        """Refusal when a rule in force blocks, or has not run and may not be left out."""
        if (blocked := self.of("block")) is not None:
            raise blocked_by(blocked.rule, {finding.kind for finding in blocked.findings})
        for judged in self.rules:
            if judged.outcome == "not_run" and judged.rule.enforced and not judged.rule.fails_open:
                raise Refusal(
                    "guardrail_unavailable",
                    f"The guard '{judged.rule.name}' could not check this, and the policy requires it.",
                    retry_after_s=1,
                )


class Regenerate(Exception):
    """`answer` is to be asked for again. `feedback` tells the model what was wrong; "" where it is not known."""

    def __init__(self, rule: Rule, answer: str, feedback: str) -> None:
        super().__init__(rule.name)
        self.rule = rule
        self.answer = answer
        self.feedback = feedback


def blocked_by(rule: Rule, kinds: Collection[str] = ()) -> Refusal:
    found = f" ({', '.join(sorted(kinds))})" if kinds else ""
    return Refusal("guard_blocked", f"Blocked by the guard '{rule.name}' of this gateway's policy{found}.")


Excuse = Callable[[Text, JsonState | None], Sequence[Edit]]


def _nothing(_: Text, __: JsonState | None) -> Sequence[Edit]:
    return ()


class Judge:
    """The rules of one direction for one call, and the verdicts they have come to so far."""

    def __init__(self, rules: Sequence[Rule], direction: Direction, budget_s: float, context: Context, clock: Clock):
        self._rules = [(rule, rule.guard if rule.remote else _local(rule).for_call(context)) for rule in rules]
        self._local = [(rule, cast("Guard", guard)) for rule, guard in self._rules if not rule.remote]
        self._direction = direction
        self._left_s = budget_s
        self._excuse: Excuse = _nothing
        self._clock = clock
        self.verdicts = {rule.name: Verdict(rule.name, direction, rule.enforced) for rule in rules}

    @classmethod
    def of(cls, guards: GuardSet, direction: Direction, context: Context, clock: Clock) -> Judge:
        rules = guards.input if direction == "input" else guards.output
        if direction == "output" and guards.hold == "observe":
            rules = tuple(replace(rule, enforced=False) for rule in rules)
        return cls(rules, direction, guards.budget_s, context, clock)

    def excuse(self, excuse: Excuse) -> None:
        """From now on findings that lie wholly in one of these places of a text are none: the gateway's own stand-ins
        look like the values that they stand for."""
        self._excuse = excuse

    def __bool__(self) -> bool:
        return bool(self._rules)

    @property
    def is_local(self) -> bool:
        """Whether no rule asks somebody else."""
        return len(self._local) == len(self._rules)

    async def whole(self, texts: Sequence[Text]) -> Judgement:
        """Every rule over whole texts; a rule that blocks ends it. Large texts are read beside the event loop."""
        judgement = Judgement()
        for rule, guard in self._rules:
            judged = await self._judged(rule, guard, texts)
            judgement.rules.append(judged)
            if judged.outcome == "block" and rule.enforced:
                break
        return judgement

    def window(self, window: Window) -> tuple[Judgement, int]:
        """Every local rule over the part of a stream that is to be decided now; small, so it is read at once. Also how
        far it is decided: a finding that the text which follows may make longer is left for later."""
        found = [(rule, self._found(rule, guard, window)) for rule, guard in self._local if rule.reads(window.text)]
        until = window.until
        if not window.whole:
            merged = merge((finding, rule) for rule, findings in found for finding in findings or ())
            until = border(merged, until)
        judgement = Judgement()
        for rule, findings in found:
            decided = None if findings is None else [one for one in findings if one.start < until]
            judged = Judged(rule, "not_run") if decided is None else self._concluded(rule, decided, (0,))
            judgement.rules.append(judged)
        return judgement, until

    def _found(self, rule: Rule, guard: Guard, window: Window) -> list[Finding] | None:
        began = self._clock.monotonic()
        try:
            view = View(self._direction, (window.text,), window.whole)
            found = [one for one in guard.check(view) if one.end > window.since and one.start < window.until]
            return self._unexcused(found, (window.text,), window.state)
        except Exception as error:
            self._not_run(rule, type(error).__name__)
            return None
        finally:
            self._took(rule, began)

    def _took(self, rule: Rule, began: float) -> float:
        spent, verdict = self._clock.monotonic() - began, self.verdicts[rule.name]
        if verdict.began is None:
            verdict.began = began
        verdict.duration_s += spent
        return spent

    def open_tail(self, text: Text) -> int:
        """The longest that any rule must hold. A rule that cannot say holds all."""
        tails = [0]
        for rule, guard in self._local:
            if rule.enforced and rule.reads(text):
                try:
                    tails.append(guard.open_tail(text))
                except Exception:
                    tails.append(len(text.raw))
        return min(max(tails), len(text.raw))

    def feedback(self, rule: Rule, texts: Sequence[Text]) -> str:
        """What the guard can tell the model about these texts."""
        guard = next(guard for known, guard in self._rules if known is rule)
        tell = getattr(guard, "feedback", None)
        return str(tell(View(self._direction, tuple(texts)))) if tell is not None else ""

    def unread(self, reason: str) -> None:
        """Something could not be read: no rule has seen it."""
        for rule, _ in self._rules:
            self.verdicts[rule.name].worsen("not_run")
            self.verdicts[rule.name].reason = reason

    async def _judged(self, rule: Rule, guard: Guard | RemoteGuard, texts: Sequence[Text]) -> Judged:
        places = tuple(index for index, text in enumerate(texts) if rule.reads(text))
        if not places:
            return Judged(rule, "allow")
        if self._left_s <= 0:
            return self._not_run(rule, "budget")
        view = View(self._direction, tuple(texts[index] for index in places))
        began = self._clock.monotonic()
        try:
            if not rule.remote and sum(len(text.raw) for text in view.texts) <= INLINE_CHARACTERS:
                found = self._unexcused(cast("Guard", guard).check(view), view.texts, None)
                return self._concluded(rule, found, places)
            async with asyncio.timeout(min(rule.budget_s, self._left_s)):
                found = self._unexcused(await _checked(rule, guard, view), view.texts, None)
                return self._concluded(rule, found, places)
        except TimeoutError:
            return self._not_run(rule, "late")
        except Exception as error:
            return self._not_run(rule, type(error).__name__)
        finally:
            self._left_s -= self._took(rule, began)

    def _unexcused(self, found: Sequence[Finding], texts: Sequence[Text], state: JsonState | None) -> list[Finding]:
        if self._excuse is _nothing or not found:
            return list(found)
        places = {index: self._excuse(texts[index], state) for index in {finding.text for finding in found}}
        return [
            one for one in found if not any(own.start <= one.start and one.end <= own.end for own in places[one.text])
        ]

    def _concluded(self, rule: Rule, found: Sequence[Finding], places: Sequence[int]) -> Judged:
        if len(found) > MAX_FINDINGS:
            return self._not_run(rule, "flood")
        verdict = self.verdicts[rule.name]
        verdict.looked = True
        for finding in found:
            verdict.kinds[finding.kind] = verdict.kinds.get(finding.kind, 0) + 1
            verdict.score = max(verdict.score, finding.score)
        outcome: Outcome = rule.action if found else "allow"
        verdict.worsen(outcome)
        moved = tuple(Finding(places[one.text], one.start, one.end, one.kind, one.score, one.repair) for one in found)
        return Judged(rule, outcome, moved)

    def _not_run(self, rule: Rule, reason: str) -> Judged:
        self.verdicts[rule.name].worsen("not_run")
        self.verdicts[rule.name].reason = reason
        return Judged(rule, "not_run")


def _local(rule: Rule) -> Guard:
    return cast("Guard", rule.guard)


async def _checked(rule: Rule, guard: Guard | RemoteGuard, view: View) -> Sequence[Finding]:
    if rule.remote:
        return await cast("RemoteGuard", guard).ask(view)
    return await asyncio.get_running_loop().run_in_executor(_POOL, cast("Guard", guard).check, view)
