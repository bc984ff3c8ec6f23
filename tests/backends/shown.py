"""What a back end shows, in words that all of them have; and how it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class ShownSpan:
    """Ids in lower-case hex; `parent_id` "" for a root. Counts and `usd` None: the back end shows none. `input_tokens`
    include `cached_tokens`. `input` and `output` are texts."""

    span_id: str
    parent_id: str
    name: str
    kind: str
    failed: bool
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    usd: float | None
    input: str | None
    output: str | None
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class ShownTrace:
    """`tokens` and `usd` as the back end adds them up itself."""

    trace_id: str
    spans: tuple[ShownSpan, ...]
    tokens: int
    usd: float
    session: str | None
    user: str | None

    @property
    def root(self) -> ShownSpan:
        (root,) = [span for span in self.spans if not span.parent_id]
        return root

    def children(self, parent: ShownSpan) -> list[ShownSpan]:
        return [span for span in self.spans if span.parent_id == parent.span_id]

    def named(self, prefix: str) -> list[ShownSpan]:
        return [span for span in self.spans if span.name.startswith(prefix)]


class BackEnd(Protocol):
    """`profile`: which of the gateway's is made for it. `chat_kinds`: what it shows a chat as. And what differs:
    `makes_own_price`: by its own list, whatever the span says. `adds_embeddings`: to the tokens of a trace.
    `adds_calls_inside_calls`: where a call of a model is made inside of another."""

    url: str
    profile: str
    chat_kinds: frozenset[str]
    makes_own_price: bool
    adds_embeddings: bool
    adds_calls_inside_calls: bool

    @property
    def environment(self) -> dict[str, str]:
        """OpenTelemetry's variables for whoever exports to it."""

    def traces(self) -> list[ShownTrace]:
        """All that it has taken."""
