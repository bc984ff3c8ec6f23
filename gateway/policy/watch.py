"""Notices that the policy files changed, whatever way they were replaced: in place, by rename, by a symlink swap.

Polling, because that is what works on every file system that policy is mounted from. One look is a few `stat` calls.
"""

from __future__ import annotations

from pathlib import Path

from gateway.policy.load import Source, read_source, version_of

Stamp = tuple[tuple[str, int, int, int], ...]


class Watcher:
    """Call `changed` now and then; it must not be called from two threads at once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stamp = self._look()
        self._version = self._read_version()

    def changed(self) -> Source | None:
        """The new source when its content is another than at the last call, else None. PolicyError as `read_source`.

        The stamp is taken before the files are read, so a change that arrives in between is seen at the next call.
        """
        stamp = self._look()
        if stamp == self._stamp:
            return None
        source = read_source(self._directory)
        self._stamp = stamp
        version = version_of(source)
        if version == self._version:
            return None
        self._version = version
        return source

    def _read_version(self) -> str:
        try:
            return version_of(read_source(self._directory))
        except Exception:
            return ""

    def _look(self) -> Stamp:
        found = []
        try:
            entries = sorted(self._directory.iterdir())
        except OSError:
            return ()
        for entry in entries:
            try:
                status = entry.stat()  # follows symlinks: Kubernetes swaps the folder that they lead to
            except OSError:
                continue
            found.append((entry.name, status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(found)
