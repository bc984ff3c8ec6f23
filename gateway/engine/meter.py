"""How much a stream has said so far, for the case that nobody tells: a provider without usage, a caller who leaves."""

from __future__ import annotations

from gateway.tokens.tokenizer import Tokenizer
from gateway.wire.answered import Said, said_in
from gateway.wire.output_text import text_of

HELD_BYTES = 32_768
"""Of frames that wait to be counted. Most streams are shorter, and end with their usage: they are never read here."""


class OutputMeter:
    """Fed with every frame. `shape` and `model` as in `text_of` and `Tokenizer.count`."""

    __slots__ = ("_counted", "_held", "_model", "_shape", "_size", "_tokenizer", "_tokens")

    def __init__(self, shape: str, tokenizer: Tokenizer, model: str) -> None:
        self._shape = shape
        self._tokenizer = tokenizer
        self._model = model
        self._held: list[bytes] = []
        self._size = 0
        self._counted = 0
        self._tokens = 0

    def feed(self, frame: bytes) -> None:
        if frame.startswith(b":"):  # a comment
            return
        self._held.append(frame)
        self._size += len(frame)
        if self._size > HELD_BYTES:
            self._count()

    @property
    def frames(self) -> int:
        """Seen, comments aside."""
        return self._counted + len(self._held)

    def said(self) -> Said:
        """Of the frames that were not counted yet: the last ones, which tell how the choices ended."""
        return said_in(self._shape, self._held)

    def output_tokens(self) -> int:
        """An estimate. What a model thought in secret is not in it."""
        self._count()
        return self._tokens

    def _count(self) -> None:
        text = "".join([text_of(self._shape, frame) for frame in self._held])
        self._tokens += self._tokenizer.estimate(text, self._model)
        self._counted += len(self._held)
        self._held.clear()
        self._size = 0
