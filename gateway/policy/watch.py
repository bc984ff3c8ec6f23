"""Notices that the policy files, or files that they lead to, changed, whatever way they were replaced: in place, by
rename, by a symlink swap.

Polling, because that is what works on every file system that policy is mounted from. One look is a few `stat` calls.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gateway.policy.load import Source, read_source, referenced, version_of

Stamp = tuple[tuple[str, int, int, int], ...]


class Watcher:
    """Call `changed` now and then; it must not be called from two threads at once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stamp = self._look()
        self._version = ""
        self._referenced: tuple[Path, ...] = ()
        try:
            self._take(read_source(directory))
        except Exception:
            self._version = ""  # the first load says what is wrong
        self._stamp_beyond = self._look_beyond()
        self._seen = self._stamp, self._stamp_beyond

    def changed(self) -> Source | None:
        """The source when its content, or a file that it leads to, is another than before and nothing moved since the
        last call: half a file may be a sound policy that admits nobody. PolicyError as `read_source`.

        Stamps are taken before the files are read, so a change that arrives in between is seen at the next call.
        """
        seen = stamp, beyond = self._look(), self._look_beyond()
        still, self._seen = seen == self._seen, seen
        if not still or (stamp == self._stamp and beyond == self._stamp_beyond):
            return None
        source = read_source(self._directory)
        self._stamp = stamp
        other = self._take(source) or beyond != self._stamp_beyond
        self._stamp_beyond = self._look_beyond()
        self._seen = stamp, self._stamp_beyond
        return source if other else None

    def _take(self, source: Source) -> bool:
        version = version_of(source)
        if version == self._version:
            return False
        self._version = version
        self._referenced = referenced(source, self._directory)
        return True

    def _look(self) -> Stamp:
        try:
            entries = sorted(self._directory.iterdir())
        except OSError:
            return ()
        return _stamps(entries)

    def _look_beyond(self) -> Stamp:
        return _stamps(self._referenced)


def _stamps(files: Iterable[Path]) -> Stamp:
    found = []
    for file in files:
        try:
            status = file.stat()  # follows symlinks: Kubernetes swaps the folder that they lead to
        except OSError:
            continue
        found.append((str(file), status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(found)
