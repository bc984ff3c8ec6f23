"""Guards in policy files: what is wrong with them, and their tests."""

from pathlib import Path

import pytest

from gateway.policy.load import PolicyErrors, load
from gateway.policy.trials import read_tests

HEAD = b"providers: {demo: {shape: demo}}\nmodels: {m: {targets: [{provider: demo}]}}\n"
ROW = "action: mask, on_error: block"


def loaded(text: str):
    return load((("p.yaml", HEAD + text.encode()),), Path("policies"), {})


def problems(text: str) -> list[str]:
    with pytest.raises(PolicyErrors) as error:
        loaded(text)
    return [line.split("p.yaml:", 1)[1] for line in str(error.value).splitlines()]


def test_all_problems_are_told_at_once_with_line_and_fix():
    text = f"""guards:
  a: {{type: pii, {ROW}, entites: [X]}}
  b: {{type: pi, {ROW}}}
  c: {{type: patterns, {ROW}, patterns: {{X: "(a)\\\\1"}}}}
  d: {{type: words, action: block, words: [x]}}
  f: {{type: secrets, action: regenerate, on_error: block}}
  g: {{type: unicode, {ROW}}}
guard_sets:
  default: {{input: [a, c, f, zz], unreadable: allow}}
  other: {{input: [g], unreadable: allow, screen: alongside}}
"""
    found = problems(text)
    assert found[:5] == [
        '4: guards.a.entites: there is no such key; did you mean "entities"?',
        '5: guards.b: there is no guard type "pi"; did you mean "pii"?',
        *found[2:3],
        "7: guards.d.on_error: is missing",
        "11: guard_sets.default.input[2]: this guard is for answers only: list it under output",
    ]
    assert found[2].startswith("6: guards.c: patterns.X: RE2 refuses it")
    assert found[5] == '11: guard_sets.default.input[3]: there is no guard "zz"'
    assert found[6].startswith("12: guard_sets.other.screen: a guard that masks must run before")


def test_a_set_that_does_not_exist_and_a_guard_that_nobody_uses_are_problems():
    text = f"guards:\n  g: {{type: unicode, {ROW}}}\nguard_sets:\n  default: {{unreadable: allow}}\n"
    assert problems(text) == ["4: guards.g: no guard set uses this guard: remove it"]
    caller = f"callers:\n  app: {{key_sha256: ['{'ab' * 32}'], team: t, models: [m], guards: defalt}}\n"
    set_ = "guard_sets:\n  default: {unreadable: allow}\n"
    assert problems(caller + set_) == ['4: callers.app.guards: there is no guard set "defalt"; did you mean "default"?']


def test_what_cannot_be_read_has_to_be_decided():
    assert problems("guard_sets:\n  default: {}\n") == ["4: guard_sets.default.unreadable: is missing"]


def test_guards_that_need_whole_answers_make_streams_wait():
    text = f"guards:\n  g: {{type: json_schema, {ROW}}}\nguard_sets:\n  default: {{output: [g], unreadable: allow}}\n"
    assert loaded(text).guard_sets["default"].hold == "all"
    assert loaded(text.replace("allow}", "allow, hold: observe}")).guard_sets["default"].hold == "observe"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- {name: x, expect: {}}", "give exactly one of text, messages and stream"),
        ("- {name: x, text: a, stream: [b], expect: {}}", "give exactly one of text, messages and stream"),
        ("- {name: x, stream: [b], expect: {}}", "set direction: output"),
        ("- {name: x, text: a, expect: {verdikt: mask}}", "expect.verdikt"),
        ("- a: b: c", "not valid YAML"),
    ],
)
def test_a_policy_test_that_cannot_be_run_is_a_problem_with_its_line(tmp_path, text, problem):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "t.yaml").write_text("# first line\n" + text)
    with pytest.raises(PolicyErrors, match=r"t\.yaml:2: ") as error:
        read_tests(tmp_path)
    assert problem in str(error.value)
