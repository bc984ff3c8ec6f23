"""Where text is in `POST /v1/embeddings`, `POST /v1/moderations`, and in JSON of a shape that nobody here knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.wire.chat_spans import refuse_parts
from gateway.wire.common_spans import ERROR, PART, ids
from gateway.wire.embeddings import Embeddings
from gateway.wire.spans import ANY, ID, SEALED, Words
from gateway.wire.things import Parts, Thing

_PART_TYPES: Final = frozenset({"text", "image_url"})

EMBEDDINGS: Final = Thing({**ids(Embeddings.known_fields), "input": Words("content", "user", tokens=True), "user": ANY})
VECTORS: Final = Thing(  # a vector is a list of numbers, or their bytes in base64
    {
        **ids(["object", "model", "usage", "id", "created"]),
        "data": Thing({"object": ID, "index": ID, "embedding": SEALED}),
        "error": ERROR,
    }
)
MODERATIONS: Final = Thing({"model": ID, "input": Parts(PART, kind="content", role="user")})
VERDICTS: Final = Thing({**ids(["id", "model", "object", "results", "usage"]), "error": ERROR})
UNKNOWN: Final = ANY


def refuse_unreadable_moderation(document: Mapping[str, Any]) -> None:
    """Refusal for a part of an unknown type. Strings in the list are inputs of their own, and no parts."""
    refuse_parts(document.get("input"), "input", _PART_TYPES)
