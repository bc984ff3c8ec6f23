"""SUP-09: no secret is in the repository. Planted ones are put together here, so that this file holds none."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys

import pytest
import yaml

from tests.supply import secret_scan
from tests.supply.requirements import ROOT
from tests.supply.secret_scan import ALLOWED, scan, scan_text, tracked

RANDOM = base64.urlsafe_b64encode(hashlib.sha512(b"supply").digest()).decode().replace("-", "a").replace("_", "b")
JWT_PART = "ey" + "JhbGciOiJIUzI1NiJ9"

PLANTED = {
    "OpenAI": "sk-" + "proj-" + RANDOM[:40],
    "Anthropic": "sk-" + "ant-api03-" + RANDOM[:40],
    "Groq": "gsk_" + RANDOM[:40],
    "xAI": "xai-" + RANDOM[:60],
    "Google": "AI" + "za" + RANDOM[:35],
    "Hugging Face": "hf_" + RANDOM[:34],
    "GitHub": "ghp_" + RANDOM[:36],
    "GitHub, fine-grained": "github_" + "pat_" + RANDOM[:60],
    "GitLab": "glpat-" + RANDOM[:20],
    "Slack": "xoxb-" + "123456789012-" + RANDOM[:24],
    "AWS": "AKIA" + "IOSFODNN7EXAMPL2",
    "our own": "gw-" + RANDOM[:43],
    "RSA": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "PKCS 8": "-----BEGIN " + "PRIVATE KEY-----",
    "OpenSSH": "-----BEGIN OPENSSH " + "PRIVATE KEY-----",
    "PGP": "-----BEGIN PGP " + "PRIVATE KEY BLOCK-----",
    "JWT": f"{JWT_PART}.{JWT_PART}.{RANDOM[:43]}",
    "a URL": "postgres://" + "app:" + RANDOM[:12] + "@db.internal/x",
    "an assignment": "db_password" + ' = "' + RANDOM[:32] + '"',
    "an assignment, in YAML": "  clientSecret" + ": " + RANDOM[:32],
    "an assignment, in JSON": '{"api_key"' + ': "' + RANDOM[:32] + '"}',
    "an assignment, in a shell": "export SESSION_TOKEN" + "=" + RANDOM[:32],
    "hex": "token" + ' = "' + hashlib.sha256(b"supply").hexdigest() + '"',
}

HARMLESS = [
    'key_sha256: ["' + hashlib.sha256(b"x").hexdigest() + '"]',
    "--hash=sha256:" + hashlib.sha256(b"x").hexdigest(),
    "api_key: env:OPENAI_API_KEY",
    "token = secrets.token_urlsafe(32)",
    "sk-...",
    "-----BEGIN CERTIFICATE-----",
    "-----BEGIN PUBLIC KEY-----",
    "http://user@host/path",
    "http://[host]:port",
    "admin_token: Secret | None = _setting(",
    "password = the_name_of_some_function_that_is_long",
]


def test_the_repository_holds_no_secret():
    """SUP-09"""
    files = tracked()
    assert len(files) > 100
    assert [str(finding) for finding in scan(files)] == []


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_secret_is_found(tmp_path, kind):
    """SUP-09: the test above can fail."""
    (tmp_path / "file.txt").write_bytes(b"first line\n\xff\x00 " + PLANTED[kind].encode() + b"\n")
    found = scan([tmp_path / "file.txt"])
    assert found
    assert {finding.line for finding in found} == {2}


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_is_left_alone(text):
    """SUP-09"""
    assert scan_text("file", text) == []


def test_a_finding_never_repeats_the_secret(tmp_path):
    """SUP-09: what CI prints is kept and shown to many."""
    (tmp_path / "file.txt").write_text("\n".join(PLANTED.values()))
    command = [sys.executable, "tests/supply/secret_scan.py", str(tmp_path / "file.txt")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) >= len(PLANTED)
    assert [
        kind for kind, secret in PLANTED.items() if secret in done.stdout + done.stderr or RANDOM[:12] in done.stdout
    ] == []


def test_files_that_git_would_take_are_scanned_and_ignored_ones_are_not(tmp_path):
    """SUP-09"""
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, env=env)
    (tmp_path / ".gitignore").write_text("ignored.txt\n")
    for name in ("new.txt", "ignored.txt"):
        (tmp_path / name).write_text(PLANTED["OpenAI"])
    assert {file.name for file in tracked(tmp_path)} == {".gitignore", "new.txt"}
    assert len(scan(tracked(tmp_path))) == 1


@pytest.mark.parametrize("value", ALLOWED)
def test_every_allowed_value_is_still_needed(value):
    """SUP-09: an entry that hides nothing goes, and one never hides what stands beside it."""
    place = ROOT / ALLOWED[value].split(":")[0]
    assert value in place.read_text()
    assert scan_text("file", f'token = "{value}"') == []
    assert len(scan_text("file", f'"{value}", "{PLANTED["OpenAI"]}"')) == 1


def test_a_canary_is_allowed_in_a_test_and_nowhere_else():
    """SUP-09: the keys that tests look for in outputs, such as tests/support/running.py's."""
    text = 'key = "sk-provider-' + 'canary-0123456789"'
    assert scan_text("tests/support/running.py", text) == []
    assert len(scan_text("gateway/settings.py", text)) == 1
    assert len(scan_text("tests/a.py", text.replace("-can", "can"))) == 1


def test_the_hook_before_a_commit_runs_the_same_scan():
    """SUP-09"""
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repo["repo"] == "local"
    assert {hook["language"] for hook in repo["hooks"]} == {"system"}
    assert {hook["id"] for hook in repo["hooks"]} == {"ruff-check", "ruff-format", "mypy", "secret-scan"}
    (entry,) = [hook["entry"] for hook in repo["hooks"] if hook["id"] == "secret-scan"]
    assert str(ROOT / entry.split()[1]) == secret_scan.__file__
