"""SUP-03: no privileges, a read-only root, one writable folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.supply.jail import UID, can_mount, jail
from tests.supply.served import ROOT, environment, port_of, served, write_policies
from tests.support.patience import PATIENCE_S


@pytest.fixture
def folder():
    """Below a folder that another user may pass, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="supply-"))
    folder.chmod(0o755)
    (folder / "data").mkdir()
    (folder / "scratch").mkdir()
    yield folder
    for policies in folder.glob("policies"):
        policies.chmod(0o755)
    shutil.rmtree(folder)


PROBE = """
import json, os, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
def writes(folder):
    try:
        open(os.path.join(folder, "probe"), "w").close()
        os.unlink(os.path.join(folder, "probe"))
        return True
    except OSError:
        return False
facts = {name: status[name].split()[0] for name in ("Uid", "CapEff", "CapPrm", "CapBnd", "NoNewPrivs")}
print(json.dumps(facts | {"writes": [folder for folder in sys.argv[1:] if writes(folder)], "version": sys.version}))
"""


@pytest.mark.skipif(not can_mount(), reason="needs root and mount namespaces")
def test_the_jail_of_these_tests_really_holds(folder):
    """SUP-03"""
    write_policies(folder)
    tried = [
        str(folder / "data"),
        str(folder / "policies"),
        str(folder),
        str(ROOT),
        sys.prefix,
        "/tmp",
        "/usr",
        "/var/tmp",
    ]
    command = [*jail(folder / "data", folder / "scratch"), sys.executable, "-c", PROBE, *tried]
    done = subprocess.run(
        command, cwd="/", env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts.pop("writes") == [str(folder / "data")]
    assert facts.pop("version") == sys.version
    none = "0" * 16
    assert facts == {"Uid": str(UID), "CapEff": none, "CapPrm": none, "CapBnd": none, "NoNewPrivs": "1"}


def healthcheck(env: dict[str, str]) -> int:
    command = [sys.executable, "-m", "gateway", "healthcheck"]
    return subprocess.run(command, cwd="/", env=env, timeout=PATIENCE_S, check=False).returncode


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_serves_and_drains_without_privileges_on_a_read_only_root(folder, workers):
    """SUP-03"""
    policies, data = write_policies(folder), folder / "data"
    if workers != "1":
        (policies / "budgets.yaml").unlink()  # several workers need a shared count for them
    prefix = jail(data, folder / "scratch")
    policies.chmod(0o555)
    env = environment(policies, data, GATEWAY_WORKERS=workers)
    assert "HOME" not in env
    with served(env, prefix) as gateway:
        if os.geteuid() == 0 and prefix:
            assert Path(f"/proc/{gateway.pid}").stat().st_uid == UID
        assert Path(f"/proc/{gateway.pid}/cwd").readlink() == Path("/")
        status, text = gateway.chat()
        assert (status, bool(text)) == (200, True)
        assert healthcheck({**env, "GATEWAY_ADMIN_PORT": str(port_of(gateway.facts["admin_url"]))}) == 0
        assert gateway.stop() == 0, gateway.output.decode()
    events = [json.loads(line) for line in gateway.output.splitlines()]
    assert [event for event in events if event.get("level") in {"error", "critical"}] == []
    assert events[-1]["event"] == "stopped"
    kept = {"admin.token", "ledger.db", "ledger.db.lock", "mask.key", "ready.json"}
    assert {p.name for p in data.iterdir()} - {"ledger.db-shm", "ledger.db-wal"} == kept
    assert (data / "admin.token").stat().st_mode & 0o777 == 0o600


def test_a_data_folder_that_cannot_be_written_is_one_clear_line(folder):
    """SUP-03"""
    policies, data = write_policies(folder), folder / "data"
    prefix = jail(data, folder / "scratch")
    file = folder / "no-folder"
    file.touch()
    env = environment(policies, file, GATEWAY_READY_FILE=str(data / "ready.json"))
    command = [*prefix, sys.executable, "-m", "gateway", "serve"]
    done = subprocess.run(command, cwd="/", env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode not in {0, -9}
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert str(file) in done.stderr
