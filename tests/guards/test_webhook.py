"""The webhook asks a detector elsewhere; what it does not understand is an error, never a clean bill (GRD-10, GRD-12, SSRF-06)."""

from __future__ import annotations

import asyncio
import json
import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.core.secret import Secret
from gateway.core.span import Finding, Text, View
from gateway.guards.webhook import MAX_ANSWER_BYTES, MAX_FINDINGS, Row, Webhook, WebhookFault, build, headers

MARKER = "webhook-canary-text"
VIEW = View("input", (Text("hello " + MARKER), Text("naïve 😀", role="tool", kind="result")))


def row(**given: Any) -> Row:
    return Row.model_validate(
        {"type": "webhook", "action": "block", "on_error": "block", "url": "https://detector.test/v1"} | given
    )


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


class FakeDetector:
    """Answers with the next of `answers`, the last one for ever; exceptions are raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[Any] = []

    async def post(self, body: bytes) -> bytes:
        self.asked.append(json.loads(body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()


def found(**changed: Any) -> dict[str, Any]:
    return {"findings": [{"text": 0, "start": 0, "end": 5, "kind": "GREETING", "score": 0.5} | changed]}


async def test_it_sends_direction_and_texts_and_reads_findings() -> None:
    detector = FakeDetector(
        {"findings": [{"text": 1, "start": 6, "end": 7, "kind": "EMOJI"}, found()["findings"][0] | {"score": 1}]}
    )
    guard = build(row(), Path())(detector.post)
    assert await guard.ask(VIEW) == [Finding(1, 6, 7, "EMOJI", 1.0), Finding(0, 0, 5, "GREETING", 1.0)]
    assert detector.asked == [
        {
            "direction": "input",
            "texts": [
                {"role": "user", "kind": "content", "text": "hello " + MARKER},
                {"role": "tool", "kind": "result", "text": "naïve 😀"},
            ],
        }
    ]


async def test_no_findings_is_an_answer_and_no_texts_are_no_question() -> None:
    detector = FakeDetector({"findings": []})
    guard = Webhook(row(), detector.post)
    assert await guard.ask(VIEW) == []
    assert await guard.ask(View("output", ())) == []
    assert len(detector.asked) == 1


BAD_ANSWERS: dict[str, Any] = {
    "no JSON": b"OK",
    "empty": b"",
    "not UTF-8": b'{"findings": [], "\xff": 1}',
    "no findings key": {},
    "findings null": {"findings": None},
    "a list": [],
    "something else as well": {"findings": [], "verdict": "allow"},
    "text out of range": found(text=2),
    "text negative": found(text=-1),
    "text is a boolean": found(text=False),
    "text is a string": found(text="0"),
    "offset beyond the text": found(end=1000),
    "offset in bytes, not characters": found(text=1, start=7, end=11),
    "offset negative": found(start=-1),
    "offset is a float": found(end=5.0),
    "empty span": found(start=5),
    "turned span": found(start=6),
    "kind missing": {"findings": [{"text": 0, "start": 0, "end": 5}]},
    "kind of another spelling": found(kind="hello " + MARKER),
    "score above one": found(score=1.5),
    "score is not a number": b'{"findings":[{"text":0,"start":0,"end":5,"kind":"A","score":NaN}]}',
    "score is text": found(score="0.5"),
    "unknown member": found(note=MARKER),
    "too many findings": {"findings": found()["findings"] * (MAX_FINDINGS + 1)},
    "too long": b'{"findings": []' + b" " * MAX_ANSWER_BYTES + b"}",
    "nested without end": b"[" * 100_000,
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_an_answer_of_another_form_is_an_error_that_quotes_nothing(answer: Any) -> None:
    with pytest.raises(WebhookFault) as caught:
        await Webhook(row(), FakeDetector(answer).post).ask(VIEW)
    assert MARKER not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


async def test_a_transport_that_fails_is_an_error_that_quotes_nothing() -> None:
    """GRD-12: also not in the exception chain."""
    detector = FakeDetector(RuntimeError("could not send " + MARKER))
    with pytest.raises(WebhookFault, match="RuntimeError") as caught:
        await Webhook(row(), detector.post).ask(VIEW)
    assert MARKER not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


async def test_a_detector_that_hangs_is_given_up_after_its_time() -> None:
    never = asyncio.Event()

    async def post(_: bytes) -> bytes:
        await never.wait()
        return b""

    with pytest.raises(WebhookFault, match="in time"):
        await Webhook(row(timeout_ms=1), post).ask(VIEW)


async def test_texts_beyond_the_bound_are_an_error_and_are_not_cut() -> None:
    """GRD-14. The bound is on all texts together, and it says nothing about the detector's health."""
    detector = FakeDetector({"findings": []})
    length = sum(len(text.raw) for text in VIEW.texts)
    guard = Webhook(row(max_characters=length - 1, failures=1), detector.post)
    for _ in range(2):
        with pytest.raises(WebhookFault, match="max_characters"):
            await guard.ask(VIEW)
    assert detector.asked == []
    assert await Webhook(row(max_characters=length), detector.post).ask(VIEW) == []


