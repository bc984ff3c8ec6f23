"""Callers that behave badly: they stream or not, leave in the middle, and ask again with the same idempotency key."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import aiohttp

from chaos.history import Seen
from chaos.rig import Caller

LEAVES, REPEATS, STREAMS, UNCAPPED = 0.10, 0.05, 0.5, 0.1
_PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, which may be sent more than once. `leaves_s`: when its caller goes away."""

    tag: str
    caller: Caller
    key: str
    body: bytes
    stream: bool
    leaves_s: float | None


class Swarm:
    """`seen` is the history. `whole` counts complete answers."""

    def __init__(self, url: str, callers: Sequence[Caller], seed: int) -> None:
        self._url = f"{url}/v1/chat/completions"
        self._callers = callers
        self._random = random.Random(seed)
        self._number = 0
        self._stopping = False
        self.seen: list[Seen] = []
        self.whole = 0

    async def run(self, workers: int) -> None:
        """Until `stop`; the calls that run then are waited for."""
        timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as self._session:
            await asyncio.gather(*(self._work() for _ in range(workers)))

    def stop(self) -> None:
        self._stopping = True

    async def touch(self) -> None:
        """One small call of each caller, so that every counter is known again."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PATIENCE_S)) as self._session:
            for caller in self._callers:
                asked = self._asked(caller)
                await self._send(replace(asked, leaves_s=None))

    def statuses(self) -> Counter[str]:
        return Counter(f"{seen.status} {seen.code}".strip() for seen in self.seen)

    async def _work(self) -> None:
        while not self._stopping:
            asked = self._asked(self._random.choice(self._callers))
            sends = [self._send(asked)]
            if asked.key:
                sends.append(self._again(asked))
            seen = await asyncio.gather(*sends)
            if seen[0].status != 200:  # nobody is there, or there is no money: as a patient caller does
                await asyncio.sleep(0.05 if seen[0].status else 0.2)

    async def _again(self, asked: Asked) -> Seen:
        """The same request: while the first one runs, or after it."""
        await asyncio.sleep(self._random.choice((0.01, 1.0)))
        return await self._send(replace(asked, leaves_s=None))

    def _asked(self, caller: Caller) -> Asked:
        self._number += 1
        dice, tag = self._random, f"{caller.name}-{self._number}"
        stream = dice.random() < STREAMS
        body: dict[str, Any] = {
            "model": "oracle",
            "stream": stream,
            "messages": [{"role": "user", "content": f"[{tag}] " + "some words " * dice.randint(1, 40)}],
        }
        if dice.random() >= UNCAPPED:
            body["max_tokens"] = dice.randint(8, 200)
        key = f"key-{tag}" if dice.random() < REPEATS else ""
        leaves = dice.uniform(0.001, 0.12) if dice.random() < LEAVES else None
        return Asked(tag, caller, key, json.dumps(body).encode(), stream, leaves)

    async def _send(self, asked: Asked) -> Seen:
        at = time.time()
        seen = Seen(asked.tag, asked.caller.name, asked.key, at, at, 0)
        try:
            async with asyncio.timeout(asked.leaves_s):
                seen = await self._ask(asked, seen)
        except TimeoutError:
            seen = replace(seen, left=True) if asked.leaves_s is not None else replace(seen, code="timeout")
        except (OSError, aiohttp.ClientError) as error:
            seen = replace(seen, code=type(error).__name__)
        seen = replace(seen, until=time.time())
        self.seen.append(seen)
        self.whole += seen.complete
        return seen

    async def _ask(self, asked: Asked, seen: Seen) -> Seen:
        headers = {"authorization": f"Bearer {asked.caller.key}", "content-type": "application/json"}
        if asked.key:
            headers["idempotency-key"] = asked.key
        async with self._session.post(self._url, data=asked.body, headers=headers) as reply:
            seen = replace(seen, status=reply.status, cost_nano=_nano(reply.headers.get("x-gateway-cost-usd")))
            try:
                body = await reply.read()
            except (OSError, aiohttp.ClientError) as error:
                return replace(seen, code=type(error).__name__)
        if reply.status != 200:
            return replace(seen, code=_code(body))
        if asked.stream and reply.content_type == "text/event-stream":
            return replace(seen, complete=body.endswith(b"data: [DONE]\n\n") and b'"error"' not in body)
        return replace(seen, complete=bool(json.loads(body)["choices"]))


def _nano(header: str | None) -> int | None:
    return None if header is None else int(Decimal(header) * 10**9)


def _code(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return "?"
