"""Gets one message to a collector, within bounds: tries, back-off, deadlines, and one line of log each way."""

from __future__ import annotations

import asyncio
import gzip
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal

from structlog.typing import FilteringBoundLogger

from gateway.core.errors import UpstreamFault
from gateway.core.model import Headers
from gateway.sinks.otlp_encode import Steps, advanced
from gateway.sinks.otlp_settings import Endpoint

Post = Callable[[str, Headers, bytes], Awaitable[tuple[int, Headers]]]
"""Posts a body to a URL, follows nothing, and returns status and headers of the answer; raises when there is none."""

Outcome = Literal["", "refused", "unavailable", "invalid"]
"""Why a message was given up: the collector does not want it, could not be brought to take it, or it could not be
written at all. "": it was taken."""

_RETRYABLE = frozenset({429, 502, 503, 504})  # OTLP/HTTP: any other error is final
_AGENT = b"llm-gateway-otlp"


@dataclass(frozen=True, slots=True)
class Retry:
    """Pauses double from `first_s` to `longest_s`, each shortened by up to a fifth by chance. A collector that names
    its own time (Retry-After) is given it, up to `patience_s`."""

    tries: int = 6
    first_s: float = 1.0
    longest_s: float = 30.0
    patience_s: float = 300.0

    def pause_s(self, tries: int, asked_s: float) -> float:
        own = min(self.first_s * 2.0 ** (tries - 1), self.longest_s) * random.uniform(0.8, 1.0)  # noqa: S311 - no secret
        return max(own, min(asked_s, self.patience_s))


class Delivery:
    """To the endpoint of one signal. Once `stopping` is set nothing is waited for and nothing tried again."""

    def __init__(
        self,
        signal: str,
        endpoint: Endpoint,
        post: Post,
        log: FilteringBoundLogger,
        stopping: asyncio.Event,
        retry: Retry,
    ) -> None:
        self.failing = False
        self._signal = signal
        self._endpoint = endpoint
        self._post = post
        self._log = log
        self._stopping = stopping
        self._retry = retry

    async def deliver(self, steps: Steps) -> Outcome:
        try:
            body = await _written(steps)
        except Exception as error:  # a span that is not sound must not end the export of all others
            self._ill(type(error).__name__)
            return "invalid"
        if self._endpoint.gzip:
            body = await asyncio.to_thread(gzip.compress, body, 1, mtime=0)
        return await self._deliver(body)

    async def _deliver(self, body: bytes) -> Outcome:
        problem = ""
        for tries in range(1, self._retry.tries + 1):
            status, asked_s, problem = await self._try(body)
            if 200 <= status < 300:
                self._well()
                return ""
            if status and status not in _RETRYABLE:
                self._ill(problem)
                return "refused"
            if tries > 1:  # a single failure is nothing to wake anyone for
                self._ill(problem)
            if self._stopping.is_set() or tries == self._retry.tries:
                break
            await self._wait(self._retry.pause_s(tries, asked_s))
        self._ill(problem)
        return "unavailable"

    async def _try(self, body: bytes) -> tuple[int, float, str]:
        """Status (0: no answer), seconds that the collector asks to wait, and what to say of it."""
        try:
            async with asyncio.timeout(self._endpoint.timeout_s):
                status, headers = await self._post(self._endpoint.url, self._headers(), body)
        except TimeoutError:
            return 0, 0.0, "no answer in time"
        except UpstreamFault as fault:
            return 0, 0.0, fault.kind.code
        except Exception as error:  # whatever a transport raises, the message was not taken; its text may quote headers
            return 0, 0.0, type(error).__name__
        return status, _retry_after_s(headers), f"status {status}"

    def _headers(self) -> Headers:
        headers = [(b"content-type", b"application/x-protobuf"), (b"user-agent", _AGENT)]
        if self._endpoint.gzip:
            headers.append((b"content-encoding", b"gzip"))
        return headers + [(name.encode(), value.reveal().encode()) for name, value in self._endpoint.headers]

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _ill(self, problem: str) -> None:
        if not self.failing:
            self.failing = True
            self._log.warning("export_failing", signal=self._signal, problem=problem)

    def _well(self) -> None:
        if self.failing:
            self.failing = False
            self._log.info("export_recovered", signal=self._signal)


async def _written(steps: Steps) -> bytes:
    """The message, with the loop let go between steps."""
    while (message := advanced(steps)) is None:  # noqa: ASYNC110 - it is work in steps, nothing is waited for
        await asyncio.sleep(0)
    return message


def _retry_after_s(headers: Headers) -> float:
    """RFC 9110, 10.2.3: seconds or a date. 0: not said, or not understood."""
    text = next((value for name, value in headers if name == b"retry-after"), b"").decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) < 10 else math.inf
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
