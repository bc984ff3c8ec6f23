"""Vocabularies of OpenAI's models: text -> tokens, without the network.

They come with the package `bpe-openai`, which counts in linear time. Where `TIKTOKEN_CACHE_DIR` names a folder that
holds them under tiktoken's names and unchanged, tiktoken reads them from there instead. A text is counted in one go,
`bpe-openai` holding the interpreter's lock meanwhile: callers cut it (`tokenizer.py`).
"""

from __future__ import annotations

import hashlib
import os
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol

CL100K: Final = "cl100k_base"
O200K: Final = "o200k_base"

# tiktoken's name of the file (the SHA-1 of the address that it would fetch), and the SHA-256 of its content.
_FILES: Final = {
    CL100K: (
        "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
    O200K: (
        "fb374d419588a4632f3f557e76b4b70aebbca790",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
}


class Vocabulary(Protocol):
    source: str

    def count(self, text: str) -> int: ...


class Bundled:
    """Implements Vocabulary. About 40 MB/s. Lone surrogates raise UnicodeEncodeError."""

    source = "bpe-openai"

    def __init__(self, encoding: str) -> None:
        with warnings.catch_warnings():
            # It reads its vocabularies in a way that Python 3.11 calls deprecated and 3.13 no longer does.
            warnings.simplefilter("ignore", DeprecationWarning)
            # The counters have no public name.
            from bpe_openai import _bindings  # noqa: PLC0415 - heavy

        tokens: Any = _bindings.tokenizer_for_encoding(encoding)
        self.count = tokens.count
        self.count_till_limit = tokens.count_till_limit


class Provided:
    """Implements Vocabulary with the operator's own file, which is known to be there and sound."""

    source = "tiktoken"

    def __init__(self, encoding: str) -> None:
        import tiktoken  # noqa: PLC0415 - heavy

        self._tokens = tiktoken.get_encoding(encoding)

    def count(self, text: str) -> int:
        text.encode()  # tiktoken would mend lone surrogates in silence
        return len(self._tokens.encode_ordinary(text))


@lru_cache(maxsize=4)
def bundled(encoding: str) -> Bundled:
    """Kept: a process loads each vocabulary once (0.1 to 0.7 s)."""
    return Bundled(encoding)


@lru_cache(maxsize=4)
def _provided(encoding: str, _: str) -> Provided:
    return Provided(encoding)


def vocabulary(encoding: str) -> Vocabulary:
    folder = os.environ.get("TIKTOKEN_CACHE_DIR")
    return _provided(encoding, folder) if folder and _is_sound(Path(folder), encoding) else bundled(encoding)


def _is_sound(folder: Path, encoding: str) -> bool:
    """Asked before tiktoken is: it deletes a file that is not what it expects, and fetches what is missing."""
    name, digest = _FILES[encoding]
    try:
        content = (folder / name).read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content).hexdigest() == digest
