"""Finds secrets in files: `python tests/supply/secret_scan.py [FILE...]`; without files, in everything git tracks.

Exit code 1 when it finds one. What it prints names file, line and kind, and never the secret: the output goes to CI logs.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAX_FILE_BYTES = 8 << 20

KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("provider key (sk-)", re.compile(r"\bsk-[A-Za-z0-9_-]{16,}")),
    ("Groq key", re.compile(r"\bgsk_[A-Za-z0-9]{20,}")),
    ("xAI key", re.compile(r"\bxai-[A-Za-z0-9]{20,}")),
    ("Google key", re.compile(r"\bAIza[A-Za-z0-9_-]{35}")),
    ("Hugging Face token", re.compile(r"\bhf_[A-Za-z0-9]{30,}")),
    ("GitHub token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})")),
    ("GitLab token", re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}")),
    ("Slack token", re.compile(r"\bxox[abeprs]-[A-Za-z0-9-]{10,}")),
    ("package index token", re.compile(r"\b(?:pypi-[A-Za-z0-9_-]{50,}|npm_[A-Za-z0-9]{36})")),
    ("Stripe key", re.compile(r"\b[rs]k_live_[A-Za-z0-9]{20,}")),
    ("AWS access key id", re.compile(r"\b(?:AKIA|ASIA|AGPA|AIDA|AROA)[A-Z2-7]{16}\b")),
    ("gateway key", re.compile(r"\bgw-[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")),
    ("private key", re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----")),
    ("JWT", re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}")),
    ("password in a URL", re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/:@\"'{}$<>]+:[^\s/:@\"'{}$<>]{6,}@")),
)

# A value of high entropy given to a name that speaks of a secret. Digests are not secrets: key_sha256 does not match.
_ASSIGNED = re.compile(
    r"""(?ix) (?:secret|token|passwd|password|api_?key|access_?key|private_?key|credential)s?
    ["']? \s* (?:[:=]|=>|:=) \s* ["']? (?P<value>[A-Za-z0-9+/_=-]{20,}) """
)
_MIN_ENTROPY = 3.7  # bits a character; English and identifiers lie below, random base64 and long hex above (hex: <= 4)

# Values that look like secrets and are none. A canary says so itself: "canary" is a word of it, and it lies in a test. It
# stands for a key that must not show up in any output. Everything else is listed, by the whole value, with its place.
_CANARY = re.compile(r"(?:^|[-_])canary(?:[-_]|$)")
_CANARIES_LIE_IN = "tests/"
ALLOWED: dict[str, str] = {
    "sk-bench-upstream-0000000000000000": "bench/subjects.py: what the bench's own upstream is sent",
    "gw-bench-0000000000000000000000000000000000000": "bench/payload.py: the bench's caller key",
}


@dataclass(frozen=True)
class Finding:
    file: str
    line: int
    kind: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.kind}"


def entropy(text: str) -> float:
    """Bits a character, from the text's own frequencies."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


def secrets_in(text: str) -> Iterable[tuple[int, str, str]]:
    """Offset, kind, value."""
    for kind, pattern in KINDS:
        for match in pattern.finditer(text):
            yield match.start(), kind, match[0]
    for match in _ASSIGNED.finditer(text):
        value = match["value"]
        mixed = re.search(r"\d", value) and re.search(r"[A-Za-z]", value)
        if mixed and entropy(value) >= _MIN_ENTROPY:
            yield match.start("value"), "high-entropy value given to a secret's name", value


def scan_text(name: str, text: str) -> list[Finding]:
    found = {
        Finding(name, text.count("\n", 0, offset) + 1, kind)
        for offset, kind, value in secrets_in(text)
        if value not in ALLOWED and not (name.startswith(_CANARIES_LIE_IN) and _CANARY.search(value))
    }
    return sorted(found, key=lambda finding: (finding.line, finding.kind))


def scan(files: Iterable[Path]) -> list[Finding]:
    """Read as Latin-1, which takes any bytes, so that a key in a binary file is found too."""
    found: list[Finding] = []
    for file in files:
        if not file.is_file() or file.is_symlink():
            continue
        data = file.read_bytes()
        name = str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else str(file)
        if len(data) > MAX_FILE_BYTES:
            found.append(Finding(name, 0, f"larger than {MAX_FILE_BYTES} bytes: not scanned"))
            continue
        found += scan_text(name, data.decode("latin-1"))
    return found


def tracked(root: Path = ROOT) -> list[Path]:
    """What git tracks, and what it would track: untracked files that are not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
    ).stdout
    return [root / name for name in listed.decode().split("\0") if name]


def main(arguments: list[str]) -> int:
    found = scan([Path(name).resolve() for name in arguments] or tracked())
    for finding in found:
        sys.stdout.write(f"{finding}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
