"""`gateway check` with policy tests, `gateway scan`, `gateway explain` with guards."""

import json
import subprocess
import sys

import pytest

POLICY = """
providers: {demo: {shape: demo}}
models: {m: {targets: [{provider: demo}]}}
callers: {app: {key_sha256: ["%s"], team: t, models: [m]}}
guards:
  names: {type: words, words: [falcon], kind: CODE_NAME, action: mask, on_error: block}
  stop: {type: patterns, patterns: {STOP: 'halt[0-9]'}, action: block, on_error: block}
guard_sets:
  default: {input: [names, stop], output: [names], unreadable: allow}
""" % ("ab" * 32)


@pytest.fixture
def policies(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "policy.yaml").write_text(POLICY)
    return tmp_path


def gateway(*arguments, given: str = ""):
    command = [sys.executable, "-m", "gateway", *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)


def test_policy_tests_that_hold_pass_and_are_counted(policies):
    (policies / "tests" / "a.yaml").write_text(
        "- {name: masks, text: the falcon, expect: {verdict: mask, text: 'the [CODE_NAME_1]', findings: {CODE_NAME: 1}}}\n"
        "- {name: blocks, messages: [{role: user, content: halt1}], expect: {verdict: block}}\n"
        "- {name: streams, direction: output, stream: [the fal, con flies], expect: {text: 'the [CODE_NAME_1] flies'}}\n"
    )
    done = gateway("check", policies)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "3 of 3 policy tests passed")


def test_a_policy_test_that_fails_shows_what_differs(policies):
    (policies / "tests" / "a.yaml").write_text(
        "- {name: masks, text: the falcon, expect: {verdict: block, text: x, findings: {STOP: 2}}}\n"
    )
    done = gateway("check", policies)
    assert done.returncode == 1
    assert done.stdout.splitlines()[1:6] == [
        "  verdict   expected block, got mask",
        "  text      expected 'x'",
        "            got      'the [CODE_NAME_1]'",
        "  findings  expected 2 STOP, got 1 CODE_NAME",
        "0 of 1 policy tests passed",
    ]


def test_scan_answers_each_line_in_order(policies):
    texts = ["plain", "a falcon", "halt1 falcon"]
    given = "".join(json.dumps({"id": number, "text": text}) + "\n" for number, text in enumerate(texts))
    done = gateway("scan", "--policy", policies, given=given)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["id"], row["verdict"], row["text"]) for row in rows] == [
        (0, "allow", "plain"), (1, "mask", "a [CODE_NAME_1]"), (2, "block", None),
    ]  # fmt: skip
    assert rows[1]["guards"][0] | {"ms": 0} == {
        "guard": "names", "verdict": "mask", "score": 1.0, "ms": 0,
        "findings": [{"type": "CODE_NAME", "start": 2, "end": 8, "score": 1.0}],
    }  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_scan_takes_single_guards_and_the_other_direction(policies):
    given = '{"id": "x", "text": "halt1 falcon"}\n'
    done = gateway("scan", "--policy", policies, "--guard", "stop", given=given)
    assert [guard["guard"] for guard in json.loads(done.stdout)["guards"]] == ["stop"]
    done = gateway("scan", "--policy", policies, "--direction", "output", given=given)
    assert json.loads(done.stdout)["text"] == "halt1 [CODE_NAME_1]"


@pytest.mark.parametrize(
    ("arguments", "given", "message"),
    [
        (("--guard", "stpo"), "", 'there is no input guard "stpo" in this set; did you mean "stop"?'),
        (("--guards", "defalt"), "", 'there is no guard set "defalt"; did you mean "default"?'),
        ((), '{"id": 1, "text": "a"}\nnot json\n', "line 2: not valid JSON"),
        ((), '{"id": 1}\n', 'line 1: expected {"id": ..., "text": "..."}'),
    ],
)
def test_scan_says_what_is_wrong(policies, arguments, given, message):
    done = gateway("scan", "--policy", policies, *arguments, given=given)
    assert done.returncode in {1, 2}
    assert message in done.stderr


def test_explain_shows_the_guards_in_the_order_in_which_they_run(policies):
    said = gateway("explain", policies, "--key", "app", "--model", "m").stdout
    assert (
        said.index("4 screen")
        < said.index("names")
        < said.index("stop")
        < said.index("6 forward")
        < said.index("7 relay")
    )
    assert "mask (placeholder); when it fails: blocks" in said
