"""JSON that has to fit in so many bytes, and stays JSON: long texts lose their ends, then lists their first entries."""

from __future__ import annotations

import json
from typing import Any, Final

import orjson

_SHORTEST: Final = 32
_CUT: Final = "\N{HORIZONTAL ELLIPSIS}"


def fitted(value: Any, max_bytes: int) -> tuple[str, bool]:
    """(JSON of at most so many bytes in UTF-8, whether something was cut). Texts are cut between characters."""
    written = _dumped(value)
    if len(written) <= max_bytes:
        return written.decode(), False
    room = max_bytes
    while len(written) > max_bytes and room > _SHORTEST:
        room //= 2
        value = _shortened(value, room)
        written = _dumped(value)
    while len(written) > max_bytes:
        value = _fewer(value)
        written = _dumped(value)
    return written.decode(), True


def _shortened(value: Any, room: int) -> Any:
    """No text is longer than `room` characters and the mark of a cut."""
    if type(value) is str:
        return value[:room].rstrip(_CUT) + _CUT if len(value) > room + 1 else value
    if type(value) is dict:
        return {name: _shortened(entry, room) for name, entry in value.items()}
    return [_shortened(entry, room) for entry in value] if type(value) is list else value


def _fewer(value: Any) -> Any:
    """The later half of a list, and of the lists in an object. What has none is gone."""
    if type(value) is list:
        return value[(len(value) + 1) // 2 :]
    lists = {name: _fewer(entry) for name, entry in value.items() if type(entry) is list and entry}
    return value | lists if lists else {}


def _dumped(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # half a surrogate pair, which JSON can only write as an escape
        return json.dumps(value, separators=(",", ":")).encode()
