"""What the guards cost a stream, and that nothing leaks: part of `make bench`. In this process, without a network."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

import orjson

from bench.subjects import ROOT
from gateway.core.clock import SystemClock
from gateway.core.rules import GuardSet
from gateway.core.span import Context
from gateway.engine.judge import Judge
from gateway.engine.output import Output
from gateway.masks.vault import Vault
from gateway.policy.load import load, read_source
from gateway.wire.sse import data_of, frame

_PROSE = (
    "The quarterly report shows that orders rose in the north while returns fell in every other region. We looked at "
    "the list again and found that the plan for next week holds, so there is no need to change it now. "
)
_STREAMS = 200


@dataclass(frozen=True, slots=True)
class Figures:
    """Characters, microseconds, counts."""

    held_mean: float
    held_p95: int
    frame_us: float
    streams: int
    leaks: int


def _guards() -> GuardSet:
    policies = ROOT / "policies"
    return load(read_source(policies), policies, {}).guard_sets["default"]


def _event(text: str) -> bytes:
    return frame(orjson.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}))


def _shown(frames: list[bytes]) -> str:
    return "".join(orjson.loads(data_of(one) or b"null")["choices"][0]["delta"]["content"] for one in frames)


def _output(guards: GuardSet) -> Output:
    judge = Judge.of(guards, "output", Context(), SystemClock())
    return Output("chat", guards, judge, Vault(b"bench"), Vault(b"bench"), lambda: False)


def _tokens(text: str) -> list[str]:
    """Words with the blank before them, as models send them."""
    words = text.split(" ")
    return [words[0], *(" " + word for word in words[1:])]


def measure() -> Figures:
    guards = _guards()
    _prose(guards)  # warm-up
    held, frame_us = _prose(guards)
    ordered = sorted(held)
    leaks = sum(_leaks(guards, seed) for seed in range(_STREAMS))
    return Figures(sum(held) / len(held), ordered[int(len(ordered) * 0.95)], frame_us, _STREAMS, leaks)


def _prose(guards: GuardSet) -> tuple[list[int], float]:
    """(characters held after each token, microseconds a frame)."""
    output, sent, left, held = _output(guards), 0, 0, []
    tokens = _tokens(_PROSE * 5)
    began = time.process_time()
    for token in tokens:
        sent += len(token)
        left += len(_shown(output.frames([_event(token)])))
        held.append(sent - left)
    return held, (time.process_time() - began) / len(tokens) * 1e6


def _leaks(guards: GuardSet, seed: int) -> int:
    """1 when a byte of an address in the middle of prose gets through, whatever the chunks."""
    rng = random.Random(seed)
    value = f"{rng.choice('abcdefgh')}{rng.randrange(10**6)}@mail.example.org"
    at = _PROSE.index(" ", rng.randrange(len(_PROSE) - 20)) + 1
    text, pieces, done = _PROSE[:at] + value + " " + _PROSE[at:], [], 0
    while done < len(text):
        size = rng.randint(1, 12)
        pieces.append(text[done : done + size])
        done += size
    output = _output(guards)
    shown = "".join(_shown(output.frames([_event(piece)])) for piece in pieces) + _shown(asyncio.run(output.end()))
    return int(shown != text.replace(value, "[EMAIL_ADDRESS_1]"))
