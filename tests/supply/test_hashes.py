"""SUP-01: what is installed is what was locked, byte for byte."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.supply.requirements import LOCKS, ROOT, read_lock


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A sound wheel, made on the spot."""
    folder = tmp_path_factory.mktemp("wheels")
    info = "tiny_supply-1.0.dist-info"
    files = {
        "tiny_supply.py": b"VALUE = 1\n",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-supply\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
        for name, data in files.items()
    )
    wheel = folder / "tiny_supply-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}.items():
            archive.writestr(name, data)
    return wheel


def install(wheel: Path, tmp_path: Path, line: str) -> subprocess.CompletedProcess[str]:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(line + "\n")
    # -I: whatever pip is told by the surroundings (an index, other folders of wheels) does not count.
    command = [sys.executable, "-I", "-m", "pip", "--isolated", "--disable-pip-version-check", "install", "--no-index"]
    command += ["--find-links", str(wheel.parent), "--target", str(tmp_path / "site"), "--no-cache-dir"]
    command += ["--require-hashes", "-r", str(requirements)]
    places = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    env = {"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull, **places}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def sha256(wheel: Path) -> str:
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_a_wheel_with_the_locked_hash_is_installed(wheel, tmp_path):
    """SUP-01: the failures below are for their own reason."""
    done = install(wheel, tmp_path, f"tiny-supply==1.0 --hash=sha256:{sha256(wheel)}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "tiny_supply.py").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("tiny-supply==1.0 --hash=sha256:" + "0" * 64, "DO NOT MATCH THE HASHES"),
        ("tiny-supply==1.0", "Hashes are required in --require-hashes mode"),
    ],
    ids=["wrong hash", "no hash"],
)
def test_anything_else_is_not_installed(wheel, tmp_path, line, said):
    """SUP-01"""
    done = install(wheel, tmp_path, line)
    assert done.returncode != 0
    assert said in done.stderr
    assert not (tmp_path / "site" / "tiny_supply.py").exists()


def test_a_wheel_that_was_altered_after_it_was_locked_is_not_installed(wheel, tmp_path):
    """SUP-01"""
    locked = sha256(wheel)
    altered = tmp_path / "wheels" / wheel.name
    altered.parent.mkdir()
    altered.write_bytes(wheel.read_bytes())
    with zipfile.ZipFile(altered, "a") as archive:
        archive.writestr("extra.pth", "import os\n")
    done = install(altered, tmp_path, f"tiny-supply==1.0 --hash=sha256:{locked}")
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr


def test_both_lock_files_are_there():
    """SUP-01"""
    assert {lock.name for lock in LOCKS} >= {"run.txt", "test.txt"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_requirement_is_pinned_and_has_hashes(lock):
    """SUP-01"""
    locked = read_lock(lock.read_text())
    assert len(locked) > 5
    assert [entry.name for entry in locked if entry.version is None] == []
    sound = re.compile(r"sha256:[0-9a-f]{64}")
    assert [entry.name for entry in locked if not entry.hashes or not all(map(sound.fullmatch, entry.hashes))] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_file_names_no_place_to_install_from(lock):
    """SUP-01"""
    text = lock.read_text()
    assert re.findall(r"\w+://\S*", text) == []
    options = re.findall(r"(?m)(?:^|\s)(--?[a-z][a-z-]*)", re.sub(r"(?m)#.*$", "", text))
    assert set(options) == {"--hash"}


def test_what_runs_is_the_same_where_it_is_tested():
    """SUP-01: the tests see the versions that the image carries."""
    run, test = (
        {e.name: e.version for e in read_lock((ROOT / "requirements" / f).read_text())} for f in ("run.txt", "test.txt")
    )
    assert {name: (version, test.get(name)) for name, version in run.items() if test.get(name) != version} == {}


@pytest.mark.parametrize("text", ["a==1\n", "a>=1 --hash=sha256:" + "0" * 64, "a==1.* --hash=sha256:" + "0" * 64])
def test_the_reader_of_lock_files_sees_what_is_wrong(text):
    """SUP-01: the tests above can fail."""
    (entry,) = read_lock(text)
    assert entry.version is None or not entry.hashes


def test_everything_that_installs_asks_for_hashes():
    """SUP-01"""
    for name in ("Makefile", "Dockerfile"):
        lines = [line for line in (ROOT / name).read_text().splitlines() if re.search(r"-r\W+requirements/", line)]
        assert lines, name
        assert [line for line in lines if "--require-hashes" not in line] == [], name
