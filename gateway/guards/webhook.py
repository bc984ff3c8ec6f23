"""The guard "webhook": asks a detector of the operator's own, over HTTP.

Asked: POST {"direction", "texts": [{"role", "kind", "text"}]}. Told: {"findings": [{"text", "start", "end", "kind",
"score"}]}, where `text` is an index into `texts`, the offsets count characters (code points) of it, the end is
exclusive, and `score` (0 to 1) may be missing: 1. Whatever else comes back is an error, and so the verdict *not run*;
nothing is guessed.

The URL comes from policy files only (SSRF-06). What the transport sends along, and whom it may reach, is its concern.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gateway.core.breaker import Breaker
from gateway.core.clock import Clock, SystemClock
from gateway.core.secret import Secret
from gateway.core.span import Finding, View
from gateway.guards.base import GuardRow

Post = Callable[[bytes], Awaitable[bytes]]
"""Sends one JSON body and returns the body of a 2xx answer; raises for everything else, redirects included."""

MAX_FINDINGS = 1000
MAX_ANSWER_BYTES = 1 << 20


class Row(GuardRow):
    """A detector elsewhere."""

    type: Literal["webhook"]
    url: str = Field(description="Where to ask: https://, or http:// on this machine. Without user and password.")
    secret: str | None = Field(
        None,
        pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$",
        description="The bearer token that is sent along, as a reference: env:NAME or file:PATH.",
    )
    timeout_ms: float = Field(
        800, gt=0, le=60_000, description="How long one question may take; no longer than budget_ms."
    )
    failures: int = Field(5, ge=1, le=1000, description="After so many failures in a row it is not asked for a while.")
    pause_s: float = Field(30, gt=0, le=3600, description="How long it is then left alone, until one trial.")
    max_characters: int = Field(
        200_000, ge=1, le=10_000_000, description="Longer texts are not sent: the guard has not run."
    )

    @field_validator("url")
    @classmethod
    def _reachable(cls, url: str) -> str:
        problem = _problem(url)
        if problem:
            raise ValueError(problem)
        return url

    @model_validator(mode="after")
    def _in_time(self) -> Row:
        if self.timeout_ms > self.budget_ms:
            raise ValueError("timeout_ms is longer than budget_ms: raise budget_ms or lower timeout_ms")
        return self


def _problem(url: str) -> str | None:
    """What is wrong with the URL, with the fix; it may hold a credential, so it is not quoted."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "url is not a URL: write https://HOST/PATH"
    if parts.scheme not in {"http", "https"} or not host or not url.isascii() or any(c <= " " for c in url):
        return "url must be written https://HOST/PATH"
    if parts.username is not None or parts.password is not None:
        return "url holds a user or a password: put the credential into `secret` as env:NAME or file:PATH"
    if parts.fragment:
        return "url has a fragment, which is never sent: remove what follows the #"
    if parts.scheme == "http" and not _is_loopback(host):
        return "url is http:// to another machine: use https://"
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Found(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    text: int = Field(ge=0)
    start: int = Field(ge=0)
    end: int = Field(ge=1)
    kind: str = Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")
    score: float = Field(1.0, ge=0, le=1, allow_inf_nan=False)


class _Reply(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    findings: Annotated[list[_Found], Field(max_length=MAX_FINDINGS)]


class WebhookFault(Exception):
    """The detector was not asked, or did not answer as it must. The message holds nothing of what was exchanged."""


def build(row: Row, _: Path) -> Callable[[Post], Webhook]:
    """What makes the guard once the transport to `row.url` is there."""
    return lambda post: Webhook(row, post)


def headers(secret: Secret | None) -> dict[str, str]:
    """What the transport sends with every question."""
    sent = {"accept": "application/json", "content-type": "application/json"}
    return sent | {"authorization": f"Bearer {secret.reveal()}"} if secret else sent


class Webhook:
    """One detector. `post` belongs to whoever made it; `close` only ends the asking."""

    def __init__(self, row: Row, post: Post, clock: Clock | None = None) -> None:
        self._row = row
        self._post = post
        self._breaker = Breaker(row.failures, row.pause_s, clock or SystemClock())
        self._closed = False

    async def ask(self, view: View) -> list[Finding]:
        """Raises WebhookFault."""
        if self._closed:
            raise WebhookFault("the guard is closed")
        if sum(len(text.raw) for text in view.texts) > self._row.max_characters:
            raise WebhookFault("the texts are longer than max_characters")
        if not view.texts:
            return []
        question = _question(view)
        if not self._breaker.admit():
            raise WebhookFault("the detector failed repeatedly and is left alone for a while")
        return await self._asked(question, view)

    async def close(self) -> None:
        self._closed = True

    async def _asked(self, question: bytes, view: View) -> list[Finding]:
        """Faults are raised outside of `except`, so that no exception that quotes content hangs on to them."""
        try:
            async with asyncio.timeout(self._row.timeout_ms / 1000):
                answer = await self._post(question)
            findings: list[Finding] | str = _findings(answer, view)
        except TimeoutError:
            findings = "the detector did not answer in time"
        except Exception as error:  # whatever a transport raises, the detector could not be asked
            findings = f"the detector could not be asked ({type(error).__name__})"
        except BaseException:
            self._breaker.release()
            raise
        if isinstance(findings, str):
            self._breaker.fail()
            raise WebhookFault(findings)
        self._breaker.succeed()
        return findings


def _question(view: View) -> bytes:
    texts = [{"role": text.role, "kind": text.kind, "text": text.raw} for text in view.texts]
    try:
        return orjson.dumps({"direction": view.direction, "texts": texts})
    except orjson.JSONEncodeError:  # a lone surrogate
        problem = WebhookFault("a text cannot be written as UTF-8")
    raise problem


def _findings(answer: bytes, view: View) -> list[Finding] | str:
    """The findings, or what is wrong with the answer."""
    if len(answer) > MAX_ANSWER_BYTES:
        return "the detector's answer is too long"
    try:
        found = _Reply.model_validate(orjson.loads(answer)).findings
    except (orjson.JSONDecodeError, ValidationError):
        return "the detector's answer is not of the agreed form"
    if any(f.text >= len(view.texts) or not f.start < f.end <= len(view.texts[f.text].raw) for f in found):
        return "the detector's answer points outside of the texts"
    return [Finding(f.text, f.start, f.end, f.kind, float(f.score)) for f in found]
