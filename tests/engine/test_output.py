"""Answers that a guard repairs while another one masks them."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.core.clock import SystemClock
from gateway.core.errors import Refusal
from gateway.core.span import Context
from gateway.engine.judge import Judge, Regenerate
from gateway.engine.output import Output
from gateway.masks.vault import Vault
from gateway.policy.load import load

POLICY = b"""
providers: {demo: {shape: demo}}
models: {m: {targets: [{provider: demo}]}}
guards:
  pii: {type: pii, action: mask, on_error: block}
  shape: {type: json_schema, action: regenerate, on_error: block}
guard_sets: {default: {output: [shape, pii], unreadable: allow}}
"""
VALUE = "ann.canary@example.com"


async def answered(text: str) -> str:
    guards = load((("p.yaml", POLICY),), Path(), {}).guard_sets["default"]
    judge = Judge.of(guards, "output", Context(schema={"type": "object"}), SystemClock())
    output = Output("chat", guards, judge, Vault(b"k"), Vault(b"k"), lambda: False, is_json=True)
    body = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}).encode()
    content: str = json.loads(await output.document(body))["choices"][0]["message"]["content"]
    return content


async def test_what_is_repaired_is_masked_all_the_same() -> None:
    """GRD-13"""
    whole, broken = await answered(f'{{"mail":"{VALUE}"}}'), await answered(f'{{"mail":"{VALUE}"')
    assert whole == broken == '{"mail":"[EMAIL_ADDRESS_1]"}'


@pytest.mark.parametrize(
    "broken",
    [
        f'```json\n{{"mail": "{VALUE}"}}\n```',
        f'{{"mail":"{VALUE}","to":["{VALUE}"',
        f"{{'mail': '{VALUE}'}}",
        f'{{"mail":"{VALUE}",}}',
        '{"mail":"ann\\u002ecanary@example.com"',
        f'Write to {VALUE}: {{"mail":"{VALUE}"',
        f'{{"mail":"{VALUE}',
    ],
)
async def test_no_repair_shows_what_is_masked(broken: str) -> None:
    shown = ""
    with suppress(Refusal, Regenerate):
        shown = await answered(broken)
    assert VALUE not in shown
    assert VALUE not in json.dumps(json.loads(shown or "{}"))
