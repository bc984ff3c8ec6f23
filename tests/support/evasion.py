"""Writes docs/evasion.md: which disguises the guards see through, measured. `python -m tests.support.evasion`."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from gateway.core.ports import Guard
from gateway.core.span import Text, View
from gateway.guards import pii, secrets, unicode, words
from gateway.guards.secret_rules_all import rules
from tests.guards.evasion import table
from tests.guards.secret_samples import drawn

FILE = Path(__file__).parents[2] / "docs" / "evasion.md"
_COMMON = {"action": "block", "on_error": "block"}
_NAMES = ("jane.roe", "p.miller", "li.wei", "a.garcia", "k.novak", "o.brown")
_HARMLESS = (
    "Order the parts for line 3 by Friday and tell the team.",
    "The build takes 14 minutes on version 3.11.4; see README.md for the steps.",
    "Der Bericht zeigt, dass die Zahlen im Norden gestiegen sind.",
    "What do C4, S3 and EKS stand for, and when do I use which?",
    "def total(rows): return sum(row.price for row in rows)",
    "Le café ouvre à huit heures, même le dimanche.",
    "Rule 7: the sum of all shares is 100 % & no share is negative.",
    "She paid 19.99 for 2 tickets on 12 May.",
)


def _finds(guard: Guard) -> Callable[[str], bool]:
    return lambda text: bool(guard.check(View("input", (Text(text),))))


def _attacks() -> dict[str, list[str]]:
    rng = random.Random(5)
    emails = [f"write to {name}@mail.example.org soon" for name in _NAMES]
    tokens = [drawn(rule, 0)[0] for rule in rng.sample([rule for rule in rules() if "token" in rule.kind.lower()], 12)]
    return {
        "pii (e-mail)": emails,
        "secrets (tokens)": tokens,
        "words": ["about project falcon today", "the Blue Heron plan"],
    }


def page() -> str:
    folder = Path()
    guards = {
        "pii (e-mail)": pii.build(pii.Row(type="pii", **_COMMON), folder),
        "secrets (tokens)": secrets.build(secrets.Row(type="secrets", **_COMMON), folder),
        "words": words.build(
            words.Row(type="words", words=["falcon", "blue heron"], ignore_case=True, **_COMMON), folder
        ),
        "unicode": unicode.build(unicode.Row(type="unicode", **_COMMON), folder),
    }
    rows = table({name: _finds(guard) for name, guard in guards.items()}, _attacks(), list(_HARMLESS))
    return (
        "# What disguises are seen through\n\n"
        "Made by `make docs`, compared by a test. For each transform: the share of disguised values that a guard finds, and\n"
        "the share of harmless texts that it takes for one after the same transform. A few dozen texts: a list of what\n"
        "works and what does not, no estimate of rates. What shows 0 % passes.\n\n" + rows
    )


if __name__ == "__main__":
    FILE.write_text(page())
