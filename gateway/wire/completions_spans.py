"""Where text is in `POST /v1/completions`, the legacy shape. Its answers are choices, as chat's are."""

from __future__ import annotations

from typing import Final

from gateway.wire.common_spans import ids
from gateway.wire.completions import Completions
from gateway.wire.spans import ANY, Words
from gateway.wire.things import Thing

REQUEST: Final = Thing(
    {
        **ids(Completions.known_fields),
        "prompt": Words("content", "user", tokens=True),
        "suffix": Words("content", "user"),
        **dict.fromkeys(["stop", "user", "logit_bias"], ANY),
    }
)
