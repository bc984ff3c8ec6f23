from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from gateway.__main__ import main
from tests.support.patience import PATIENCE_S

COMMANDS = (
    "serve", "check", "explain", "scan", "usage", "budgets", "trace", "reconcile", "ledger", "schema", "init", "keys",
    "healthcheck",
)  # fmt: skip
DIGEST = hashlib.sha256(b"gw-key").hexdigest()
PROVIDERS = """\
providers:
  demo:
    shape: demo
  remote:
    shape: openai
    base_url: https://api.example.com/v1
    api_key: env:REMOTE_KEY
"""
MODELS = """\
models:
  demo:
    targets: [{ provider: demo }]
  fast:
    targets: [{ provider: remote, model: real-name }, { provider: demo }]
"""
CALLERS = f"""\
callers:
  checkout:
    key_sha256: ["{DIGEST}"]
    team: payments
    models: [fast]
"""


def gateway(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return subprocess.run(
        [sys.executable, "-m", "gateway", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={**inherited, "REMOTE_KEY": "sk-canary-0123456789abcdef", **environ},
    )


@dataclass
class Result:
    returncode: int
    stdout: str
    stderr: str


Here = Callable[..., Result]


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    """The command in this process, which is faster."""

    def run(*arguments: object, **environ: str) -> Result:
        for name, value in {"REMOTE_KEY": "sk-canary-0123456789abcdef", **environ}.items():
            monkeypatch.setenv(name, value)
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as usage:
            code = usage.code
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "providers.yaml").write_text(PROVIDERS)
    (folder / "models.yaml").write_text(MODELS)
    (folder / "callers.yaml").write_text(CALLERS)
    return folder


def test_help_lists_the_commands() -> None:
    result = gateway("--help")
    assert (result.returncode, result.stderr) == (0, "")
    listed = [line.split()[0] for line in result.stdout.splitlines() if line.startswith("    ") and line[4] != " "]
    assert tuple(listed) == COMMANDS


def test_every_command_explains_itself(here: Here) -> None:
    for command in ("serve", "check", "keys"):
        result = here(command, "--help")
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith(f"usage: gateway {command}")


def test_an_unknown_command_is_a_usage_error(here: Here) -> None:
    result = here("chek")
    assert (result.returncode, result.stdout) == (2, "")
    assert "chek" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_sound_folder_passes_the_check(policies: Path) -> None:
    result = gateway("check", policies)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"{policies}: sound, version " in result.stdout
    assert "(2 providers, 2 models, 1 keys)" in result.stdout


def test_the_folder_can_be_named_by_the_environment(policies: Path, here: Here) -> None:
    assert here("check", GATEWAY_POLICIES=str(policies)).returncode == 0


def test_a_problem_is_told_with_its_line_and_what_was_meant(policies: Path) -> None:
    (policies / "models.yaml").write_text(MODELS.replace("provider: remote", "provider: remot"))
    result = gateway("check", policies)
    assert (result.returncode, result.stdout) == (1, "")
    [line] = [line for line in result.stderr.splitlines() if line.startswith(f"{policies}/models.yaml:5: ")]
    assert '"remot"' in line
    assert 'did you mean "remote"' in line


def test_every_problem_is_told(policies: Path, here: Here) -> None:
    (policies / "callers.yaml").write_text(CALLERS.replace("    team:", "    teem:"))
    (policies / "providers.yaml").write_text(PROVIDERS.replace("shape: demo", "shape: dem"))
    result = here("check", policies)
    assert result.returncode == 1
    assert f"{policies}/callers.yaml:4: " in result.stderr
    assert 'did you mean "team"' in result.stderr
    assert f"{policies}/providers.yaml:3: " in result.stderr


def test_wrong_references_are_told_beside_wrong_keys(policies: Path, here: Here) -> None:
    """'prints every problem', says its help."""
    (policies / "callers.yaml").write_text(CALLERS.replace("    team:", "    teem:"))
    (policies / "models.yaml").write_text(MODELS.replace("provider: remote", "provider: remot"))
    result = here("check", policies)
    assert f"{policies}/callers.yaml:4: " in result.stderr
    assert f"{policies}/models.yaml:5: " in result.stderr


def test_a_file_that_is_not_yaml_is_told_with_its_line(policies: Path, here: Here) -> None:
    (policies / "models.yaml").write_text("models:\n  demo: [\n")
    result = here("check", policies)
    assert result.returncode == 1
    assert "models.yaml:" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_folder_that_is_not_there_is_told(tmp_path: Path, here: Here) -> None:
    result = here("check", tmp_path / "nowhere")
    assert result.returncode in {1, 2}
    assert "nowhere" in result.stderr
    assert "Traceback" not in result.stderr


def test_explain_prints_the_plan_in_order_and_no_secret(policies: Path) -> None:
    result = gateway("explain", policies, "--key", "checkout", "--model", "fast")
    assert (result.returncode, result.stderr) == (0, "")
    places = [
        result.stdout.index(text)
        for text in (
            "policy ",
            "1 admit",
            "checkout, team payments",
            "2 bind",
            "fast",
            "remote as real-name",
            "demo as fast",
        )
    ]
    assert places[:3] == sorted(places[:3])
    assert places[5] < places[6]
    assert "https://api.example.com/v1" in result.stdout
    assert "canary" not in result.stdout
    assert DIGEST not in result.stdout


def test_explain_says_why_a_model_is_refused(policies: Path, here: Here) -> None:
    result = here("explain", policies, "--key", "checkout", "--model", "demo")
    assert result.returncode == 0
    assert "403 model_not_allowed" in result.stdout


def test_explain_suggests_the_name_that_was_meant(policies: Path, here: Here) -> None:
    result = here("explain", policies, "--key", "chekout", "--model", "fast")
    assert (result.returncode, result.stdout) == (1, "")
    assert '"chekout"' in result.stderr
    assert "checkout" in result.stderr.replace("chekout", "")


def test_explain_needs_a_key_and_a_model(policies: Path, here: Here) -> None:
    assert here("explain", policies, "--key", "checkout").returncode == 2
    assert here("explain", policies, "--model", "fast").returncode == 2


def test_the_schema_is_json_and_knows_the_sections() -> None:
    result = gateway("schema")
    assert (result.returncode, result.stderr) == (0, "")
    assert {"providers", "models", "callers", "passthrough", "limits"} <= json.loads(result.stdout)["properties"].keys()


def test_init_writes_a_starter_that_passes_the_check(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "policies"
    result = gateway("init", folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert {file.name for file in folder.iterdir()} >= {"callers.yaml", "models.yaml", "providers.yaml"}
    checked = gateway("check", folder)
    assert checked.returncode == 0, checked.stderr


def test_init_overwrites_nothing(policies: Path) -> None:
    before = {file.name: file.read_bytes() for file in policies.iterdir()}
    result = gateway("init", policies)
    assert (result.returncode, result.stdout) == (2, "")
    assert "models.yaml" in result.stderr
    assert {file.name: file.read_bytes() for file in policies.iterdir()} == before


def test_init_refuses_what_is_not_a_folder(tmp_path: Path, here: Here) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    result = here("init", file)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert file.read_text() == "x"


def printed_key(output: str) -> tuple[str, dict[str, dict[str, object]]]:
    """(the key, the row as the policy reads it)."""
    [key] = [line.strip() for line in output.splitlines() if line.strip().startswith("gw-")]
    return key, yaml.safe_load(output[output.index("callers:") :])["callers"]


def test_a_new_key_is_printed_with_the_row_that_admits_it() -> None:
    result = gateway("keys", "new", "--name", "checkout", "--team", "payments", "--model", "gpt-*", "--model", "fast")
    assert (result.returncode, result.stderr) == (0, "")
    key, rows = printed_key(result.stdout)
    digest = hashlib.sha256(key.encode()).hexdigest()
    assert rows == {"checkout": {"key_sha256": [digest], "team": "payments", "models": ["gpt-*", "fast"]}}
    assert result.stdout.count(key) == 1


def test_each_new_key_is_another(here: Here) -> None:
    assert printed_key(here("keys", "new").stdout)[0] != printed_key(here("keys", "new").stdout)[0]


def test_the_printed_row_is_sound_whatever_the_name(policies: Path, here: Here) -> None:
    output = here("keys", "new", "--name", 'a: "b" #c', "--team", "größe: {x}").stdout
    _, rows = printed_key(output)
    assert list(rows) == ['a: "b" #c']
    (policies / "callers.yaml").write_text(output[output.index("callers:") :])
    result = here("check", policies)
    assert result.returncode == 0, result.stderr


def test_healthcheck_says_no_when_nothing_answers() -> None:
    result = gateway("healthcheck", GATEWAY_ADMIN_PORT="1")
    assert result.returncode == 1
    assert "127.0.0.1:1" in result.stderr
    assert "Traceback" not in result.stderr


def test_serve_tells_a_wrong_setting(policies: Path, here: Here) -> None:
    result = here("serve", "--policies", policies, "--port", "many")
    assert (result.returncode, result.stdout) == (2, "")
    assert "GATEWAY_PORT" in result.stderr
    assert "Traceback" not in result.stderr


def test_serve_does_not_start_on_a_broken_folder(policies: Path) -> None:
    (policies / "models.yaml").write_text("models:\n  demo:\n    targets: [{ provider: dem }]\n")
    result = gateway("serve", "--policies", policies, "--port", "0")
    assert result.returncode != 0
    assert "models.yaml:3" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
