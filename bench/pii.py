"""The PII guard beside plain presidio: time on ordinary prose, and how many findings are equal on generated texts.

    python -m bench.pii [texts, 50000] [seed, 1] [language, en]

Both sides have the same recognisers (all of the language), no entity list and no threshold; our defaults are off.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

from gateway.guards.pii_engine import Engine
from gateway.guards.pii_registry import plain, recognizers, stop_words
from tests.guards.pii_corpus import ordinary_prose, texts


def milliseconds(call: Callable[..., object], *arguments: object) -> float:
    """The median time of a call, after one that warms up."""
    call(*arguments)
    times = []
    for _ in range(15):
        begin = time.perf_counter()
        call(*arguments)
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1_000


def main(count: int = 50_000, seed: int = 1, language: str = "en") -> None:
    owners = recognizers(language)
    ours, theirs = Engine(owners, stop_words(language)), plain(language, owners)
    for length in (400, 4_000):
        prose = ordinary_prose(length)
        fast, slow = milliseconds(ours.find, prose), milliseconds(theirs.analyze, prose, language)
        print(f"ordinary prose, {length} characters: {fast:.2f} ms, presidio {slow:.1f} ms, {slow / fast:.0f} times")
    same = findings = 0
    spent = [0.0, 0.0]
    kinds: set[str] = set()
    for number, text in enumerate(texts(count, seed), 1):
        marks = [time.perf_counter()]
        found = sorted(map(tuple, ours.find(text)))
        marks.append(time.perf_counter())
        expected = sorted((one.entity_type, one.start, one.end, one.score) for one in theirs.analyze(text, language))
        marks.append(time.perf_counter())
        spent = [total + after - before for total, before, after in zip(spent, marks, marks[1:], strict=False)]
        same += found == expected
        findings += len(expected)
        kinds |= {one[0] for one in expected}
        if found != expected:
            print(f"text {number} of seed {seed} differs in", {one[0] for one in set(found) ^ set(expected)})
        if number % 5_000 == 0:
            print(f"{number} texts, {same} with equal findings", flush=True)
    print(f"{count} texts, {findings} findings of {len(kinds)} kinds: {same} texts with equal findings")
    print(f"on these texts: {spent[0]:.1f} s, presidio {spent[1]:.1f} s")


if __name__ == "__main__":
    texts_wanted, seed_wanted, language_wanted = [*sys.argv[1:], *("50000", "1", "en")[len(sys.argv) - 1 :]]
    main(int(texts_wanted), int(seed_wanted), language_wanted)
