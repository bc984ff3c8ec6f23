"""Rules over texts, with guards that do whatever a test wants."""

import asyncio
from dataclasses import dataclass, field

import pytest

from gateway.core.errors import Refusal
from gateway.core.rules import Rule
from gateway.core.span import Context, Finding, Text, View
from gateway.engine.gate import Window
from gateway.engine.judge import INLINE_CHARACTERS, MAX_FINDINGS, Judge
from gateway.masks.edits import Edit


@dataclass
class Clock:
    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


@dataclass
class Finds:
    """Finds a word; `does` runs first."""

    word: str = "bad"
    does: object = None
    seen: list[View] = field(default_factory=list)
    reads_parts = True

    def for_call(self, context):
        return self

    def check(self, view):
        self.seen.append(view)
        if self.does is not None:
            self.does()
        places = [(index, text.raw.find(self.word), text) for index, text in enumerate(view.texts)]
        return [Finding(index, at, at + len(self.word), "WORD", 0.9) for index, at, _ in places if at >= 0]

    def open_tail(self, text):
        if self.does is not None:
            self.does()
        return 2


class Asks:
    """A remote guard."""

    def __init__(self, answer=(), waits=False):
        self.answer, self.waits = answer, waits

    async def ask(self, view):
        if self.waits:
            await asyncio.Event().wait()
        return self.answer

    async def close(self):
        """Nothing is open."""


def rule(guard, name="g", **more) -> Rule:
    given = {
        "action": "block", "fails_open": False, "enforced": True, "budget_s": 1.0, "operator": "placeholder", "text": "",
        "attempts": 1, "roles": None, "definitions": False, **more,
    }  # fmt: skip
    return Rule(name=name, guard=guard, **given)


def judge(*rules, clock=None, budget_s=10.0) -> Judge:
    return Judge(rules, "input", budget_s, Context(), clock or Clock())


def fails():
    raise RuntimeError("the text was bad canary")


async def outcomes(judge_, *texts):
    judgement = await judge_.whole([Text(text) if isinstance(text, str) else text for text in texts])
    return judgement, [verdict.outcome for verdict in judge_.verdicts.values()]


async def test_a_finding_leads_to_what_the_row_says_and_none_to_allow():
    for action in ("allow", "flag", "mask", "block"):
        _, found = await outcomes(judge(rule(Finds(), action=action)), "a bad word")
        assert found == [action]
    _, found = await outcomes(judge(rule(Finds())), "a good word")
    assert found == ["allow"]


async def test_a_block_ends_it_and_guards_after_it_are_not_shown_the_text():
    later = Finds()
    made = judge(rule(Finds(), "first"), rule(later, "later"))
    judgement, _ = await outcomes(made, "bad")
    assert later.seen == []
    assert [verdict.is_told for verdict in made.verdicts.values()] == [True, False]
    with pytest.raises(Refusal) as refusal:
        judgement.refuse()
    assert (refusal.value.code, "first" in refusal.value.message) == ("guard_blocked", True)


@pytest.mark.parametrize(("fails_open", "refused"), [(True, False), (False, True)])
async def test_a_guard_that_raises_has_not_run_and_its_row_says_what_that_means(fails_open, refused):
    """GRD-10, GRD-12, I5"""
    made = judge(rule(Finds(does=fails), fails_open=fails_open))
    judgement, found = await outcomes(made, "bad")
    assert found == ["not_run"]
    assert made.verdicts["g"].reason == "RuntimeError"
    assert "canary" not in repr(made.verdicts)
    if refused:
        with pytest.raises(Refusal) as refusal:
            judgement.refuse()
        assert refusal.value.code == "guardrail_unavailable"
    else:
        judgement.refuse()


async def test_a_guard_that_is_late_has_not_run():
    _, found = await outcomes(judge(rule(Asks(waits=True), remote=True, budget_s=0.02)), "x")
    assert found == ["not_run"]


async def test_a_flood_of_findings_is_no_answer():
    flood = [Finding(0, 0, 1, "X")] * (MAX_FINDINGS + 1)
    _, found = await outcomes(judge(rule(Asks(flood), remote=True)), "x")
    assert found == ["not_run"]


async def test_when_the_budget_is_used_up_the_guards_that_follow_have_not_run():
    clock = Clock()

    def takes_long():
        clock.now += 2.0

    made = judge(rule(Finds(does=takes_long), "slow", action="flag"), rule(Finds(), "late"), clock=clock, budget_s=1.5)
    _, found = await outcomes(made, "bad")
    assert found == ["flag", "not_run"]
    assert made.verdicts["late"].reason == "budget"
    assert made.verdicts["slow"].duration_s == 2.0


async def test_a_monitored_rule_tells_and_does_nothing():
    judgement, found = await outcomes(
        judge(rule(Finds(), enforced=False), rule(Finds(does=fails), "b", enforced=False)), "bad"
    )
    assert found == ["block", "not_run"]
    judgement.refuse()
    assert judgement.masks() == []


async def test_a_rule_reads_the_roles_and_kinds_that_it_names():
    """GRD-15"""
    guard = Finds()
    texts = [Text("bad", "system"), Text("bad", "user"), Text("bad", "", "definition")]
    await outcomes(judge(rule(guard, roles=frozenset({"user"}))), *texts)
    assert [text.role for text in guard.seen[0].texts] == ["user"]
    guard.seen.clear()
    judgement, _ = await outcomes(judge(rule(guard, definitions=True, roles=frozenset())), *texts)
    assert [text.kind for text in guard.seen[0].texts] == ["definition"]
    assert [finding.text for finding in judgement.rules[0].findings] == [2]


async def test_a_long_text_is_read_beside_the_loop():
    import threading

    where = []
    guard = Finds(does=lambda: where.append(threading.current_thread().name))
    await outcomes(judge(rule(guard)), "x" * INLINE_CHARACTERS)
    await outcomes(judge(rule(guard)), "x" * (INLINE_CHARACTERS + 1))
    assert where[0] == "MainThread"
    assert where[1].startswith("guard")


async def test_a_finding_in_a_stand_in_of_the_gateways_own_is_none():
    made = judge(rule(Finds()))
    made.excuse(lambda text, state: [Edit(2, 7, "")])
    _, found = await outcomes(made, "a  bad x")
    assert found == ["allow"]
    _, found = await outcomes(made, "bad   x")
    assert found == ["block"]


def test_in_a_stream_a_finding_is_counted_once_and_one_that_may_grow_waits():
    made = judge(rule(Finds(), action="mask"))
    judgement, until = made.window(Window(Text("a bad"), 0, 5, whole=False))
    assert (until, judgement.masks()) == (2, [])
    judgement, until = made.window(Window(Text("a bad x"), 2, 6, whole=False))
    assert (until, len(judgement.masks())) == (6, 1)
    made.window(Window(Text("a bad x y"), 6, 8, whole=False))
    assert made.verdicts["g"].kinds == {"WORD": 1}


def test_a_guard_that_cannot_say_what_is_open_holds_all():
    """I5"""
    assert judge(rule(Finds())).open_tail(Text("12345")) == 2
    assert judge(rule(Finds(does=fails))).open_tail(Text("12345")) == 5
    assert judge(rule(Finds(does=fails), enforced=False)).open_tail(Text("12345")) == 0