async def test_a_text_that_is_no_unicode_is_an_error() -> None:
    detector = FakeDetector({"findings": []})
    with pytest.raises(WebhookFault, match="UTF-8"):
        await Webhook(row(), detector.post).ask(View("input", (Text("\ud800"),)))
    assert detector.asked == []


async def test_a_detector_that_keeps_failing_is_left_alone_and_then_tried_once() -> None:
    clock = FakeClock()
    detector = FakeDetector(OSError(), b"nonsense", {"findings": []})
    guard = Webhook(row(failures=2, pause_s=30), detector.post, clock)
    for _ in range(4):
        with pytest.raises(WebhookFault):
            await guard.ask(VIEW)
    assert len(detector.asked) == 2
    clock.now = 30
    assert await guard.ask(VIEW) == []
    assert await guard.ask(VIEW) == []


async def test_a_call_that_is_cut_off_by_us_does_not_count_against_the_detector() -> None:
    started, never = asyncio.Event(), asyncio.Event()

    async def post(_: bytes) -> bytes:
        started.set()
        await never.wait()
        return b'{"findings": []}'

    guard = Webhook(row(failures=1, timeout_ms=60_000, budget_ms=60_000), post)
    task = asyncio.create_task(guard.ask(VIEW))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    never.set()
    assert await guard.ask(VIEW) == []


async def test_a_closed_guard_asks_nobody() -> None:
    detector = FakeDetector({"findings": []})
    guard = Webhook(row(), detector.post)
    await guard.close()
    with pytest.raises(WebhookFault, match="closed"):
        await guard.ask(VIEW)
    assert detector.asked == []


@pytest.mark.parametrize(
    ("url", "fix"),
    [
        ("http://detector.test/v1", "https://"),
        ("http://127.0.0.1.evil.test/", "https://"),
        ("http://localhost.evil.test/", "https://"),
        ("http://169.254.169.254/", "https://"),
        ("https://user@detector.test/", "secret"),
        ("https://" + "user:canary-word" + "@detector.test/", "secret"),
        ("https://detector.test/#part", "fragment"),
        ("ftp://detector.test/", "https://HOST/PATH"),
        ("file:///etc/passwd", "https://HOST/PATH"),
        ("https:///v1", "https://HOST/PATH"),
        ("https://detector.test:port/", "https://HOST/PATH"),
        ("https://[::1/", "https://HOST/PATH"),
        ("https://detector.test/a b", "https://HOST/PATH"),
        ("https://detector.test/\r\nx", "https://HOST/PATH"),
        ("", "https://HOST/PATH"),
    ],
)
def test_a_wrong_url_is_refused_with_the_fix(url: str, fix: str) -> None:
    with pytest.raises(ValidationError) as caught:
        row(url=url)
    assert fix in caught.value.errors()[0]["msg"]
    assert "canary" not in caught.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/x", "http://localhost/x", "http://[::1]:1/x", "https://a.test:8443"]
)
def test_a_right_url_is_taken_and_plain_http_on_this_machine(url: str) -> None:
    assert row(url=url).url == url


def test_a_secret_is_a_reference_and_travels_as_a_bearer_token() -> None:
    for reference in ("env:DETECTOR_KEY", "file:secrets/detector"):
        assert row(secret=reference).secret == reference
    with pytest.raises(ValidationError):
        row(secret="canary-word")
    assert headers(None)["content-type"] == "application/json"
    assert headers(Secret("canary-word"))["authorization"] == "Bearer " + "canary-word"


def test_a_time_beyond_the_budget_is_refused_with_the_fix() -> None:
    with pytest.raises(ValidationError, match="raise budget_ms or lower timeout_ms"):
        row(timeout_ms=2000)
