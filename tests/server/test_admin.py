"""The admin listener answers whatever happens, and a bug in it leaves a line in the log."""

from __future__ import annotations

import io
import json

from gateway.server.admin import Answer, Asked
from tests.server.listener import asked


async def test_a_bug_is_logged_with_its_type_and_place_and_shows_nothing_else() -> None:
    async def failing(_: Asked) -> Answer:
        raise KeyError("prompt-canary")

    said = io.BytesIO()
    answer = await asked({("GET", "/odd"): (False, failing)}, "/odd?name=query-canary", said=said)
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (500, "internal")
    line = json.loads(said.getvalue())
    assert (line["event"], line["admin"], line["error"]) == ("bug", "/odd", "KeyError")
    assert "test_admin.py:" in line["at"]
    assert b"canary" not in said.getvalue() + answer.body
