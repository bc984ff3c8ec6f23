"""`python -m bench.secrets [--show]`: the guard "secrets" on ordinary text and code, all of it installed here.

Milliseconds of processor time for 4 kB (in texts of 2 kB and more), and false hits for 10^5 characters: nothing in
these files is anybody's secret, though libraries for keys do show some. Exit status 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gateway.core.span import Text, View
from gateway.guards import normal, secrets

PACKAGES = Path(sys.prefix) / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
CORPORA: dict[str, tuple[Path, tuple[str, ...]]] = {
    "code": (PACKAGES, (".py",)),
    "package texts": (PACKAGES, (".md", ".rst", ".txt")),
    "system documentation": (Path("/usr/share/doc"), ("",)),
}
PIECE = 4096
MAX_MS = 1.0
MAX_FALSE = 1.0
SEED = 7


class Result(NamedTuple):
    """`ms`: the guard, for each piece; `views`: the normaliser, which all guards share. `hits`: (file, kind)."""

    ms: list[float]
    views: list[float]
    hits: list[tuple[str, str]]
    characters: int

    @property
    def false_rate(self) -> float:
        """Hits for 10^5 characters."""
        return len(self.hits) * 1e5 / max(1, self.characters)


def pieces(folder: Path, suffixes: Sequence[str], limit: int) -> Iterator[tuple[str, str]]:
    """(file, text) of `limit` characters in all: files in random order, one piece of at most 16 of PIECE from each."""
    files = sorted(path for path in folder.rglob("*") if path.name.endswith(tuple(suffixes)) and path.is_file())
    random.Random(SEED).shuffle(files)
    for path in files:
        for text in _cut(_read(path)[: 16 * PIECE]):
            yield str(path.relative_to(folder)), text
            limit -= len(text)
            if limit <= 0:
                return


def measure(guard: secrets.Secrets, corpus: Iterator[tuple[str, str]]) -> Result:
    result = Result([], [], [], 0)
    size = 0
    for name, raw in corpus:
        text = Text(raw)
        began = time.process_time()
        normal.views(text)
        viewed = time.process_time()
        found = guard.check(View("output", (text,)))
        spent = time.process_time() - viewed
        if len(raw) >= PIECE // 2:
            result.ms.append(spent * 1000 * PIECE / len(raw))
            result.views.append((viewed - began) * 1000 * PIECE / len(raw))
        result.hits.extend((name, finding.kind) for finding in found)
        size += len(raw)
    return result._replace(characters=size)


def tail_us(guard: secrets.Secrets, raw: str) -> tuple[float, float, int]:
    """Of a text that grows by 4 characters: microseconds for its open tail (median), characters held (median, most)."""
    spent, held = [], []
    for end in range(4, len(raw), 4):
        text = Text(raw[max(0, end - 300) : end])
        normal.views(text)
        began = time.process_time()
        held.append(guard.open_tail(text))
        spent.append((time.process_time() - began) * 1e6)
    return statistics.median(spent), statistics.median(held), max(held)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--show", action="store_true", help="list the kinds and the files of all hits, never their text"
    )
    parser.add_argument("--megabytes", type=float, default=4, help="of each corpus")
    options = parser.parse_args(arguments)
    row = secrets.Row.model_validate({"type": "secrets", "action": "mask", "on_error": "block"})
    guard = secrets.build(row, Path())
    assert isinstance(guard, secrets.Secrets)
    good = True
    for name, (folder, suffixes) in CORPORA.items():
        result = measure(guard, pieces(folder, suffixes, int(options.megabytes * 1e6)))
        if not result.ms:
            say(f"{name}: nothing is installed here")
            continue
        middle, slow = statistics.median(result.ms), statistics.quantiles(result.ms, n=20)[-1]
        say(
            f"{name}: {result.characters} characters, {middle:.3f} ms for 4 kB (95 %: {slow:.3f}), views "
            f"{statistics.median(result.views):.3f} ms, {result.false_rate:.3f} false hits for 10^5 characters"
        )
        good &= statistics.mean(result.ms) <= MAX_MS and result.false_rate <= MAX_FALSE
        if options.show:
            for (file, kind), count in collections.Counter(result.hits).most_common():
                say(f"    {count} {kind} {file}")
    sample = "".join(text for _, text in pieces(*CORPORA["package texts"], 8000))
    spent, held, most = tail_us(guard, sample)
    say(f"stream: {spent:.1f} us for an open tail, {held:.0f} characters held (median), {most} at most")
    return 0 if good else 1


def _read(path: Path) -> str:
    data = path.read_bytes()
    try:
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (UnicodeDecodeError, OSError, EOFError):
        return ""


def _cut(text: str) -> Iterator[str]:
    for start in range(0, len(text), PIECE):
        yield text[start : start + PIECE]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
