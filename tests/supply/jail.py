"""A command without privileges, on a file system of which one folder can be written: what a hardened container gives.

Where this user may make a mount namespace, the whole root is read-only. Where it is root and may not, the user alone is
changed. Where it is not root there is nothing to give up, and what it must not write has to be made unwritable for it.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

UID = 10001

# $1: the folder to keep writable; $2: a folder to hide (or ""); $3: a scratch folder; then folders to show again, "--",
# and the command. Nothing of this reaches beyond the mount namespace.
_SCRIPT = """
writable=$1 hidden=$2 scratch=$3; shift 3
mount --bind "$writable" "$writable"
if [ -n "$hidden" ]; then
  mount -t tmpfs -o mode=755 none "$scratch"
  number=0
  for folder in "$@"; do
    [ "$folder" = -- ] && break
    number=$((number + 1)); mkdir "$scratch/$number"; mount --bind "$folder" "$scratch/$number"
  done
  mount -t tmpfs -o mode=755 none "$hidden"
  number=0
  for folder in "$@"; do
    [ "$folder" = -- ] && break
    number=$((number + 1)); mkdir -p "$folder"; mount --bind "$scratch/$number" "$folder"
    mount -o remount,ro,bind "$folder"
  done
  mount -o remount,ro "$hidden"
fi
while [ "$1" != -- ]; do shift; done
shift
mount -o remount,ro,bind /
exec "$@"
"""
_DROP = (
    "setpriv",
    f"--reuid={UID}",
    f"--regid={UID}",
    "--clear-groups",
    "--no-new-privs",
    "--bounding-set=-all",
    "--inh-caps=-all",
    "--",
)


@functools.cache
def can_mount() -> bool:
    tools = ("unshare", "setpriv", "mount")
    if os.geteuid() != 0 or any(shutil.which(tool) is None for tool in tools):
        return False
    attempt = ["unshare", "--mount", "sh", "-ec", "mount -o remount,ro,bind /"]
    return subprocess.run(attempt, capture_output=True, check=False).returncode == 0


def _closed_ancestor(path: Path) -> Path | None:
    """The first folder on the way that others may not pass."""
    return next((p for p in reversed(path.parents) if not p.stat().st_mode & 0o001), None)


def jail(writable: Path, scratch: Path) -> tuple[str, ...]:
    """What to put before a command. `writable` becomes the user's own."""
    if os.geteuid() != 0:
        return ()
    for path in (writable, *writable.rglob("*")):
        os.chown(path, UID, UID)
    if not can_mount():
        return _DROP if shutil.which("setpriv") else ()
    needed = [Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), Path(__file__).resolve().parents[2]]
    closed = {p: _closed_ancestor(p) for p in needed}
    hidden = next((ancestor for ancestor in closed.values() if ancestor is not None), None)
    shown = [str(p) for p, ancestor in closed.items() if ancestor is not None and ancestor == hidden]
    script = ("unshare", "--mount", "sh", "-ec", _SCRIPT, "jail")
    return (*script, str(writable), str(hidden or ""), str(scratch), *shown, "--", *_DROP)
