"""How many tokens a text has for a model. Exact for models whose vocabulary is public, else an estimate."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from gateway.tokens.vocabulary import CL100K, O200K, Vocabulary, vocabulary

PIECE: Final = 16_384
"""Characters that are counted in one go: about half a millisecond, in which nothing else runs."""
_AT_ONCE: Final = 4096
"""Characters that a call may count without waiting for its turn."""
_ONE_TEXT: Final = 16
"""What a text costs to count beside its length, in characters' worth of time."""

# Names as providers and Azure write them, dated or not. gpt-oss has the words of o200k and its own control tokens.
_O200K: Final = re.compile(
    r"(?:(?:chat)?gpt-(?:4o|4\.1|4\.5|5(?:\.\d+)?|oss|audio|realtime)|o[134]|codex|computer-use-preview)(?![a-z0-9.])"
)
_CL100K: Final = re.compile(r"(?:gpt-(?:4|3\.5|35)|text-embedding-(?:ada-002|3)|(?:davinci|babbage)-002)(?![a-z0-9.])")
_CUT: Final = re.compile(r"(?<=\S) (?=[A-Za-z])")


class Count(NamedTuple):
    """`exact` False: the model's vocabulary is not known; o200k's count stands for it, which for other vocabularies of
    today is off by up to a third in English, and more elsewhere."""

    tokens: int
    exact: bool


class Tokenizer:
    """Loads its vocabularies when it is made, which takes up to a second; afterwards nothing is loaded."""

    def __init__(self) -> None:
        self._vocabularies = {name: vocabulary(name) for name in (O200K, CL100K)}
        self._turn = asyncio.Lock()

    @property
    def sources(self) -> dict[str, str]:
        """Vocabulary -> what counts with it."""
        return {name: found.source for name, found in self._vocabularies.items()}

    def count(self, text: str, model: str) -> Count:
        """For short texts: 25 ns a character."""
        name, exact = vocabulary_of(model)
        counter = self._vocabularies[name]
        return Count(sum(_tokens(counter, piece) for piece in _pieces(text)), exact)

    def estimate(self, text: str, model: str) -> int:
        """In bounded time: of a long text the beginning is counted, and stands for the rest."""
        if len(text) <= PIECE:
            return self.count(text, model).tokens
        return -(-self.count(text[:PIECE], model).tokens * len(text) // PIECE)

    async def count_all(self, texts: Iterable[str], model: str) -> Count:
        """Of any amount of text. The counters hold the interpreter's lock, so that a thread would not help: the loop
        gets its turn after every piece, and all counts together take one piece of each turn."""
        name, exact = vocabulary_of(model)
        counter = self._vocabularies[name]
        tokens = done = 0
        for text in texts:
            for piece in _pieces(text):
                if done + len(piece) > _AT_ONCE:
                    async with self._turn:
                        await asyncio.sleep(0)
                        tokens += _tokens(counter, piece)
                    done = 0
                else:
                    tokens += _tokens(counter, piece)
                    done += len(piece) + _ONE_TEXT
        return Count(tokens, exact)


@lru_cache(maxsize=1024)
def vocabulary_of(model: str) -> tuple[str, bool]:
    """(vocabulary, whether it is the model's own). A provider's prefix and a fine-tune's wrapping are left out:
    openai/gpt-4o, ft:gpt-4o-mini-2024-07-18:org::id."""
    base = model.lower().rpartition("/")[2].removeprefix("ft:").partition(":")[0]
    if _O200K.match(base):
        return O200K, True
    if _CL100K.match(base):
        return CL100K, True
    return O200K, False


def _tokens(counter: Vocabulary, text: str) -> int:
    try:
        return counter.count(text)
    except UnicodeEncodeError:  # lone surrogates, which JSON can write
        return counter.count(text.encode("utf-8", "replace").decode())


def _pieces(text: str) -> Iterator[str]:
    """Cut where a word begins after another, which moves no border of a token; where there is none, anywhere."""
    start = 0
    while len(text) - start > PIECE:
        end = start + PIECE
        cuts = [match.start() for match in _CUT.finditer(text, end - 256, end)]
        end = cuts[-1] if cuts else end
        yield text[start:end]
        start = end
    yield text[start:] if start else text
